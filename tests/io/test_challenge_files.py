"""Challenge files: what is written is read back, in every placement the layout allows."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.io import InputError, list_scenes, open_scenes, read_scene, write_challenge

JSON_FIELDS = ("spec_ranges", "acquisition", "metadata", "true_spec")


def assert_same_scene(a, b):
    np.testing.assert_array_equal(a.y, b.y)
    assert a.acquisition.as_dict() == pytest.approx(b.acquisition.as_dict())
    assert a.ranges.as_dict() == b.ranges.as_dict()
    assert a.metadata == b.metadata
    assert (a.x_true is None) == (b.x_true is None)
    if a.x_true is not None:
        np.testing.assert_array_equal(a.x_true, b.x_true)
    assert (a.true_spec is None) == (b.true_spec is None)
    if a.true_spec is not None:
        assert a.true_spec.as_dict() == b.true_spec.as_dict()


@pytest.mark.parametrize("shape", [(3, 12, 12), (2, 5, 7), (9, 4)])
@pytest.mark.parametrize("public", [True, False])
def test_round_trip(tmp_path, make_scene, shape, public):
    scene = make_scene(shape=shape) if public else make_scene(shape=shape, x_true=None, true_spec=None)
    write_challenge(tmp_path / "a.h5", [scene])
    read = read_scene(tmp_path / "a.h5", "sample_00")
    assert read.y.dtype == np.float32
    assert_same_scene(read, scene)


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1, np.uint16), (1000, np.uint32), (0.5, np.float32)], ids=["small", "large", "fractional"]
)
def test_counts_take_the_smallest_exact_type(tmp_path, make_scene, scale, dtype):
    y = (make_scene().y + 1) * scale
    write_challenge(tmp_path / "a.h5", [make_scene(y=y)])
    with h5py.File(tmp_path / "a.h5") as handle:
        assert handle["sample_00/y"].dtype == dtype
    np.testing.assert_array_equal(read_scene(tmp_path / "a.h5", "sample_00").y, y)


def test_one_frame_stack_is_stored_as_a_frame(tmp_path, make_scene):
    scene = make_scene(shape=(1, 12, 12))
    write_challenge(tmp_path / "a.h5", [scene])
    np.testing.assert_array_equal(read_scene(tmp_path / "a.h5", "sample_00").y, scene.y[0])


@pytest.mark.parametrize("name", ["patient", "sample_a/b", "sample_\x1b[2J", f"sample_{'0' * 130}"])
def test_a_scene_that_no_reader_would_find_is_not_written(tmp_path, make_scene, name):
    with pytest.raises(InputError, match="is no name of a scene in a file"):
        write_challenge(tmp_path / "a.h5", [replace(make_scene(), name=name)])
    assert list(tmp_path.iterdir()) == []


def test_two_scenes_of_one_name_are_not_written(tmp_path, make_scene):
    with pytest.raises(InputError, match="sample_00: is the name of more than one scene"):
        write_challenge(tmp_path / "a.h5", [make_scene(), make_scene()])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encode", [str, str.encode, np.bytes_], ids=["str", "bytes", "fixed-length"])
@pytest.mark.parametrize("placement", ["attribute", "dataset"])
def test_json_placements_are_equivalent(tmp_path, make_scene, placement, encode):
    scene = make_scene(metadata={"scene": "plain"})
    write_challenge(tmp_path / "a.h5", [scene])
    with h5py.File(tmp_path / "a.h5", "r+") as handle:
        group = handle["sample_00"]
        for field in JSON_FIELDS:
            text = encode(group.attrs.pop(field).decode())
            if placement == "attribute":
                group.attrs[field] = text
            else:
                group.create_dataset(field, data=text)
    assert_same_scene(read_scene(tmp_path / "a.h5", "sample_00"), scene)


def test_long_json_moves_to_a_dataset(tmp_path, make_scene):
    scene = make_scene(metadata={"trace": list(range(30_000))})
    write_challenge(tmp_path / "a.h5", [scene])
    with h5py.File(tmp_path / "a.h5") as handle:
        assert "metadata" not in handle["sample_00"].attrs
    assert_same_scene(read_scene(tmp_path / "a.h5", "sample_00"), scene)


def edit_acquisition(path, **changes):
    with h5py.File(path, "r+") as handle:
        group = handle["sample_00"]
        values = {**json.loads(group.attrs["acquisition"]), **changes}
        group.attrs["acquisition"] = json.dumps({k: v for k, v in values.items() if v is not None})


def test_ideal_chain_stands_in_for_missing_fields(tmp_path, make_scene):
    write_challenge(tmp_path / "a.h5", [make_scene()])
    edit_acquisition(tmp_path / "a.h5", photons_per_pixel=None, scatter_fraction=None, lag_ms=None)
    scene = read_scene(tmp_path / "a.h5", "sample_00")
    assert float(scene.acquisition.photons_per_pixel) == 200.0
    assert scene.metadata["assumed"] == {"lag_ms": 10.0}


@pytest.mark.parametrize(("photons", "agrees"), [(200.1, True), (200.5, False)])
def test_ideal_chain_must_agree_to_a_thousandth(tmp_path, make_scene, photons, agrees):
    write_challenge(tmp_path / "a.h5", [make_scene()])
    edit_acquisition(tmp_path / "a.h5", photons_per_pixel=photons)
    if agrees:
        assert float(read_scene(tmp_path / "a.h5", "sample_00").acquisition.photons_per_pixel) == photons
    else:
        with pytest.raises(InputError, match=r"sample_00: H_ideal: says photons_per_pixel = 200"):
            read_scene(tmp_path / "a.h5", "sample_00")


def test_scenes_come_in_numeric_order(tmp_path, make_scene):
    names = ["sample_00", "sample_02", "sample_10", "sample_100"]
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        for name in reversed(names):
            handle.create_group(name)
        handle.create_group("notes")
    assert list_scenes(tmp_path / "a.h5") == names


def test_scenes_are_read_one_at_a_time(tmp_path, make_scene):
    write_challenge(tmp_path / "a.h5", [make_scene("sample_00"), make_scene("sample_01")])
    with h5py.File(tmp_path / "a.h5", "r+") as handle:
        del handle["sample_01/y"]
    scenes = iter(open_scenes(tmp_path / "a.h5"))
    assert next(scenes).name == "sample_00"
    with pytest.raises(InputError, match="sample_01: y: missing"):
        next(scenes)


def test_bad_scenes_are_skipped_on_request(tmp_path, make_scene):
    write_challenge(tmp_path / "a.h5", [make_scene(f"sample_0{i}") for i in range(3)])
    with h5py.File(tmp_path / "a.h5", "r+") as handle:
        del handle["sample_01/y"]
    errors = []
    assert [s.name for s in open_scenes(tmp_path / "a.h5", on_error=errors.append)] == ["sample_00", "sample_02"]
    assert [(e.scene, e.field) for e in errors] == [("sample_01", "y")]


def test_a_failing_write_leaves_nothing(tmp_path, make_scene):
    def scenes():
        yield make_scene()
        raise RuntimeError("out of photons")

    with pytest.raises(RuntimeError, match="out of photons"):
        write_challenge(tmp_path / "a.h5", scenes())
    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_what_the_reader_would(tmp_path, make_scene):
    with pytest.raises(InputError, match="sample_00: y: has -1 at index"):
        write_challenge(tmp_path / "a.h5", [make_scene(y=-np.ones((3, 12, 12), np.float32))])
    assert list(tmp_path.iterdir()) == []


def test_the_writer_refuses_what_is_not_finite_in_single_precision(tmp_path, make_scene):
    large = np.full((3, 12, 12), 1e39)
    for change, field in (({"y": large}, "y"), ({"x_true": large}, "x_true")):
        with pytest.raises(InputError, match=rf"sample_00: {field}: has 1e\+39 at index.*single precision"):
            write_challenge(tmp_path / "a.h5", [make_scene(**change)])
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_kept_without_overwrite(tmp_path, make_scene):
    write_challenge(tmp_path / "a.h5", [make_scene()])
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(InputError, match="already exists"):
        write_challenge(tmp_path / "a.h5", [make_scene("sample_01")])
    assert (tmp_path / "a.h5").read_bytes() == before
    write_challenge(tmp_path / "a.h5", [make_scene("sample_01")], overwrite=True)
    assert list_scenes(tmp_path / "a.h5") == ["sample_01"]


def test_negative_counts_need_electronic_noise(tmp_path, make_scene):
    noisy = Acquisition(photons_per_pixel=200.0, attenuation_scale=2.0, electronic_noise=1.5)
    counts = np.random.default_rng(0).normal(0.0, 1.5, (3, 12, 12)).astype(np.float32)
    scene = make_scene(y=counts, acquisition=noisy)
    write_challenge(tmp_path / "a.h5", [scene])
    again = read_scene(tmp_path / "a.h5", "sample_00")
    np.testing.assert_array_equal(again.y, counts)
    assert again.acquisition.as_dict() == pytest.approx(noisy.as_dict())
    whole = make_scene(y=np.rint(counts), acquisition=noisy)
    write_challenge(tmp_path / "b.h5", [whole])
    np.testing.assert_array_equal(read_scene(tmp_path / "b.h5", "sample_00").y, np.rint(counts))
    with pytest.raises(InputError, match=r"sample_00: y: has -.* expected counts ≥ 0, which only electronic noise"):
        read_scene(tmp_path / "a.h5", "sample_00", protocol={"electronic_noise": 0.0})


def test_files_without_electronic_noise_need_not_say_so(tmp_path, make_scene):
    write_challenge(tmp_path / "a.h5", [make_scene()])
    with h5py.File(tmp_path / "a.h5", "r+") as handle:
        stored = json.loads(handle["sample_00"].attrs["acquisition"])
        assert stored.pop("electronic_noise") == 0.0
        handle["sample_00"].attrs["acquisition"] = json.dumps(stored)
    scene = read_scene(tmp_path / "a.h5", "sample_00")
    assert scene.acquisition.electronic_noise == 0.0
    assert "assumed" not in scene.metadata


@pytest.mark.parametrize("noise", [-1.0, float("inf"), 1e30])
def test_electronic_noise_that_cannot_be_is_refused(tmp_path, make_scene, noise):
    write_challenge(tmp_path / "a.h5", [make_scene()])
    with pytest.raises(InputError, match=r"acquisition: electronic_noise is .* expected a number ≥ 0"):
        read_scene(tmp_path / "a.h5", "sample_00", protocol={"electronic_noise": noise})
