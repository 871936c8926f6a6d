"""Images of a result as DICOM objects: derived XA or XRF images of 16 bits, and floating-point parametric maps."""

import numpy as np
from jaxtyping import Float
from pydicom import Dataset, Sequence
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds

from fluorojax.dicom.source import Source

XA, XRF = "1.2.840.10008.5.1.4.1.1.12.1", "1.2.840.10008.5.1.4.1.1.12.2"
_XRF_SOURCES = (XRF, "1.2.840.10008.5.1.4.1.1.12.2.1")
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
_LEVELS = 65534


def derived_image(
    source: Source,
    values: Float[np.ndarray, "*shape"],
    *,
    series: str,
    number: int,
    description: str,
    derivation: str,
    subtracted: bool = False,
    frame_time_ms: float | None = None,
    times_ms: Float[np.ndarray, " n"] | None = None,
) -> Dataset:
    """A derived XA image (XRF where the source is one) of ``values``, (T, H, W) or (H, W).

    16 bits. Stored values are small where attenuation is high, as those of the source are. ``RescaleSlope · stored +
    RescaleIntercept`` are the values, to half a step of 1/65534 of their range; RescaleSlope is negative, so that a
    viewer that applies it shows high attenuation bright until its grey scale is inverted. Values that are not finite
    are stored as 0, the padding value. The frames have one FrameTime, ``frame_time_ms``, or where that is None the
    steps of ``times_ms`` as their FrameTimeVector.
    """
    images = values if values.ndim == 3 else values[None]
    stored, slope, intercept = quantised(images)
    kind = XRF if source.first.SOPClassUID in _XRF_SOURCES else XA
    made = source.derived(kind, series=series, number=number, description=description)
    source.add_acquisition(made)
    made.ImageType = ["DERIVED", "PRIMARY", "SINGLE PLANE"]
    if kind == XRF:
        del made.PositionerPrimaryAngle, made.PositionerSecondaryAngle
    made.DerivationDescription = derivation
    made.DerivationCodeSequence = Sequence([_derivation(subtracted)])
    made.SourceImageSequence = Sequence(source.references())
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = images.shape[1:]
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelIntensityRelationship, made.PixelIntensityRelationshipSign = "DISP", 1
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = slope, intercept, "US"
    made.PixelPaddingValue = 0
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    made.WindowCenter = format_number_as_ds(0.5 * (low + high))
    made.WindowWidth = format_number_as_ds(max(high - low, 1e-6))
    made.VOILUTFunction = "LINEAR_EXACT"
    made.LossyImageCompression, made.BurnedInAnnotation = "00", "NO"
    if len(images) > 1:
        made.NumberOfFrames = len(images)
        if frame_time_ms is None and times_ms is not None:
            made.FrameIncrementPointer = 0x00181065
            steps = np.diff(times_ms, prepend=times_ms[:1])
            made.FrameTimeVector = [format_number_as_ds(float(step)) for step in steps]
        else:
            made.FrameIncrementPointer = 0x00181063
            made.FrameTime = format_number_as_ds(1000.0 / 30.0 if frame_time_ms is None else frame_time_ms)
    made.PixelData = stored.astype("<u2").tobytes()
    made["PixelData"].VR = "OW"
    return made


