"""What fast devices say about lag and window, against scenes in which both are known."""

from functools import cache

import numpy as np
import pytest

from fluorojax.calibration import _transient_window, transients
from fluorojax.calibration.transients import TransientLikelihood, transient_log_likelihood
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges

FRAME_TIME_MS = 1000 / 30
RANGES = SpecRanges.from_dict({"motion_blur": (-5.0, 10.0), "lag": (-3.0, 6.0), "gain_drift": (-0.5, 1.0)})
SIZE = 96


def swinging_bar(window_ms: float, tau_ms: float, *, photons: float = 150.0, seed: int = 0) -> np.ndarray:
    """Counts of a tilted bar (Gaussian, σ = 1 px, opacity 0.5) that swings by ±20 px at 1.3 Hz in front of texture.

    Exposure is a sum over steps of 0.5 ms, lag the recursion u ← ℓ(u + s) over frames, written out here.
    """
    rng = np.random.default_rng(seed)
    row, column = np.indices((SIZE, SIZE))
    texture = np.exp(0.3 * np.sin(row / 5.0) * np.cos(column / 7.0) + 0.2 * np.sin((row + column) / 11.0))
    background = photons * texture

    def bar(time_ms: float) -> np.ndarray:
        axis = SIZE / 2 + 0.15 * (row - SIZE / 2) + 20.0 * np.sin(2e-3 * np.pi * 1.3 * time_ms + 0.3)
        return background * (1.0 - 0.5 * np.exp(-0.5 * (column - axis) ** 2))

    steps = max(1, round(window_ms / 0.5))
    offsets = ((np.arange(steps) + 0.5) / steps - 0.5) * window_ms
    exposures = [np.mean([bar(FRAME_TIME_MS * t + u) for u in offsets], axis=0) for t in range(32)]
    kept = np.exp(-FRAME_TIME_MS / tau_ms)
    held, expected = kept / (1 - kept) * exposures[0], []
    for exposure in exposures:
        expected.append((1 - kept) * (exposure + held))
        held = kept * (held + exposure)
    return rng.poisson(np.array(expected)).astype(np.float32)


@cache
def likelihood_of(window_ms: float, tau_ms: float, *, photons: float = 150.0, reverse: bool = False):
    y = swinging_bar(window_ms, tau_ms, photons=photons)
    return transient_log_likelihood(y[::-1] if reverse else y, Acquisition(), RANGES, 0.0)


def posterior(result: TransientLikelihood, name: str) -> tuple[float, float]:
    """Mean and standard deviation under the uniform prior."""
    grid, log_likelihood = getattr(result, f"{name}_grid"), getattr(result, f"{name}_log_likelihood")
    weight = np.exp(log_likelihood - log_likelihood.max())
    mean = np.sum(weight * grid) / weight.sum()
    return mean, np.sqrt(np.sum(weight * (grid - mean) ** 2) / weight.sum())


@pytest.mark.parametrize("tau_ms", [8.0, 14.5])
def test_lag_of_a_swinging_bar(tau_ms):
    result = likelihood_of(8.0, tau_ms)
    mean, sd = posterior(result, "lag")
    assert sd < 0.6 * float(RANGES.std()[1])
    assert abs(mean - (tau_ms - 10.0)) < 2.0 * sd
    assert result.lag_cells > 5


@pytest.mark.parametrize("window_ms", [5.0, 16.0])
def test_window_of_a_swinging_bar(window_ms):
    result = likelihood_of(window_ms, 10.0)
    mean, sd = posterior(result, "motion_blur")
    assert sd < 0.6 * float(RANGES.std()[0])
    assert abs(mean - (window_ms - 8.0)) < 2.0 * sd


def test_time_reversed_lag_is_not_mistaken_for_a_long_one():
    # The ghost runs ahead of the bar, which no lag does: the shortest lag fits best, and no ghost is invented.
    forward, _ = posterior(likelihood_of(8.0, 14.5), "lag")
    mean, _ = posterior(likelihood_of(8.0, 14.5, reverse=True), "lag")
    assert mean < float(RANGES.mean()[1]) < forward


def _still(frames: int, size: int, level: float) -> np.ndarray:
    column = np.arange(size)
    image = level * (1.0 - 0.5 * np.exp(-0.5 * ((column - size / 2) / 1.2) ** 2)) * np.ones((size, 1))
    return np.random.default_rng(3).poisson(image, (frames, size, size)).astype(np.float32)


