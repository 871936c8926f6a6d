"""White Poisson residuals are accepted at the stated rate; structured ones are rejected."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluorojax.metrics import standardised_residuals, whiteness

SHAPE = (6, 24, 24)


def rate_of(mean):
    t, y, x = np.indices(SHAPE)
    return mean * np.exp(0.5 * np.sin(x / 5.0) + 0.3 * np.cos(y / 7.0) + 0.05 * t)


@pytest.mark.parametrize("mean", [0.5, 3.0, 100.0])
def test_white_residuals_are_rejected_at_the_stated_rate(mean):
    rng, rate = np.random.default_rng(1), rate_of(mean)
    results = [whiteness(rng.poisson(rate), rate) for _ in range(500)]
    values = {name: np.array([r.statistics[name] for r in results]) for name in results[0].statistics}
    assert set(values) == {"mean", "variance", "time", "rows", "columns"}
    for statistic in values.values():  # standard normal: mean within 4 standard errors, and the spread
        assert abs(statistic.mean()) < 4 / np.sqrt(500)
        assert statistic.std() == pytest.approx(1.0, abs=4 / np.sqrt(1000))
    for level in (0.05, 0.2):
        rejected = np.mean([not r.is_white(level) for r in results])
        assert rejected == pytest.approx(level, abs=4 * np.sqrt(level / 500))


def test_the_moments():
    rng, rate = np.random.default_rng(0), rate_of(20.0)
    result = whiteness(rng.poisson(rate), rate)
    assert result.count == np.prod(SHAPE)
    assert result.variance == pytest.approx(1.0, abs=0.1)
    residual = standardised_residuals(np.full((2, 2), 9.0), np.full((2, 2), 4.0))
    np.testing.assert_array_equal(residual, 2.5)


@pytest.mark.parametrize(
    ("spoil", "name", "sign"),
    [
        (lambda rate: rate * 1.03, "mean", -1),
        (lambda rate: gaussian_filter(rate, (0, 3, 3)), "rows", 1),
        (lambda rate: gaussian_filter(rate, (0, 0, 3)), "columns", 1),
        (lambda rate: np.broadcast_to(rate.mean(axis=0), rate.shape), "time", 1),
    ],
    ids=["brightness", "blurred", "blurred along rows", "motion ignored"],
)
def test_structure_that_was_left_is_found(spoil, name, sign):
    rng = np.random.default_rng(2)
    rate = 80 * np.exp(
        0.5 * np.sin(np.indices(SHAPE)[2] / 2.0 + 0.3 * np.indices(SHAPE)[0]) + 0.2 * np.sin(np.indices(SHAPE)[1] / 2.0)
    )
    result = whiteness(rng.poisson(rate), spoil(rate))
    assert not result.is_white(0.001)
    assert sign * result.statistics[name] > 4


def test_correlated_noise_is_rejected():
    rng, rate = np.random.default_rng(3), rate_of(50.0)
    noise = rng.standard_normal(SHAPE)
    noise = (noise + np.roll(noise, 1, axis=0)) / np.sqrt(2)
    result = whiteness(rate + np.sqrt(rate) * noise, rate)
    assert result.autocorrelation["time"] == pytest.approx(0.5, abs=0.05)
    assert not result.is_white(1e-6)
    assert abs(result.statistics["rows"]) < 4


def test_a_mask_restricts_the_test():
    rng, rate = np.random.default_rng(4), rate_of(30.0)
    counts = rng.poisson(rate)
    counts[:, :8] += 10
    mask = np.ones(SHAPE[1:], bool)
    mask[:8] = False
    assert not whiteness(counts, rate).is_white()
    clean = whiteness(counts, rate, mask=mask)
    assert clean.count == 6 * 16 * 24
    assert clean.is_white()
    frame = whiteness(counts[0], rate[0], mask=mask)
    assert set(frame.autocorrelation) == {"rows", "columns"}


def test_bad_rates():
    counts = np.ones(SHAPE)
    with pytest.raises(ValueError, match="like the counts"):
        whiteness(counts, counts[0])
    with pytest.raises(ValueError, match="not positive"):
        whiteness(counts, 0 * counts)
    with pytest.raises(ValueError, match="selects no pixel"):
        whiteness(counts, counts, mask=np.zeros(SHAPE, bool))


def test_electronic_noise_is_part_of_white_residuals():
    rng, rate, sigma = np.random.default_rng(4), rate_of(1.0), 2.0
    results = []
    for _ in range(300):
        counts = rng.poisson(rate) + sigma * rng.standard_normal(SHAPE)
        results.append(whiteness(counts, rate, electronic_noise=sigma))
    for statistic in np.array([list(r.statistics.values()) for r in results]).T:
        assert abs(statistic.mean()) < 4 / np.sqrt(300)
        assert statistic.std() == pytest.approx(1.0, abs=4 / np.sqrt(600))
    counts = rng.poisson(rate) + sigma * rng.standard_normal(SHAPE)
    assert not whiteness(counts, rate).is_white()
