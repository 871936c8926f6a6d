"""Variance stabilisation: unit noise, and an inverse without bias."""

import numpy as np
import pytest
from scipy.stats import poisson

from fluorojax.classical import anscombe, inverse_anscombe


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0, 30.0, 300.0])
def test_inverse_of_the_mean_is_the_rate(rate):
    """E[2√(Y + 3/8)] by direct summation; the algebraic inverse is off by 0.12 to 0.25 counts."""
    counts = np.arange(0, int(rate + 20 * np.sqrt(rate) + 20))
    mean = np.sum(poisson.pmf(counts, rate) * anscombe(counts.astype(float)))
    assert inverse_anscombe(np.array(mean)) == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize("rate", [5.0, 50.0, 500.0])
def test_noise_is_one(rate):
    counts = np.arange(0, int(rate + 20 * np.sqrt(rate) + 20))
    weights, values = poisson.pmf(counts, rate), anscombe(counts.astype(float))
    variance = np.sum(weights * values**2) - np.sum(weights * values) ** 2
    assert variance == pytest.approx(1.0, abs=0.02)


def test_no_counts_are_no_rate():
    assert inverse_anscombe(anscombe(np.zeros(3, np.float32))).max() < 1e-6
