"""DICOM runs become scenes: exact counts, the protocol of the headers, and one clear line for everything else."""

import subprocess
import sys

import numpy as np
import pytest
from dicom_files import (
    ENHANCED_XA,
    ENHANCED_XRF,
    GAIN,
    OFFSET,
    XRF,
    dataset,
    enhanced,
    quanta,
    save,
    sequence,
    set_elements,
    stored,
    write,
)
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from fluorojax.data.digest import counts_digest
from fluorojax.io import Counting, InputError, Selection, open_scenes, write_challenge
from fluorojax.physics import FrameDose

COUNTS = quanta()
KNOWN = Counting(gain=GAIN, offset=OFFSET)
PHOTONS = {"photons_per_pixel": 500.0}


def selection(counting=KNOWN, **protocol):
    return Selection(protocol={**PHOTONS, **protocol}, counting=counting)


def read(path, chosen=None):
    (scene,) = open_scenes(path, selection=selection() if chosen is None else chosen)
    return scene


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.12.1", XRF])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_counts_and_protocol(tmp_path, kind, syntax):
    values = stored(COUNTS)
    header = dataset(values, kind=kind)
    if syntax == ExplicitVRBigEndian:
        header.PixelData = values.astype(">u2").tobytes()
    scene = read(save(header, tmp_path / "run.dcm", syntax))
    np.testing.assert_array_equal(scene.y, COUNTS)
    protocol = scene.acquisition.as_dict()
    assert (protocol["frame_time_ms"], protocol["pulse_width_ms"]) == (66.0, 7.0)
    assert scene.metadata["pixel_mm"] == 0.2
    assert set(scene.metadata["assumed"]) == {"attenuation_scale", "lag_ms", "readout_delay_ms", "scatter_fraction"}
    assert open_scenes(tmp_path / "run.dcm", selection=selection()).shapes() == {"sample_00": COUNTS.shape}


def test_a_run_becomes_a_challenge_file(tmp_path):
    path = write(tmp_path / "run.dcm", stored(COUNTS))
    scenes = open_scenes(path, selection=selection())
    write_challenge(tmp_path / "run.h5", scenes)
    again = open_scenes(tmp_path / "run.h5")["sample_00"]
    assert counts_digest(again.y) == counts_digest(scenes["sample_00"].y)
    assert again.acquisition.as_dict() == scenes["sample_00"].acquisition.as_dict()


@pytest.mark.parametrize(("bits", "high", "signed"), [(8, 7, 0), (10, 9, 0), (12, 11, 0), (12, 15, 0), (12, 11, 1)])
def test_stored_bits_and_overlays_in_the_others(tmp_path, bits, high, signed):
    rng = np.random.default_rng(1)
    low = -(2 ** (bits - 1)) if signed else 0
    true = rng.integers(low, low + 2**bits, (3, 5, 7))
    kind = np.uint8 if high < 8 else np.uint16
    field = (true & (2**bits - 1)) << (high + 1 - bits)
    junk = rng.integers(0, 2 ** (8 * kind().itemsize), true.shape) & ~((2**bits - 1) << (high + 1 - bits))
    path = write(
        tmp_path / "a.dcm", (field | junk).astype(kind), BitsStored=bits, HighBit=high, PixelRepresentation=signed
    )
    scene = read(path, selection(Counting(gain=1.0, offset=float(low))))
    np.testing.assert_array_equal(scene.y, true - low)


def test_odd_number_of_bytes_and_a_large_run(tmp_path):
    small = quanta(3, 5, 7, mean=20).astype(np.uint8)
    np.testing.assert_array_equal(read(write(tmp_path / "a.dcm", small), selection(Counting(gain=1.0))).y, small)
    large = np.random.default_rng(0).integers(0, 60000, (150, 129, 257), np.uint16)
    np.testing.assert_array_equal(read(write(tmp_path / "b.dcm", large), selection(Counting(gain=1.0))).y, large)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_compression(tmp_path, syntax):
    counts = quanta(3, 70, 65)
    header = dataset(stored(counts))
    save(header, tmp_path / "plain.dcm")
    header.compress(syntax, generate_instance_uid=False)
    header.save_as(tmp_path / "small.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path / "small.dcm").y, counts)


def test_lossless_jpeg(tmp_path):
    gdcm = pytest.importorskip("gdcm")
    path = write(tmp_path / "plain.dcm", stored(COUNTS))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(tmp_path / "small.dcm"))
    assert writer.Write()
    np.testing.assert_array_equal(read(tmp_path / "small.dcm").y, COUNTS)


