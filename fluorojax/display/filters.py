"""Gaussian smoothing that leaves out unknown pixels, and the covariance of its results for noisy images.

A smoothed image is ``S_j x = (g_j ∗ (m x)) / (g_j ∗ m)`` with a Gaussian ``g_j`` and the mask m of the known pixels: at
the edges and beside unknown pixels the weights are scaled so that they sum to one, and no pixel enters twice. For
independent errors of variance v, the covariance of two results in one pixel is therefore exactly
``((g_j g_l) ∗ (m v)) / ((g_j ∗ m) (g_l ∗ m))``, and the product of two separable kernels is separable.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import correlate1d

_REACH = 4.0
"""Radius of a kernel in standard deviations."""


class Smoother:
    """Smoothing of one shape of images by several widths.

    **Arguments:**

    - `widths`: standard deviations of the Gaussians in pixels; 0 leaves the image as it is.
    - `known`: pixels that take part, (T, H, W).
    - `correlation`: width in pixels of the Gaussian whose smoothing of independent errors gives errors as they are
      correlated here; 0 for independent errors. With another value the covariances hold for a standard deviation that
      changes little over that width.
    """

    def __init__(self, widths: Sequence[float], known: Bool[np.ndarray, "T H W"], correlation: float = 0.0):
        self.widths = tuple(widths)
        # one frame stands for all where every pixel is known, which is the usual case
        mask = np.ones((1, *known.shape[1:])) if known.all() else known.astype(np.float64)
        self._mask = mask
        self._kernels = [_gaussian(width) for width in self.widths]
        self._sums = [np.maximum(_separable(mask, kernel), 1e-12) for kernel in self._kernels]
        spread = _gaussian(correlation)
        self._noisy = [np.convolve(kernel, spread / np.sqrt(np.sum(spread**2))) for kernel in self._kernels]

    def smooth(self, values: Float[np.ndarray, "T H W"], index: int) -> Float[np.ndarray, "T H W"]:
        """``S_j x`` for the width of number ``index``; unknown pixels may hold any finite value."""
        return _separable(self._mask * values, self._kernels[index]) / self._sums[index]

    def covariance(self, variance: Float[np.ndarray, "T H W"], first: int, second: int) -> Float[np.ndarray, "T H W"]:
        """Covariance of ``S_j n`` and ``S_l n`` in every pixel for errors n of this variance, in its unit."""
        one, other = self._noisy[first], self._noisy[second]
        reach = min(len(one), len(other)) // 2
        product = _middle(one, reach) * _middle(other, reach)
        return _separable(self._mask * variance, product) / (self._sums[first] * self._sums[second])


def _gaussian(width: float) -> np.ndarray:
    radius = int(np.ceil(_REACH * width))
    if radius == 0:
        return np.ones(1)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / width) ** 2)
    return kernel / kernel.sum()


def _middle(kernel: np.ndarray, reach: int) -> np.ndarray:
    centre = len(kernel) // 2
    return kernel[centre - reach : centre + reach + 1]


def _separable(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    for axis in (-2, -1):
        values = correlate1d(values, kernel, axis=axis, mode="constant") if len(kernel) > 1 else values * kernel[0]
    return values
