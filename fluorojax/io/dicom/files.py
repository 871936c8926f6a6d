"""Headers and pixels of DICOM files, within the bounds of the file and of what it declares.

Of the header only the wanted elements are read; others, private ones among them, are passed over without being taken
into memory. Pixels are read by the position and length of their element.
"""

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from jaxtyping import Num

from fluorojax.foreign.pictures import ELEMENTS, plugin_of
from fluorojax.io.dicom.extra import INSTALL, needing
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import examined

if TYPE_CHECKING:
    from pydicom import Dataset

PREAMBLE = 128
MAGIC = b"DICM"
_EXPANSION = 5000
"""How much larger than its compressed bytes a picture may be; a claim beyond it is damage or an attack."""
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_UNDEFINED = 0xFFFFFFFF

HEADER = (
    "SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID Modality "
    "StudyDate SeriesDate AcquisitionDate ContentDate AcquisitionDateTime StudyTime SeriesTime AcquisitionTime "
    "ContentTime AcquisitionNumber InstanceNumber SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows "
    "Columns BitsAllocated BitsStored HighBit PixelRepresentation PixelIntensityRelationship "
    "PixelIntensityRelationshipSign "
    "RescaleIntercept RescaleSlope RescaleType ModalityLUTSequence LossyImageCompression LossyImageCompressionRatio "
    "LossyImageCompressionMethod BurnedInAnnotation FrameIncrementPointer FrameTime FrameTimeVector CineRate "
    "AveragePulseWidth RadiationMode RadiationSetting KVP XRayTubeCurrent XRayTubeCurrentInmA XRayTubeCurrentInuA "
    "ExposureTime ExposureTimeInms ExposureTimeInuS Exposure ExposureInmAs ExposureInuAs ImagerPixelSpacing "
    "PositionerMotion TableMotion MaskSubtractionSequence RecommendedViewingMode ShutterShape ShutterLeftVerticalEdge "
    "ShutterRightVerticalEdge ShutterUpperHorizontalEdge ShutterLowerHorizontalEdge CenterOfCircularShutter "
    "RadiusOfCircularShutter VerticesOfThePolygonalShutter CollimatorShape CollimatorLeftVerticalEdge "
    "CollimatorRightVerticalEdge CollimatorUpperHorizontalEdge CollimatorLowerHorizontalEdge "
    "CenterOfCircularCollimator RadiusOfCircularCollimator VerticesOfThePolygonalCollimator "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence WindowCenter WindowWidth VOILUTFunction "
    "PresentationLUTShape"
).split()
"""Keywords of the elements that reading a run takes into memory."""


@dataclass(frozen=True)
class Instance:
    """One DICOM file: the wanted elements of its header, and where its pixels are."""

    path: Path
    header: "Dataset"
    syntax: str
    """Transfer syntax UID."""
    start: int
    """Position of the first byte of the pixels, 0 where the file has none."""
    length: int
    """Bytes that the pixels claim; undefined for compressed ones."""

    @property
    def frames(self) -> int:
        """Declared number of frames; 1 where the file does not say."""
        return whole(self.header, "NumberOfFrames", self.path, 1)

    @property
    def compressed(self) -> bool:
        """Whether the pixels are in fragments."""
        return self.length == _UNDEFINED


def recognised(path: Path) -> bool:
    """Whether a file has the preamble of a DICOM file."""
    try:
        with path.open("rb") as handle:
            return handle.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC
    except PermissionError as error:
        raise InputError(path, None, None, "cannot be read: permission denied") from error
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}") from error


def read_header(path: Path) -> Instance:
    """The header of a file; raises :class:`InputError` for one that is truncated or damaged."""
    with needing(path):
        from pydicom import dcmread
        from pydicom.uid import DeflatedExplicitVRLittleEndian
    with path.open("rb") as handle, damage(path):
        meta = dcmread(handle, stop_before_pixels=True, specific_tags=["TransferSyntaxUID"])
        syntax = str(meta.file_meta.get("TransferSyntaxUID", ""))
        if not syntax:
            raise InputError(path, None, "TransferSyntaxUID", "(0002,0010) is missing; expected the transfer syntax")
        if syntax == DeflatedExplicitVRLittleEndian:
            raise InputError(
                path,
                None,
                "TransferSyntaxUID",
                "says that the whole file is deflated; expected another transfer syntax",
            )
        handle.seek(0)
        header = dcmread(handle, stop_before_pixels=True, specific_tags=list(HEADER))
        start, length = _pixel_element(handle, header)
    return Instance(path, header, syntax, start, length)