def quantised(values: Float[np.ndarray, "*shape"]) -> tuple[np.ndarray, str, str]:
    """Stored values 1 … 65535, 0 where not finite, with slope (negative) and intercept as DICOM writes them."""
    finite = values[np.isfinite(values)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    step = max((high - low) / _LEVELS * (1 + 1e-9), 1e-9)
    slope = format_number_as_ds(-step)
    intercept = format_number_as_ds(high - float(slope))
    codes = np.rint((np.nan_to_num(values.astype(np.float64)) - float(intercept)) / float(slope))
    return np.where(np.isfinite(values), np.clip(codes, 1, 65535), 0).astype(np.uint16), slope, intercept


def parametric_map(
    source: Source,
    values: Float[np.ndarray, "*shape"],
    *,
    series: str,
    number: int,
    description: str,
    derivation: str,
    quantity: str,
) -> Dataset:
    """A parametric map of ``values`` as 32-bit floating-point pixels, exactly as they are."""
    images = values if values.ndim == 3 else values[None]
    made = source.derived(PARAMETRIC_MAP, series=series, number=number, description=description)
    made.ImageType = ["DERIVED", "PRIMARY", "OTHER", "NONE"]
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "FLUOROJAX", quantity, "fluorojax"
    made.ContentQualification = "RESEARCH"
    made.PositionReferenceIndicator = ""
    made.FrameOfReferenceUID = source.first.get("FrameOfReferenceUID") or generate_uid()
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns, made.NumberOfFrames = images.shape[1], images.shape[2], len(images)
    made.BitsAllocated = 32
    made.PresentationLUTShape, made.BurnedInAnnotation = "IDENTITY", "NO"
    made.LossyImageCompression, made.RecognizableVisualFeatures = "00", "NO"
    made.AcquisitionContextSequence = Sequence([])
    made.DerivationDescription = derivation
    organisation = generate_uid()
    made.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=organisation)])
    made.DimensionIndexSequence = Sequence(
        [
            _item(
                DimensionOrganizationUID=organisation,
                DimensionIndexPointer=0x00209057,
                FunctionalGroupPointer=0x00209111,
                DimensionDescriptionLabel="Frame",
            )
        ]
    )
    spacing = source.first.get("ImagerPixelSpacing") or [1, 1]
    finite = images[np.isfinite(images)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    window = _item(
        WindowCenter=format_number_as_ds(0.5 * (low + high)),
        WindowWidth=format_number_as_ds(max(high - low, 1e-6)),
        VOILUTFunction="LINEAR_EXACT",
    )
    real = _item(
        RealWorldValueIntercept=0.0,
        RealWorldValueSlope=1.0,
        DoubleFloatRealWorldValueFirstValueMapped=low,
        DoubleFloatRealWorldValueLastValueMapped=high,
        LUTExplanation=quantity[:64],
        LUTLabel="ATTENUATION",
        MeasurementUnitsCodeSequence=Sequence([_code("1", "UCUM", "no units")]),
    )
    series_item = _item(
        SeriesInstanceUID=source.first.SeriesInstanceUID, ReferencedInstanceSequence=Sequence(source.references())
    )
    made.ReferencedSeriesSequence = Sequence([series_item])
    references = source.references()
    for item in references:
        purpose = _code("121322", "DCM", "Source image for image processing operation")
        item.PurposeOfReferenceCodeSequence = Sequence([purpose])
    origin = _item(
        DerivationDescription=derivation,
        DerivationCodeSequence=Sequence([_derivation(False)]),
        SourceImageSequence=Sequence(references),
    )
    shared = _item(
        PixelMeasuresSequence=Sequence([_item(PixelSpacing=spacing, SliceThickness=1)]),
        PlaneOrientationSequence=Sequence([_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        FrameVOILUTSequence=Sequence([window]),
        RealWorldValueMappingSequence=Sequence([real]),
        PixelValueTransformationSequence=Sequence([_item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")]),
        ParametricMapFrameTypeSequence=Sequence([_item(FrameType=["DERIVED", "PRIMARY", "OTHER", "NONE"])]),
        DerivationImageSequence=Sequence([origin]),
    )
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    made.PerFrameFunctionalGroupsSequence = Sequence(
        [
            _item(
                FrameContentSequence=Sequence(
                    [
                        _item(
                            StackID="1",
                            InStackPositionNumber=index + 1,
                            DimensionIndexValues=index + 1,
                            FrameAcquisitionNumber=index + 1,
                        )
                    ]
                ),
                PlanePositionSequence=Sequence([_item(ImagePositionPatient=[0, 0, 0])]),
            )
            for index in range(len(images))
        ]
    )
    made.FloatPixelData = np.ascontiguousarray(images, "<f4").tobytes()
    return made


def _derivation(subtracted: bool) -> Dataset:
    if subtracted:
        return _code("113062", "DCM", "Pixel by pixel subtraction")
    return _code("RECON", "99FLUOROJAX", "Bayesian reconstruction from photon counts")


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _item(**elements: object) -> Dataset:
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made
