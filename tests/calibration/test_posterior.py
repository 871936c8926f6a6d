"""Marginal posteriors on a grid, and what is said about them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fluorojax.calibration.posterior import Marginal, SpecPosterior, calibrate
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES, SPEC_UNITS, TIERS, Spec, SpecRanges
from fluorojax.physics import PUBLISHED_OPERATOR, DarkRate, VeilingGlare

LOW, HIGH = -5.0, 10.0
GRID = np.linspace(LOW, HIGH, 401)


def gaussian(mean, sd):
    return Marginal.from_log(GRID, 1000.0 - 0.5 * ((GRID - mean) / sd) ** 2)


def test_the_uniform_prior():
    flat = Marginal.flat(LOW, HIGH)
    assert flat.mean == pytest.approx(2.5)
    assert flat.std == pytest.approx((HIGH - LOW) / np.sqrt(12), rel=1e-3)
    assert flat.contraction == pytest.approx(0, abs=1e-3)
    for probability in (0.0, 0.05, 0.5, 0.95, 1.0):
        assert flat.quantile(probability) == pytest.approx(LOW + probability * (HIGH - LOW))


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (4.0, 0.3), (2.5, 0.5)])
def test_a_gaussian_well_inside_the_range(mean, sd):
    marginal = gaussian(mean, sd)
    assert np.trapezoid(marginal.density, marginal.grid) == pytest.approx(1)
    assert marginal.mean == pytest.approx(mean, abs=1e-3)
    assert marginal.std == pytest.approx(sd, rel=1e-3)
    assert marginal.contraction == pytest.approx(1 - sd**2 / ((HIGH - LOW) ** 2 / 12), abs=1e-3)
    for probability in (0.05, 0.25, 0.5, 0.95):
        assert marginal.quantile(probability) == pytest.approx(stats.norm(mean, sd).ppf(probability), abs=5e-3)


def test_a_gaussian_cut_by_the_range_has_the_moments_of_the_truncated_one():
    exact = stats.truncnorm((LOW - 9) / 3, (HIGH - 9) / 3, 9, 3)
    cut = gaussian(9.0, 3.0)
    assert cut.mean == pytest.approx(exact.mean(), abs=1e-2)
    assert cut.std == pytest.approx(exact.std(), rel=1e-2)
    assert cut.quantile(0.5) == pytest.approx(exact.median(), abs=1e-2)


def test_constants_of_the_log_likelihood_do_not_matter():
    log = -0.5 * GRID**2
    for shift in (-1e6, 1e6):
        np.testing.assert_allclose(Marginal.from_log(GRID, log + shift).density, Marginal.from_log(GRID, log).density)


def test_impossible_values_have_no_mass():
    half = Marginal.from_log(GRID, np.where(GRID < 0, -np.inf, 0.0))
    assert half.quantile(0.0) >= -0.1
    assert half.mean == pytest.approx(HIGH / 2, abs=0.05)


def test_a_known_value_has_no_spread():
    known = Marginal.point(0.3)
    assert known.known
    assert (known.mean, known.std, known.contraction) == (0.3, 0.0, 1.0)
    assert known.quantile(0.05) == known.quantile(0.95) == 0.3
    assert not Marginal.flat(LOW, HIGH).known


def test_the_estimate_is_the_median_with_a_central_interval():
    skewed = Marginal.from_log(np.linspace(0, 20, 2001), -np.linspace(0, 20, 2001))
    posterior = SpecPosterior({"motion_blur": skewed, "lag": gaussian(1.0, 0.5), "gain_drift": Marginal.point(0.1)})
    assert posterior.spec.as_dict() == pytest.approx(
        {"motion_blur": np.log(2), "lag": 1.0, "gain_drift": 0.1}, abs=1e-3
    )
    assert posterior.std.as_dict() == pytest.approx({"motion_blur": 1.0, "lag": 0.5, "gain_drift": 0.0}, abs=1e-3)
    assert posterior.interval["motion_blur"] == pytest.approx((-np.log(0.95), -np.log(0.05)), abs=2e-3)
    assert posterior.interval["lag"] == pytest.approx((1 - 1.645 * 0.5, 1 + 1.645 * 0.5), abs=5e-3)
    assert posterior.interval["gain_drift"] == (0.1, 0.1)


@pytest.mark.parametrize(
    ("marginal", "words"),
    [
        (Marginal.flat(LOW, HIGH), ["not determined by these data (prior −5 … 10", "not a measurement"]),
        (gaussian(3.0, 0.5), ["+3.00 ± 0.50", "the data remove 99 % of the variance of the prior range −5 … 10"]),
        (gaussian(10.5, 1.0), ["edge", "−5 … 10", "check the range"]),
        (gaussian(-5.0, 1.0), ["edge", "−5 … 10", "check the range"]),
        (Marginal.point(-1.25), ["−1.25", "taken as known"]),
    ],
    ids=["flat", "good", "upper edge", "lower edge", "known"],
)
def test_sentences_say_what_the_data_say(marginal, words):
    sentences = SpecPosterior(dict.fromkeys(SPEC_NAMES, marginal)).sentences()
    for name in SPEC_NAMES:
        assert sentences[name].startswith(name)
        assert SPEC_UNITS[name] in sentences[name]
        for word in words:
            assert word in sentences[name]


@pytest.mark.parametrize("shape", [(12, 12), (1, 12, 12), (2, 12, 12), (6, 3, 12)])
def test_too_few_frames_or_pixels_leave_the_priors(shape):
    scene = Scene("sample_00", np.full(shape, 9.0, np.float32), Acquisition(), SpecRanges.for_tier("dev"))
    posterior = calibrate(scene)
    for name, (low, high) in TIERS["dev"].items():
        assert posterior.marginals[name].contraction == pytest.approx(0, abs=1e-3)
        assert getattr(posterior.spec, name) == pytest.approx((low + high) / 2, abs=1e-5)


def test_a_small_sequence_has_a_drift_but_no_window():
    counts = np.random.default_rng(0).poisson(50.0, (6, 12, 12)).astype(np.float32)
    posterior = calibrate(Scene("sample_00", counts, Acquisition(), SpecRanges.for_tier("dev")))
    assert posterior.marginals["motion_blur"].contraction == pytest.approx(0, abs=2e-3)
    assert posterior.marginals["lag"].contraction == pytest.approx(0, abs=2e-3)
    assert np.isfinite(posterior.spec.gain_drift)


@pytest.mark.parametrize("stage", [DarkRate(30.0), VeilingGlare(share=0.4, radius=8.0)], ids=["dark", "glare"])
def test_known_dark_signal_and_glare_do_not_pull_the_drift(stage):
    """The lower half gets brighter by about 4 %/frame; in the dark upper half nothing moves."""
    frames, drift = 12, 0.5
    t = np.arange(frames)[:, None, None]
    slopes, level = np.zeros((48, 48)), np.full((48, 48), 40.0)
    level[24:] = 120.0
    slopes[24:] = 2 * np.random.default_rng(1).normal(size=(24, 48)) + 4
    primary = jnp.asarray(level * np.exp((np.log1p(drift / 100) + slopes / 100) * t), jnp.float32)
    rate = stage(primary, Spec(), Acquisition())
    counts = np.random.default_rng(2).poisson(rate).astype(np.float32)
    ranges = SpecRanges.for_tier("public")
    told, untold = (
        calibrate(Scene("sample_00", counts, Acquisition(), ranges, operator=operator)).marginals["gain_drift"]
        for operator in (PUBLISHED_OPERATOR.with_stage(stage), PUBLISHED_OPERATOR)
    )
    assert told.quantile(0.02) < drift < told.quantile(0.98)
    assert abs(told.mean - drift) < 0.1
    assert abs(untold.mean - drift) > 1.5 * abs(told.mean - drift) + 0.08
