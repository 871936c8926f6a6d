"""Results as DICOM objects: round trips, references to the source, an independent checker, no patient on request."""

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from dicom_files import GAIN, OFFSET, XRF, dataset, quanta, save, stored, write
from pydicom import dcmread
from pydicom.pixels import pixel_array

from fluorojax.cli import main
from fluorojax.data.digest import counts_digest
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.spec import Spec
from fluorojax.dicom.export import export_result
from fluorojax.io import (
    Counting,
    InputError,
    Provenance,
    ReconstructionWriter,
    Selection,
    open_scenes,
    write_challenge,
)
from fluorojax.subtraction.files import SubtractSettings, subtract_file

COUNTS = quanta(5, 24, 30)
CHOSEN = Selection(protocol={"photons_per_pixel": 200.0}, counting=Counting(gain=GAIN, offset=OFFSET))
RNG = np.random.default_rng(3)
X_HAT = RNG.uniform(-0.02, 0.9, COUNTS.shape).astype(np.float32)
X_STD = RNG.uniform(1e-4, 0.05, COUNTS.shape).astype(np.float32)


def made_result(source, path, selection=CHOSEN):
    """A reconstruction file of the first scene of ``source``, with made-up images."""
    (scene,) = open_scenes(source, selection=selection)
    result = Reconstruction(
        name=scene.name,
        x_hat=X_HAT,
        x_std=X_STD,
        spec=Spec.from_dict({"motion_blur": 2.5, "lag": -0.4, "gain_drift": 0.2}),
        spec_std=Spec.from_dict({"motion_blur": 0.3, "lag": 0.2, "gain_drift": 0.01}),
        spec_interval={"motion_blur": (2.0, 3.0), "lag": (-0.7, -0.1), "gain_drift": (0.18, 0.22)},
        status=Status.CONVERGED,
        seconds=1.0,
        nominal=scene.acquisition.as_dict(),
        diagnostics={"mean_squared_residual": 1.01},
    )
    provenance = Provenance.of_run(source, ReconstructOptions(), selection)
    with ReconstructionWriter(path, provenance, source=source) as writer:
        writer.write(replace(result, counts_sha256=counts_digest(scene.y)))
    return path


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "run.dcm", stored(COUNTS))


def test_images_come_back_and_name_their_source(tmp_path, run):
    files = export_result(made_result(run, tmp_path / "r.h5"), tmp_path / "r.dcm", run)
    assert [file.name for file in files] == ["r.dcm", "r.std.dcm", "r.summary.dcm"]
    source, image, spread, summary = (dcmread(file) for file in (run, *files))
    values = pixel_array(image).astype(np.float64) * float(image.RescaleSlope) + float(image.RescaleIntercept)
    assert np.abs(values - X_HAT).max() <= 0.5001 * abs(float(image.RescaleSlope))
    assert abs(float(image.RescaleSlope)) < np.ptp(X_HAT) / 65000
    np.testing.assert_array_equal(pixel_array(spread), X_STD)
    for made in (image, spread, summary):
        assert made.PatientName == "Doe^Jane"
        assert made.PatientID == "4711"
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.AccessionNumber == "A1"
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        assert made.SOPInstanceUID != source.SOPInstanceUID
    assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert image.ImageType[0] == "DERIVED"
    assert float(image.FrameTime) == 66.0
    numbers = {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
        for item in summary.ContentSequence
        if item.ValueType == "NUM"
    }
    assert numbers["motion_blur, median"] == 2.5
    assert numbers["gain_drift, q95"] == pytest.approx(0.22)
    texts = [item.TextValue for item in summary.ContentSequence if item.ValueType == "TEXT"]
    assert Status.CONVERGED.value in texts
    with pytest.raises(InputError, match="derived image"):
        open_scenes(files[0], selection=CHOSEN)["sample_00"]


def test_a_result_from_converted_counts_is_matched_by_its_counts(tmp_path, run):
    write_challenge(tmp_path / "run.h5", open_scenes(run, selection=CHOSEN))
    result = made_result(tmp_path / "run.h5", tmp_path / "r.h5", Selection())
    with pytest.raises(InputError, match="--gain"):
        export_result(result, tmp_path / "r.dcm", run)
    assert len(export_result(result, tmp_path / "r.dcm", run, counting=CHOSEN.counting)) == 3
    other = write(tmp_path / "other.dcm", stored(COUNTS + 1))
    with pytest.raises(InputError, match="other counts"):
        export_result(result, tmp_path / "o.dcm", other, counting=CHOSEN.counting)
    assert not list(tmp_path.glob("o.*"))


