"""Variance stabilisation: denoise Poisson counts with a method made for Gaussian noise of standard deviation one."""

from abc import abstractmethod
from dataclasses import dataclass
from math import sqrt

import numpy as np
from jaxtyping import Float

from fluorojax.classical.estimate import ClassicalMethod, Estimate, as_stack
from fluorojax.classical.rates import attenuation, gains
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator


def anscombe(y: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """``2 √(y + 3/8)`` of counts y ≥ 0 (Anscombe, Biometrika 35:246, 1948): noise of standard deviation about one."""
    return 2 * np.sqrt(y + np.float32(0.375))


def inverse_anscombe(z: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The rate λ whose stabilised counts have the mean z, unlike the algebraic inverse, which is biased at low counts.

    Closed-form approximation of the exact unbiased inverse (Mäkitalo & Foi, IEEE Trans. Image Process. 20:2697, 2011,
    eq. 8): ``z²/4 + √(3/2)/(4z) − 11/(8z²) + 5√(3/2)/(8z³) − 1/8``; zero below the stabilised value of no counts.
    """
    z, root = np.maximum(z, 2 * sqrt(0.375)), sqrt(1.5)
    return np.maximum(z**2 / 4 + root / 4 / z - 11 / 8 / z**2 + 5 / 8 * root / z**3 - 1 / 8, 0)


@dataclass(frozen=True)
class Stabilised(ClassicalMethod):
    """Anscombe transform, a denoiser, and the unbiased inverse.

    The transformed frames are divided by the root of the assumed gain, so that the denoiser does not take a drifting
    gain for motion. The standard deviation of the noise stays within a few percent of one.
    """

    @abstractmethod
    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """Remove Gaussian noise of standard deviation one."""

    def __call__(
        self,
        y: Float[np.ndarray, "T H W"],
        acquisition: Acquisition,
        spec: Spec | None = None,
        operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
    ) -> Estimate:
        """See :class:`~fluorojax.classical.estimate.ClassicalMethod`."""
        gain = gains(operator, spec, len(y))
        root = np.sqrt(gain)
        signal = inverse_anscombe(root * self.denoise(anscombe(as_stack(y)) / root)) / gain
        return Estimate(attenuation(signal, acquisition))