def _pixel_element(handle: BinaryIO, header: "Dataset") -> tuple[int, int]:
    """Position and declared length of the pixel data, from where pydicom stopped; (0, 0) at the end of the file."""
    little, implicit = header.is_little_endian, header.is_implicit_VR
    order = "<" if little else ">"
    head = handle.read(8)
    if len(head) < 8:
        return 0, 0
    group, element = struct.unpack(order + "HH", head[:4])
    if (group, element) != (0x7FE0, 0x0010):
        raise ValueError(f"the element ({group:04X},{element:04X}) stands where the pixels should begin")
    if implicit:
        return handle.tell(), struct.unpack(order + "L", head[4:])[0]
    return handle.tell() + 4, struct.unpack(order + "L", handle.read(4))[0]


def read_pixels(instance: Instance) -> Num[np.ndarray, "T H W"]:
    """Stored values of all frames, (T, H, W), with the bits that do not belong to them taken out.

    The declared size is compared with what the file holds before memory is asked for. Raises :class:`InputError`.
    """
    header, path = instance.header, instance.path
    shape = (instance.frames, *(whole(header, name, path) for name in ("Rows", "Columns")))
    allocated = whole(header, "BitsAllocated", path)
    if instance.start == 0:
        raise InputError(path, None, "PixelData", "(7FE0,0010) is missing; expected the images")
    needed = int(np.prod(shape, dtype=object)) * allocated // 8
    there = path.stat().st_size - instance.start
    if instance.compressed:
        values = _decoded(instance, shape, needed, there)
    else:
        claimed = min(instance.length, there)
        if claimed < needed:
            what = "the file ends early" if there < instance.length else "its declared length is too short"
            raise InputError(
                path,
                None,
                "PixelData",
                f"has {claimed} bytes, {what}; expected {needed} for {shape[0]} frames of {shape[1]} × {shape[2]} "
                f"pixels of {allocated} bits",
            )
        kind = np.dtype(f"u{allocated // 8}").newbyteorder("<" if header.is_little_endian else ">")
        with path.open("rb") as handle:
            handle.seek(instance.start)
            values = np.frombuffer(handle.read(needed), kind).reshape(shape)
    return _significant(values, instance)


def _significant(values: np.ndarray, instance: Instance) -> np.ndarray:
    """The stored bits of every pixel: overlays of old files stand in the others."""
    header, path = instance.header, instance.path
    allocated, stored = whole(header, "BitsAllocated", path), whole(header, "BitsStored", path)
    high = whole(header, "HighBit", path, stored - 1)
    signed = whole(header, "PixelRepresentation", path, 0) == 1
    bits = values.astype(values.dtype.newbyteorder("=")).view(f"u{allocated // 8}")
    if stored < allocated:
        bits = (bits >> np.uint8(high + 1 - stored)) & bits.dtype.type(2**stored - 1)
    if not signed:
        return bits
    shift = np.uint8(allocated - stored)
    return (bits << shift).view(f"i{allocated // 8}") >> shift.astype(f"i{allocated // 8}")


def _decoded(instance: Instance, shape: tuple[int, ...], needed: int, there: int) -> np.ndarray:
    path, header = instance.path, instance.header
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    with path.open("rb") as handle:
        handle.seek(instance.start)
        data, fragments = _fragments(handle, there, path)
    if fragments < shape[0]:
        problem = f"has {fragments} compressed fragments; expected at least one for each of {shape[0]} frames"
        raise InputError(path, None, "PixelData", problem)
    if needed > _EXPANSION * len(data):
        problem = f"has {len(data)} compressed bytes and claims {needed} unpacked; expected images that were compressed"
        raise InputError(path, None, "PixelData", problem)
    picture = Dataset()
    for name in ELEMENTS:
        if name in header:
            picture[name] = header[name]
    picture.NumberOfFrames = shape[0]
    picture.file_meta = FileMetaDataset()
    picture.file_meta.TransferSyntaxUID = UID(instance.syntax)
    picture.PixelData = data
    picture["PixelData"].VR = "OB"
    picture["PixelData"].is_undefined_length = True
    decoder = get_decoder(instance.syntax)
    if not decoder.is_available:
        problem = f"no installed package decodes the transfer syntax {decoder.UID.name}; install one with: {INSTALL}"
        raise InputError(path, None, "TransferSyntaxUID", problem)
    examined(path, "dicom")  # a picture that crashes the decoder, or takes all memory, does so in another process
    with damage(path, "PixelData"):
        values = decoder.as_array(picture, raw=True, decoding_plugin=plugin_of(instance.syntax))[0]
    values = values.reshape(shape) if values.size == np.prod(shape) else values
    if values.shape != shape:
        problem = f"unpacks to the shape {values.shape}; expected {shape}"
        raise InputError(path, None, "PixelData", problem)
    return values


