"""D, part 3: veiling glare of the detector."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax.scipy.fft import dctn, idctn
from jaxtyping import Array, ArrayLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.scalars import scalar
from fluorojax.physics.stage import RateStage


class VeilingGlare(RateStage):
    """Detector point spread ``(1−a) δ(r) + a/(2πb²) (1 + r²/b²)^{−3/2}``, integral one.

    The tail is the Poisson kernel of a half-space, whose transfer function is exactly ``exp(−2πb|ν|)`` at spatial
    frequency ν (cycles/pixel). The image is continued by reflection at the borders (no truncation of the tail, total
    conserved), so the blur is a product in the cosine basis (DCT-II). A core of b < 1 pixel is not resolved by the
    pixel grid and rings slightly.
    """

    name: ClassVar[str] = "veiling_glare"

    share: Float[ArrayLike, ""] = 0.079
    """a: share of the signal in the tail, dimensionless in [0, 1]."""
    radius: Float[ArrayLike, ""] = 20.0
    """b: scale of the tail, pixels."""

    def __call__(self, rate: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The rate blurred by the glare of this detector; the glare has no unknown parameter."""
        return self.blur(rate)

    def blur(self, image: Float[Array, "*frames H W"]) -> Float[Array, "*frames H W"]:
        """The blurred image, in the unit of ``image``."""
        share = scalar("share", self.share, image.dtype)
        radius = scalar("radius", self.radius, image.dtype)
        return _filtered(image, 1 - share + share * _tail(image, radius))

    def tail(self, blurred: Float[Array, "*frames H W"]) -> Float[Array, "*frames H W"]:
        """The part of a blurred image that the tail carried away from its place, in the unit of ``blurred``.

        What is left, ``blurred − tail``, is 1 − a of the image before the blur; share and radius are those of the
        detector, and a < 1.
        """
        share = scalar("share", self.share, blurred.dtype)
        tail = share * _tail(blurred, scalar("radius", self.radius, blurred.dtype))
        return _filtered(blurred, tail / (1 - share + tail))


def _tail(image: Float[Array, "*frames H W"], radius: Float[Array, ""]) -> Float[Array, "H W"]:
    """Transfer of the tail in the cosine basis."""
    height, width = image.shape[-2:]
    nu = np.hypot(np.arange(height)[:, None] / (2 * height), np.arange(width) / (2 * width)).astype(image.dtype)
    return jnp.exp(-2 * np.pi * radius * nu)


def _filtered(image: Float[Array, "*frames H W"], transfer: Float[Array, "H W"]) -> Float[Array, "*frames H W"]:
    return idctn(transfer * dctn(image, axes=(-2, -1), norm="ortho"), axes=(-2, -1), norm="ortho")
