"""Edge enhancement and multiscale contrast, with gains that the uncertainty of the picture limits.

Both add details of a picture to the picture. A detail is the difference of two smoothed pictures,
``d_k = S_j x − S_l x``:

* **unsharp masking** has one detail, the picture minus its smoothed copy;
* **multiscale contrast** has the levels of a Laplacian pyramid (Burt & Adelson, IEEE Trans. Commun. 31:532, 1983), kept
  at full resolution: what lies between the widths 0, 1, 2, 4, … pixels.

The result is ``x + Σ_k G_k d_k``. The gain ``G_k`` of a pixel depends on the ratio r of the amplitude of the detail
around it to the standard deviation that the errors of x cause in the detail::

    r = √(S d_k²) / √(S var d_k)        G_k = min(gain · max(0, 1 − (limit/r)²), r − 1)

The first factor is the share of the amplitude that is no noise, as in the filter of Lee (IEEE Trans. PAMI 2:165, 1980):
below ``limit`` standard deviations nothing is amplified. The second bound keeps the amplified noise below the amplitude
that the detail had. With the gains held fixed the result is linear in x, so that its standard deviation follows exactly
for independent errors (:class:`DetailFilter`).
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from fluorojax.display.filters import Smoother

MOST_GAIN, MOST_LEVELS = 20.0, 8
_BLOCK = 4_000_000  # pixels that are filtered at a time


@dataclass(frozen=True)
class Enhancement:
    """What is amplified, and how much. The default amplifies nothing.

    Raises ``ValueError`` for numbers outside the stated ranges.
    """

    sharpen: float = 0.0
    """Gain of unsharp masking, 0 to 20."""
    width: float = 1.5
    """Standard deviation in pixels of the Gaussian that unsharp masking subtracts, up to 50."""
    contrast: float = 0.0
    """Gain of every level of the pyramid, 0 to 20."""
    levels: int = 4
    """Levels of the pyramid, 1 to 8; level k holds what lies between the widths ``2^(k−2)`` and ``2^(k−1)`` pixels, the
    first one what is finer than a pixel."""
    limit: float = 2.0
    """Standard deviations below which a detail is left as it is; at least 1."""
    correlation: float = 0.0
    """Width in pixels over which the errors of the picture are correlated; 0 for independent errors, as of counts."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("sharpen", 0.0, MOST_GAIN),
            ("contrast", 0.0, MOST_GAIN),
            ("limit", 1.0, 1000.0),
            ("correlation", 0.0, 20.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name):g}; expected {low:g} to {high:g}")
        if not 0 < self.width <= 50:
            raise ValueError(f"width is {self.width:g}; expected more than 0 and at most 50 pixels")
        if not 1 <= self.levels <= MOST_LEVELS:
            raise ValueError(f"levels is {self.levels}; expected 1 to {MOST_LEVELS}")

    @property
    def amplifies(self) -> bool:
        """Whether anything is amplified."""
        return self.sharpen > 0 or self.contrast > 0

    @cached_property
    def widths(self) -> tuple[float, ...]:
        """Widths of all smoothed pictures, ascending from 0."""
        pyramid = [2.0**level for level in range(self.levels)] if self.contrast > 0 else []
        return tuple(sorted({0.0, *pyramid, *([self.width] if self.sharpen > 0 else [])}))

    @cached_property
    def details(self) -> tuple[tuple[int, int, float], ...]:
        """Of each detail the numbers of the finer and the coarser width, and its full gain."""
        at = self.widths.index
        found = [(0, at(self.width), self.sharpen)] if self.sharpen > 0 else []
        if self.contrast > 0:
            edges = [0.0, *(2.0**level for level in range(self.levels))]
            found += [(at(a), at(b), self.contrast) for a, b in pairwise(edges)]
        return tuple(found)


