"""The check by held-out quanta: exact thinning, false alarms, power, and what is said."""

import json
import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.metrics.held_out import held_out, thinned
from fluorojax.metrics.interval_size import error_correlations
from fluorojax.metrics.scene_score import expected_counts
from fluorojax.physics.dark import DarkRate
from fluorojax.physics.operator import PUBLISHED_OPERATOR

SHAPE, SCALE, WIDTH = (12, 64, 64), 4.0, (1.0, 1.2, 1.2)
SPEC = Spec(1.0, 2.0, 0.2)
SHARE = 0.5
# The standard deviation that the kept quanta allow: one over the root of those in a cell of correlated pixels.
PHOTONS = 2000.0
_CELL = np.prod([2.0 * math.sqrt(math.pi) * w for w in WIDTH])
STD = 0.8 / math.sqrt((1.0 - SHARE) * PHOTONS * math.exp(-0.45 * SCALE) * _CELL) / SCALE


def smooth_noise(rng, width):
    field = gaussian_filter(rng.standard_normal(SHAPE), width, mode="wrap")
    return field / field.std()


def drawn(seed):
    """A posterior that is right by construction: the truth scatters around x̂ with the stated standard deviation.

    The errors have the spectrum G, and the estimate moves with the spectrum G² when further quanta arrive, as that of a
    Gaussian posterior does.
    """
    rng = np.random.default_rng(seed)
    t, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in SHAPE), indexing="ij")
    estimate = 0.45 + 0.1 * np.sin(5 * x + 2 * t) * np.cos(4 * y)
    truth = (estimate + STD * smooth_noise(rng, WIDTH)).astype(np.float32)
    acquisition = Acquisition(photons_per_pixel=PHOTONS, attenuation_scale=SCALE)
    counts = rng.poisson(expected_counts(truth, SPEC, acquisition)).astype(np.float32)
    scene = Scene("sample_00", counts, acquisition, SpecRanges.for_tier("public"))
    kept, held = thinned(scene, SHARE, rng)
    result = result_of(estimate)
    moved = 0.3 * STD * smooth_noise(rng, [w * math.sqrt(2.0) for w in WIDTH])
    return scene, kept, held, result, replace(result, x_hat=result.x_hat + moved.astype(np.float32))


def result_of(x_hat, std=STD):
    zero = Spec(0.0, 0.0, 0.0)
    return Reconstruction(
        "sample_00", x_hat.astype(np.float32), np.full(SHAPE, std, np.float32), SPEC, zero, {}, Status.CONVERGED, 0.0
    )


@pytest.fixture(scope="module")
def right():
    return [drawn(seed) for seed in range(16)]


def check_all(cases, change=lambda result: result, mean=True):
    return [held_out(change(result), kept, held, whole, SHARE, mean=mean) for _, kept, held, result, whole in cases]


def test_scenes_of_other_protocols_find_the_same_program(right):
    module = import_module("fluorojax.metrics.held_out")
    (_, kept, held, result, whole) = right[0]
    seen = []
    for photons in (PHOTONS, 1.5 * PHOTONS):
        acquisition = Acquisition.from_dict({**kept.acquisition.as_dict(), "photons_per_pixel": photons})
        held_out(result, replace(kept, acquisition=acquisition), held, whole, SHARE, mean=True)
        seen.append(module._expected._cached._cache_size())
    assert seen[0] == seen[1] > 0


def test_the_share_of_the_chain_is_that_of_the_whole_result_where_the_other_does_not_state_it(right):
    (_, kept, held, result, whole) = right[0]
    correlation = np.full((3, *SHAPE), 0.4, np.float32)
    stated = replace(result, spec_correlation=correlation)
    facts = [
        held_out(one, kept, held, replace(whole, spec_correlation=correlation), SHARE, mean=True).facts()
        for one in (result, stated)
    ]
    assert facts[0] == facts[1]
    assert held_out(result, kept, held, whole, SHARE, mean=True).facts() != facts[0]


def test_thinning_is_exact(right):
    scene, kept, held, *_ = right[0]
    np.testing.assert_array_equal(kept.y + held, scene.y)
    assert held.sum() == pytest.approx(SHARE * scene.y.sum(), abs=5 * math.sqrt(SHARE * scene.y.sum()))
    assert float(kept.acquisition.photons_per_pixel) == pytest.approx((1.0 - SHARE) * PHOTONS)
    # Parts of Poisson counts are independent of each other, and Poisson counts.
    flat = np.random.default_rng(1).poisson(20.0, scene.y.shape).astype(np.float32)
    part, rest = thinned(replace(scene, y=flat), 0.1, np.random.default_rng(2))
    assert abs(np.corrcoef(part.y.ravel(), rest.ravel())[0, 1]) < 4.0 / math.sqrt(rest.size)
    assert rest.var() == pytest.approx(2.0, rel=4.0 * math.sqrt(2.5 / rest.size))


def test_a_right_posterior_rarely_alarms(right):
    tests = check_all(right)
    alarms = sum(bool(t.biased or t.narrow or t.wide) for t in tests)
    assert alarms <= 1
    # The errors of these posteriors have the narrowest correlation, so that the ratio is at its upper end.
    ratios = [t.sizes[0].ratio for t in tests]
    assert np.mean([t.sizes[0].ratio * t.sizes[0].spread for t in tests]) == pytest.approx(1.0, abs=0.25)
    assert all(1.0 < t.sizes[0].spread < 3.0 for t in tests)
    # The stated standard errors are those that the scenes show, or somewhat larger.
    assert 0.4 < np.std(ratios) / np.mean([t.sizes[0].std for t in tests]) < 1.3
    scores = np.array([[b.z for b in t.biases] for t in tests])
    assert 0.6 < scores.std() < 1.15


