"""What a derived object takes over from the run it was made from."""

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from fluorojax.io.dicom.files import damage
from fluorojax.io.provenance import package_versions

PATIENT_AND_STUDY = (
    "SpecificCharacterSet PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientAge PatientSize "
    "PatientWeight PatientIdentityRemoved DeidentificationMethod StudyInstanceUID StudyDate StudyTime "
    "ReferringPhysicianName StudyID AccessionNumber StudyDescription"
).split()
ACQUISITION = (
    "KVP XRayTubeCurrent ExposureTime Exposure RadiationMode RadiationSetting AveragePulseWidth ImagerPixelSpacing "
    "PositionerMotion PositionerPrimaryAngle PositionerSecondaryAngle DistanceSourceToDetector "
    "DistanceSourceToPatient EstimatedRadiographicMagnificationFactor BodyPartExamined PatientOrientation "
    "FrameOfReferenceUID PositionReferenceIndicator"
).split()


class Source:
    """Patient, study and acquisition of the files of a run, and references to them."""

    def __init__(self, paths: Sequence[Path]):
        """Raises :class:`~fluorojax.io.InputError` for files that cannot be read."""
        self.paths = tuple(paths)
        self._headers: list[Dataset] = []
        wanted = [*PATIENT_AND_STUDY, *ACQUISITION, "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality"]
        wanted += ["SeriesNumber", "InstanceNumber", "Laterality"]
        for path in self.paths:
            with damage(path):
                header = dcmread(path, stop_before_pixels=True, specific_tags=list(wanted))
                for element in header.iterall():  # decodes every value, so that damage shows here
                    _ = element.value
                self._headers.append(header)

    @property
    def first(self) -> Dataset:
        """Header of the first file."""
        return self._headers[0]

    def references(self) -> list[Dataset]:
        """Items that name the source images."""
        found = []
        for header in self._headers:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
            found.append(item)
        return found

    def evidence(self) -> list[Dataset]:
        """Headers of the source images with what a report needs of them, empty where they lack it."""
        found = []
        for header in self._headers:
            made = Dataset()
            made.update(header)
            for name in [*PATIENT_AND_STUDY[1:5], "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"]:
                if name not in made:
                    setattr(made, name, None)
            for name in ("PatientBirthDate", "PatientSex", "AccessionNumber"):
                if name not in made:
                    setattr(made, name, None)
            found.append(made)
        return found

    def derived(self, kind: str, *, series: str, number: int, description: str, instance: int = 1) -> Dataset:
        """A new object of SOP class ``kind`` in series ``series`` of the study, without its content.

        Patient and study are those of the source; instance and series have new UIDs. Elements that the standard wants
        and the source lacks are there without a value.
        """
        made, now = Dataset(), _now()
        for name in PATIENT_AND_STUDY:
            if name in self.first:
                made[name] = self.first[name]
        for name in "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime".split():
            if name not in made:
                setattr(made, name, "")
        for name in "ReferringPhysicianName StudyID AccessionNumber".split():
            if name not in made:
                setattr(made, name, "")
        made.SpecificCharacterSet = self.first.get("SpecificCharacterSet") or "ISO_IR 192"
        made.SOPClassUID, made.SOPInstanceUID = UID(kind), generate_uid()
        made.SeriesInstanceUID, made.SeriesNumber, made.InstanceNumber = UID(series), number, instance
        made.SeriesDescription = description
        made.Laterality = self.first.get("Laterality")
        made.Modality = str(self.first.get("Modality") or "XA")
        made.Manufacturer, made.ManufacturerModelName = "fluorojax", "fluorojax"
        made.DeviceSerialNumber, made.SoftwareVersions = "none", package_versions()["fluorojax"]
        made.ContentDate, made.ContentTime = now
        made.InstanceCreationDate, made.InstanceCreationTime = now
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        return made

    def add_acquisition(self, made: Dataset) -> None:
        """Take over how the run was acquired."""
        for name in ACQUISITION:
            if name in self.first:
                made[name] = self.first[name]
        for name in "KVP XRayTubeCurrent ExposureTime PositionerPrimaryAngle PositionerSecondaryAngle".split():
            if name not in made:
                setattr(made, name, None)
        if not made.get("PositionerMotion"):
            made.PositionerMotion = "STATIC"
        if not made.get("RadiationSetting"):
            made.RadiationSetting = "GR"
        if "PatientOrientation" not in made:
            made.PatientOrientation = None


def _now() -> tuple[str, str]:
    from datetime import datetime

    moment = datetime.now()
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
