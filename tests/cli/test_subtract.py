"""The command `subtract`: what it writes, for counts and reconstructions, and what it refuses."""

import json

import h5py
import numpy as np
import pytest

from fluorojax.io import read_scene, write_challenge
from fluorojax.simulation import SimulationOptions, simulate_scene
from fluorojax.subtraction.dsa import CountRun, subtract
from fluorojax.subtraction.files import parse_frames

SHAPE = (6, 24, 24)


@pytest.fixture
def counts(tmp_path, make_scene):
    path = tmp_path / "counts.h5"
    write_challenge(path, [make_scene(f"sample_0{i}", SHAPE) for i in range(2)])
    return path


@pytest.fixture
def result(run, engine, counts, tmp_path):
    assert run("reconstruct", counts, "-o", tmp_path / "result.h5", "-q")[0] == 0
    return tmp_path / "result.h5"


def test_counts(run, counts, tmp_path):
    out = tmp_path / "out.h5"
    code, stdout, stderr = run("subtract", counts, "-o", out, "--mask", "0:3", "--verbose")
    assert (code, stdout) == (0, f"wrote {out}\n"), stderr
    scene = read_scene(counts, "sample_01")
    expected = subtract(CountRun(scene.y, scene.acquisition), range(3))
    assert stderr.endswith(f"sample_01: mask shifted by up to {np.abs(expected.shift).max():.2f} pixels\n")
    with h5py.File(out) as handle:
        assert handle.attrs["mode"] == b"subtraction"
        assert (handle.attrs["source"], handle.attrs["input_file"]) == (b"counts", b"counts.h5")
        assert json.loads(handle.attrs["settings"])["match_level"] is True
        assert len(handle.attrs["input_sha256"]) == 64
        group = handle["sample_01"]
        assert json.loads(group.attrs["mask_frames"]) == [0, 1, 2]
        np.testing.assert_array_equal(group["subtraction"], expected.contrast)
        np.testing.assert_array_equal(group["subtraction_std"], expected.std)
        assert group["subtraction"].dtype == np.float32
        assert group["shift"].shape == group["shift_std"].shape == (6, 2)
        assert "vessel_map" not in group
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counts.h5", "out.h5"]


def test_reconstruction_keeps_its_level(run, result, tmp_path):
    out = tmp_path / "out.h5"
    assert run("subtract", result, "-o", out, "--mask", "0,1", "--no-register", "-q") == (0, "", "")
    with h5py.File(out) as handle, h5py.File(result) as source:
        assert handle.attrs["source"] == b"reconstruction"
        x = source["sample_00/x_hat"][()].astype(float)
        np.testing.assert_allclose(handle["sample_00/subtraction"], x - x[:2].mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(handle["sample_00/subtraction_std"], 0.05 * np.sqrt(2), rtol=1e-6)
        np.testing.assert_array_equal(handle["sample_00/level"], 0.0)


def test_road_map_and_scores(run, tmp_path):
    scenes, out = tmp_path / "scenes.h5", tmp_path / "map.h5"
    options = SimulationOptions(frames=12, fps=8.0, size=48, photons=1e5)
    write_challenge(scenes, [simulate_scene(77, options, index=3)])
    args = ("--mask", "0:3", "--truth", scenes)
    code, stdout, stderr = run("subtract", scenes, "-o", out, "--road-map", "--peak", "7:9", *args)
    assert code == 0, stderr
    assert "contrast of the vessels" in stdout
    with h5py.File(out) as handle:
        group = handle["sample_00"]
        assert json.loads(group.attrs["peak_frames"]) == [7, 8]
        assert group["vessel_map"].shape == group["vessel_map_std"].shape == (48, 48)
        assert handle.attrs["mode"] == b"road map"
    code, stdout, _ = run("subtract", scenes, "-o", tmp_path / "plain.h5", *args)
    assert code == 0
    row = next(line.split() for line in stdout.splitlines() if "sample_00" in line)
    assert len(row) == 7
    assert all(np.isfinite(float(cell.replace("−", "-"))) for cell in row[1:])


def test_diverged_scenes_are_left_out(run, engine, counts, tmp_path):
    engine.diverging = {"sample_00"}
    assert run("reconstruct", counts, "-o", tmp_path / "result.h5", "-q")[0] == 1
    code, _, stderr = run("subtract", tmp_path / "result.h5", "-o", tmp_path / "out.h5", "-q")
    assert code == 1
    assert "sample_00: left out, diverged" in stderr
    with h5py.File(tmp_path / "out.h5") as handle:
        assert list(handle) == ["sample_01"]
        assert list(json.loads(handle.attrs["skipped"])) == ["sample_00"]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--mask", "0:9"), "sample_00: mask frames are [0, 1, 2, 3, 4, 5, 6, 7, 8]; expected some of 0 … 5"),
        (("--mask", "a:b"), "--mask is 'a:b'; expected frames A:B"),
        (("--mask", "3:3"), "--mask is '3:3'"),
        (("--mask", "1,1"), "each once"),
        (("--peak", "4:6"), "expected them for a road map only"),
        (("--road-map", "--peak", "3:5"), "frame 3 is both mask and peak"),
    ],
)
def test_bad_frames(run, counts, tmp_path, args, named):
    code, stdout, stderr = run("subtract", counts, "-o", tmp_path / "out.h5", *args)
    assert (code, stdout) == (2, "")
    assert named in stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == [counts]


def test_what_cannot_be_subtracted_is_named(run, result, counts, tmp_path, make_scene):
    single, out = tmp_path / "single.h5", tmp_path / "out.h5"
    write_challenge(single, [make_scene(shape=(24, 24))])
    assert "sample_00: y: has shape (24, 24); expected a sequence" in run("subtract", single, "-o", out, "-q")[2]
    with h5py.File(result, "r+") as handle:
        del handle["sample_01/x_std"]
    assert "sample_01: x_std: missing" in run("subtract", result, "-o", out, "-q")[2]
    with h5py.File(result, "r+") as handle:
        del handle["sample_00/x_hat"]
    assert "sample_00: holds neither x_hat nor y" in run("subtract", result, "-o", out, "-q")[2]
    assert not out.exists()
    code, _, stderr = run("subtract", counts, "-o", counts, "--overwrite")
    assert code == 2
    assert "is the input file" in stderr
    code, _, stderr = run("subtract", counts, "-o", out, "-q", "--truth", counts)
    assert code == 2
    assert "sample_00: metadata records no seed and motion" in stderr
    assert not out.exists()


@pytest.mark.parametrize(("text", "frames"), [("0:3", (0, 1, 2)), (":2", (0, 1)), ("5", (5,)), ("4,2", (4, 2))])
def test_frames(text, frames):
    assert parse_frames("--mask", text) == frames