def test_lossy_compression_is_refused_unless_told(tmp_path):
    header = dataset(stored(COUNTS))
    save(header, tmp_path / "plain.dcm")
    header.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"JPEG-LS near-lossless.*--allow-lossy"):
        read(tmp_path / "a.dcm")
    scene = read(tmp_path / "a.dcm", selection(Counting(gain=GAIN, offset=OFFSET, allow_lossy=True)))
    assert 0 < np.abs(scene.y - COUNTS).max() <= 2 / GAIN
    # a run that was once compressed with loss and unpacked again
    path = write(tmp_path / "b.dcm", stored(COUNTS), LossyImageCompression="01")
    with pytest.raises(InputError, match="LossyImageCompression"):
        read(path)


def test_single_frames_of_a_folder(tmp_path):
    for index in reversed(range(5)):
        header = dataset(stored(COUNTS)[index : index + 1], InstanceNumber=10 + index)
        header.AcquisitionDate, header.AcquisitionTime = "20260102", f"101112.{index * 50:03d}"
        save(header, tmp_path / f"im{(7 * index) % 5}")
    (tmp_path / "readme.txt").write_text("not an image")
    scene = read(tmp_path)
    np.testing.assert_array_equal(scene.y, COUNTS)
    assert float(scene.acquisition.frame_time_ms) == pytest.approx(50.0)
    next(tmp_path.glob("im0")).unlink()
    assert len(list(tmp_path.glob("im*"))) == 4
    save(dataset(stored(COUNTS)[:1], InstanceNumber=20), tmp_path / "im0")
    with pytest.raises(InputError, match="without gaps"):
        read(tmp_path)


def test_runs_and_files_of_a_folder_are_scenes(tmp_path):
    write(tmp_path / "a.dcm", stored(COUNTS))
    write(tmp_path / "b.dcm", stored(COUNTS[:3]))
    shapes = open_scenes(tmp_path, selection=selection()).shapes()
    assert shapes == {"sample_00": COUNTS.shape, "sample_01": COUNTS[:3].shape}


def test_sign_and_rescale(tmp_path):
    turned = (4095 - stored(COUNTS)).astype(np.uint16)
    path = write(tmp_path / "a.dcm", turned, BitsStored=12, HighBit=11, PixelIntensityRelationshipSign=-1)
    np.testing.assert_array_equal(read(path).y, COUNTS)
    path = write(tmp_path / "b.dcm", stored(COUNTS), RescaleSlope=0.5, RescaleIntercept=-50, RescaleType="US")
    np.testing.assert_array_equal(read(path, selection(Counting(gain=GAIN / 2))).y, COUNTS)


def test_logarithmic_pixels_are_undone_by_their_table(tmp_path):
    linear = np.arange(4096, dtype=np.uint16)
    coded = np.rint(4095 * np.log1p(linear) / np.log(4096)).astype(np.uint16)
    back = np.zeros(4096)
    back[coded] = linear
    known = np.unique(coded)
    back = np.interp(np.arange(4096), known, back[known])
    table = {"LUTDescriptor": [4096, 0, 16], "LUTData": np.rint(back).astype("<u2").tobytes(), "ModalityLUTType": "US"}
    values = np.minimum(stored(COUNTS), 4095)
    elements = {"PixelIntensityRelationship": "LOG", "BitsStored": 12, "HighBit": 11}
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        path = write(tmp_path / "a.dcm", coded[values], syntax=syntax, ModalityLUTSequence=sequence(table), **elements)
        scene = read(path)
        # as exact as the table: codes of large values stand for several
        np.testing.assert_allclose(scene.y, (np.rint(back)[coded[values]] - OFFSET) / GAIN, rtol=1e-6)
        assert np.abs(scene.y - COUNTS).max() < 1.0
    path = write(tmp_path / "b.dcm", coded[values], **elements)
    with pytest.raises(InputError, match=r"ModalityLUTSequence.*--log-scale"):
        read(path)
    scale = 4095 / np.log(4096)
    scene = read(path, selection(Counting(gain=GAIN, offset=OFFSET, log_scale=scale)))
    assert np.abs(scene.y - COUNTS).max() < 1.5
    short = table | {"LUTData": table["LUTData"][:200]}
    path = write(tmp_path / "c.dcm", coded[values], ModalityLUTSequence=sequence(short), **elements)
    with pytest.raises(InputError, match="4096 entries"):
        read(path)