def _breathing(frames: int, size: int, level: float) -> np.ndarray:
    column, time = np.arange(size), np.arange(frames)[:, None, None]
    image = level * (1.0 + 0.4 * np.tanh((column - size / 2 - 2.0 * np.sin(time / 20.0)) / 3.0)) * np.ones((size, 1))
    return np.random.default_rng(4).poisson(image).astype(np.float32)


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(_still(16, 64, 60.0), id="static device"),
        pytest.param(_breathing(16, 64, 60.0), id="slow edge"),
        pytest.param(_still(16, 16, 60.0), id="smallest image"),
        pytest.param(np.full((8, 15, 64), 60.0, np.float32), id="image too small"),
        pytest.param(_still(4, 64, 60.0), id="four frames"),
        pytest.param(_still(16, 64, 3.0), id="three counts"),
        pytest.param(np.zeros((8, 32, 32), np.float32), id="no light"),
    ],
)
def test_flat_without_transients(y):
    result = transient_log_likelihood(y, Acquisition(), RANGES, 0.0, points=11)
    for name in ("motion_blur", "lag"):
        np.testing.assert_array_equal(getattr(result, f"{name}_log_likelihood"), np.zeros(11))
        assert getattr(result, f"{name}_cells") == 0


def test_low_dose_says_that_it_knows_less():
    result = likelihood_of(8.0, 14.5, photons=4.0)
    for name in ("motion_blur", "lag"):
        assert np.isfinite(getattr(result, f"{name}_log_likelihood")).all()
        assert posterior(result, name)[1] >= posterior(likelihood_of(8.0, 14.5), name)[1]


def test_grids_span_the_ranges_and_the_result_is_reproducible():
    again = transient_log_likelihood(swinging_bar(8.0, 14.5), Acquisition(), RANGES, 0.0)
    first = likelihood_of(8.0, 14.5)
    np.testing.assert_array_equal(again.lag_log_likelihood, first.lag_log_likelihood)
    np.testing.assert_array_equal(again.motion_blur_log_likelihood, first.motion_blur_log_likelihood)
    np.testing.assert_allclose(first.lag_grid[[0, -1]], [-3.0, 6.0])
    np.testing.assert_allclose(first.motion_blur_grid[[0, -1]], [-5.0, 10.0])


def test_gain_drift_is_divided_out():
    y = swinging_bar(8.0, 14.5)
    drifting = y * 1.01 ** np.arange(len(y))[:, None, None]
    steady = likelihood_of(8.0, 14.5)
    result = transient_log_likelihood(drifting, Acquisition(), RANGES, 1.0)
    np.testing.assert_allclose(result.lag_log_likelihood, steady.lag_log_likelihood, atol=1e-3)


@pytest.mark.parametrize(
    ("y", "points", "named"),
    [
        (np.ones((8, 64)), 41, "y has shape"),
        (np.ones((8, 16, 16)), 1, "points"),
    ],
)
def test_bad_input_is_named(y, points, named):
    with pytest.raises(ValueError, match=named):
        transient_log_likelihood(y, Acquisition(), RANGES, 0.0, points=points)


def test_the_score_of_the_lag_scatters_by_three_tenths_more_than_its_blocks_say(monkeypatch):
    """In variance: ``log L = −(ν+1)/2 · log(1 + S²/(1.3·ν V))``, ν + 1 the number of blocks."""
    told = likelihood_of(16.0, 10.0)
    monkeypatch.setattr(transients, "INFLATION", 1.0)
    untold = transient_log_likelihood(swinging_bar(16.0, 10.0), Acquisition(), RANGES, 0.0)

    def squared_score(result):
        return np.expm1(-2.0 * result.lag_log_likelihood / result.lag_cells)

    np.testing.assert_allclose(squared_score(untold), 1.3 * squared_score(told), rtol=1e-6)


def test_the_window_is_trusted_by_half_of_what_its_blocks_say(monkeypatch):
    """Where the blocks agree no better than their points: there the trust is full without the factor."""
    told = likelihood_of(16.0, 10.0)
    monkeypatch.setattr(_transient_window, "INFLATION", 1.0)
    untold = transient_log_likelihood(swinging_bar(16.0, 10.0), Acquisition(), RANGES, 0.0)
    np.testing.assert_array_equal(untold.lag_log_likelihood, told.lag_log_likelihood)
    np.testing.assert_allclose(untold.motion_blur_log_likelihood, 2.0 * told.motion_blur_log_likelihood, rtol=1e-6)
