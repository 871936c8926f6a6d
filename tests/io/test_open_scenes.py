"""Files of scenes are told by their content; a selection of scenes, frames and pixels goes with the result."""

import math

import h5py
import numpy as np
import pytest
from tifffile import imwrite

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.digest import counts_digest
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.io import InputError, Selection, open_scenes, write_challenge, write_stack
from fluorojax.io.selection import parse_range, parse_window

COUNTS = np.random.default_rng(0).poisson(50, (5, 8, 9)).astype(np.float32)
PHOTONS = Selection(protocol={"photons_per_pixel": 300.0})


def scene(name="sample_00", counts=COUNTS):
    acquisition = Acquisition(photons_per_pixel=300.0, frame_time_ms=50.0)
    return Scene(name, counts, acquisition, SpecRanges.for_tier("public"), x_true=counts / 300)


@pytest.fixture
def challenge(tmp_path):
    write_challenge(tmp_path / "in.h5", [scene(), scene("sample_01", COUNTS + 1)])
    return tmp_path / "in.h5"


@pytest.mark.parametrize("name", ["in.npy", "in.tif", "counts.data"])
def test_stacks_are_told_by_their_content(tmp_path, name):
    path = tmp_path / name
    if name.endswith("tif"):
        imwrite(path, COUNTS.astype(np.uint16), photometric="minisblack")
    else:
        with path.open("wb") as handle:
            np.save(handle, COUNTS.astype(np.int64))
    scenes = open_scenes(path, selection=PHOTONS)
    assert scenes.names == ("sample_00",)
    assert scenes.shapes() == {"sample_00": COUNTS.shape}
    (found,) = scenes
    np.testing.assert_array_equal(found.y, COUNTS)
    assert found.y.dtype == np.float32
    assert float(found.acquisition.photons_per_pixel) == 300.0
    assert found.metadata["assumed"]["pulse_width_ms"] == 8.0


def test_a_tiff_stack_keeps_its_protocol(tmp_path):
    acquisition = Acquisition(photons_per_pixel=321.0, frame_time_ms=66.0, pulse_width_ms=5.5)
    write_stack(tmp_path / "a.tiff", COUNTS, acquisition=acquisition)
    found = open_scenes(tmp_path / "a.tiff")["sample_00"]
    assert found.acquisition.as_dict() == acquisition.as_dict()
    assert "assumed" not in found.metadata
    np.testing.assert_array_equal(found.y, COUNTS)


def test_an_array_without_its_photons_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS)
    with pytest.raises(InputError, match=r"lacks photons_per_pixel.*--photons"):
        open_scenes(tmp_path / "a.npy")["sample_00"]


def test_ranges_of_a_stack_are_narrowed_where_the_window_would_vanish(tmp_path):
    np.save(tmp_path / "a.npy", COUNTS)
    protocol = {"photons_per_pixel": 300.0, "pulse_width_ms": 4.0}
    found = open_scenes(tmp_path / "a.npy", selection=Selection(protocol=protocol))["sample_00"]
    assert found.ranges.as_dict()["motion_blur"] == pytest.approx((-3.6, 10.0))
    assert found.metadata["narrowed"] == {"motion_blur": pytest.approx(-3.6)}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.full((3, 4, 4), np.nan), "expected finite counts"),
        (-np.ones((3, 4, 4)), "expected counts ≥ 0"),
        (np.ones((2, 3, 4, 4)), "expected (T, H, W)"),
        (np.ones((3, 4, 4), complex), "expected real numbers"),
        (np.array([{}, {}], dtype=object), "cannot be read as a NumPy array"),
    ],
)
def test_a_bad_array_is_named(tmp_path, values, problem):
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(InputError) as caught:
        open_scenes(tmp_path / "a.npy", selection=PHOTONS)["sample_00"]
    assert problem in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("content", [b"II*\0 and no more", b"\x93NUMPY\x01\x00", b"", b"time,counts\n"])
def test_damaged_and_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError):
        open_scenes(tmp_path / "a", selection=PHOTONS)["sample_00"]


def test_names_order_and_errors(challenge):
    scenes = open_scenes(challenge, ["sample_01"])
    assert [one.name for one in scenes] == ["sample_01"]
    assert len(scenes) == 1
    with pytest.raises(InputError, match="no such scene in this file; expected one of sample_00, sample_01"):
        open_scenes(challenge, ["sample_07"])


