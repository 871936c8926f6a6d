"""Dose reports and images of one patient, read together."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fluorojax.dose._complete import check_complete
from fluorojax.dose._headers import KEYWORDS, read_image
from fluorojax.dose._rdsr import is_report, read_report
from fluorojax.dose.record import DoseFile, DoseRecord, distinct_events
from fluorojax.io.dicom.extra import needing
from fluorojax.io.dicom.files import brief, damage, recognised
from fluorojax.io.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

LARGEST = 256 * 2**20
"""Largest dose report that is read, bytes; real ones have a tenth of a percent of it."""


def read_dose(paths: Iterable[str | PathLike[str]]) -> DoseRecord:
    """Everything that dose reports and image headers say about the dose of one patient.

    **Arguments:** paths of DICOM files, or of folders whose DICOM files are read; reports (X-Ray Radiation Dose SR)
    and images (XA, XRF and their enhanced forms) in any order. Of images only the header is read.

    **Returns** a :class:`~fluorojax.dose.record.DoseRecord`: every irradiation event counts once, however many files
    tell of it.

    **Raises** :class:`~fluorojax.io.InputError` for a file that is no DICOM file, damaged, or of another kind, for
    numbers without unit or sense, and for files of different patients.
    """
    files: list[DoseFile] = []
    remarks: list[str] = []
    for path in _expanded(paths):
        file = read_file(path)
        twin = next((other for other in files if other.instance == file.instance), None)
        if twin is not None:
            remarks.append(f"{path}: is the same DICOM object as {twin.path} and is left out")
            continue
        files.append(file)
    patients = {file.patient: file.path for file in files if file.patient}
    if len(patients) > 1:
        first, second = list(patients.values())[:2]
        raise InputError(
            second, None, "PatientID", f"is that of another patient than in {first}; expected files of one patient"
        )
    if any(not file.patient for file in files) and len(files) > 1:
        remarks.append("a file names no patient; the sums hold if all files are of one patient")
    events, repeated, conflicts = distinct_events(files)
    return DoseRecord(tuple(files), events, repeated, tuple(remarks + conflicts))


def read_file(path: str | PathLike[str]) -> DoseFile:
    """Dose of one report or image; raises :class:`~fluorojax.io.InputError` as :func:`read_dose` does."""
    path = Path(path)
    if path.is_dir() or not path.exists():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(path, None, None, f"{what}; expected a DICOM file")
    if not recognised(path):
        raise InputError(path, None, None, "is no DICOM file; expected a dose report (SR) or an X-ray image (XA, XRF)")
    header = _header(path)
    return read_report(path, header) if is_report(header) else read_image(path, header)


def _header(path: Path) -> "Dataset":
    with needing(path):
        from pydicom import dcmread
        from pydicom.uid import DeflatedExplicitVRLittleEndian
    with path.open("rb") as handle, damage(path):
        kind = dcmread(handle, stop_before_pixels=True, specific_tags=["SOPClassUID", "Modality"])
        syntax = str(kind.file_meta.get("TransferSyntaxUID", ""))
        if not syntax or syntax == DeflatedExplicitVRLittleEndian:
            problem = "says that the whole file is deflated" if syntax else "(0002,0010) is missing"
            raise InputError(path, None, "TransferSyntaxUID", f"{problem}; expected the syntax of a plain file")
        handle.seek(0)
        if str(kind.get("Modality", "")).strip().upper() != "SR":
            header = dcmread(handle, stop_before_pixels=True, specific_tags=list(KEYWORDS))
            if len(handle.read(8)) < 8:
                raise InputError(path, None, None, "ends before its pixels: it is truncated; expected a whole image")
            return header
        size = path.stat().st_size
        if size > LARGEST:
            problem = f"is a structured report of {size} bytes; expected at most {LARGEST}"
            raise InputError(path, None, None, problem)
        check_complete(handle.read(), syntax)
        handle.seek(0)
        report = dcmread(handle, stop_before_pixels=True)
    if "ContentSequence" not in report:
        found = brief(report.get("SOPClassUID", ""), 60)
        problem = f"(0040,A730) is missing in a structured report ({found}): it is empty or truncated; expected events"
        raise InputError(path, None, "ContentSequence", problem)
    return report


def _expanded(paths: Iterable[str | PathLike[str]]) -> list[Path]:
    """The files, with folders replaced by the DICOM files in them, in order and each once."""
    found: list[Path] = []
    for given in map(Path, paths):
        if not given.is_dir():
            found.append(given)
            continue
        inside = [path for path in sorted(given.rglob("*")) if path.is_file() and recognised(path)]
        if not inside:
            raise InputError(given, None, None, "is a folder without DICOM files; expected reports or images")
        found += inside
    if not found:
        raise InputError("", None, "files", "none are given; expected dose reports or X-ray images")
    return list(dict.fromkeys(found))