def test_subtractions_are_derived_images(tmp_path, run):
    write_challenge(tmp_path / "run.h5", open_scenes(run, selection=CHOSEN))
    subtract_file(tmp_path / "run.h5", tmp_path / "s.h5", SubtractSettings(mask=(0, 1), register=True))
    files = export_result(tmp_path / "s.h5", tmp_path / "s.dcm", run, counting=CHOSEN.counting)
    image = dcmread(files[0])
    assert image.DerivationCodeSequence[0].CodeValue == "113062"
    import h5py

    with h5py.File(tmp_path / "s.h5") as handle:
        wanted = handle["sample_00/subtraction"][()]
    codes = pixel_array(image)
    values = codes * float(image.RescaleSlope) + float(image.RescaleIntercept)
    finite = np.isfinite(wanted)
    assert np.abs(values - wanted)[finite].max() <= 0.5001 * abs(float(image.RescaleSlope))
    assert (codes[~finite] == 0).all()
    assert (codes[finite] > 0).all()


def test_mask_frames_of_the_file_are_the_default(tmp_path):
    from dicom_files import sequence

    mask = sequence({"MaskOperation": "AVG_SUB", "MaskFrameNumbers": [2, 3]})
    source = write(tmp_path / "run.dcm", stored(COUNTS), MaskSubtractionSequence=mask)
    write_challenge(tmp_path / "run.h5", open_scenes(source, selection=CHOSEN))
    subtract_file(tmp_path / "run.h5", tmp_path / "s.h5", SubtractSettings(register=False))
    import h5py

    with h5py.File(tmp_path / "s.h5") as handle:
        assert handle["sample_00"].attrs["mask_frames"] in (b"[1, 2]", "[1, 2]")


def test_nothing_of_the_patient_is_left(tmp_path):
    header = dataset(stored(COUNTS), StudyDescription="Secret study", PatientAge="055Y")
    source = save(header, tmp_path / "run.dcm")
    files = export_result(made_result(source, tmp_path / "r.h5"), tmp_path / "r.dcm", source, deidentify=True)
    studies = set()
    for file in files:
        data, made = file.read_bytes(), dcmread(file)
        for word in (b"Doe", b"4711", b"Ref^Doc", b"Secret", b"19700101", b"20260102", b"055Y"):
            assert word not in data, (file, word)
        for uid in (header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID):
            assert str(uid).encode() not in data
        assert made.PatientIdentityRemoved == "YES"
        studies.add(made.StudyInstanceUID)
    assert len(studies) == 1


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy of dicom3tools is not installed")
@pytest.mark.parametrize("deidentified", [False, True])
@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.12.1", XRF])
def test_an_independent_checker_finds_no_error(tmp_path, kind, deidentified):
    source = write(tmp_path / "run.dcm", stored(COUNTS), kind=kind)
    files = export_result(made_result(source, tmp_path / "r.h5"), tmp_path / "r.dcm", source, deidentify=deidentified)
    for file in files:
        done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("Error")]
        assert errors == []


def test_from_the_command_line(tmp_path, run, capsys):
    result = made_result(run, tmp_path / "r.h5")
    assert main(["convert", str(result), str(tmp_path / "r.dcm")]) == 2
    assert "--source" in capsys.readouterr().err
    assert main(["convert", str(result), str(tmp_path / "r.dcm"), "--source", str(run)]) == 0
    assert "r.summary.dcm" in capsys.readouterr().out
    arguments = ["--gain", str(GAIN), "--offset", str(OFFSET), "--photons", "200"]
    assert main(["convert", str(run), str(tmp_path / "run.h5"), *arguments]) == 0
    np.testing.assert_array_equal(open_scenes(tmp_path / "run.h5")["sample_00"].y, COUNTS)
    assert main(["convert", str(run), str(tmp_path / "no.h5"), "--gain", "0"]) == 2
    assert "--gain is 0" in capsys.readouterr().err


@pytest.mark.parametrize("even", [True, False])
def test_images_between_the_frames_have_their_times(tmp_path, run, even):
    """Equal steps are a FrameTime; others a FrameTimeVector, whose first entry is zero."""
    times = 33.0 * np.arange(5) if even else np.array([0.0, 10.0, 40.0, 66.0, 132.0])
    (scene,) = open_scenes(run, selection=CHOSEN)
    path = tmp_path / "r.h5"
    provenance = Provenance.of_run(run, ReconstructOptions(times=tuple(times)), CHOSEN)
    result = Reconstruction(
        name=scene.name,
        x_hat=X_HAT,
        x_std=X_STD,
        spec=Spec(),
        spec_std=Spec(1.0, 1.0, 1.0),
        spec_interval={},
        status=Status.CONVERGED,
        seconds=1.0,
        nominal=scene.acquisition.as_dict(),
        counts_sha256=counts_digest(scene.y),
        times_ms=times,
    )
    with ReconstructionWriter(path, provenance, source=run) as writer:
        writer.write(result)
    image = dcmread(export_result(path, tmp_path / "r.dcm", run)[0])
    if even:
        assert float(image.FrameTime) == 33.0
        assert "FrameTimeVector" not in image
    else:
        assert [float(step) for step in image.FrameTimeVector] == [0.0, 10.0, 30.0, 26.0, 66.0]
        assert "FrameTime" not in image
