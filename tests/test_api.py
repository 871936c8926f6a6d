"""The front door: what ``import fluorojax`` offers, and what it refuses."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from small_models import MODEL

import fluorojax
from fluorojax.data.spec import SpecRanges
from fluorojax.io import write_challenge

COUNTS = np.random.default_rng(0).poisson(50.0, (4, 16, 16))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "mine.py"
    path.write_text(MODEL)
    return str(path)


def test_import_is_light_and_every_name_is_there():
    code = "import sys, fluorojax; heavy = {'jax', 'numpyro', 'h5py', 'matplotlib', 'scipy'} & set(sys.modules); "
    code += "assert not heavy, heavy; assert set(fluorojax.__all__) <= set(dir(fluorojax)); "
    code += "[getattr(fluorojax, name) for name in fluorojax.__all__]"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fluorojax.nonsense


def test_a_stack_of_counts_needs_no_file(model):
    result = fluorojax.reconstruct(COUNTS, model=model, fps=15, photons=2000, attenuation_scale=5.0)
    scene = fluorojax.scene_from_counts(COUNTS, fps=15, photons=2000, attenuation_scale=5.0)
    assert scene.acquisition.as_dict()["frame_time_ms"] == pytest.approx(1000 / 15)
    assert scene.acquisition.as_dict()["photons_per_pixel"] == 2000
    again = fluorojax.reconstruct(scene, model=model)
    np.testing.assert_array_equal(result.x_hat, again.x_hat)
    assert result.x_hat.shape == COUNTS.shape


def test_scenes_and_files_give_lists_in_their_order(model, tmp_path):
    scenes = fluorojax.simulate(2, seed=4, frames=4, size=16, output=tmp_path / "in.h5")
    small = replace(scenes[0], name="b", y=scenes[0].y[:, :12], x_true=scenes[0].x_true[:, :12])
    mixed = fluorojax.reconstruct([scenes[1], small, scenes[0]], model=model)
    assert [result.name for result in mixed] == ["sample_01", "b", "sample_00"]
    from_file = fluorojax.reconstruct(tmp_path / "in.h5", model=model)
    assert [result.name for result in from_file] == ["sample_00", "sample_01"]
    np.testing.assert_allclose(from_file[0].x_hat, mixed[2].x_hat, atol=1e-5)
    assert fluorojax.score(from_file[0], scenes[0]).psnr > 10


def test_the_default_range_is_narrowed_where_the_window_would_reach_zero():
    with pytest.warns(UserWarning, match=r"range of motion_blur narrowed to -3.6 … 10 ms: with pulse_width_ms 4"):
        scene = fluorojax.scene_from_counts(COUNTS, pulse_ms=4)
    assert scene.ranges.as_dict()["motion_blur"] == pytest.approx((-3.6, 10.0))
    assert scene.ranges.as_dict()["lag"] == pytest.approx((-3.0, 6.0))


@pytest.mark.parametrize(
    ("counts", "arguments", "message"),
    [
        (-COUNTS, {}, "sample_00: counts: has -.* at index .*; expected counts ≥ 0"),
        (np.where(COUNTS > 60, np.nan, COUNTS), {}, "counts: has nan at index .*; expected finite counts"),
        (COUNTS[0, 0], {}, r"counts: has shape \(16,\); expected \(T, H, W\)"),
        (COUNTS.astype(str), {}, "counts: have dtype <U.*; expected real numbers"),
        (COUNTS + 1j, {}, "counts: have dtype complex128; expected real numbers"),
        (COUNTS, {"fps": 0}, "fps: is 0; expected a positive number of frames per second"),
        (COUNTS, {"fps": "fast"}, "fps: is 'fast'; expected a number"),
        (COUNTS, {"fps": 15, "frame_time_ms": 66}, "frame_time_ms: gives frame_time_ms a second time"),
        (COUNTS, {"pulse_ms": float("nan")}, "pulse_width_ms is nan; expected a finite number"),
        (COUNTS, {"photons": -1}, "photons_per_pixel is -1; expected a positive number"),
        (COUNTS, {"photons": float("inf")}, "photons_per_pixel is inf; expected a positive number"),
        (COUNTS, {"kilovolts": 75}, "kilovolts: is no protocol value; expected fps, photons, pulse_ms"),
        (COUNTS, {"tier": "secret"}, "tier: tier is 'secret'; expected one of public, dev, hidden"),
        (COUNTS, {"ranges": SpecRanges.for_tier("public"), "pulse_ms": 4}, "makes the exposure window -1 ms"),
        (
            COUNTS,
            {"ranges": SpecRanges(np.float32([0, 0, 1]), np.float32([1, 1, 1]))},
            "ranges: gain_drift has min 1 and max 1",
        ),
    ],
)
def test_bad_counts_and_protocols_are_refused_by_name(counts, arguments, message):
    with pytest.raises(fluorojax.InputError, match=message):
        fluorojax.reconstruct(counts, **arguments)


def test_scenes_made_by_hand_get_the_checks_of_files(model):
    good = fluorojax.scene_from_counts(COUNTS)
    with pytest.raises(fluorojax.InputError, match="sample_00: counts: has nan"):
        fluorojax.reconstruct(replace(good, y=np.full(COUNTS.shape, np.nan, np.float32)), model=model)
    with pytest.raises(fluorojax.InputError, match=r"x_true: has shape \(2, 2\); expected \(4, 16, 16\)"):
        fluorojax.reconstruct([replace(good, x_true=np.zeros((2, 2), np.float32))], model=model)
    with pytest.raises(fluorojax.InputError, match="sample_00: is the name of more than one scene"):
        fluorojax.reconstruct([good, good], model=model)
    with pytest.raises(fluorojax.InputError, match="fps: is given for a scene that has its own"):
        fluorojax.reconstruct(good, model=model, fps=15)


def test_score_wants_two_of_a_kind(tmp_path):
    (scene,) = fluorojax.simulate(1, frames=2, size=16)
    write_challenge(tmp_path / "in.h5", [scene])
    with pytest.raises(fluorojax.InputError, match="expected two files, or a result and a scene"):
        fluorojax.score(tmp_path / "in.h5", scene)
