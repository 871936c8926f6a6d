"""One process at a time."""

import errno
import os
from pathlib import Path

from fluorojax.io.errors import InputError

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None

_BUSY = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})


class FileLock:
    """A lock on a file of its own, which ends with the process that holds it, however that ends.

    The file is removed on release; one that a killed process left behind does not block anyone. On systems and network
    file systems without such locks, taking it does nothing.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, guarded: Path) -> None:
        """Take the lock, or raise :class:`InputError` saying that ``guarded`` is in use; ``OSError`` passes."""
        if fcntl is None:
            return
        while self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno in _BUSY:
                    problem = "is being written by another process; wait for it or choose another output"
                    raise InputError(guarded, None, None, problem) from error
                self.path.unlink(missing_ok=True)
                return
            if self._is_current(descriptor):
                self._descriptor = descriptor
            else:  # its holder released and removed it between our two calls
                os.close(descriptor)

    def release(self) -> None:
        """Give the lock back; without it, nothing."""
        if self._descriptor is not None:
            self.path.unlink(missing_ok=True)  # while it is held, so that nobody else's is removed
            os.close(self._descriptor)
            self._descriptor = None

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False
