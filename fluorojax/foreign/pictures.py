"""Unpacking the compressed pictures of a DICOM file, which in the child process may fail without harm.

GDCM and OpenJPEG, which unpack them, end the process or take all memory where the head of a picture lies.
"""

import warnings
from collections.abc import Callable

ELEMENTS = (
    "SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit "
    "PixelRepresentation"
).split()
"""Keywords of the elements that say how pixels are unpacked."""
_RLE = "1.2.840.10008.1.2.5"


def plugin_of(syntax: str) -> str:
    """The decoder that is to unpack a transfer syntax; empty for any: the fast one of RLE panics on damaged data, past
    all handlers of exceptions."""
    return "pydicom" if syntax == _RLE else ""


def check_pictures(path: str, memory_bytes: int, unpack: Callable[[int], None]) -> None:
    """Unpack every frame of a file and let it go; raises where one cannot be unpacked or where memory is short.

    ``unpack`` is told how many bytes the header declares, before anything is unpacked.
    """
    from pydicom import dcmread
    from pydicom.pixels import get_decoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pictures = dcmread(path, specific_tags=[*ELEMENTS, "PixelData"])
        frames = int(pictures.get("NumberOfFrames") or 1)
        declared = frames * int(pictures.Rows) * int(pictures.Columns) * (int(pictures.BitsAllocated) // 8)
        if declared > memory_bytes:
            raise ValueError(f"its pictures take {declared} bytes; expected at most the {memory_bytes} that are free")
        unpack(declared)
        syntax = pictures.file_meta.TransferSyntaxUID
        for _ in get_decoder(syntax).iter_array(pictures, raw=True, decoding_plugin=plugin_of(syntax)):
            pass
