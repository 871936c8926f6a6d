"""The stepped imaging chain against closed forms."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.physics import Scatter
from fluorojax.simulation import imaging_chain

FRAME_MS = 1000.0 / 30.0
DEPTH = np.linspace(0.5, 6.0, 12).reshape(3, 4)


def wire(time_ms: float) -> np.ndarray:
    """A Gaussian wire that crosses a line of pixels at 0.1 px/ms with an acceleration."""
    position = 6.0 + 0.1 * time_ms + 2e-4 * time_ms**2
    return np.exp(-0.5 * ((np.arange(16.0) - position) / 1.2) ** 2)[None]


def test_static_scene_has_the_beer_lambert_rate():
    times = np.arange(5) * FRAME_MS
    signal = imaging_chain.expose(lambda t: DEPTH, times, 9.3)
    signal = imaging_chain.lag(signal, 12.0, FRAME_MS, FRAME_MS)
    expected = imaging_chain.rate(signal, 1500.0, 0.7)
    gain = 1.007 ** np.arange(5)
    np.testing.assert_allclose(expected, 1500.0 * gain[:, None, None] * np.exp(-DEPTH), rtol=1e-12)


@pytest.mark.parametrize("window_ms", [2.0, 8.0, 18.5])
def test_window_integral_converges(window_ms):
    times = np.array([0.0, 20.0])
    coarse, fine, finest = (imaging_chain.expose(wire, times, window_ms, step) for step in (1.0, 0.25, 0.05))
    assert np.abs(coarse - finest).max() < 3e-4
    assert np.abs(fine - finest).max() <= np.abs(coarse - finest).max() + 1e-12


def test_window_is_centred_on_the_frame_time():
    linear = imaging_chain.expose(lambda t: np.full((1, 1), -np.log(0.5 + 0.01 * t)), np.array([3.0]), 10.0)
    np.testing.assert_allclose(linear, 0.53, rtol=1e-12)


def test_no_substep_is_longer_than_asked():
    seen = []
    imaging_chain.expose(lambda t: seen.append(t) or np.zeros((1, 1)), np.array([100.0]), 8.4, 1.0)
    assert len(seen) == 9
    np.testing.assert_allclose(np.diff(seen), 8.4 / 9)
    np.testing.assert_allclose(np.mean(seen), 100.0)


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_window_and_decay_must_be_positive(bad):
    with pytest.raises(ValueError, match="window_ms"):
        imaging_chain.expose(wire, np.array([0.0]), bad)
    with pytest.raises(ValueError, match="tau_ms"):
        imaging_chain.lag(np.ones((2, 1)), bad, FRAME_MS, FRAME_MS)


def impulse(frames: int) -> np.ndarray:
    signal = np.zeros((frames, 1))
    signal[0] = 1.0
    return signal


@pytest.mark.parametrize(("frame_ms", "delay_ms"), [(FRAME_MS, FRAME_MS), (1000 / 60, FRAME_MS), (66.7, 20.0)])
def test_lag_conserves_charge(frame_ms, delay_ms):
    response = imaging_chain.lag(impulse(400), 14.0, frame_ms, delay_ms, from_dark=True)
    np.testing.assert_allclose(response.sum(), 1.0, rtol=1e-12)
    assert (response >= 0).all()


def test_lag_is_a_geometric_ghost_when_read_out_after_one_frame():
    response = imaging_chain.lag(impulse(6), 10.0, FRAME_MS, FRAME_MS, from_dark=True)[:, 0]
    carry = np.exp(-FRAME_MS / 10.0)
    np.testing.assert_allclose(response, (1 - carry) * carry ** np.arange(6), rtol=1e-12)


@pytest.mark.parametrize(
    "stage",
    [partial(imaging_chain.lag, tau_ms=14.0, frame_time_ms=FRAME_MS, readout_delay_ms=20.0), imaging_chain.slow_tails],
)
def test_start_is_the_steady_state_of_the_first_frame(stage):
    signal = np.random.default_rng(0).uniform(0.1, 1.0, (4, 3, 3))
    np.testing.assert_allclose(stage(signal)[0], signal[0], rtol=1e-12)
    assert (stage(signal, from_dark=True)[0] < signal[0]).all()


def test_slow_tails_conserve_charge():
    np.testing.assert_allclose(imaging_chain.slow_tails(impulse(6000), from_dark=True).sum(), 1.0, rtol=1e-6)


def test_slow_tails_leave_the_published_first_frame():
    signal = np.ones((3, 1))
    signal[1:] = 0.0
    after = imaging_chain.slow_tails(signal)[:, 0]
    np.testing.assert_allclose(after[1], 0.011, rtol=1e-9)
    assert 0.009 < after[2] < after[1]


def test_scatter_fraction_of_a_flat_field():
    flat = np.full((2, 20, 24), 0.3)
    total = imaging_chain.add_scatter(flat, 0.4, 8.0)
    np.testing.assert_allclose((total - flat) / total, 0.4, rtol=1e-9)


def test_scatter_is_smooth_and_off_by_default():
    primary = np.random.default_rng(1).uniform(0.0, 1.0, (1, 40, 40))
    assert imaging_chain.add_scatter(primary, 0.0, 10.0) is primary
    scatter = imaging_chain.add_scatter(primary, 0.3, 10.0) - primary
    assert np.abs(np.diff(scatter, axis=2)).max() < 0.02 * scatter.mean()


def test_counts_are_poisson():
    counts = imaging_chain.count(np.random.default_rng(2), np.full((4, 100, 100), 30.0))
    assert counts.dtype == np.float32
    assert (counts == np.round(counts)).all()
    np.testing.assert_allclose(counts.mean(), 30.0, rtol=0.005)
    np.testing.assert_allclose(counts.var(), 30.0, rtol=0.03)


def test_read_noise_adds_its_variance_and_is_not_clipped():
    rng = np.random.default_rng(3)
    noisy = imaging_chain.count(rng, np.full((4, 100, 100), 30.0), 4.0)
    np.testing.assert_allclose(noisy.var(), 30.0 + 16.0, rtol=0.03)
    dark = imaging_chain.count(rng, np.full((4, 100, 100), 0.5), 2.0)
    assert dark.min() < -2.0
    np.testing.assert_allclose(dark.mean(), 0.5, atol=4 * np.sqrt(4.5 / dark.size))


@pytest.mark.parametrize(("width", "tail"), [(0.1, 0.0), (0.25, 1.0), (0.4, 0.5)])
def test_kernels_of_scatter_are_those_of_the_operator(width, tail):
    primary = np.random.default_rng(1).uniform(0.0, 1.0, (2, 32, 24)) ** 4
    operator = Scatter(width=width, tail=tail).with_scatter(jnp.asarray(primary), 0.3)
    np.testing.assert_allclose(imaging_chain.add_scatter(primary, 0.3, 32 * width, tail), operator, atol=5e-4)
