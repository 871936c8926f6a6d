"""Dose reports and X-ray images, written with pydicom."""

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.67"
XA_CLASS = "1.2.840.10008.5.1.4.1.1.12.1"
EVENT_CODES = {
    "kerma": ("113738", "Dose (RP)", "Gy"),
    "area_product": ("122130", "Dose Area Product", "Gy.m2"),
    "duration": ("113742", "Irradiation Duration", "s"),
    "pulses": ("113768", "Number of Pulses", "1"),
    "rate": ("113791", "Pulse Rate", "{pulse}/s"),
    "width": ("113793", "Pulse Width", "ms"),
    "primary": ("112011", "Positioner Primary Angle", "deg"),
    "secondary": ("112012", "Positioner Secondary Angle", "deg"),
    "isocentre": ("113748", "Distance Source to Isocenter", "mm"),
}
TOTAL_CODES = {
    "kerma": ("113725", "Dose (RP) Total", "Gy"),
    "area_product": ("113722", "Dose Area Product Total", "Gy.m2"),
    "fluoroscopy": ("113730", "Total Fluoro Time", "s"),
}
MODES = {
    "fluoroscopy": ("P5-06000", "SRT", "Fluoroscopy"),
    "acquisition": ("113611", "DCM", "Stationary Acquisition"),
    "other": ("999", "99X", "Something"),
}


def code(value, meaning, scheme="DCM"):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(kind, value, meaning, scheme="DCM"):
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", kind
    item.ConceptNameCodeSequence = Sequence([code(value, meaning, scheme)])
    return item


def number(value, concept, meaning, unit):
    """A NUM item; None as value: measured and not known; None as unit: no unit."""
    item = content("NUM", concept, meaning)
    if value is None:
        item.MeasuredValueSequence = Sequence([])
        return item
    measured = Dataset()
    if isinstance(value, str):  # what no checking writer would write
        measured.add_new(0x0040A30A, "DS", "0")
        measured[0x0040A30A]._value = value
    else:
        measured.NumericValue = f"{value:.10g}"
    if unit is not None:
        measured.MeasurementUnitsCodeSequence = Sequence([code(unit, unit, "UCUM")])
    item.MeasuredValueSequence = Sequence([measured])
    return item


def container(concept, meaning, children):
    item = content("CONTAINER", concept, meaning)
    item.ContinuityOfContent = "SEPARATE"
    item.ContentSequence = Sequence(children)
    return item


def event(uid=None, mode="fluoroscopy", units=None, **values):
    """One irradiation event; values by the names of EVENT_CODES, in the units there unless ``units`` says other."""
    children = []
    if uid is not None:
        named = content("UIDREF", "113769", "Irradiation Event UID")
        named.UID = uid
        children.append(named)
    kind = content("CODE", "113721", "Irradiation Event Type")
    value, scheme, meaning = MODES[mode]
    kind.ConceptCodeSequence = Sequence([code(value, meaning, scheme)])
    children.append(kind)
    for name, given in values.items():
        concept, meaning, unit = EVENT_CODES[name]
        children.append(number(given, concept, meaning, (units or {}).get(name, unit)))
    return container("113706", "Irradiation Event X-Ray Data", children)


def totals(units=None, extra=(), **values):
    children = [
        number(given, TOTAL_CODES[name][0], TOTAL_CODES[name][1], (units or {}).get(name, TOTAL_CODES[name][2]))
        for name, given in values.items()
    ]
    return container("113702", "Accumulated X-Ray Dose Data", [*children, *extra])


def _saved(path, dataset, sop_class, fields):
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.StudyInstanceUID, dataset.PatientID = "1.2.3", "P1"
    for name, value in fields.items():
        setattr(dataset, name, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_report(path, items, *, template="10001", root="113701", procedure="113704", **fields):
    dataset = Dataset()
    dataset.Modality = "SR"
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = Sequence([code(root, "X-Ray Radiation Dose Report")])
    if template is not None:
        named = Dataset()
        named.MappingResource, named.TemplateIdentifier = "DCMR", template
        dataset.ContentTemplateSequence = Sequence([named])
    reported = content("CODE", "121058", "Procedure reported")
    reported.ConceptCodeSequence = Sequence([code(procedure, "Procedure " + procedure)])
    dataset.ContentSequence = Sequence([reported, *items])
    return _saved(path, dataset, REPORT_CLASS, fields)


def save_image(path, sop_class=XA_CLASS, **fields):
    """An image of two by two pixels; ``fields`` by keyword."""
    dataset = Dataset()
    dataset.Modality = "XA"
    dataset.Rows = dataset.Columns = 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.NumberOfFrames = fields.pop("NumberOfFrames", 3)
    dataset.PixelData = bytes(8 * int(dataset.NumberOfFrames))
    dataset["PixelData"].VR = "OW"
    return _saved(path, dataset, sop_class, fields)
