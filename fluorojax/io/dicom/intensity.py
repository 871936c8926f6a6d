"""From stored values to a signal that is linear in the X-ray intensity."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Num

from fluorojax.io.counting import Counting
from fluorojax.io.dicom.checks import frame_groups
from fluorojax.io.dicom.files import Instance, brief, items_of, real, tag_of, texts, whole
from fluorojax.io.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_RELATION = "PixelIntensityRelationship"


def linear_signal(
    stored: Num[np.ndarray, "T H W"], instance: Instance, counting: Counting
) -> tuple[Float[np.ndarray, "T H W"], float, list[str]]:
    """A signal linear in the intensity, the value at which it saturates, and remarks.

    LIN is taken as it is, after Rescale or the Modality LUT; LOG is undone by its lookup table, or by
    ``counting.log_scale``; DISP is refused. With the sign −1 (more intensity, lower values) linear values are turned
    round about the middle of the stored range, which leaves the offset to be given or estimated. Raises
    :class:`InputError` naming the element that is missing, and the option that gives it.
    """
    path, header = instance.path, instance.header
    relation, sign, remarks = _relation(instance, counting)
    bits, signed = whole(header, "BitsStored", path), whole(header, "PixelRepresentation", path, 0) == 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    ends = np.array([low, high])
    if (table := _table(instance)) is not None:
        first, entries = table
        values, at_ends = (entries[np.clip(v.astype(np.int64) - first, 0, len(entries) - 1)] for v in (stored, ends))
        return values, float(at_ends.max()), remarks
    slope, intercept = real(header, "RescaleSlope", path), real(header, "RescaleIntercept", path)
    if slope is not None and slope <= 0:
        raise InputError(
            path, None, "RescaleSlope", f"{tag_of('RescaleSlope')} is {slope:g}; expected a positive number"
        )
    if relation == "LOG":
        if counting.log_scale is None:
            raise InputError(
                path,
                None,
                "ModalityLUTSequence",
                f"{tag_of('ModalityLUTSequence')} is missing, which turns the logarithmic values of this run into "
                "intensities; expected it in the file, or --log-scale with the stored values per unit of the logarithm",
            )
        top = high if sign > 0 else low
        values = np.exp(sign * (stored.astype(np.float64) - top) / counting.log_scale) * (high - low)
        return values.astype(np.float32), float(high - low), remarks
    turned = (lambda v: v) if sign > 0 else (lambda v: low + high - v)
    values = turned(stored.astype(np.float32))
    saturation = float(high)
    if slope is not None or intercept is not None:
        scale, start = 1.0 if slope is None else slope, intercept or 0.0
        values, saturation = (scale * values.astype(np.float64) + start).astype(np.float32), scale * saturation + start
    return values, saturation, remarks


def _relation(instance: Instance, counting: Counting) -> tuple[str, int, list[str]]:
    """LIN or LOG, the sign, and remarks."""
    header, path = instance.header, instance.path
    holders = frame_groups(header, "FramePixelDataPropertiesSequence") or [header]
    found = {tuple(texts(holder, _RELATION)[:1]) for holder in holders} - {()}
    if len(found) > 1:
        raise InputError(
            path, None, _RELATION, f"{tag_of(_RELATION)} changes within the run; expected one for all frames"
        )
    relation = next(iter(found))[0] if found else ""
    if relation == "DISP":
        raise InputError(
            path,
            None,
            _RELATION,
            f"{tag_of(_RELATION)} is DISP: the pixels were shaped for a display, and no longer tell how many quanta "
            "there were; expected LIN or LOG, the export of the run for processing",
        )
    if relation and relation not in ("LIN", "LOG"):
        raise InputError(path, None, _RELATION, f"{tag_of(_RELATION)} is {brief(relation)}; expected LIN or LOG")
    if not relation:
        if counting.intensity is None:
            raise InputError(
                path,
                None,
                _RELATION,
                f"{tag_of(_RELATION)} is missing; expected LIN or LOG in the file, or --intensity lin or log",
            )
        relation = counting.intensity.upper()
    elif counting.intensity is not None and counting.intensity.upper() != relation:
        raise InputError(
            path, None, _RELATION, f"{tag_of(_RELATION)} is {relation}, and --intensity says {counting.intensity}"
        )
    signs = {whole(holder, _RELATION + "Sign", path, 1) for holder in holders}
    if signs not in ({1}, {-1}):
        raise InputError(path, None, _RELATION + "Sign", "changes within the run or is neither 1 nor −1")
    if not any(_RELATION + "Sign" in holder for holder in holders):
        return relation, 1, ["the file does not say whether brighter pixels saw more quanta; it is taken that they did"]
    return relation, signs.pop(), []


def _table(instance: Instance) -> tuple[int, np.ndarray] | None:
    """First mapped value and entries of the lookup table to linear values, or None where there is none.

    An enhanced image may have several tables for each frame, of which one leads to linear values.
    """
    header = instance.header
    groups = [
        group
        for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
        for group in items_of(header, name)
    ]
    found = [
        _entries(item, instance)
        for group in groups
        for item in items_of(group, "PixelIntensityRelationshipLUTSequence")
        if "TO_LINEAR" in texts(item, "LUTFunction")
    ]
    if found:
        first, entries = found[0]
        if any(other != first or not np.array_equal(table, entries) for other, table in found[1:]):
            where = "PixelIntensityRelationshipLUTSequence"
            raise InputError(
                instance.path, None, where, f"{tag_of(where)} changes within the run; expected one table for all frames"
            )
        return first, entries
    tables = items_of(header, "ModalityLUTSequence")
    return _entries(tables[0], instance) if tables else None


def _entries(table: "Dataset", instance: Instance) -> tuple[int, np.ndarray]:
    path, where = instance.path, "LUTDescriptor"
    try:
        count, first, bits = (int(value) for value in table.LUTDescriptor)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(path, None, where, f"{tag_of(where)} is missing or has not three numbers") from error
    count = count % 65536 or 65536
    if whole(instance.header, "PixelRepresentation", path, 0) == 1 and first >= 32768:
        first -= 65536
    data = table.get("LUTData")
    if isinstance(data, bytes):
        order = "<" if instance.header.is_little_endian else ">"
        wide = len(data) >= 2 * count
        entries = np.frombuffer(data[: len(data) // 2 * 2] if wide else data, f"{order}u2" if wide else "u1")
    else:
        entries = np.atleast_1d(np.asarray([] if data is None else data, np.float64))
    if len(entries) < count or bits not in range(8, 17):
        problem = f"tells of {count} entries of {bits} bits, and LUTData has {len(entries)}; expected as many"
        raise InputError(path, None, where, f"{tag_of(where)} {problem}")
    return first, entries[:count].astype(np.float32)
