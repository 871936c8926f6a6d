"""Dose in the headers of X-ray images: kerma-area product, entrance dose, and the length of the run.

The units are those of the data dictionary (PS3.3): Image and Fluoroscopy Area Dose Product and Acquired Image Area Dose
Product in dGy·cm², Entrance Dose in dGy, Entrance Dose in mGy in mGy, Frame Time in ms. Images do not state the air
kerma at the reference point; only dose reports do.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from fluorojax.dose._rdsr import device_of
from fluorojax.dose.record import ACQUISITION, FLUOROSCOPY, UNKNOWN, DoseEvent, DoseFile
from fluorojax.io.dicom.checks import CLASSES, frame_groups
from fluorojax.io.dicom.files import brief, damage, items_of, real, reals, tag_of, texts, whole
from fluorojax.io.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

_DGY = 0.1
_MGY = 1e-3
KEYWORDS = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID PatientID Modality Manufacturer ManufacturerModelName "
    "IrradiationEventUID ImageAndFluoroscopyAreaDoseProduct AcquiredImageAreaDoseProduct EntranceDose "
    "EntranceDoseInmGy "
    "RadiationSetting FluoroscopyFlag NumberOfFrames FrameTime FrameTimeVector CineRate AcquisitionDateTime "
    "AcquisitionDate AcquisitionTime KVP PositionerPrimaryAngle PositionerSecondaryAngle DistanceSourceToIsocenter "
    "ImageType SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()
"""Keywords of the elements that are read from images, none of which holds pixels."""


def read_image(path: Path, header: "Dataset") -> DoseFile:
    """The dose that an XA or XRF image states.

    **Raises** :class:`~fluorojax.io.InputError` for another kind of file and for values that are negative or no
    numbers.
    """
    with damage(path):
        kind = str(header.get("SOPClassUID", ""))
        if kind not in CLASSES:
            from pydicom.uid import UID

            name = brief(UID(kind).name if kind else "missing", 60)
            problem = (
                f"{tag_of('SOPClassUID')} is {name}, modality {brief(header.get('Modality', ''))}; expected an X-ray "
                f"radiation dose report, or one of {', '.join(CLASSES.values())}"
            )
            raise InputError(path, None, "SOPClassUID", problem)
        return _file(path, header)


def _file(path: Path, header: "Dataset") -> DoseFile:
    instance = str(header.get("SOPInstanceUID", "")) or str(path)
    keys = texts(header, "IrradiationEventUID") or _event_uids(header)
    frames = whole(header, "NumberOfFrames", path, 1)
    duration = _duration(path, header, frames)
    product = _dose(header, ("AcquiredImageAreaDoseProduct", "ImageAndFluoroscopyAreaDoseProduct"), path)
    entrance = _dose(header, ("EntranceDoseInmGy",), path)
    if entrance is not None:
        entrance *= _MGY
    else:
        entrance = _dose(header, ("EntranceDose",), path)
        entrance = None if entrance is None else entrance * _DGY
    remarks = []
    if product is None and entrance is None:
        remarks.append(
            f"the image states neither a kerma-area product {tag_of('ImageAndFluoroscopyAreaDoseProduct')} nor an "
            f"entrance dose {tag_of('EntranceDoseInmGy')}; a dose report of the study has them"
        )
    elif "AcquiredImageAreaDoseProduct" not in header and product is not None:
        remarks.append(
            "the kerma-area product of the image includes fluoroscopy that was not stored before it, as "
            "DICOM defines it"
        )
    if len(keys) > 1:
        remarks.append(f"the image belongs to {len(keys)} irradiation events and counts as the first of them")
    event = DoseEvent(
        key=keys[0] if keys else instance,
        source=str(path),
        mode=_mode(header),
        area_product_gycm2=None if product is None else product * _DGY,
        entrance_gy=entrance,
        duration_s=duration,
        duration_computed=duration is not None,
        plane=next(iter(texts(header, "ImageType")[2:3]), ""),
        started=str(header.get("AcquisitionDateTime", "") or "")
        or str(header.get("AcquisitionDate", "") or "") + str(header.get("AcquisitionTime", "") or ""),
        frames=frames,
        tube_kv=_dose(header, ("KVP",), path),
        primary_deg=_angle(header, path, "PositionerPrimaryAngle"),
        secondary_deg=_angle(header, path, "PositionerSecondaryAngle"),
        source_isocentre_mm=_dose(header, ("DistanceSourceToIsocenter",), path) or None,
    )
    return DoseFile(
        path=str(path),
        kind="image",
        instance=instance,
        study=str(header.get("StudyInstanceUID", "")),
        patient=str(header.get("PatientID", "") or "").strip(),
        device=device_of(header),
        events=(event,),
        remarks=tuple(remarks),
    )


def _event_uids(header: "Dataset") -> list[str]:
    """Events of an enhanced image, which names them in its functional groups."""
    groups = frame_groups(header, "IrradiationEventIdentificationSequence")
    return list(dict.fromkeys(uid for group in groups for uid in texts(group, "IrradiationEventUID")))


def _dose(header: "Dataset", keywords: tuple[str, ...], path: Path) -> float | None:
    """The first of several elements that is there; raises where it is negative or no finite number."""
    for keyword in keywords:
        value = real(header, keyword, path)
        if value is not None:
            if value < 0:
                problem = f"{tag_of(keyword)} is {value:g}; expected a number that is not negative"
                raise InputError(path, None, keyword, problem)
            return value
    return None


def _angle(header: "Dataset", path: Path, keyword: str) -> float | None:
    value = real(header, keyword, path)
    if value is None:
        for group in frame_groups(header, "PositionerPositionSequence"):
            return real(group, keyword, path)
    return value


def _duration(path: Path, header: "Dataset", frames: int) -> float | None:
    """Frames times frame time, s: from the first pulse to the end of the last frame."""
    if frames < 1:
        problem = f"{tag_of('NumberOfFrames')} is {frames}; expected at least 1"
        raise InputError(path, None, "NumberOfFrames", problem)
    intervals = [value for value in reals(header, "FrameTimeVector", path) if value > 0]
    step = _dose(header, ("FrameTime",), path)
    if intervals:
        return frames * math.fsum(intervals) / len(intervals) * 1e-3
    if step:
        return frames * step * 1e-3
    rate = _dose(header, ("CineRate",), path)
    return frames / rate if rate else None


def _mode(header: "Dataset") -> str:
    """Fluoroscopy or acquisition, by the flag of enhanced images or by the setting of others (SC low, GR high dose)."""
    flags = texts(header, "FluoroscopyFlag")
    for group in items_of(header, "SharedFunctionalGroupsSequence"):
        for item in items_of(group, "FrameAcquisitionSequence"):
            flags = flags or texts(item, "FluoroscopyFlag")
    if flags:
        return FLUOROSCOPY if flags[0] == "YES" else ACQUISITION
    setting = texts(header, "RadiationSetting")
    return {"SC": FLUOROSCOPY, "GR": ACQUISITION}.get(setting[0] if setting else "", UNKNOWN)
