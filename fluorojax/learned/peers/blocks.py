"""Layers that several peers share."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.learned.features import CHANNELS, CONDITIONS
from fluorojax.learned.networks import Conv, StdSource, unshuffle


class PointNetwork(eqx.Module):
    """A network that estimates the image and states no standard deviation."""

    reach: eqx.AbstractVar[int]

    @property
    def std_source(self) -> StdSource:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return "none"

    @abstractmethod
    def estimate(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> Float[Array, "N H W block"]:
        """f of every frame of the blocks; see :mod:`fluorojax.learned.features`."""

    def __call__(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> tuple[Float[Array, "N H W block"], Float[Array, "N H W block"]]:
        """f, and zeros for the log s that the network does not state."""
        f = self.estimate(images, conditions)
        return f, jnp.zeros_like(f)


class Enter(eqx.Module):
    """First convolution, of 2 × 2 unshuffled pixels; the conditions enter as constant channels would."""

    pixels: Conv
    constants: Conv

    def __init__(self, key: PRNGKeyArray, width: int, *, size: int = 3):
        one, two = jax.random.split(key)
        self.pixels = Conv(one, 4 * CHANNELS, width, size=size)
        self.constants = Conv(two, CONDITIONS, width, size=1, gain=0.3)

    def __call__(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> Float[Array, "N H2 W2 width"]:
        """Features at half the height and width."""
        return self.pixels(unshuffle(images)) + self.constants(conditions[:, None, None, :])


class LayerNorm(eqx.Module):
    """Normalisation over the channels of each pixel (Ba, Kiros and Hinton, arXiv:1607.06450, eq. 3)."""

    scale: Float[Array, " width"]
    shift: Float[Array, " width"]

    def __init__(self, width: int):
        self.scale, self.shift = jnp.ones(width), jnp.zeros(width)

    def __call__(self, x: Float[Array, "*batch width"]) -> Float[Array, "*batch width"]:
        """Normalise."""
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(centred**2, axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * self.scale + self.shift
