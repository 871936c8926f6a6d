"""Output that appears whole or not at all."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from fluorojax.io.errors import InputError


def partial_path(path: str | PathLike[str]) -> Path:
    """Where a file is built before it takes its name: ``OUT.partial`` next to ``OUT``."""
    path = Path(path)
    return path.with_name(path.name + ".partial")


def check_output(
    path: str | PathLike[str], *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Raise :class:`InputError` where ``path`` cannot become a new file.

    ``inputs`` are files the output must not replace, under whatever name (symbolic or hard link).
    """
    path = Path(path)
    for source in inputs:
        for target in (path, partial_path(path)):
            if target.exists() and Path(source).exists() and target.samefile(source):
                raise InputError(path, None, None, f"is the input file {source}; expected another output file")
    if path.is_dir():
        raise InputError(path, None, None, "is a directory; expected a file name")
    if path.exists() and not overwrite:
        raise InputError(path, None, None, "already exists; choose another name or add --overwrite")
    parent = path.parent
    if not parent.is_dir():
        raise InputError(path, None, None, f"cannot be written: {parent} is not an existing directory")
    if not os.access(parent, os.W_OK):
        raise InputError(path, None, None, f"cannot be written: no permission to write in {parent}")


@contextmanager
def atomic_output(
    path: str | PathLike[str], *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> Iterator[Path]:
    """Yield a temporary name to write; rename it to ``path`` on success, remove it on any failure."""
    check_output(path, inputs=inputs, overwrite=overwrite)
    temporary = partial_path(path)
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        publish(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(path, None, None, f"cannot be written: {error}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def publish(temporary: Path, path: str | PathLike[str]) -> None:
    """Force ``temporary`` to disk and rename it to ``path``."""
    with temporary.open("rb+") as handle:
        os.fsync(handle.fileno())
    temporary.replace(path)


def write_text(
    path: str | PathLike[str], text: str, *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_output(path, inputs=inputs, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
