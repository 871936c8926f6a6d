"""Π: transmission of the normalised attenuation."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fluorojax.physics.scalars import scalar


class BeerLambert(eqx.Module):
    """Transmission ``exp(−A·P(x))`` of the normalised attenuation x, dimensionless, nominally x in [0, 1].

    A is the optical depth (line integral of the linear attenuation coefficient, dimensionless) at x = 1. P is the
    projector; by default it is the identity, because x is given on the pixels of the detector.
    """

    projector: Callable[[Array], Array] | None = None
    """Maps the scene's x (T, …) to path attenuation on the detector (T, H, W). None is the identity. It
    may be an ``equinox.Module`` with parameters of its own. A plain function makes the operator a pytree with a leaf
    that is no array; use ``eqx.filter_jit`` to transform such an operator."""

    def transmission(
        self, x: Float[Array, "*scene"], attenuation_scale: Float[ArrayLike, ""]
    ) -> Float[Array, "*detector"]:
        """Primary transmission at the frame times, dimensionless.

        **Arguments:** ``x`` normalised attenuation; ``attenuation_scale`` A, the optical depth at x = 1.
        """
        path = x if self.projector is None else self.projector(x)
        return jnp.exp(-scalar("attenuation_scale", attenuation_scale, path.dtype) * path)