def test_an_enhanced_image_and_its_dose_by_frame(tmp_path):
    per_frame = [
        {
            "FrameAcquisitionSequence": sequence({"KVP": 75, "XRayTubeCurrentInmA": 100.0 if t < 2 else 150.0}),
            "FrameContentSequence": sequence(
                {"FrameAcquisitionDateTime": f"20260102101112.{40 * t:03d}", "FrameAcquisitionDuration": 6.0}
            ),
        }
        for t in range(5)
    ]
    for kind in (ENHANCED_XA, ENHANCED_XRF):
        header = enhanced(
            stored(COUNTS),
            per_frame=per_frame,
            kind=kind,
            FrameTime=None,
            FrameIncrementPointer=None,
            AveragePulseWidth=None,
            ExposureTime=None,
        )
        scene = read(save(header, tmp_path / "e.dcm"))
        np.testing.assert_array_equal(scene.y, COUNTS)
        assert float(scene.acquisition.frame_time_ms) == pytest.approx(40.0)
        assert float(scene.acquisition.pulse_width_ms) == 6.0
        dose = scene.operator.stage(FrameDose)
        assert dose is not None
        np.testing.assert_allclose(dose.relative, [1, 1, 1.5, 1.5, 1.5])
        assert any("changes from frame to frame" in remark for remark in scene.metadata["remarks"])
    # the dose follows a selection of frames, and into a challenge file
    part = Selection(protocol=PHOTONS, counting=KNOWN, frames=(1, 4))
    cut = open_scenes(tmp_path / "e.dcm", selection=part)["sample_00"]
    assert cut.operator.stage(FrameDose).relative == (1.0, 1.5, 1.5)
    write_challenge(tmp_path / "e.h5", [scene])
    assert open_scenes(tmp_path / "e.h5")["sample_00"].operator == scene.operator


def test_the_dose_follows_the_voltage_of_single_frames(tmp_path):
    for index in range(3):
        header = dataset(stored(COUNTS)[index : index + 1], InstanceNumber=index, KVP=70 + 5 * index, FrameTime=66.0)
        save(header, tmp_path / f"{index}.dcm")
    dose = read(tmp_path).operator.stage(FrameDose).relative
    assert dose[0] == 1.0
    # behind 0.3 mm of copper the open beam grows with about the fourth power of the voltage
    assert (75 / 70) ** 3.5 < dose[1] < (75 / 70) ** 4.6
    assert dose[2] > dose[1]


def test_frame_time_vectors(tmp_path):
    def made(vector, **elements):
        return write(
            tmp_path / "a.dcm",
            stored(COUNTS),
            FrameTime=None,
            FrameTimeVector=vector,
            FrameIncrementPointer=0x00181065,
            **elements,
        )

    assert float(read(made([0, 50, 50, 50, 50])).acquisition.frame_time_ms) == 50.0
    scene = read(made([0, 50, 55, 50, 45]))
    assert float(scene.acquisition.frame_time_ms) == 50.0
    assert any("45 to 55 ms apart" in remark for remark in scene.metadata["remarks"])
    for vector, message in (
        ([0, 50, 50], "3 values for 5 frames"),
        ([0, 50, -50, 50, 50], "not positive"),
        ([0, 50, 50, 50, 500], "even run"),
        (None, "FrameIncrementPointer points to it"),
    ):
        with pytest.raises(InputError, match=message):
            read(made(vector))
    told = selection(frame_time_ms=40.0)
    assert float(read(made([0, 50, 50, 50, 500]), told).acquisition.frame_time_ms) == 40.0


