"""Challenge scores, coverage and the score of a scene."""

import math

import h5py
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import InputError, Provenance, ReconstructionWriter, write_challenge
from fluorojax.metrics import (
    blind_score,
    coverage,
    expected_counts,
    moving_pixels,
    score_files,
    score_scene,
    spec_errors,
    standard_score,
)

TRUE_SPEC = Spec(1.0, -2.0, 0.25)
SHAPE = (3, 12, 12)
DIVERGED = Status.DIVERGED


def make_scene(name="sample_00", **changes):
    x_true = np.random.default_rng(0).uniform(0.2, 0.8, SHAPE).astype(np.float32)
    acquisition = Acquisition(photons_per_pixel=200.0, attenuation_scale=2.0)
    counts = expected_counts(x_true, TRUE_SPEC, acquisition)
    fields = {"x_true": x_true, "true_spec": TRUE_SPEC, **changes}
    return Scene(name, counts, acquisition, SpecRanges.for_tier("public"), **fields)


def make_result(name="sample_00", error=0.0, **changes):
    interval = {"motion_blur": (0.0, 2.0), "lag": (-1.0, 1.0), "gain_drift": (math.nan, math.nan)}
    fields = {
        "x_hat": make_scene().x_true + np.float32(error),
        "x_std": np.full(SHAPE, 0.1, np.float32),
        "spec": Spec(1.5, -2.0, 0.0),
        "spec_std": Spec(0.5, 0.1, math.nan),
        "spec_interval": interval,
        "status": Status.CONVERGED,
        "seconds": 2.0,
    }
    return Reconstruction(name=name, **{**fields, **changes})


@pytest.mark.parametrize(
    ("psnr", "ssim", "score"),
    [(30.0, 0.9, 0.7), (15.0, 0.0, 0.0), (0.0, 0.5, 0.25), (45.0, 1.0, 1.0), (60.0, 1.0, 1.0), (math.inf, 1.0, 1.0)],
)
def test_standard_score(psnr, ssim, score):
    assert standard_score(psnr, ssim) == pytest.approx(score)


@pytest.mark.parametrize(("scale", "residual"), [(1.0, 0.0), (1.5, 0.5), (0.0, 1.0), (3.0, 2.0)])
@pytest.mark.parametrize(("psnr", "quality"), [(30.0, 0.2), (5.0, 0.0), (math.inf, 0.4)])
def test_blind_score(scale, residual, psnr, quality):
    y = np.arange(1.0, 13).reshape(3, 2, 2)
    assert blind_score(psnr, 0.5, y, scale * y) == pytest.approx(quality + 0.2 + 0.2 * (1 - residual))


def test_blind_score_needs_counts():
    with pytest.raises(ValueError, match="all counts are zero"):
        blind_score(30.0, 0.5, np.zeros(SHAPE), np.ones(SHAPE))
    with pytest.raises(ValueError, match="like y"):
        blind_score(30.0, 0.5, np.ones(SHAPE), np.ones((2, 2)))


def test_moving_pixels_are_the_upper_fifth():
    amplitude = np.arange(100.0).reshape(10, 10)
    x = amplitude * np.array([0.0, 1.0])[:, None, None]
    np.testing.assert_array_equal(moving_pixels(x), amplitude >= 80)
    assert not moving_pixels(x[0]).any()


def test_calibrated_intervals_cover_at_their_level():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 100, 100))
    for entry in coverage(x + 0.2 * rng.normal(size=x.shape), np.full(x.shape, 0.2), x):
        for share in (entry.overall, entry.moving, entry.static):
            assert share == pytest.approx(entry.level, abs=0.02)


def test_coverage_splits_moving_and_static():
    x = np.arange(100.0).reshape(10, 10) * np.array([0.0, 1.0])[:, None, None]
    x_hat = np.where(moving_pixels(x), x + 10, x)
    for entry in coverage(x_hat, np.ones(x.shape), x):
        assert (entry.overall, entry.moving, entry.static) == (0.8, 0.0, 1.0)


def test_coverage_of_a_frame_has_no_moving_part():
    entry = coverage(np.zeros((12, 12)), np.ones((12, 12)), np.zeros((12, 12)))[0]
    assert math.isnan(entry.moving)
    assert entry.static == entry.overall == 1.0


