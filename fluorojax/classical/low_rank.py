"""Background and devices by robust principal component analysis of the log counts."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from fluorojax.classical.estimate import ClassicalMethod, Estimate, as_stack
from fluorojax.classical.rates import attenuation, gains
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator


@dataclass(frozen=True)
class LowRankSparse(ClassicalMethod):
    """Stable principal component pursuit: ``min ρ‖L‖_* + σ‖S‖₁ + ½‖D − L − S‖²``, estimate L + S.

    Zhou et al., ISIT 2010, the form of robust PCA for noisy data: with an exact fit, L + S would be the noisy input. D
    holds the log counts, a row for each frame, every pixel multiplied by the root of its mean count; the noise of D is
    then about one and the rank is unchanged. Layers that multiply in transmission add in the log. Solved by
    alternating minimisation (both steps are exact proximal maps).
    """

    rank: float = 1.0
    """ρ in units of ``√(H·W) + √T``, the largest singular value of unit noise."""
    sparse: float = 2.5
    """σ in units of the noise."""
    smooth: float = 0.7
    """Standard deviation, pixels, of a Gaussian that smooths the counts, so that their logarithm exists."""
    iterations: int = 60

    def __call__(
        self,
        y: Float[np.ndarray, "T H W"],
        acquisition: Acquisition,
        spec: Spec | None = None,
        operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
    ) -> Estimate:
        """See :class:`~fluorojax.classical.estimate.ClassicalMethod`."""
        counts = as_stack(y)
        frames = len(counts)
        calm, noise = counts, 1.0
        if self.smooth > 0:
            calm = gaussian_filter(counts, (0, self.smooth, self.smooth))
            impulse = gaussian_filter(np.pad(np.ones((1, 1)), 20), self.smooth)
            noise = float(np.sqrt(np.sum(impulse**2)))
        # log(y + v/2λ) is unbiased for log λ up to second order; the gain of a frame is a known factor.
        logs = np.log((calm + 0.5 * noise**2) / gains(operator, spec, frames)).reshape(frames, -1).astype(np.float64)
        weight = np.sqrt(np.maximum(counts.mean(0), 0.5)).reshape(-1) / noise
        low, few = decompose(logs * weight, self.rank, self.sparse, self.iterations)
        signal = np.exp((low + few) / weight).reshape(counts.shape)
        return Estimate(attenuation(signal, acquisition))


def decompose(
    data: Float[np.ndarray, "T N"], rank: float, sparse: float, iterations: int
) -> tuple[Float[np.ndarray, "T N"], Float[np.ndarray, "T N"]]:
    """L and S of :class:`LowRankSparse` for a matrix with unit noise."""
    threshold = rank * (np.sqrt(data.shape[0]) + np.sqrt(data.shape[1]))
    few = np.zeros_like(data)
    low = data
    for _ in range(iterations):
        low = _shrink_singular_values(data - few, threshold)
        rest = data - low
        updated = np.sign(rest) * np.maximum(np.abs(rest) - sparse, 0)
        change = np.abs(updated - few).max()
        few = updated
        if change < 1e-3:
            break
    return low, few


def _shrink_singular_values(matrix: Float[np.ndarray, "T N"], threshold: float) -> Float[np.ndarray, "T N"]:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return (left * np.maximum(values - threshold, 0)) @ right
