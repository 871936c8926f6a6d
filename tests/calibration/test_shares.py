"""Shares of scatter and glare: bounded by the darkest place, and left at the prior where nothing bounds them."""

import numpy as np
import pytest

from fluorojax.calibration.posterior import calibrate, calibrate_shares
from fluorojax.calibration.shares import unknown_shares, with_known_shares
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.physics import PUBLISHED_OPERATOR, DarkRate, Scatter, VeilingGlare

SCATTER = PUBLISHED_OPERATOR.with_stage(Scatter(unknown="share"))
PROTOCOL = Acquisition(photons_per_pixel=2000.0, attenuation_scale=5.0)


def scene(operator, x, **spec):
    """Counts of a scene at rest."""
    expected = operator(np.broadcast_to(x, (4, *x.shape)).astype(np.float32), Spec(**spec), PROTOCOL)
    counts = np.random.default_rng(0).poisson(np.asarray(expected)).astype(np.float32)
    return Scene("sample_00", counts, PROTOCOL, SpecRanges.for_tier("public"), operator=operator)


def lungs_and_spine(densest=0.9):
    """An image with a level of 0.3 and one dense place of 8 × 8 pixels."""
    x = np.full((40, 48), 0.3)
    x[16:24, 20:28] = densest
    return x


def test_a_dense_place_bounds_the_scatter():
    ratio = 0.4
    found = calibrate_shares(scene(SCATTER, lungs_and_spine(), scatter_ratio=ratio))["scatter_ratio"]
    assert found.quantile(0.05) < ratio < found.quantile(0.97)
    assert found.quantile(0.99) < 1.15 * ratio
    assert found.contraction > 0.5
    assert found.grid[found.density.argmax()] > 0.7 * ratio  # little is left of the signal at a dense place


def test_without_a_dense_place_the_scatter_is_not_determined():
    posterior = calibrate(scene(SCATTER, np.full((24, 24), 0.3), scatter_ratio=0.4))
    assert posterior.marginals["scatter_ratio"].contraction < 0.15
    interval = posterior.interval["scatter_ratio"]
    assert interval[0] < 0.2
    assert interval[1] > 0.8


def test_counts_above_the_open_beam_show_a_least_scatter():
    x = np.full((40, 48), 0.02)
    found = calibrate_shares(scene(SCATTER, x, scatter_ratio=0.6))["scatter_ratio"]
    # a mean gain of at most 1.015 within the range of the drift, and x of at least zero
    assert found.quantile(0.05) > 0.35


def test_a_kernel_and_a_dark_signal_widen_what_is_known_and_keep_the_truth():
    operator = PUBLISHED_OPERATOR.with_stage(Scatter(unknown="everything")).with_stage(DarkRate(20.0))
    found = calibrate_shares(
        scene(operator, lungs_and_spine(), scatter_ratio=0.4, scatter_width=0.15, scatter_tail=0.8)
    )
    assert list(found) == ["scatter_ratio", "scatter_width", "scatter_tail"]
    assert found["scatter_ratio"].quantile(0.05) < 0.4 < found["scatter_ratio"].quantile(0.97)
    assert found["scatter_width"].contraction < 0.5


def test_a_dense_place_bounds_the_glare():
    operator = PUBLISHED_OPERATOR.with_stage(VeilingGlare(radius=8.0, unknown="share"))
    found = calibrate_shares(scene(operator, lungs_and_spine(0.95), glare_share=0.06))["glare_share"]
    assert found.quantile(0.03) < 0.06 < found.quantile(0.99)
    assert found.quantile(0.99) < 0.1


def test_reduced_models_get_a_scene_whose_shares_are_known():
    operator = PUBLISHED_OPERATOR.with_stage(Scatter(unknown="everything")).with_stage(VeilingGlare(unknown="share"))
    given = scene(operator, lungs_and_spine(), scatter_ratio=0.4, glare_share=0.05)
    marginals = calibrate_shares(given)
    known = with_known_shares(given, marginals)
    assert unknown_shares(known.operator) == ()
    assert known.ranges.names == ("motion_blur", "lag", "gain_drift")
    ratio = marginals["scatter_ratio"].quantile(0.5)
    assert known.acquisition.as_dict()["scatter_fraction"] == pytest.approx(ratio / (1 + ratio))
    assert known.operator.stage(VeilingGlare).share == pytest.approx(marginals["glare_share"].quantile(0.5))
    published = scene(PUBLISHED_OPERATOR, lungs_and_spine())
    assert with_known_shares(published, {}) is published
    assert calibrate_shares(published) == {}


def test_calibration_is_deterministic_and_takes_single_frames():
    given = scene(SCATTER, lungs_and_spine(), scatter_ratio=0.3)
    single = Scene("sample_00", given.y[0], PROTOCOL, given.ranges, operator=SCATTER)
    first, again = (calibrate(single).marginals["scatter_ratio"] for _ in range(2))
    np.testing.assert_array_equal(first.density, again.density)
    assert first.quantile(0.05) < 0.3 < first.quantile(0.97)
