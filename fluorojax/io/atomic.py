"""Output that appears whole or not at all."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

from fluorojax.io.disk import disk_problem, output_stream, publish
from fluorojax.io.errors import InputError
from fluorojax.io.shutdown import at_stop, undisturbed

REPEAT = "nothing half-written is left; repeat the command once the disk can be written"
"""What a user can do where the disk refused a file that is written in one go."""


def check_output(
    path: str | PathLike[str], *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Raise :class:`InputError` where ``path`` cannot become a new file.

    ``inputs`` are files the output must not replace, under whatever name (symbolic or hard link). ``overwrite`` allows
    to replace a regular file, and nothing else: no folder, device, pipe or socket.
    """
    path = Path(path)
    refuse_input(path, path, inputs)
    if path.is_dir():
        raise InputError(path, None, None, "is a directory; expected a file name")
    if path.exists() and not path.is_file():
        raise InputError(path, None, None, "is a device, pipe or socket, and is never replaced; expected a file name")
    if os.path.lexists(path) and not overwrite:
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
def writing(path: str | PathLike[str], scene: str | None = None, *, advice: str = REPEAT) -> Iterator[None]:
    """Turn an ``OSError`` of the body into an :class:`InputError` about ``path``; put nothing but writing inside.

    Where the disk refused (it is full, read-only, gone), the message ends with ``advice``: what is kept, and what to
    do.
    """
    try:
        yield
    except OSError as error:
        raise not_written(error, path, scene, advice) from error


def not_written(
    error: OSError, path: str | PathLike[str], scene: str | None = None, advice: str = REPEAT
) -> InputError:
    """The error to raise where ``path`` could not be written because of ``error``; see :func:`writing`."""
    problem = disk_problem(error, path)
    text = str(error) if problem is None else f"{problem}; {advice}"
    return InputError(path, scene, None, f"cannot be written: {text}")


@contextmanager
def atomic_output(
    path: str | PathLike[str],
    *,
    inputs: Iterable[str | PathLike[str]] = (),
    overwrite: bool = False,
    advice: str = REPEAT,
) -> Iterator[Path]:
    """Yield a temporary name to write; rename it to ``path`` on success, remove it on any failure.

    The name is new and in the same folder. Errors of the body pass unchanged: it may compute as well as write, so it
    marks what it writes with :func:`writing`, whose ``advice`` is that of the renaming, too.
    """
    check_output(path, inputs=inputs, overwrite=overwrite)
    temporary = temporary_name(Path(path))

    def discard() -> None:
        with suppress(OSError):  # what ended the body is what the user has to know
            temporary.unlink(missing_ok=True)

    try:
        with at_stop(discard):
            yield temporary
            with writing(path, advice=advice):
                with undisturbed():
                    publish(temporary, path)
    except BaseException:
        discard()
        raise


@contextmanager
def atomic_stream(
    path: str | PathLike[str],
    *,
    inputs: Iterable[str | PathLike[str]] = (),
    overwrite: bool = False,
    advice: str = REPEAT,
) -> Iterator[BinaryIO]:
    """Like :func:`atomic_output`, with a binary file to write into; the body writes and does nothing else."""
    with atomic_output(path, inputs=inputs, overwrite=overwrite, advice=advice) as temporary:
        with writing(path, advice=advice), output_stream(temporary) as stream:
            yield cast(BinaryIO, stream)


def temporary_name(path: Path) -> Path:
    """A new name for the making of ``path``, in the same folder, not much longer than 200 bytes."""
    stem = os.fsencode(path.name)[:200].decode(errors="ignore")
    return path.with_name(f"{stem}.{secrets.token_hex(4)}.tmp")


def write_text(
    path: str | PathLike[str], text: str, *, inputs: Iterable[str | PathLike[str]] = (), overwrite: bool = False
) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_stream(path, inputs=inputs, overwrite=overwrite) as stream:
        stream.write(text.encode())
