"""Which DICOM files hold counts of X-ray quanta, and why others are refused."""

from typing import TYPE_CHECKING

from fluorojax.io.counting import Counting
from fluorojax.io.dicom.files import Instance, brief, items_of, tag_of, texts, whole
from fluorojax.io.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.12.1": "X-Ray Angiographic Image",
    "1.2.840.10008.5.1.4.1.1.12.1.1": "Enhanced XA Image",
    "1.2.840.10008.5.1.4.1.1.12.2": "X-Ray Radiofluoroscopic Image",
    "1.2.840.10008.5.1.4.1.1.12.2.1": "Enhanced XRF Image",
}
"""SOP classes that are read."""
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
LOSSLESS = {
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless, first-order prediction",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000 lossless, RPCL",
    "1.2.840.10008.1.2.5": "RLE lossless",
}
LOSSY = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
}
LONGEST_SIDE = 16384
MOST_FRAMES = 100_000


def check_instance(instance: Instance, counting: Counting) -> None:
    """Refuse an image that cannot be turned into counts; raises :class:`InputError` naming the element.

    Lossy compression is refused unless ``counting`` allows it. Nothing of the pixels is read.
    """
    check_shown(instance)
    _check_syntax(instance, counting)
    _check_unprocessed(instance)


def check_shown(instance: Instance) -> None:
    """Refuse a file that is no grey X-ray image; what was done to its pixels does not matter here."""
    header, path = instance.header, instance.path
    kind = str(header.get("SOPClassUID", ""))
    if kind not in CLASSES:
        from pydicom.uid import UID

        name, modality = UID(kind).name if kind else "missing", brief(header.get("Modality", ""))
        raise InputError(
            path,
            None,
            "SOPClassUID",
            f"{tag_of('SOPClassUID')} is {brief(name, 60)}, modality {modality}; expected one of "
            + ", ".join(CLASSES.values()),
        )
    _check_picture(instance)


def _check_picture(instance: Instance) -> None:
    header, path = instance.header, instance.path

    def refuse(keyword: str, problem: str) -> None:
        raise InputError(path, None, keyword, f"{tag_of(keyword)} {problem}")

    samples, photometric = whole(header, "SamplesPerPixel", path, 1), texts(header, "PhotometricInterpretation")
    if samples != 1 or (photometric and not photometric[0].startswith("MONOCHROME")):
        what = brief(photometric[0]) if photometric else f"{samples} samples"
        refuse("PhotometricInterpretation", f"is {what}, a colour image; expected MONOCHROME1 or MONOCHROME2")
    allocated, stored = whole(header, "BitsAllocated", path), whole(header, "BitsStored", path)
    if allocated not in (8, 16):
        refuse("BitsAllocated", f"is {allocated}; expected 8 or 16 bits per pixel")
    if not 8 <= stored <= allocated:
        refuse("BitsStored", f"is {stored} of {allocated}; expected 8 to {allocated}")
    if not stored - 1 <= whole(header, "HighBit", path, stored - 1) < allocated:
        refuse("HighBit", f"does not fit {stored} stored of {allocated} bits")
    if whole(header, "PixelRepresentation", path, 0) not in (0, 1):
        refuse("PixelRepresentation", "is neither 0 (unsigned) nor 1 (signed)")
    for keyword in ("Rows", "Columns"):
        if not 2 <= (size := whole(header, keyword, path)) <= LONGEST_SIDE:
            refuse(keyword, f"is {size}; expected 2 to {LONGEST_SIDE} pixels")
    if not 1 <= instance.frames <= MOST_FRAMES:
        refuse("NumberOfFrames", f"is {instance.frames}; expected 1 to {MOST_FRAMES}")


def _check_syntax(instance: Instance, counting: Counting) -> None:
    check_compression(instance)
    header, path, syntax = instance.header, instance.path, instance.syntax
    lossy = LOSSY.get(syntax) or ("an earlier lossy step" if texts(header, "LossyImageCompression") == ["01"] else None)
    if lossy is not None and not counting.allow_lossy:
        keyword = "TransferSyntaxUID" if syntax in LOSSY else "LossyImageCompression"
        raise InputError(
            path,
            None,
            keyword,
            f"tells of lossy compression ({lossy}): the noise is no longer that of quanta, and error bars would be "
            "wrong; expected lossless images, or --allow-lossy to take these all the same",
        )


def check_compression(instance: Instance) -> None:
    """Refuse a transfer syntax that is not read, and pixels that do not stand as it says."""
    path, syntax = instance.path, instance.syntax
    if syntax not in NATIVE and syntax not in LOSSLESS and syntax not in LOSSY:
        from pydicom.uid import UID

        problem = f"is {brief(UID(syntax).name, 60)}; expected uncompressed or losslessly compressed images"
        raise InputError(path, None, "TransferSyntaxUID", problem)
    if instance.compressed != (syntax not in NATIVE) and instance.start:
        what = "in fragments" if instance.compressed else "in one piece"
        raise InputError(path, None, "PixelData", f"stands {what}, which the transfer syntax {syntax} does not allow")


def _check_unprocessed(instance: Instance) -> None:
    header, path = instance.header, instance.path
    kind = texts(header, "ImageType")
    if kind and kind[0] == "DERIVED":
        raise InputError(
            path,
            None,
            "ImageType",
            f"{tag_of('ImageType')} is {brief('/'.join(kind))}: a derived image (subtracted, filtered or "
            "averaged) holds no counts; expected the original run",
        )
    for properties in frame_groups(header, "FramePixelDataPropertiesSequence"):
        applied = [word for word in texts(properties, "ImageProcessingApplied") if word not in ("NONE", "")]
        if applied:
            raise InputError(
                path,
                None,
                "ImageProcessingApplied",
                f"{tag_of('ImageProcessingApplied')} is {brief('/'.join(applied))}: processed pixels are no counts; "
                "expected the run before processing",
            )


def frame_groups(header: "Dataset", name: str) -> list["Dataset"]:
    """The items of one functional group, frame by frame, or the one that all frames share; none in other images.

    A frame without the group of its own takes the shared one, and an empty item where there is neither.
    """
    from pydicom import Dataset

    shared = next(
        (items[0] for group in items_of(header, "SharedFunctionalGroupsSequence") if (items := items_of(group, name))),
        None,
    )
    each = [
        items[0] if (items := items_of(group, name)) else None
        for group in items_of(header, "PerFrameFunctionalGroupsSequence")
    ]
    if any(item is not None for item in each):
        return [item if item is not None else shared if shared is not None else Dataset() for item in each]
    return [] if shared is None else [shared]
