"""Taking the patient out of a DICOM object by the Basic Application Level Confidentiality Profile (DICOM PS3.15, E).

The table of the profile comes from the package dicom-anonymizer. Values of type 1 elements become dummies, others are
emptied or removed, UIDs become new ones that are the same wherever the old one stood in the objects of one call, and
private elements are removed.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydicom import DataElement, Dataset
from pydicom import Sequence as Items
from pydicom.uid import generate_uid

_EDITION = "dicomfields_2026c"
_DUMMY = {
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "AS": "000Y",
    "UR": "http://anonymous.invalid",
    "DS": "0",
    "IS": "0",
    "CS": "ANONYMIZED",
    "PN": "Anonymous",
}
_NUMBERS = ("US", "SS", "UL", "SL", "FL", "FD", "UV", "SV")
_BYTES = ("OB", "OW", "UN", "OF", "OD", "OL", "OV")


def deidentify(objects: Sequence[Dataset]) -> None:
    """De-identify datasets in place; the UIDs of the classes and of the standard stay."""
    uids: dict[str, str] = {}
    for made in objects:
        _clean(made, uids)
        made.PatientIdentityRemoved = "YES"
        made.DeidentificationMethod = "DICOM PS3.15 basic confidentiality profile, by fluorojax"
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
        code.CodeMeaning = "Basic Application Confidentiality Profile"
        made.DeidentificationMethodCodeSequence = Items([code])
        made.LongitudinalTemporalInformationModified = "REMOVED"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID


def _clean(made: Dataset, uids: dict[str, str]) -> None:
    made.remove_private_tags()
    for element in list(made):
        action = _action(element.tag.group, element.tag.element)
        if action == "X":
            del made[element.tag]
        elif action == "U":
            element.value = _renewed(element.value, uids)
        elif action == "Z":
            element.value = Items([]) if element.VR == "SQ" else None
        elif action == "D" and element.VR != "SQ":
            _replace(element, uids)
        if element.VR == "SQ" and element.tag in made:
            items: Iterable[Dataset] = element.value or ()  # pyright: ignore[reportAssignmentType]
            for item in items:
                _clean(item, uids)


def _replace(element: DataElement, uids: dict[str, str]) -> None:
    if element.is_empty:
        return
    if element.VR == "UI":
        element.value = _renewed(element.value, uids)
    elif element.VR in _NUMBERS:
        element.value = 0
    elif element.VR in _BYTES:
        element.value = b""
    else:
        element.value = _DUMMY.get(element.VR, "Anonymous")


def _renewed(value: object, uids: dict[str, str]) -> object:
    if not value:
        return value
    if isinstance(value, str):
        return uids.setdefault(value, generate_uid())
    return [uids.setdefault(str(one), generate_uid()) for one in value]  # pyright: ignore[reportGeneralTypeIssues]


def _action(group: int, element: int) -> str | None:
    """X (remove), Z (empty), D (dummy) or U (new UID), where the profile knows the element."""
    single, ranges = _table()
    if (found := single.get((group, element))) is not None:
        return found
    for (g, e, group_mask, element_mask), action in ranges.items():
        if group & group_mask == g & group_mask and element & element_mask == e & element_mask:
            return action
    return None


@lru_cache(maxsize=1)
def _table() -> tuple[dict[tuple[int, int], str], dict[tuple[int, int, int, int], str]]:
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    # Where the table leaves a choice, the objects written here need: a value where the standard wants one (X/D, Z/D),
    # an empty element where it may be empty (X/Z), and items with new UIDs where they are references.
    actions = {
        "D_TAGS": "D",
        "Z_TAGS": "Z",
        "X_TAGS": "X",
        "U_TAGS": "U",
        "Z_D_TAGS": "D",
        "X_Z_TAGS": "Z",
        "X_D_TAGS": "D",
        "X_Z_D_TAGS": "D",
        "X_Z_U_STAR_TAGS": "D",
    }
    tables = dicom_anonymization_database_selector(_EDITION)
    single: dict[tuple[int, int], str] = {}
    ranges: dict[tuple[int, int, int, int], str] = {}
    for name, action in actions.items():
        for tag in tables[name]:
            if len(tag) == 2:
                single[tag[0], tag[1]] = action
            else:
                ranges[tag[0], tag[1], tag[2], tag[3]] = action
    return single, ranges
