"""Simulation-based calibration: ranks of the truth among posterior draws, and whether they are uniform.

Where truth and data come from the model's prior, the truth and L exact posterior draws are exchangeable, so the rank of
the truth is uniform on 0..L for every scalar function of parameters and data (Talts et al., arXiv:1804.06788, theorem
1; Modrák et al., arXiv:2211.02383, for functions that also see the data).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

# Bins of the χ² test, and how many ranks each should get, so that a histogram shows shape and not noise.
_BINS = (20, 10, 8, 5, 4)
_LEAST_EXPECTED = 5
# Simulated histograms behind a p-value of the χ² test: resolves 5e-6, a tenth of what Holm asks of 50 tests at 0.5 %.
_SIMULATED = 200_000
# Points at which the ECDF is compared with the diagonal, at most.
_MOST_POINTS = 40


@dataclass(frozen=True)
class Uniformity:
    """Tests whether the rank of one quantity is uniform at one dose."""

    dose: float
    """Counts per pixel and frame behind x = 0.5."""
    quantity: str
    """A spec parameter, a region mean of x, or the log likelihood."""
    replicates: int
    histogram: tuple[int, ...]
    """Ranks in equal bins, low to high."""
    chi_square_p: float
    ecdf_p: float
    """Exact p-value of the simultaneous ECDF band (:func:`ecdf_p_value`)."""
    adjusted_p: float
    """Smaller of the two p-values times two, then Holm-adjusted over all quantities and doses of the report."""
    contraction: float
    """1 − posterior variance / variance of the truth; near 0 the posterior is the prior, and uniform ranks are then no
    evidence of a good one. NaN for the log likelihood."""
    bias_z: float
    """Mean normalised rank in standard errors from ½: positive where the posterior lies too low."""
    spread_z: float
    """Spread of the normalised ranks in standard errors from that of a uniform: positive where the posterior is too
    narrow, negative where it is too wide."""

    @property
    def p_value(self) -> float:
        """The two tests as one, before the adjustment for the number of quantities."""
        return min(1.0, 2 * min(self.chi_square_p, self.ecdf_p))

    def departure(self) -> str:
        """The most pronounced departure from uniformity, in words."""
        if abs(self.bias_z) > abs(self.spread_z):
            return "posterior too low" if self.bias_z > 0 else "posterior too high"
        return "posterior too narrow" if self.spread_z > 0 else "posterior too wide"


def ranks(truth: Float[np.ndarray, "n *q"], draws: Float[np.ndarray, "n L *q"]) -> Int[np.ndarray, "n *q"]:
    """Number of draws below the truth, 0..L."""
    return np.sum(draws < truth[:, None], axis=1)


def measure_uniformity(
    dose: float, quantity: str, truth: Float[np.ndarray, "n"], draws: Float[np.ndarray, "n L"]
) -> Uniformity:
    """Both tests of one quantity; ``adjusted_p`` is that of this quantity alone until :func:`adjust` sees them all."""
    count = draws.shape[1]
    rank = ranks(truth, draws)
    histogram, chi_square = chi_square_p_value(rank, count)
    ecdf = ecdf_p_value(rank, count)
    unit = (rank + 0.5) / (count + 1) - 0.5
    n = rank.size
    # Variances of u and u² for u uniform on ±½: 1/12 and 1/180; the L + 1 steps of a rank take 1/(12 (L+1)²) off u².
    square = (1 - (count + 1) ** -2.0) / 12
    between = float(np.var(truth, ddof=1)) if quantity != LOG_LIKELIHOOD else math.nan
    return Uniformity(
        dose=dose,
        quantity=quantity,
        replicates=n,
        histogram=tuple(int(h) for h in histogram),
        chi_square_p=chi_square,
        ecdf_p=ecdf,
        adjusted_p=min(1.0, 2 * min(chi_square, ecdf)),
        contraction=1 - float(np.mean(np.var(draws, axis=1, ddof=1))) / between,
        bias_z=float(np.mean(unit) * math.sqrt(12 * n)),
        # about their own mean, so that a shift does not pass for a width
        spread_z=float((np.var(unit, ddof=1) - square) * math.sqrt(180 * n)),
    )


REGIONS = ("whole field", "upper left", "upper right", "lower left", "lower right")
LOG_LIKELIHOOD = "log likelihood"
"""A quantity that sees the data: a posterior that ignores them has uniform ranks of every parameter, but not of this
(Modrák et al., arXiv:2211.02383)."""


def chi_square_p_value(rank: Int[np.ndarray, "n"], draws: int) -> tuple[Int[np.ndarray, "bins"], float]:
    """Histogram of the ranks and the p-value of Pearson's χ² against equal expected counts.

    From 200 000 simulated histograms (fixed seed): the χ² distribution is only its limit for large counts, and at five
    per bin it rejects uniform ranks 1.6 times too often in the far tail that an adjustment for many tests looks at.

    The most bins of 20, 10, 8, 5, 4 that divide L + 1 and leave five expected ranks in each.
    Raises ``ValueError`` where there are none.
    """
    fitting = [b for b in _BINS if (draws + 1) % b == 0 and rank.size >= _LEAST_EXPECTED * b]
    if not fitting:
        raise ValueError(
            f"{rank.size} replicates with {draws} draws; expected at least {_LEAST_EXPECTED * _BINS[-1]} replicates "
            f"and one draw less than a multiple of {_BINS[-1]}"
        )
    bins = fitting[0]
    histogram = np.bincount(rank * bins // (draws + 1), minlength=bins)
    reference = _squares_of_uniform(rank.size, bins)
    larger = reference.size - np.searchsorted(reference, int(np.sum(histogram**2)))
    return histogram, float((larger + 1) / (reference.size + 1))


@lru_cache(maxsize=16)
def _squares_of_uniform(count: int, bins: int) -> Int[np.ndarray, "simulated"]:
    """Sorted sums of squared bin counts of uniform ranks, which order histograms as χ² does."""
    drawn = np.random.default_rng(0).multinomial(count, np.full(bins, 1 / bins), size=_SIMULATED)
    return np.sort(np.sum(drawn**2, axis=1))


def ecdf_p_value(rank: Int[np.ndarray, "n"], draws: int) -> float:
    """Exact p-value of the ECDF of the ranks against the diagonal, simultaneous over all evaluation points.

    Säilynoja, Bürkner & Vehtari (arXiv:2103.10522, §2): the number of ranks below a point is binomial; the statistic is
    the smallest pointwise two-sided p-value, its distribution that of a random walk that stays inside the pointwise
    bands. Their recursion (eq. 12) runs over binomial steps. Here the bins hold independent Poisson numbers until their
    total is conditioned on, the same law, so a step is a convolution.
    """
    n = rank.size
    steps = next(s for s in range(min(draws + 1, _MOST_POINTS), 0, -1) if (draws + 1) % s == 0)
    bounds = np.arange(1, steps) * ((draws + 1) // steps)
    below = np.searchsorted(np.sort(rank), bounds)
    possible = np.arange(n + 1)
    pointwise = []
    for step in range(1, steps):
        law = stats.binom(n, step / steps)
        pointwise.append(np.minimum(1.0, 2 * np.minimum(law.cdf(possible), law.sf(possible - 1))))
    if not pointwise:
        return 1.0
    # Outcomes that mirror each other are equally extreme but for rounding.
    statistic = min(table[b] for table, b in zip(pointwise, below, strict=True)) * (1 + 1e-9)
    jump = stats.poisson.pmf(possible, n / steps)
    weight = np.zeros(n + 1)
    weight[0] = 1.0
    for table in pointwise:
        weight = np.where(table > statistic, np.convolve(weight, jump)[: n + 1], 0.0)
    inside = np.convolve(weight, jump)[n] / float(stats.poisson.pmf(n, n))
    return float(np.clip(1.0 - inside, 0.0, 1.0))


def adjust(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Scand. J. Stat. 6:65, 1979): reject where the result is below the family's level.

    Valid whatever the dependence between the tests.
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for position, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - position) * p_values[index]))
        adjusted[index] = largest
    return [float(p) for p in adjusted]
