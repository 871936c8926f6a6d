"""Going through a TIFF stack: sizes before anything is unpacked, and in the child process every page."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fluorojax.foreign import limits

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPageSeries


def open_tiff(path: str) -> "TiffFile":
    """A TIFF file as ``tifffile`` reads it, without the other files that some kinds of stacks may name."""
    from tifffile import TiffFile

    return TiffFile(path, is_ome=False, is_mmstack=False, is_ndtiff=False)


def stack_of(tiff: "TiffFile") -> "TiffPageSeries":
    """The first series of images; raises ``ValueError`` where there is none, or more pages than there may be."""
    for count, _ in enumerate(tiff.pages):
        if count >= limits.PAGES:
            raise ValueError(f"it has more than {limits.PAGES} pages")
    if not tiff.series:
        raise ValueError("it holds no image")
    return tiff.series[0]


def check_pages(path: str, file_bytes: int, memory_bytes: int, unpack: Callable[[int], None]) -> None:
    """Raise ``ValueError`` for a stack that is not what it says; ``unpack`` is told how many bytes will be unpacked."""
    with open_tiff(path) as tiff:
        series = stack_of(tiff)
        shape, dtype = tuple(series.shape), series.dtype
        if dtype is None:
            raise ValueError("its pages have no data type")
        size = math.prod(shape) * dtype.itemsize
        needed = math.prod(shape) * max(dtype.itemsize, 4)
        if needed > memory_bytes:
            raise ValueError(
                f"it has shape {shape}, which takes {needed} bytes of memory; expected at most the {memory_bytes} free"
            )
        if size > limits.SMALL + limits.EXPANSION * file_bytes:
            raise ValueError(f"it has shape {shape}, {size} bytes, in a file of {file_bytes}")
        if series.dataoffset is not None and series.dataoffset + size > file_bytes:
            raise ValueError("it ends before its values")
        unpack(size)
        if series.dataoffset is None:
            _unpack(series)


def _unpack(series: Any) -> None:
    for page in series.pages:
        if page is not None:
            page.asarray(maxworkers=1)
