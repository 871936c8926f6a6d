"""D, part 3: veiling glare of the detector."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.scipy.fft import dctn, idctn
from jaxtyping import Array, ArrayLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Parameter, Spec
from fluorojax.physics.scalars import scalar
from fluorojax.physics.scatter import Unknown, check_unknown, which
from fluorojax.physics.stage import RateStage

GLARE_SHARE = Parameter("glare_share", "", 0.0, 0.2, "share of the veiling glare", nominal=0.079)
"""Share of the signal in the tail, a."""
GLARE_RADIUS = Parameter("glare_radius", "pixels", 5.0, 50.0, "scale of the veiling glare", nominal=20.0)
"""Scale of the tail, b."""


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
    unknown: Unknown = eqx.field(static=True, default="nothing")
    """What is inferred: nothing, the share (:data:`GLARE_SHARE`), the kernel (:data:`GLARE_RADIUS`), or everything.
    What is inferred takes the place of what the stage states."""

    def __check_init__(self):
        check_unknown(self.unknown)

    @property
    def parameters(self) -> tuple[Parameter, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The parameters that :attr:`unknown` names."""
        return which(self.unknown, (GLARE_SHARE,), (GLARE_RADIUS,))

    def __call__(self, rate: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The rate blurred by the glare of this detector."""
        return self.known(spec).blur(rate)

    def known(self, spec: Spec) -> "VeilingGlare":
        """The stage with share and scale of ``spec``, where they are unknown: nothing is unknown any more."""
        share = spec.value(GLARE_SHARE) if GLARE_SHARE in self.parameters else self.share
        radius = spec.value(GLARE_RADIUS) if GLARE_RADIUS in self.parameters else self.radius
        return VeilingGlare(share, radius)

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
