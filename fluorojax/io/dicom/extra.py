"""The packages of the extra ``dicom``, imported when they are first needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from fluorojax.io.errors import InputError

INSTALL = "pip install 'fluorojax[dicom]'"


@contextmanager
def needing(path: str | PathLike[str]) -> Iterator[None]:
    """Turn the lack of a package in the body into an :class:`InputError` about ``path`` that says what to install."""
    try:
        yield
    except ImportError as error:
        problem = f"is a DICOM file, and {error.name or 'a package'} is not installed; install it with: {INSTALL}"
        raise InputError(path, None, None, problem) from error
