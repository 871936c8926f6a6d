"""Telling whether a file is still the one that was examined."""

import os
from typing import Any

Mark = tuple[int, int, int, int, int]
"""Device, number, size, and the times of the last change of content and of status, in nanoseconds."""


def mark_of(file: int | str | os.PathLike[str]) -> Mark:
    """The mark of a file, by its open descriptor or its path; raises ``OSError``."""
    found = os.fstat(file) if isinstance(file, int) else os.stat(file)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def mark_of_open(handle: Any, path: str | os.PathLike[str]) -> Mark:
    """The mark of an HDF5 file that h5py has open, which may no longer be the one that is found under its path."""
    if os.name == "nt":  # where descriptors of libraries are not those of Python
        return mark_of(path)
    return mark_of(handle.id.get_vfd_handle())