def test_exposure_times(tmp_path):
    def pulse(**elements):
        return read(write(tmp_path / "a.dcm", stored(COUNTS), **elements)).acquisition.as_dict()["pulse_width_ms"]

    assert pulse(AveragePulseWidth=None) == 7.0  # 35 ms for five frames
    assert pulse(AveragePulseWidth=None, ExposureTime=None, RadiationMode="CONTINUOUS") == 66.0


@pytest.mark.parametrize("prefix", ["Shutter", "Collimator"])
def test_covered_pixels_take_no_part(tmp_path, prefix):
    edges = {"UpperHorizontalEdge": 2, "LowerHorizontalEdge": 11, "LeftVerticalEdge": 4, "RightVerticalEdge": 15}
    elements = {f"{prefix}Shape": "RECTANGULAR", **{prefix + name: value for name, value in edges.items()}}
    path = write(tmp_path / "a.dcm", stored(COUNTS), **elements)
    scene = read(path)
    np.testing.assert_array_equal(scene.y, COUNTS[:, 2:10, 4:14])
    assert scene.metadata["window"] == [[2, 10], [4, 14]]
    assert open_scenes(path, selection=selection()).shapes()["sample_00"] == (5, 8, 10)
    circle = {f"{prefix}Shape": "CIRCULAR", f"CenterOfCircular{prefix}": [6, 9], f"RadiusOfCircular{prefix}": 5}
    scene = read(write(tmp_path / "b.dcm", stored(COUNTS), **circle))
    (top, bottom), (left, right) = scene.metadata["window"]
    corners = [(row, column) for row in (top + 1, bottom) for column in (left + 1, right)]
    assert all((row - 6) ** 2 + (column - 9) ** 2 <= 25 for row, column in corners)
    assert (bottom - top) * (right - left) >= 40  # of the 81 pixels of the circle
    polygon = {f"{prefix}Shape": "POLYGONAL", f"VerticesOfThePolygonal{prefix}": [3, 3, 3, 12, 10, 12, 10, 3]}
    window = read(write(tmp_path / "c.dcm", stored(COUNTS), **polygon)).metadata["window"]
    assert window == [[2, 9], [2, 11]]
    with pytest.raises(InputError, match="cover the whole image"):
        read(write(tmp_path / "d.dcm", stored(COUNTS), **{**elements, f"{prefix}LowerHorizontalEdge": 1}))


def test_mask_frames_are_offered(tmp_path):
    mask = sequence({"MaskOperation": "AVG_SUB", "MaskFrameNumbers": [2, 3]})
    path = write(tmp_path / "a.dcm", stored(COUNTS), MaskSubtractionSequence=mask)
    assert read(path).metadata["mask_frames"] == [1, 2]
    wrong = sequence({"MaskOperation": "AVG_SUB", "MaskFrameNumbers": [2, 30]})
    with pytest.raises(InputError, match="MaskFrameNumbers"):
        read(write(tmp_path / "b.dcm", stored(COUNTS), MaskSubtractionSequence=wrong))


