"""D, part 2: scattered radiation."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.scalars import scalar
from fluorojax.physics.stage import RateStage


class Scatter(RateStage):
    """Scatter as ``f/(1−f)`` times the primary, blurred by a very wide Gaussian.

    f = S/(S+P) is the scattered share of the detected quanta of the whole field. The blur reflects at the borders and
    conserves the total, so f is met exactly. Under reflection a Gaussian is diagonal in the cosine basis (DCT-II), with
    factor ``exp(−½ (πσk/N)²)`` for mode k of N pixels, and only the lowest few modes of a wide one survive: about ten
    numbers per axis describe the scatter, whatever the image size.
    """

    name: ClassVar[str] = "scatter"

    width: float = eqx.field(static=True, default=0.25)
    """Standard deviation σ of the blur as a share of the larger side of the field. Static: sets the number of modes."""

    def __check_init__(self):
        if not (np.isfinite(self.width) and self.width > 0):
            raise ValueError(f"width is {self.width}; expected a positive share of the field")

    def __call__(self, rate: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The rate plus the scatter of the protocol's ``scatter_fraction``."""
        return self.with_scatter(rate, acquisition.scatter_fraction)

    def with_scatter(
        self, primary: Float[Array, "*frames H W"], scatter_fraction: Float[ArrayLike, ""]
    ) -> Float[Array, "*frames H W"]:
        """Primary plus scatter, in the unit of ``primary``. **Arguments:** ``scatter_fraction`` f in [0, 1)."""
        f = scalar("scatter_fraction", scatter_fraction, primary.dtype)
        return primary + f / (1 - f) * self.blur(primary)

    def blur(self, image: Float[Array, "*frames H W"]) -> Float[Array, "*frames H W"]:
        """The wide Gaussian blur alone; linear, self-adjoint, and it conserves the sum over the field."""
        height, width = image.shape[-2:]
        sigma = self.width * max(height, width)
        rows, columns = (_cosine_modes(size, sigma, image.dtype) for size in (height, width))
        low = jnp.einsum("ka,...ab,lb->...kl", rows, image, columns, precision=Precision.HIGHEST)
        return jnp.einsum("ka,...kl,lb->...ab", rows, low, columns, precision=Precision.HIGHEST)


def _cosine_modes(size: int, sigma: float, dtype) -> np.ndarray:
    """Orthonormal DCT-II modes (K, size) times the root of their Gaussian factor, down to a factor of 1e-9."""
    cutoff = np.sqrt(2 * np.log(1e9)) * size / (np.pi * sigma)
    k = np.arange(min(size, int(np.ceil(cutoff)) + 1))[:, None]
    modes = np.sqrt(np.where(k == 0, 1, 2) / size) * np.cos(np.pi * k * (np.arange(size) + 0.5) / size)
    return (modes * np.exp(-0.25 * (np.pi * sigma * k / size) ** 2)).astype(dtype)
