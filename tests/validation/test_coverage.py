"""Coverage from ranks, and its error between replicates."""

import numpy as np
import pytest
from scipy import stats

from fluorojax.metrics.interval_coverage import LEVELS
from fluorojax.validation.coverage import inside_shares, margin_p_value, measure_coverage, seen_to_move


def test_every_rank_once_covers_exactly_the_level():
    rank = np.arange(80).reshape(80, 1, 1)
    shares = inside_shares(rank, 79, np.zeros((1, 1), bool))
    np.testing.assert_allclose(shares[0], LEVELS)
    np.testing.assert_allclose(shares[2], LEVELS)
    assert np.isnan(shares[1]).all()


def test_draws_must_divide_into_the_levels():
    with pytest.raises(ValueError, match="draws is 100; expected one less than a multiple of 40"):
        inside_shares(np.zeros((2, 2), int), 100, np.zeros((2, 2), bool))


def test_error_is_that_between_replicates():
    # All pixels of a replicate are inside together: the binomial error of 50 replicates, not of 50 × 1000 pixels.
    rng = np.random.default_rng(0)
    inside = rng.random(50) < 0.9
    shares = np.broadcast_to(inside[:, None, None], (50, 3, 4)).astype(float)
    cell = next(c for c in measure_coverage(3.0, shares, 0.02) if c.group == "all" and c.level == 0.9)
    assert cell.standard_error == pytest.approx(np.sqrt(inside.mean() * (1 - inside.mean()) / 49))


def test_zero_margin_is_the_two_sided_t_test():
    values = np.random.default_rng(1).normal(0.3, 1.0, 25)
    error = values.std(ddof=1) / 5
    assert margin_p_value(values.mean(), error, 25, 0.0) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_deviations_inside_the_margin_are_no_defect():
    assert margin_p_value(0.015, 1e-4, 100, 0.02) == 1.0
    assert margin_p_value(-0.04, 0.005, 100, 0.02) < 1e-3
    assert margin_p_value(0.01, 0.0, 100, 0.02) == 1.0
    assert margin_p_value(0.03, 0.0, 100, 0.02) == 0.0


def test_choosing_pixels_by_the_truth_undercovers_where_choosing_by_truth_and_draws_does_not():
    rng = np.random.default_rng(2)
    shares = {"truth": [], "both": []}
    for _ in range(300):
        mean = rng.normal(size=(4, 8, 8)) * 0.5
        truth, draws = mean + rng.normal(size=mean.shape), mean + rng.normal(size=(39, *mean.shape))
        rank = (draws < truth).sum(axis=0)
        for name, moving in (("truth", seen_to_move(truth, truth[None])), ("both", seen_to_move(truth, draws))):
            shares[name].append(inside_shares(rank, 39, moving)[1, LEVELS.index(0.9)])
    error = np.std(shares["both"]) / np.sqrt(300)
    assert abs(np.mean(shares["both"]) - 0.9) < 4 * error
    assert np.mean(shares["truth"]) < 0.86