def test_private_elements_are_passed_over(tmp_path):
    header = dataset(stored(COUNTS))
    block = header.private_block(0x0019, "MAKER", create=True)
    block.add_new(0x10, "OB", bytes(8_000_000))
    block.add_new(0x11, "LO", "text")
    scene = read(save(header, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(scene.y, COUNTS)


def test_everything_missing_is_told_with_its_option(tmp_path):
    path = write(
        tmp_path / "a.dcm",
        stored(COUNTS),
        FrameTime=None,
        AveragePulseWidth=None,
        ExposureTime=None,
        RadiationMode=None,
    )
    with pytest.raises(InputError) as caught:
        read(path, Selection())
    for words in ("(0018,1063), or --fps", "(0018,1154), or --protocol pulse_width_ms", "--gain", "--photons"):
        assert words in str(caught.value)
    with pytest.raises(InputError, match=r"brightest thousandth of the pixels has 7\d"):
        read(path, Selection(protocol={"frame_time_ms": 66.0, "pulse_width_ms": 7.0}, counting=KNOWN))
    scene = read(path, selection(frame_time_ms=50.0, pulse_width_ms=5.0))
    assert float(scene.acquisition.frame_time_ms) == 50.0


def test_an_estimated_gain_is_told_where_the_open_beam_is_missing(tmp_path):
    path = write(tmp_path / "a.dcm", stored(quanta(12, 64, 64)))
    with pytest.raises(InputError, match=r"--photons; .*gain (3\.[89]|4\.[012])\d* ±"):
        read(path, Selection(counting=Counting(gain="estimate")))


WRONG = {
    "CT": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}, "SOPClassUID.*CT Image Storage"),
    "no frames": ({"NumberOfFrames": 0}, "NumberOfFrames.*is 0"),
    "too many frames": ({"NumberOfFrames": 50}, "has 2040 bytes.*expected 20400"),
    "one bit": ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "BitsAllocated.*is 1"),
    "colour": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "colour"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
    "for the display": ({"PixelIntensityRelationship": "DISP"}, "is DISP: the pixels were shaped"),
    "no relation": ({"PixelIntensityRelationship": None}, "missing.*--intensity"),
    "no rows": ({"Rows": None}, r"Rows.*\(0028,0010\) is missing"),
    "huge": ({"Rows": 16384, "Columns": 16384}, "expected 2684354560"),
    "derived": ({"ImageType": ["DERIVED", "PRIMARY", "SINGLE PLANE"]}, "derived image"),
    "no pixels": ({"PixelData": None}, "PixelData.*missing"),
    "bad rescale": ({"RescaleSlope": -1.0, "RescaleIntercept": 0}, "RescaleSlope"),
    "bits": ({"BitsStored": 12, "HighBit": 3}, "HighBit"),
    "bad period": ({"FrameTime": -5}, "FrameTime.*more than 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_one_clear_line(tmp_path, case):
    elements, message = WRONG[case]
    path = write(tmp_path / "a.dcm", stored(COUNTS), **elements)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_processed_frames_of_an_enhanced_image_are_refused(tmp_path):
    properties = {"PixelIntensityRelationship": "LIN", "ImageProcessingApplied": ["DIGITAL_SUBTR"]}
    header = enhanced(stored(COUNTS), shared={"FramePixelDataPropertiesSequence": sequence(properties)})
    with pytest.raises(InputError, match="DIGITAL_SUBTR"):
        read(save(header, tmp_path / "e.dcm"))


def test_a_deflated_file_is_refused(tmp_path):
    save(dataset(stored(COUNTS)), tmp_path / "a.dcm", DeflatedExplicitVRLittleEndian)
    with pytest.raises(InputError, match="deflated"):
        read(tmp_path / "a.dcm")


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    data = write(tmp_path / "whole.dcm", stored(COUNTS)).read_bytes()
    path = tmp_path / "part.dcm"
    for size in range(140, len(data), 37):
        path.write_bytes(data[:size])
        with pytest.raises(InputError):
            read(path)


def test_pixels_beyond_their_declared_length_are_not_read(tmp_path):
    header = dataset(stored(COUNTS))
    data = save(header, tmp_path / "a.dcm").read_bytes()
    at = data.index(header.PixelData)
    (tmp_path / "b.dcm").write_bytes(data[: at - 4] + (1000).to_bytes(4, "little") + data[at:])
    with pytest.raises(InputError, match="has 1000 bytes, its declared length is too short"):
        read(tmp_path / "b.dcm")


def test_compressed_pixels_that_claim_too_much_are_refused(tmp_path):
    header = dataset(stored(COUNTS))
    save(header, tmp_path / "plain.dcm")
    header.compress(RLELossless, generate_instance_uid=False)
    set_elements(header, Rows=16000, Columns=16000)
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="unpacked"):
        read(tmp_path / "a.dcm")
    set_elements(header, Rows=12, Columns=17, NumberOfFrames=9)
    header.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="5 compressed fragments"):
        read(tmp_path / "b.dcm")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
