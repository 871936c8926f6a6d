"""A test whether the residuals of counts against a fitted rate look like the noise of counts and nothing else."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr

AXES = ("time", "rows", "columns")


@dataclass(frozen=True)
class Whiteness:
    """Standardised residuals z = (y − λ)/√(λ + σ_e²) against the hypothesis of independent Poisson counts of rate λ,
    with electronic noise of standard deviation σ_e where the detector has any.

    A variance above one or positive correlations mean that the counts contain something that the rate does not
    explain. Where the rate was *fitted* to the same counts, the variance is somewhat below one, by the share of the
    degrees of freedom that the fit used, and slightly negative correlations appear.
    """

    count: int
    """Number of values that entered: pixels of all frames."""
    mean: float
    variance: float
    """Mean of z²; 1 under the hypothesis."""
    autocorrelation: dict[str, float]
    """Mean of z·z' over neighbours along each axis (``time``, ``rows``, ``columns``) that has any; 0 expected."""
    statistics: dict[str, float]
    """Test statistics of ``mean``, ``variance`` and each autocorrelation; standard normal under the hypothesis."""

    @property
    def p_values(self) -> dict[str, float]:
        """Two-sided p-value of each statistic."""
        return {name: 2.0 * float(ndtr(-abs(value))) for name, value in self.statistics.items()}

    @property
    def p_value(self) -> float:
        """The smallest p-value, corrected for the number of tests (Šidák)."""
        values = self.p_values
        return float(-np.expm1(len(values) * np.log1p(-min(values.values()))))

    def is_white(self, level: float = 0.05) -> bool:
        """Whether the residuals agree with Poisson noise; the test rejects true noise with probability ``level``."""
        return self.p_value >= level


def standardised_residuals(
    counts: Float[np.ndarray, "*shape"], rate: Float[np.ndarray, "..."], electronic_noise: float = 0.0
) -> Float[np.ndarray, "*shape"]:
    """``(y − λ)/√(λ + σ_e²)``, float64; mean 0 and variance 1 for Poisson counts of rate λ with electronic noise σ_e.

    Raises ``ValueError`` where the shapes differ or the rate is not positive.
    """
    if counts.shape != rate.shape:
        raise ValueError(f"rate has shape {rate.shape}; expected {counts.shape}, like the counts")
    if not (np.isfinite(rate).all() and (rate > 0).all()):
        raise ValueError("rate has values that are not positive; expected the mean of Poisson counts")
    expected = np.asarray(rate, dtype=np.float64)
    return (counts - expected) / np.sqrt(expected + electronic_noise**2)


def whiteness(
    counts: Float[np.ndarray, "*shape"],
    rate: Float[np.ndarray, "..."],
    *,
    mask: Bool[np.ndarray, "..."] | None = None,
    electronic_noise: float = 0.0,
) -> Whiteness:
    """Variance and lag-one autocorrelations of the standardised residuals, with tests.

    Under the hypothesis the moments are exact: var(z²) = 2 + λ/(λ + σ_e²)², and products of neighbours are uncorrelated
    with mean 0 and variance 1, so that each statistic is standard normal by the central limit theorem.

    **Arguments:**

    - `counts`, `rate`: (T, H, W), or (H, W) which has no time axis.
    - `electronic_noise`: σ_e, its standard deviation in quanta.
    - `mask`: pixels that enter, broadcast to the counts; pairs of neighbours enter where both do. All by default.

    **Raises** ``ValueError`` as :func:`standardised_residuals`, and where no pixel enters.
    """
    if counts.ndim not in (2, 3):
        raise ValueError(f"counts have shape {counts.shape}; expected (T, H, W) or (H, W)")
    z = standardised_residuals(counts, rate, electronic_noise)
    inside = np.ones(z.shape, dtype=bool) if mask is None else np.broadcast_to(mask, z.shape)
    n = int(inside.sum())
    if n == 0:
        raise ValueError("mask selects no pixel; expected at least one")
    mean, square = float(z[inside].mean()), float(np.mean(z[inside] ** 2))
    share = rate[inside] / (rate[inside] + electronic_noise**2)
    spread = 2.0 + float(np.mean(share * share / rate[inside]))
    statistics = {"mean": mean * np.sqrt(n), "variance": (square - 1.0) * np.sqrt(n / spread)}
    correlation: dict[str, float] = {}
    for axis, name in enumerate(AXES[3 - z.ndim :]):
        first, second = (np.take(z, np.arange(*ends), axis=axis) for ends in _neighbours(z.shape[axis]))
        both = np.logical_and(*(np.take(inside, np.arange(*ends), axis=axis) for ends in _neighbours(z.shape[axis])))
        pairs = int(both.sum())
        if pairs:
            correlation[name] = float(np.mean(first[both] * second[both]))
            statistics[name] = correlation[name] * np.sqrt(pairs)
    return Whiteness(n, mean, square, correlation, {name: float(value) for name, value in statistics.items()})


def _neighbours(length: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, length - 1), (1, length)