def test_a_shift_of_x_is_found(right):
    found = check_all(right[:10], lambda r: replace(r, x_hat=r.x_hat + np.float32(STD)))
    assert sum(bool(t.biased) for t in found) >= 9
    # More quanta came than were predicted: x is too large.
    assert all(t.biased[0].amount > 0 for t in found if t.biased)
    assert all("larger" in t.sentence() or "more quanta than" in t.sentence() for t in found if t.biased)


def test_wrong_sizes_of_the_intervals_are_found(right):
    halved = check_all(right[:6], lambda r: replace(r, x_std=0.5 * r.x_std))
    doubled = check_all(right[:6], lambda r: replace(r, x_std=2.0 * r.x_std))
    assert sum(bool(t.narrow) for t in halved) >= 3
    assert all(t.wide for t in doubled)
    assert not any(t.wide for t in halved)
    assert not any(t.narrow for t in doubled)
    assert all("too small" in t.sentence() for t in halved if t.narrow)
    assert all("larger than necessary" in t.sentence() for t in doubled)
    assert {t.level for t in halved if t.narrow} <= {"caution", "bad"}


@pytest.mark.parametrize(("name", "spec"), [("gain_drift", Spec(1.0, 2.0, 1.2)), ("gain_drift", Spec(1.0, 2.0, -0.8))])
def test_a_wrong_chain_is_found_where_the_image_does_not_make_up_for_it(right, name, spec):
    found = check_all(right[:5], lambda r: replace(r, spec=spec))
    assert all(any(b.name == name for b in t.biased) for t in found)


def test_the_expected_counts_of_a_posterior_mean_lie_above_the_counts_at_the_mean(right):
    def mean_of(mean):
        (found,) = check_all(right[:1], lambda r: replace(r, x_std=np.full(SHAPE, 0.05 / SCALE)), mean)
        return np.mean([b.amount for b in found.biases if b.unit == "%"])

    assert mean_of(False) - mean_of(True) == pytest.approx(100 * 0.5 * 0.05**2, rel=0.05)


def test_a_method_without_errors_is_tested_for_bias_alone(right):
    (found,) = check_all(right[:1], lambda r: replace(r, x_std=None))
    assert found.sizes == ()
    assert found.level == "good"
    assert "states no errors" in found.sentence()
    (biased,) = check_all(right[:1], lambda r: replace(r, x_std=None, x_hat=r.x_hat + np.float32(0.01)))
    assert biased.level == "bad"


def test_facts_are_json(right):
    facts = check_all(right[:1], lambda r: replace(r, x_std=None))[0].facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["biases"][0]["in_std"] is None


def test_correlation_of_errors_is_between_the_response_and_its_root(right):
    # Gaussian filters of width w give correlations of variance 2 w², and changes have twice the variance of errors.
    for rho, variance in zip(error_correlations([w.x_hat - r.x_hat for *_, r, w in right]), (2.0, 4.0), strict=True):
        lag = [rho[rho.shape[0] // 2, rho.shape[1] // 2 + k, rho.shape[2] // 2] for k in range(4)]
        wanted = [math.exp(-(k**2) / (2 * variance * WIDTH[1] ** 2)) for k in range(4)]
        np.testing.assert_allclose(lag, wanted, atol=0.12)


def test_pixels_without_a_spread_of_their_own_do_not_decide_how_far_errors_reach(right):
    # As where the imaging chain is responsible for all of the variance.
    def some(result):
        std = result.x_std.copy()
        std[::3, ::16, ::16] = 1e-9
        return replace(result, x_std=std)

    (plain,), (spoilt,) = check_all(right[:1]), check_all(right[:1], some)
    assert spoilt.sizes[0].spread == pytest.approx(plain.sizes[0].spread, rel=0.1)
    assert spoilt.sizes[0].std == pytest.approx(plain.sizes[0].std, rel=0.2)


def test_what_cannot_be_thinned_is_refused_in_one_line(right):
    scene = right[0][0]
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="share is 1; expected"):
        thinned(scene, 1.0, rng)
    with pytest.raises(ValueError, match="sample_00: counts are not whole numbers"):
        thinned(replace(scene, y=scene.y + np.float32(0.5)), 0.1, rng)
    dark = replace(scene, operator=PUBLISHED_OPERATOR.with_stage(DarkRate(2.0)))
    with pytest.raises(ValueError, match="dark_rate"):
        thinned(dark, 0.1, rng)


def test_results_that_do_not_fit_are_refused(right):
    _, kept, held, result, whole = right[0]
    with pytest.raises(ValueError, match="expected \\(12, 64, 64\\), like the counts"):
        held_out(replace(result, x_hat=result.x_hat[1:]), kept, held, whole, SHARE, mean=True)
    with pytest.raises(ValueError, match="not finite"):
        held_out(replace(result, x_hat=result.x_hat * np.nan), kept, held, whole, SHARE, mean=True)


def test_counts_with_electronic_noise_cannot_be_divided():
    noisy = Acquisition(electronic_noise=1.5)
    scene = Scene("sample_00", np.full(SHAPE, 3.0, np.float32), noisy, SpecRanges.for_tier("public"))
    with pytest.raises(ValueError, match=r"electronic noise of 1\.5 quanta, which cannot be divided"):
        thinned(scene, SHARE, np.random.default_rng(0))