def test_mutated_files_are_read_or_refused(tmp_path, syntax):
    header = enhanced(
        stored(COUNTS), per_frame=[{"FrameAcquisitionSequence": sequence({"KVP": 70 + t})} for t in range(5)]
    )
    path = tmp_path / "a.dcm"
    if syntax == RLELossless:
        save(header, path)
        header.compress(syntax, generate_instance_uid=False)
        header.save_as(path, enforce_file_format=True)
    else:
        save(header, path, syntax)
    data, rng = path.read_bytes(), np.random.default_rng(7)
    pixels = data.rindex(b"\xe0\x7f\x10\x00")
    outcomes = {"read": 0, "refused": 0}
    for _ in range(80):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 6)):
            # most of the damage in the header, where it means something
            last = pixels + 12 if rng.random() < 0.8 else len(data)
            changed[rng.integers(132, last)] = rng.integers(256)
        path.write_bytes(changed)
        try:
            read(path)
            outcomes["read"] += 1
        except InputError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 5


def test_a_challenge_file_takes_no_gain(tmp_path):
    write_challenge(tmp_path / "a.h5", [read(write(tmp_path / "a.dcm", stored(COUNTS)))])
    with pytest.raises(InputError, match="holds counts of quanta already"):
        open_scenes(tmp_path / "a.h5", selection=selection())["sample_00"]


def test_a_stack_of_stored_values_takes_a_gain(tmp_path):
    np.save(tmp_path / "a.npy", stored(COUNTS))
    np.testing.assert_array_equal(read(tmp_path / "a.npy").y, COUNTS)


def test_without_the_extra_the_line_says_how_to_install_it(tmp_path):
    path = write(tmp_path / "a.dcm", stored(COUNTS))
    code = "import sys; sys.modules['pydicom'] = None; from fluorojax.io import open_scenes; open_scenes(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "pip install 'fluorojax[dicom]'" in done.stderr.strip().splitlines()[-1]


def test_the_estimated_gain_is_told(tmp_path):
    counts = quanta(16, 64, 64, mean=60)
    scene = read(write(tmp_path / "a.dcm", stored(counts)), selection(Counting(gain="estimate")))
    assert scene.metadata["counting"]["gain"] == pytest.approx(GAIN, rel=0.1)
    assert any("stored values per quantum" in remark for remark in scene.metadata["remarks"])


def test_an_empty_item_is_no_harm(tmp_path):
    header = dataset(stored(COUNTS), MaskSubtractionSequence=[Dataset()], ModalityLUTSequence=[])
    np.testing.assert_array_equal(read(save(header, tmp_path / "a.dcm")).y, COUNTS)


@pytest.mark.parametrize(("syntax", "marker"), [(JPEGLSLossless, b"\xff\xf7"), (JPEG2000Lossless, b"\xff\x51")])
def test_pictures_that_crash_the_decoder_or_take_all_memory_give_one_line(tmp_path, syntax, marker):
    header = dataset(stored(quanta(2, 70, 65)))
    save(header, tmp_path / "plain.dcm")
    header.compress(syntax, generate_instance_uid=False)
    header.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    data = bytearray((tmp_path / "a.dcm").read_bytes())
    at = data.index(marker, data.rindex(b"\xe0\x7f\x10\x00"))  # the size of the picture in its own head
    if syntax == JPEGLSLossless:
        data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    else:
        data[at + 6 : at + 14] = data[at + 22 : at + 30] = b"\x00\x00\xff\xff\x00\x00\xff\xff"
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "a.dcm")


def _linear_table(entries, function="TO_LINEAR"):
    return {
        "LUTFunction": function,
        "LUTDescriptor": [len(entries), 0, 16],
        "LUTData": np.asarray(entries, "<u2").tobytes(),
    }


def test_the_table_to_linear_values_is_found_among_several(tmp_path):
    values = quanta(3, 8, 9, mean=20)
    double, triple = 2 * np.arange(256), 3 * np.arange(256)
    tables = sequence(_linear_table(triple, "TO_LOG"), _linear_table(double))
    header = enhanced(values, shared={"PixelIntensityRelationshipLUTSequence": tables}, kind=ENHANCED_XA)
    scene = read(save(header, tmp_path / "a.dcm"), selection(Counting(gain=2.0, offset=0.0)))
    np.testing.assert_array_equal(scene.y, values)
    groups = [
        {"PixelIntensityRelationshipLUTSequence": sequence(_linear_table(table))} for table in (double, double, triple)
    ]
    with pytest.raises(InputError, match="one table for all frames"):
        read(save(enhanced(values, per_frame=groups), tmp_path / "b.dcm"), selection(Counting(gain=2.0, offset=0.0)))
