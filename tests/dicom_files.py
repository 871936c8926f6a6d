"""DICOM files for tests, written with pydicom."""

import warnings

import numpy as np
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

XA = "1.2.840.10008.5.1.4.1.1.12.1"
XRF = "1.2.840.10008.5.1.4.1.1.12.2"
ENHANCED_XA = "1.2.840.10008.5.1.4.1.1.12.1.1"
ENHANCED_XRF = "1.2.840.10008.5.1.4.1.1.12.2.1"
STUDY, SERIES = generate_uid(), generate_uid()
GAIN, OFFSET = 4.0, 100.0


def quanta(frames=5, rows=12, columns=17, mean=40.0, seed=0):
    """Counts of a still scene that is brighter on the right, uint16."""
    level = mean * np.linspace(0.5, 1.5, columns)
    return np.random.default_rng(seed).poisson(np.broadcast_to(level, (frames, rows, columns))).astype(np.uint16)


def stored(counts):
    """Stored values of a detector with :data:`GAIN` and :data:`OFFSET`."""
    return (GAIN * counts + OFFSET).astype(np.uint16)


def dataset(values, *, kind=XA, **elements):
    """A dataset of stored values (T, H, W); ``elements`` replace those of the protocol, None leaves one out."""
    values = np.asarray(values)
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = kind, generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = STUDY, SERIES
    header.Modality = "RF" if kind in (XRF, ENHANCED_XRF) else "XA"
    header.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = (
        "Doe^Jane",
        "4711",
        "19700101",
        "F",
    )
    header.StudyDate, header.StudyTime, header.StudyID, header.AccessionNumber = "20260102", "101112", "S1", "A1"
    header.ReferringPhysicianName, header.Manufacturer = "Ref^Doc", "Maker"
    header.SeriesNumber, header.InstanceNumber = 3, 1
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = values.shape[1:]
    header.BitsAllocated = 8 * values.dtype.itemsize
    header.BitsStored, header.HighBit = header.BitsAllocated, header.BitsAllocated - 1
    header.PixelRepresentation = int(values.dtype.kind == "i")
    header.PixelIntensityRelationship, header.PixelIntensityRelationshipSign = "LIN", 1
    header.RadiationMode, header.RadiationSetting, header.AveragePulseWidth = "PULSED", "GR", 7.0
    header.KVP, header.XRayTubeCurrent, header.ExposureTime = 75, 200, 35
    header.ImagerPixelSpacing = [0.2, 0.2]
    header.PositionerMotion = "STATIC"
    if len(values) > 1:
        header.NumberOfFrames, header.FrameTime, header.FrameIncrementPointer = len(values), 66.0, 0x00181063
    header.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    header["PixelData"].VR = "OW" if values.dtype.itemsize == 2 else "OB"
    set_elements(header, **elements)
    return header


def set_elements(header, **elements):
    for name, value in elements.items():
        if value is None:
            if name in header:
                delattr(header, name)
        else:
            setattr(header, name, value)


def save(header, path, syntax=ExplicitVRLittleEndian):
    """Write a dataset with the file meta information of ``syntax``."""
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that are wrong on purpose
        header.save_as(
            path,
            implicit_vr=syntax == ImplicitVRLittleEndian,
            little_endian=syntax != ExplicitVRBigEndian,
            enforce_file_format=True,
        )
    return path


def write(path, values, *, syntax=ExplicitVRLittleEndian, **elements):
    """Write stored values (T, H, W) as a DICOM file."""
    return save(dataset(values, **elements), path, syntax)


def sequence(*items):
    """A sequence of items, each given as a dict of elements."""
    found = []
    for item in items:
        made = Dataset()
        set_elements(made, **item)
        found.append(made)
    return Sequence(found)


def enhanced(values, *, per_frame=None, shared=None, kind=ENHANCED_XA, **elements):
    """An enhanced image: groups that all frames share, and those of each frame, as dicts of sequences."""
    properties = sequence({"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1})
    shared = {"FramePixelDataPropertiesSequence": properties, **(shared or {})}
    return dataset(
        values,
        kind=kind,
        PixelIntensityRelationship=None,
        PixelIntensityRelationshipSign=None,
        SharedFunctionalGroupsSequence=sequence(shared),
        PerFrameFunctionalGroupsSequence=sequence(*(per_frame or [{} for _ in values])),
        **elements,
    )
