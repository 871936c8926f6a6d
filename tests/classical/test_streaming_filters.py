"""The streaming filters against closed forms and plain recursions in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.classical import GatedRecursive, Kalman, LastImageHold, Recursive, filter_stream
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec

ALL = [LastImageHold(frames=3), Recursive(0.3), GatedRecursive(), Kalman()]
NAMES = ["hold", "recursive", "gated", "kalman"]


def constant_counts(rate, frames, shape=(4, 4)):
    return np.full((frames, *shape), rate, np.float32)


def poisson_counts(rate, frames, size, seed=0):
    return np.random.default_rng(seed).poisson(rate, (frames, size, size)).astype(np.float32)


@pytest.mark.parametrize("alpha", [0.1, 0.3, 0.7])
def test_recursive_variance_tends_to_that_of_a_first_order_autoregression(alpha):
    rate, variance = filter_stream(Recursive(alpha), constant_counts(50.0, 80), np.ones(80, np.float32))
    np.testing.assert_allclose(rate, 50.0, rtol=1e-6)
    np.testing.assert_allclose(variance[-1], 50.0 * alpha / (2 - alpha), rtol=1e-4)


def test_recursive_stated_variance_is_the_sample_variance():
    rate, variance = filter_stream(Recursive(0.3), poisson_counts(60.0, 40, 64), np.ones(40, np.float32))
    assert np.var(rate[-1]) == pytest.approx(float(np.mean(variance[-1])), rel=0.06)


def test_recursive_equals_the_plain_loop():
    counts, gains = poisson_counts(20.0, 9, 5), np.float32(1.01) ** np.arange(9, dtype=np.float32)
    mean = counts[0].astype(float)
    expected = [mean]
    for frame, gain in zip(counts[1:], gains[1:], strict=True):
        mean = 0.25 * frame / gain + 0.75 * mean
        expected.append(mean)
    rate, _ = filter_stream(Recursive(0.25), counts, gains)
    np.testing.assert_allclose(rate, expected, rtol=1e-5)


def test_last_image_hold_is_the_mean_of_the_last_frames_and_its_variance():
    counts, gains = poisson_counts(40.0, 7, 6), np.float32(0.98) ** np.arange(7, dtype=np.float32)
    rate, variance = filter_stream(LastImageHold(frames=3), counts, gains)
    corrected = counts / gains[:, None, None]
    for t in range(7):
        held = slice(max(0, t - 2), t + 1)
        mean = corrected[held].mean(0)
        number = len(corrected[held])
        np.testing.assert_allclose(rate[t], mean, rtol=1e-5)
        np.testing.assert_allclose(variance[t], mean * np.sum(1 / gains[held]) / number**2, rtol=1e-5)


@pytest.mark.parametrize(("level", "step_variance"), [(20.0, 0.01), (200.0, 0.002)])
def test_kalman_variance_and_gain_tend_to_the_steady_state(level, step_variance):
    """P⁻ = q/2 + √(q²/4 + q r), K = P⁻/(P⁻ + r), P = K r with r = 1/λ."""
    method = Kalman(step_variance=step_variance)
    counts = constant_counts(level, 150)
    rate, variance = filter_stream(method, counts, np.ones(150, np.float32))
    predicted = step_variance / 2 + np.sqrt(step_variance**2 / 4 + step_variance / level)
    gain = predicted / (predicted + 1 / level)
    np.testing.assert_allclose(rate[-1], level, rtol=1e-3)
    np.testing.assert_allclose(variance[-1] / rate[-1] ** 2, gain / level, rtol=3e-3)
    # a small step of the counts moves the log rate by the gain
    before = (jnp.log(rate[-1]), variance[-1] / rate[-1] ** 2)
    after, _ = method.step(before, jnp.full((4, 4), 1.01 * level), 1.0)
    np.testing.assert_allclose((after - before[0]) / 0.01, gain, rtol=0.02)


def test_kalman_update_is_the_mode_of_poisson_likelihood_and_prior():
    """The slope e^θ g − y + (θ − θ⁻)/P⁻ vanishes, from far above and far below the prior."""
    method, gain = Kalman(step_variance=0.05), 1.1
    prior, variance = jnp.full((1, 4), jnp.log(30.0)), jnp.full((1, 4), 0.3)
    counts = jnp.array([[0.0, 3.0, 30.0, 900.0]])
    log_rate, posterior = method.step((prior, variance), counts, gain)
    slope = gain * jnp.exp(log_rate) - counts + (log_rate - prior) / 0.35
    np.testing.assert_allclose(slope / (counts + 1), 0, atol=2e-5)
    np.testing.assert_allclose(1 / posterior, gain * jnp.exp(log_rate) + 1 / 0.35, rtol=1e-5)


def test_kalman_intervals_cover_a_random_walk_of_its_own_kind():
    rng, frames, q = np.random.default_rng(3), 30, 0.004
    walk = np.log(60.0) + np.cumsum(rng.normal(0, np.sqrt(q), (frames, 40, 40)), 0)
    counts = rng.poisson(np.exp(walk)).astype(np.float32)
    rate, variance = map(np.asarray, filter_stream(Kalman(step_variance=q), counts, np.ones(frames, np.float32)))
    inside = np.abs(np.log(rate) - walk) <= 1.645 * np.sqrt(variance) / rate
    assert inside[5:].mean() == pytest.approx(0.90, abs=0.012)


def test_gate_lets_a_step_through_at_once_and_averages_what_is_still():
    """A step of ten standard deviations: the gate follows in one frame, the plain recursion lags by (1 − α)."""
    counts = poisson_counts(100.0, 12, 24)
    counts[6:, :, 12:] += 100
    gated = np.asarray(filter_stream(GatedRecursive(alpha=0.2), counts, np.ones(12, np.float32))[0])
    plain = np.asarray(filter_stream(Recursive(alpha=0.2), counts, np.ones(12, np.float32))[0])
    assert gated[6, :, 14:].mean() == pytest.approx(200.0, abs=2)
    assert plain[6, :, 14:].mean() == pytest.approx(120.0, abs=2)
    assert gated[-1, :, :11].std() < 0.45 * counts[-1, :, :11].std()


def test_gate_opens_alike_at_every_dose():
    """The thresholds are in units of the photon noise, so still scenes open it equally often."""
    opened = []
    for level in (20.0, 2000.0):
        counts = poisson_counts(level, 8, 64)
        gated = np.asarray(filter_stream(GatedRecursive(), counts, np.ones(8, np.float32))[0])
        plain = np.asarray(filter_stream(Recursive(GatedRecursive().alpha), counts, np.ones(8, np.float32))[0])
        opened.append(np.mean(np.abs(gated[-1] - plain[-1]) > 1e-3 * level**0.5))
    assert opened[0] == pytest.approx(opened[1], abs=0.05)


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_frame_by_frame_equals_the_scan(method):
    counts, gains = jnp.asarray(poisson_counts(30.0, 6, 5)), 1.02 ** jnp.arange(6.0)
    rates, variances = filter_stream(method, counts, gains)
    state = method.start(counts[0], gains[0])
    for t in range(6):
        state = state if t == 0 else method.step(state, counts[t], gains[t])
        rate, variance = method.output(state)
        np.testing.assert_allclose(rate, rates[t], rtol=1e-4)
        np.testing.assert_allclose(variance, variances[t], rtol=1e-4)


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_a_later_frame_changes_nothing_before_it(method):
    counts = poisson_counts(30.0, 6, 5)
    changed = counts.copy()
    changed[4] *= 3
    one, other = (np.asarray(filter_stream(method, c, np.ones(6, np.float32))[0]) for c in (counts, changed))
    np.testing.assert_array_equal(one[:4], other[:4])
    assert np.abs(one[4] - other[4]).max() > 1


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_known_gain_drift_leaves_a_still_scene_still(method):
    """With the true drift the attenuation of a scene at rest is exact; with the nominal chain it creeps."""
    acquisition = Acquisition(photons_per_pixel=1000.0, attenuation_scale=5.0)
    spec = Spec(0.0, 0.0, 2.0)
    x = np.float32(0.5)
    counts = 1000 * np.exp(-5 * x) * np.float32(1.02) ** np.arange(12, dtype=np.float32)
    counts = np.broadcast_to(counts[:, None, None], (12, 4, 4)).astype(np.float32)
    corrected = method(counts, acquisition, spec).x_hat
    creeping = method(counts, acquisition).x_hat
    np.testing.assert_allclose(corrected, x, atol=2e-3)
    assert abs(creeping[-1].mean() - x) > 0.01


@pytest.mark.parametrize("method", ALL, ids=NAMES)
def test_empty_pixels_have_a_finite_estimate_inside_the_range(method):
    counts = np.zeros((5, 4, 4), np.float32)
    counts[:, 0] = 3
    found = method(counts, Acquisition(photons_per_pixel=90.0))
    assert np.isfinite(found.x_hat).all()
    assert np.isfinite(found.x_std).all()
    assert found.x_hat.min() >= 0
    assert found.x_hat.max() <= 1


def test_a_single_frame_is_refused():
    with pytest.raises(ValueError, match=r"y has shape \(4, 4\); expected a sequence"):
        Recursive()(np.ones((4, 4), np.float32), Acquisition())
