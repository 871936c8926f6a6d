"""One process at a time writes a file: a lock beside it, kept by the package ``filelock``."""

from contextlib import suppress
from pathlib import Path

import filelock

from fluorojax.io.errors import InputError


class FileLock:
    """A lock on a file of its own. The operating system ends the lock with the process that holds it.

    The lock file is removed on release. A lock file that a killed process left behind blocks nobody. On file systems
    without such locks, ``filelock`` writes the number of the process into the file instead.
    """

    def __init__(self, path: Path):
        self.path = path
        # Whichever thread leaves the writer may release it. The file has the permissions of any other new file.
        self._lock = filelock.FileLock(path, timeout=0, thread_local=False)

    def acquire(self, guarded: Path) -> None:
        """Take the lock, or raise :class:`InputError` saying that ``guarded`` is in use; ``OSError`` passes.

        A lock that is held already is kept as it is.
        """
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            problem = "is being written by another process; wait for it or choose another output"
            raise InputError(guarded, None, None, problem) from error

    def release(self) -> None:
        """Give the lock back and remove its file; does nothing where the lock is not held."""
        if not self._lock.is_locked:
            return
        # While the lock is held, so that nobody else's file is removed. Windows refuses this; there release() does it.
        with suppress(OSError):
            self.path.unlink()
        self._lock.release()