def _fragments(handle: BinaryIO, there: int, path: Path) -> tuple[bytes, int]:
    """The bytes of all items, and the number of items after the table of offsets."""
    start, count, left = handle.tell(), 0, there
    while True:
        head = handle.read(8)
        if len(head) == 8 and head[:4] == _SEQUENCE_END:
            break
        size = struct.unpack("<L", head[4:])[0] if len(head) == 8 else 0
        left -= 8 + size
        if len(head) < 8 or left < 0:
            raise InputError(path, None, "PixelData", "the file ends within its images; copy or download it again")
        if head[:4] != _ITEM:
            raise InputError(path, None, "PixelData", "is damaged: no fragment where one should begin")
        count += 1
        handle.seek(size, 1)
    end = handle.tell()
    handle.seek(start)
    return handle.read(end - start), count - 1


def whole(header: "Dataset", keyword: str, path: Path, missing: int | None = None) -> int:
    """A whole number of the header; raises :class:`InputError` naming the element where it is none."""
    value = header.get(keyword)
    if value is None or value == "":
        if missing is None:
            raise InputError(path, None, keyword, f"{tag_of(keyword)} is missing; expected a whole number")
        return missing
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise InputError(
            path, None, keyword, f"{tag_of(keyword)} is {brief(value)}; expected a whole number"
        ) from error


def real(header: "Dataset", keyword: str, path: Path) -> float | None:
    """A finite number of the header, or None where it is missing or empty; raises :class:`InputError`."""
    value = header.get(keyword)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(path, None, keyword, f"{tag_of(keyword)} is {brief(value)}; expected a number") from error
    if not np.isfinite(number) or abs(number) > 1e12:
        raise InputError(path, None, keyword, f"{tag_of(keyword)} is {number:g}; expected a finite number")
    return number


def reals(header: "Dataset", keyword: str, path: Path) -> list[float]:
    """The finite numbers of an element with several, none where it is missing; raises :class:`InputError`."""
    value = header.get(keyword)
    if value is None or value == "":
        return []
    items = [value] if isinstance(value, str | int | float) else list(value)
    try:
        numbers = [float(item) for item in items]
    except (TypeError, ValueError) as error:
        raise InputError(path, None, keyword, f"{tag_of(keyword)} is {brief(value)}; expected numbers") from error
    if not np.isfinite(numbers).all():
        raise InputError(path, None, keyword, f"{tag_of(keyword)} holds numbers that are not finite")
    return numbers


def texts(header: "Dataset", keyword: str) -> list[str]:
    """The words of an element, in capitals; none where it is missing."""
    value = header.get(keyword)
    if value is None or value == "":
        return []
    items = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return [str(item).strip().upper() for item in items]


def items_of(header: "Dataset", keyword: str) -> list["Dataset"]:
    """The items of a sequence; none where it is missing or no sequence."""
    from pydicom import Dataset

    value = header.get(keyword)
    return [item for item in value if isinstance(item, Dataset)] if hasattr(value, "__iter__") else []


def tag_of(keyword: str) -> str:
    """``(gggg,eeee)`` of a keyword."""
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(keyword) or 0
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def brief(value: Any, longest: int = 40) -> str:
    """A value of a header as it may stand in a message: printable, and not long."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return repr(text if len(text) <= longest else text[:longest] + "…")


@contextmanager
def damage(path: Path, field: str | None = None) -> Iterator[None]:
    """Turn whatever a library raises about a damaged file into an :class:`InputError`."""
    log = logging.getLogger("pydicom")
    level = log.level
    try:
        with warnings.catch_warnings():
            # remarks of pydicom on values that the standard does not allow
            warnings.simplefilter("ignore")
            log.setLevel(logging.ERROR)
            yield
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(path, None, field, "needs more memory than there is") from error
    except Exception as error:
        reason = brief(error or type(error).__name__, 120)
        problem = f"cannot be read as DICOM, it is damaged or truncated: {reason}"
        raise InputError(path, None, field, problem) from error
    finally:
        log.setLevel(level)