@dataclass(frozen=True)
class DetailFilter:
    """An enhancement with fixed gains: a linear filter ``x + Σ_k G_k (S_j x − S_l x)``. Made by :func:`design`."""

    options: Enhancement
    smoother: Smoother
    gains: Float[np.ndarray, "details T H W"]
    """Gain of each detail of :attr:`Enhancement.details` in every pixel."""

    def apply(self, values: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """The filtered picture; float64, linear in ``values``."""
        weights = self._weights()
        known = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
        total = np.zeros(values.shape)
        for index, weight in enumerate(weights):
            total += weight * self.smoother.smooth(known, index)
        return np.where(np.isfinite(values), total, np.nan)

    def spread(self, sd: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """Standard deviation of the filtered picture for errors of this standard deviation, in the same unit; float64.

        ``var = Σ_jl c_j c_l cov(S_j n, S_l n)``, with the weights ``c`` that the gains give to the smoothed pictures.
        For errors that are correlated it is the standard deviation times the amplification that this sum states.
        """
        weights = self._weights()
        variance = np.nan_to_num(sd.astype(np.float64)) ** 2
        total, alone = np.zeros(sd.shape), self.smoother.covariance(variance, 0, 0)
        for first in range(len(weights)):
            for second in range(first, len(weights)):
                pair = self.smoother.covariance(variance, first, second) if second else alone
                total += (1.0 if first == second else 2.0) * weights[first] * weights[second] * pair
        factor = np.divide(np.maximum(total, 0.0), alone, out=np.ones(sd.shape), where=alone > 0)
        # an exact pixel among uncertain ones takes up their errors
        amplified = np.where(variance > 0, variance * factor, np.maximum(total, 0.0))
        return np.where(np.isfinite(sd), np.sqrt(amplified), np.nan)

    def _weights(self) -> list[np.ndarray]:
        """What every smoothed picture counts in the result; together they are one in every pixel."""
        shape = self.gains.shape[1:]
        weights = [np.ones(shape), *(np.zeros(shape) for _ in self.options.widths[1:])]
        for (fine, coarse, _), gain in zip(self.options.details, self.gains, strict=True):
            weights[fine] = weights[fine] + gain
            weights[coarse] = weights[coarse] - gain
        return weights


@dataclass(frozen=True)
class Enhanced:
    """An enhanced picture with the standard deviation that the enhancement made of the given one; both float32."""

    values: Float[np.ndarray, "T H W"]
    sd: Float[np.ndarray, "T H W"]
    """Standard deviation of ``values``, with the gains taken as fixed."""


def enhance(values: Float[np.ndarray, "T H W"], sd: Float[np.ndarray, "T H W"], options: Enhancement) -> Enhanced:
    """Enhance pictures frame by frame; ``sd`` is their standard deviation in the same unit.

    Pixels that are not finite take no part and stay NaN. **Raises** ``ValueError`` for shapes that differ or are not
    (T, H, W), and for a standard deviation that is negative or not finite where the picture is finite.
    """
    _check(values, sd)
    if not options.amplifies:
        return Enhanced(values.astype(np.float32), sd.astype(np.float32))
    block = max(1, _BLOCK // max(values[0].size, 1))
    parts = []
    for start in range(0, len(values), block):
        some, spread = values[start : start + block], sd[start : start + block]
        chosen = design(some, spread, options)
        parts.append((chosen.apply(some).astype(np.float32), chosen.spread(spread).astype(np.float32)))
    return Enhanced(np.concatenate([value for value, _ in parts]), np.concatenate([spread for _, spread in parts]))


def design(values: Float[np.ndarray, "T H W"], sd: Float[np.ndarray, "T H W"], options: Enhancement) -> DetailFilter:
    """The gains of every detail of these pictures, by the formula of this module; raises as :func:`enhance`."""
    _check(values, sd)
    known = np.isfinite(values)
    smoother = Smoother(options.widths, known, options.correlation)
    picture = np.where(known, values, 0.0).astype(np.float64)
    variance = np.where(known, sd, 0.0).astype(np.float64) ** 2
    smooth = [smoother.smooth(picture, index) for index in range(len(options.widths))]
    gains = np.zeros((len(options.details), *values.shape), np.float32)
    for number, (fine, coarse, gain) in enumerate(options.details):
        noise = (
            smoother.covariance(variance, fine, fine)
            - 2.0 * smoother.covariance(variance, fine, coarse)
            + smoother.covariance(variance, coarse, coarse)
        )
        around = Smoother([max(1.0, options.widths[coarse])], known)
        amplitude = around.smooth((smooth[fine] - smooth[coarse]) ** 2, 0)
        level = np.maximum(around.smooth(np.maximum(noise, 0.0), 0), 1e-300)
        ratio = np.sqrt(amplitude / level)
        share = np.maximum(1.0 - (options.limit / np.maximum(ratio, 1e-12)) ** 2, 0.0)
        gains[number] = np.where(known, np.minimum(gain * share, np.maximum(ratio - 1.0, 0.0)), 0.0)
    return DetailFilter(options, smoother, gains)


def _check(values: np.ndarray, sd: np.ndarray) -> None:
    if values.ndim != 3:
        raise ValueError(f"values have shape {values.shape}; expected (T, H, W)")
    if sd.shape != values.shape:
        raise ValueError(f"sd has shape {sd.shape}; expected {values.shape}, like the values")
    at = np.isfinite(values)
    if not (np.isfinite(sd[at]).all() and (sd[at] >= 0).all()):
        raise ValueError("sd holds values that are negative or not finite; expected a standard deviation everywhere")
