"""Rank statistics against their known laws."""

import numpy as np
import pytest
from scipy import stats

from fluorojax.validation import LOG_LIKELIHOOD, adjust, chi_square_p_value, ecdf_p_value, measure_uniformity, ranks


def test_a_rank_counts_the_draws_below_the_truth():
    draws = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    assert ranks(np.array([0.0, 2.5]), draws).tolist() == [0, 2]
    assert ranks(np.zeros((2, 4)), np.ones((2, 3, 4))).shape == (2, 4)


@pytest.mark.parametrize("p_value", [ecdf_p_value, lambda r, draws: chi_square_p_value(r, draws)[1]])
@pytest.mark.parametrize("count", [20, 100])
def test_p_values_of_uniform_ranks_are_uniform(p_value, count):
    rng = np.random.default_rng(3)
    found = np.array([p_value(rng.integers(0, 80, count), 79) for _ in range(400)])
    for level in (0.05, 0.2, 0.5):
        # four binomial standard errors; p-values of discrete statistics are never too small, but may be too large
        assert np.mean(found <= level) < level + 4 * np.sqrt(level * (1 - level) / 400)
        assert np.mean(found <= level) > 0.7 * level - 0.04


def test_ecdf_p_value_by_hand():
    # One rank, L = 1: the ECDF at ½ is 0 or 1 with probability ½ each, so nothing is ever unusual.
    assert ecdf_p_value(np.array([0]), 1) == pytest.approx(1.0)
    # n ranks below the middle of L = 1: the two outcomes as extreme as this one have probability 2⁻ⁿ each.
    assert ecdf_p_value(np.zeros(10, int), 1) == pytest.approx(2 * 0.5**10)
    # Three thirds: all four ranks in the first; as extreme is only its mirror image.
    assert ecdf_p_value(np.zeros(4, int), 2) == pytest.approx(2 * (1 / 3) ** 4)


def test_ecdf_p_value_against_simulation():
    rng = np.random.default_rng(0)
    count, steps = 30, 40
    points = np.arange(1, steps)
    laws = [stats.binom(count, p / steps) for p in points]
    tables = np.array([2 * np.minimum(law.cdf(range(31)), law.sf(np.arange(31) - 1)) for law in laws])

    def statistic(rank):
        below = (rank[:, None] < 2 * points).sum(axis=0)
        return min(1.0, tables[np.arange(steps - 1), below].min())

    simulated = np.array([statistic(rng.integers(0, 80, count)) for _ in range(4000)])
    for shift in (0, 5, 15):
        rank = np.clip(rng.integers(0, 80, count) + shift, 0, 79)
        expected = np.mean(simulated <= statistic(rank) * (1 + 1e-9))
        assert ecdf_p_value(rank, 79) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 4000))


def test_adjustment_is_that_of_holm():
    assert adjust([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert adjust([]) == []


@pytest.mark.parametrize(
    ("factor", "shift", "words"),
    [(0.5, 0.0, "too narrow"), (2.0, 0.0, "too wide"), (1.0, 0.7, "too high"), (1.0, -0.7, "too low")],
)
def test_a_wrong_gaussian_is_rejected_for_the_right_reason(factor, shift, words):
    rng = np.random.default_rng(5)
    truth = rng.normal(size=100)
    draws = shift + factor * rng.normal(size=(100, 79))
    result = measure_uniformity(30.0, "lag", truth, draws)
    assert result.p_value < 0.01
    assert words in result.departure()
    assert sum(result.histogram) == 100


def test_contraction_is_the_share_of_variance_removed():
    rng = np.random.default_rng(6)
    mean = rng.normal(size=2000)
    truth, draws = mean + 0.5 * rng.normal(size=2000), mean[:, None] + 0.5 * rng.normal(size=(2000, 39))
    assert measure_uniformity(3.0, "lag", truth, draws).contraction == pytest.approx(0.8, abs=0.03)
    assert np.isnan(measure_uniformity(3.0, LOG_LIKELIHOOD, truth, draws).contraction)


def test_too_few_replicates_for_a_chi_square():
    with pytest.raises(ValueError, match="19 replicates with 79 draws; expected at least 20"):
        chi_square_p_value(np.zeros(19, int), 79)
