"""Changing the disk so that nothing is lost, and saying in words why the disk refused.

A file is written through :class:`OutputStream` alone, and renamed, removed and forced to disk by the functions here.
libhdf5 takes part through :func:`hdf5_output`. It neither survives an error of the disk (it may end the process while
it closes the file) nor passes the number of the error on, so that it is never told of one: the stream keeps the error
and everything that is written after it, and the error is raised once libhdf5 has closed the file.
"""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Literal

import h5py

from fluorojax.foreign import vouch

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota of this user is used up",
    errno.EFBIG: "the largest file size of this session is reached (ulimit -f)",
}
_GONE = {
    errno.EROFS: "the file system is read-only",
    errno.EIO: "the disk or the network mount reports an input/output error",
    errno.ESTALE: "the network mount was closed",
    errno.ENOTCONN: "the network mount was closed",
    errno.ETIMEDOUT: "the network mount does not answer",
    errno.EHOSTDOWN: "the network mount does not answer",
    errno.ENODEV: "the disk was removed",
    errno.ENXIO: "the disk was removed",
}
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)


def disk_problem(error: OSError, path: str | PathLike[str] | None) -> str | None:
    """In words, why the disk under ``path`` refused to be written; None for an error that tells of something else.

    ``path`` is None for a stream without a name.
    """
    if error.errno in _FULL:
        place = "" if path is None else f" on {Path(path).absolute().parent}"
        return f"no space left{place}: {_FULL[error.errno]}"
    return _GONE.get(error.errno or 0)


class OutputStream(io.RawIOBase):
    """A seekable binary file whose writing never fails before :meth:`check`.

    The first error of the system is kept in :attr:`error`. From then on, what is written stays in memory, where reading
    finds it, so that a library on top of the stream comes to a regular end.
    """

    def __init__(self, path: str | PathLike[str], *, fresh: bool = True):
        """Create the file ``path`` (``fresh``), or open the one that is there; raises ``OSError``."""
        self.path = Path(path)
        self.error: OSError | None = None
        self._position = 0
        self._kept: list[tuple[int, bytes]] = []
        self._size = 0
        flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        self._descriptor = os.open(path, flags | (os.O_CREAT | os.O_EXCL if fresh else 0), 0o666)
        if not fresh:
            self._size = os.fstat(self._descriptor).st_size

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move as files do; returns the new position in bytes."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer, /) -> int:
        """Fill ``buffer`` from the position on; returns the number of bytes, less than asked for at the end only."""
        view = memoryview(buffer).cast("B")
        begin, count = self._position, max(0, min(len(view), self._size - self._position))
        view[:count] = bytes(count)
        done = 0
        with suppress(OSError):  # of a disk that is gone; the bytes stay zero, and the error of writing is known
            while done < count:
                os.lseek(self._descriptor, begin + done, os.SEEK_SET)
                if not (found := os.read(self._descriptor, count - done)):
                    break
                view[done : done + len(found)] = found
                done += len(found)
        for at, data in self._kept:
            first, last = max(at, begin), min(at + len(data), begin + count)
            if first < last:
                view[first - begin : last - begin] = data[first - at : last - at]
        self._position += count
        return count

    def write(self, data, /) -> int:
        """Write all of ``data``; returns its number of bytes, always."""
        view = memoryview(data).cast("B")
        done = 0
        if self.error is None:
            try:
                while done < len(view):
                    os.lseek(self._descriptor, self._position + done, os.SEEK_SET)
                    done += os.write(self._descriptor, view[done:])
            except OSError as error:
                self.error = error
        if done < len(view):
            self._kept.append((self._position + done, bytes(view[done:])))
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def truncate(self, size: int | None = None, /) -> int:
        """Set the size in bytes, by default to the position; returns it."""
        self._size = self._position if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError as error:
                self.error = error
        return self._size

    def check(self) -> None:
        """Raise the ``OSError`` that writing met, if any."""
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Close the file; an error of the system is kept as that of writing is."""
        if self.closed:
            return
        try:
            os.close(self._descriptor)
        except OSError as error:
            self.error = self.error or error
        super().close()


@contextmanager
def output_stream(path: str | PathLike[str]) -> Iterator[OutputStream]:
    """A new binary file to write; at the end of the body raises the ``OSError`` that the disk met, if any."""
    stream = OutputStream(path)
    try:
        yield stream
    except Exception as error:
        if stream.error is not None:  # a consequence
            raise stream.error from error
        raise
    finally:
        stream.close()
    stream.check()


class Hdf5Output(h5py.File):
    """An HDF5 file on top of an :class:`OutputStream`; made by :func:`hdf5_output`."""

    def __init__(self, stream: OutputStream, mode: Literal["w", "r+"]):
        super().__init__(stream, mode)
        self._stream = stream

    def check(self) -> None:
        """Raise the ``OSError`` that the disk has met so far; the end of :func:`hdf5_output` does so in any case."""
        self._stream.check()


@contextmanager
def hdf5_output(path: str | PathLike[str], mode: Literal["w", "r+"] = "w") -> Iterator[Hdf5Output]:
    """An HDF5 file to write: a new one (``w``), or one that is there to add to (``r+``).

    Raises the ``OSError`` that the disk met, with its number, at the end of the body or out of it.
    """
    stream = OutputStream(path, fresh=mode == "w")
    try:
        with Hdf5Output(stream, mode) as handle:
            yield handle
    except Exception as error:
        if stream.error is not None and error is not stream.error:  # a consequence
            raise stream.error from error
        raise
    finally:
        stream.close()
    stream.check()


def sync_file(path: str | PathLike[str]) -> None:
    """Force a file to disk."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: str | PathLike[str]) -> None:
    """Force the names in a folder to disk, on systems that can: a new or renamed file is lost in a power cut else."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:  # of a folder that may be written and not read, too
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def publish(temporary: Path, path: str | PathLike[str]) -> None:
    """Force ``temporary`` to disk, rename it to ``path`` in the same folder, and force the name to disk."""
    sync_file(temporary)
    os.replace(temporary, path)
    sync_folder(Path(path).parent)
    with suppress(OSError):
        vouch(path)  # what this process wrote need not be examined when it is read
