"""Output that appears whole or not at all."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path

from fluorojax.foreign import vouch
from fluorojax.io.errors import InputError
from fluorojax.io.shutdown import at_stop, undisturbed


def check_output(
    path: str | PathLike[str], *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Raise :class:`InputError` where ``path`` cannot become a new file.

    ``inputs`` are files the output must not replace, under whatever name (symbolic or hard link).
    """
    path = Path(path)
    refuse_input(path, path, inputs)
    if path.is_dir():
        raise InputError(path, None, None, "is a directory; expected a file name")
    if path.exists() and not overwrite:
        raise InputError(path, None, None, "already exists; choose another name or add --overwrite")
    parent = path.parent
    if not parent.is_dir():
        raise InputError(path, None, None, f"cannot be written: {parent} is not an existing directory")
    if not os.access(parent, os.W_OK):
        raise InputError(path, None, None, f"cannot be written: no permission to write in {parent}")


def refuse_input(path: Path, target: Path, inputs: Iterable[str | PathLike[str]]) -> None:
    """Raise :class:`InputError` about the output ``path`` where ``target``, to be written for it, is an input."""
    for source in inputs:
        if target.exists() and Path(source).exists() and target.samefile(source):
            raise InputError(path, None, None, f"is the input file {source}; expected another output file")


@contextmanager
def writing(path: str | PathLike[str], scene: str | None = None) -> Iterator[None]:
    """Turn an ``OSError`` of the body into an :class:`InputError` about ``path``; put nothing but writing inside."""
    try:
        yield
    except OSError as error:
        raise InputError(path, scene, None, f"cannot be written: {error}") from error


@contextmanager
def atomic_output(
    path: str | PathLike[str], *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> Iterator[Path]:
    """Yield a temporary name to write; rename it to ``path`` on success, remove it on any failure.

    The name is new and in the same folder. Errors of the body pass unchanged: it may compute as well as write, so it
    marks what it writes with :func:`writing`.
    """
    check_output(path, inputs=inputs, overwrite=overwrite)
    temporary = Path(path).with_name(f"{Path(path).name}.{secrets.token_hex(4)}.tmp")

    def discard() -> None:
        with suppress(OSError):  # what ended the body is what the user has to know
            temporary.unlink(missing_ok=True)

    try:
        with at_stop(discard):
            yield temporary
            with writing(path):
                publish(temporary, path)
    except BaseException:
        discard()
        raise


def publish(temporary: Path, path: str | PathLike[str]) -> None:
    """Force ``temporary`` to disk and rename it to ``path``."""
    with undisturbed():
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        vouch(path)  # this process need not have it examined again


def write_text(
    path: str | PathLike[str], text: str, *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_output(path, inputs=inputs, overwrite=overwrite) as temporary, writing(path):
        temporary.write_text(text, encoding="utf-8")