def test_frames_and_pixels_are_cut_from_counts_and_truth(challenge):
    selection = Selection(frames=(1, 4), crop=((2, 6), (0, 5)))
    scenes = open_scenes(challenge, selection=selection)
    assert scenes.shapes()["sample_00"] == (3, 4, 5)
    found = scenes["sample_00"]
    np.testing.assert_array_equal(found.y, COUNTS[1:4, 2:6, :5])
    np.testing.assert_allclose(found.x_true, COUNTS[1:4, 2:6, :5] / 300, rtol=1e-6)
    assert open_scenes(challenge, selection=Selection(frames=(2, 3)))["sample_00"].y.shape == (8, 9)
    assert open_scenes(challenge, selection=Selection(frames=(2, 3))).shapes()["sample_00"] == (8, 9)
    with pytest.raises(InputError, match="has 5 frames; expected at least 7"):
        open_scenes(challenge, selection=Selection(frames=(0, 7)))["sample_00"]


def test_bad_scenes_go_to_on_error(challenge):
    seen = []
    scenes = open_scenes(challenge, selection=Selection(frames=(0, 9)), on_error=seen.append)
    assert list(scenes) == []
    assert [error.scene for error in seen] == ["sample_00", "sample_01"]


def test_shapes_leave_out_what_cannot_be_read(tmp_path):
    write_challenge(tmp_path / "in.h5", [scene(), scene("sample_01", COUNTS[:3])])
    with h5py.File(tmp_path / "in.h5", "r+") as handle:
        handle["sample_02"] = np.zeros(3)
    assert open_scenes(tmp_path / "in.h5", selection=Selection(frames=(0, 4))).shapes() == {"sample_00": (4, 8, 9)}


def test_a_selection_survives_its_settings():
    selection = Selection(("sample_01",), (1, 4), ((0, 8), (2, 6)), {"lag_ms": 12.0}, "dev")
    assert Selection.from_settings({"spec": "joint", **selection.as_settings()}) == selection
    assert Selection().as_settings() == {}
    assert Selection.from_settings({}) == Selection()


@pytest.mark.parametrize(
    "settings",
    [
        {"frames": [5, 2]},
        {"frames": [-3, 2]},
        {"frames": [0.0, 2.0]},
        {"frames": [math.inf, 2]},
        {"frames": [1]},
        {"crop": [[0, 4], [3, 3]]},
        {"crop": [[0, 4]]},
        {"scenes": []},
        {"scenes": 3},
    ],
)
def test_settings_of_no_selection_are_refused(settings):
    with pytest.raises(ValueError, match=r"."):
        Selection.from_settings(settings)


@pytest.mark.parametrize("text", ["3", "4:2", "-1:3", "a:b", "1:1", ""])
def test_ranges_that_are_none(text):
    with pytest.raises(ValueError, match="--frames is"):
        parse_range("--frames", text)
    with pytest.raises(ValueError, match="--crop is"):
        parse_window("--crop", f"0:4,{text}")


def test_the_digest_is_of_the_values_not_of_the_dtype():
    assert counts_digest(COUNTS) == counts_digest(COUNTS.astype(np.uint16))
    assert counts_digest(COUNTS) != counts_digest(COUNTS + 1)
    assert counts_digest(COUNTS) != counts_digest(COUNTS.reshape(5, 9, 8))


@pytest.mark.parametrize("path", [None, 3, b"x", ""])
def test_what_is_no_path_is_named(path):
    with pytest.raises(InputError, match=r"path.*expected the path of a file"):
        open_scenes(path)


def test_extensions_of_the_imaging_chain(challenge):
    selection = Selection(chain=("scatter", "glare-share"))
    scene = open_scenes(challenge, selection=selection)["sample_00"]
    added = ["scatter_ratio", "scatter_width", "scatter_tail", "glare_share"]
    assert list(scene.ranges.names)[3:] == added
    assert scene.ranges.as_dict()["scatter_ratio"] == (0.0, 1.0)
    assert Selection.from_settings(selection.as_settings()) == selection
    with pytest.raises(ValueError, match="stage is 'warp'; expected names among scatter"):
        Selection(chain=("warp",))