def test_spec_errors():
    errors = spec_errors(make_result(), TRUE_SPEC)
    assert {name: entry.error for name, entry in errors.items()} == {
        "motion_blur": 0.5,
        "lag": 0.0,
        "gain_drift": -0.25,
    }
    assert {name: entry.in_interval for name, entry in errors.items()} == {
        "motion_blur": True,
        "lag": False,
        "gain_drift": None,
    }


def test_scene_score_uses_the_corrected_operator():
    scene = make_scene()
    exact = score_scene(make_result(spec=TRUE_SPEC), scene)
    assert (exact.psnr, exact.standard) == (math.inf, pytest.approx(1.0))
    assert exact.blind == pytest.approx(1.0, abs=1e-6)
    assert score_scene(make_result(), scene).blind < exact.blind - 1e-4
    assert score_scene(make_result(error=0.1), scene).psnr == pytest.approx(20.0, abs=1e-4)


@pytest.mark.parametrize(
    ("result", "scene", "field"),
    [
        (make_result(), make_scene(x_true=None), "x_true"),
        (make_result(x_hat=np.zeros((2, 12, 12), np.float32), x_std=None), make_scene(), "x_hat"),
        (make_result(x_hat=np.full(SHAPE, np.nan, np.float32)), make_scene(), "x_hat"),
    ],
    ids=["no truth", "another shape", "not finite"],
)
def test_what_cannot_be_scored_is_named(result, scene, field):
    with pytest.raises(InputError) as caught:
        score_scene(result, scene, file="out.h5")
    assert (caught.value.file, caught.value.scene, caught.value.field) == ("out.h5", "sample_00", field)


@pytest.fixture
def files(tmp_path):
    truth, out = tmp_path / "in.h5", tmp_path / "out.h5"
    write_challenge(truth, [make_scene("sample_00"), make_scene("sample_01")])

    def reconstruct(*results, skipped=None):
        provenance = Provenance.of_run(truth, ReconstructOptions())
        with ReconstructionWriter(out, provenance, source=truth) as writer:
            for result in results:
                writer.write(result)
            writer.note_skipped(skipped or {})
        return out, truth

    return reconstruct


def test_means_over_scenes(files):
    score = score_files(*files(make_result("sample_00", 0.1), make_result("sample_01", 0.01, x_std=None)))
    mean = score.means()
    assert mean["psnr"] == pytest.approx(30.0, abs=1e-3)
    assert mean["coverage"]["0.90"] == score.as_dict()["scenes"][0]["coverage"]["0.90"]
    assert mean["abs_spec_error"] == pytest.approx({"motion_blur": 0.5, "lag": 0.0, "gain_drift": 0.25})


@pytest.mark.parametrize("value", [0.5, math.nan])
def test_diverged_scenes_are_not_scored_and_enter_no_mean(files, value):
    x_hat = np.full(SHAPE, value, np.float32)
    score = score_files(*files(make_result("sample_00", 0.1), make_result("sample_01", x_hat=x_hat, status=DIVERGED)))
    assert math.isnan(score.scenes[1].psnr)
    assert (score.scenes[1].coverage, score.scenes[1].spec) == ((), {})
    assert score.diverged == ("sample_01",)
    assert [scene.name for scene in score.averaged] == ["sample_00"]
    assert score.means()["psnr"] == pytest.approx(20.0, abs=1e-3)
    assert score.as_dict()["mean_over"] == ["sample_00"]


def test_both_files_must_hold_the_same_scenes(files):
    with pytest.raises(InputError, match=r"out.h5: sample_01: missing"):
        score_files(*files(make_result("sample_00")))


def test_a_scene_unknown_to_the_truth_is_named(files):
    out, truth = files(make_result("sample_00"), make_result("sample_01"), make_result("sample_02"))
    with pytest.raises(InputError, match=r"in.h5: sample_02: missing"):
        score_files(out, truth)


def test_skipped_scenes_enter_no_mean(files):
    out, truth = files(make_result("sample_00", 0.1), skipped={"sample_01": "y: missing"})
    with h5py.File(truth, "r+") as handle:
        del handle["sample_01/y"]
    # The truth lost a scene after the reconstruction, so that it is another file.
    score = score_files(out, truth, allow_other=True)
    assert [scene.name for scene in score.scenes] == ["sample_00"]
    assert score.skipped == {"sample_01": "y: missing"}
