"""Restormer: attention between channels instead of pixels, and gated feed-forward layers, in a U shape.

S. W. Zamir, A. Arora, S. Khan, M. Hayat, F. S. Khan and M.-H. Yang, "Restormer: efficient transformer for
high-resolution image restoration", CVPR (2022), arXiv:2111.09881; section 3.1, equation 1 (multi-Dconv head transposed
attention), section 3.2, equation 2 (gated-Dconv feed-forward network), and figure 2.

What differs: two levels instead of four, 24 and 40 channels instead of 48 to 384, one or two blocks at each level,
expansion 2 instead of 2.66, on 2 × 2 unshuffled pixels, all at one patch size. The residual is taken to the mean of
the run, as for every network here. The attention compares channels over all pixels that the network is given. Pixels
beyond :attr:`~fluorojax.learned.peers.restormer.Restormer.reach` therefore change the weights of the channels, by the
same factor in all pixels.
"""

from functools import reduce

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.learned.features import BLOCK
from fluorojax.learned.networks import Conv, architecture, shuffle, unshuffle
from fluorojax.learned.peers.blocks import Enter, LayerNorm, PointNetwork


class Depthwise(eqx.Module):
    """A 3 × 3 convolution of each channel by itself with zero padding."""

    weight: Float[Array, "9 width"]

    def __init__(self, key: PRNGKeyArray, width: int):
        self.weight = (jax.random.normal(key, (9, width)) / 3.0).at[4].add(1.0)

    def __call__(self, x: Float[Array, "N H W width"]) -> Float[Array, "N H W width"]:
        """Nine shifted products: XLA's grouped convolution is many times slower on a CPU."""
        _, height, width, _ = x.shape
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        parts = [
            weight * padded[:, k // 3 : k // 3 + height, k % 3 : k % 3 + width] for k, weight in enumerate(self.weight)
        ]
        return reduce(jnp.add, parts)


class TransposedAttention(eqx.Module):
    """Multi-Dconv head transposed attention (equation 1)."""

    project: Conv
    mix: Depthwise
    temperature: Float[Array, " heads"]
    merge: Conv

    def __init__(self, key: PRNGKeyArray, width: int, heads: int):
        one, two, three = jax.random.split(key, 3)
        self.project = Conv(one, width, 3 * width, size=1, gain=0.7)
        self.mix = Depthwise(two, 3 * width)
        self.temperature = jnp.ones(heads)
        self.merge = Conv(three, width, width, size=1, gain=0.3)

    def __call__(self, x: Float[Array, "N H W width"]) -> Float[Array, "N H W width"]:
        """Weigh the channels of each head by their correlation over the image."""
        n, height, width, channels = x.shape
        heads = self.temperature.shape[0]
        query, key, value = jnp.split(self.mix(self.project(x)), 3, axis=-1)
        query, key, value = (v.reshape(n, height * width, heads, channels // heads) for v in (query, key, value))
        query, key = (v * jax.lax.rsqrt(jnp.sum(v**2, axis=1, keepdims=True) + 1e-6) for v in (query, key))
        scores = jnp.einsum("npha,nphb->nhab", query, key) * self.temperature[:, None, None]
        mixed = jnp.einsum("nhab,nphb->npha", jax.nn.softmax(scores, axis=-1), value)
        return self.merge(mixed.reshape(n, height, width, channels))


class GatedFeedForward(eqx.Module):
    """Gated-Dconv feed-forward network (equation 2)."""

    expand: Conv
    mix: Depthwise
    reduce: Conv

    def __init__(self, key: PRNGKeyArray, width: int, expansion: int = 2):
        one, two, three = jax.random.split(key, 3)
        self.expand = Conv(one, width, 2 * expansion * width, size=1, gain=0.7)
        self.mix = Depthwise(two, 2 * expansion * width)
        self.reduce = Conv(three, expansion * width, width, size=1, gain=0.3)

    def __call__(self, x: Float[Array, "N H W width"]) -> Float[Array, "N H W width"]:
        """One half of the channels gates the other."""
        gate, passed = jnp.split(self.mix(self.expand(x)), 2, axis=-1)
        return self.reduce(jax.nn.gelu(gate) * passed)


class TransformerBlock(eqx.Module):
    """Attention and feed-forward network, each after a normalisation and with a shortcut around it."""

    norms: tuple[LayerNorm, LayerNorm]
    attend: TransposedAttention
    feed: GatedFeedForward

    def __init__(self, key: PRNGKeyArray, width: int, heads: int):
        one, two = jax.random.split(key)
        self.norms = LayerNorm(width), LayerNorm(width)
        self.attend, self.feed = TransposedAttention(one, width, heads), GatedFeedForward(two, width)

    def __call__(self, x: Float[Array, "N H W width"]) -> Float[Array, "N H W width"]:
        """Apply the block."""
        x = x + self.attend(self.norms[0](x))
        return x + self.feed(self.norms[1](x))


class Restormer(PointNetwork):
    """See the module docstring."""

    enter: Enter
    encode: tuple[TransformerBlock, ...]
    down: Conv
    middle: tuple[TransformerBlock, ...]
    up: Conv
    join: Conv
    decode: tuple[TransformerBlock, ...]
    leave: Conv

    def __init__(
        self,
        key: PRNGKeyArray,
        widths: tuple[int, int] = (24, 40),
        blocks: tuple[int, int, int] = (1, 2, 2),
        heads: tuple[int, int] = (1, 2),
    ):
        keys = iter(jax.random.split(key, 5 + sum(blocks)))
        high, low = widths
        self.enter = Enter(next(keys), high)
        self.encode = tuple(TransformerBlock(next(keys), high, heads[0]) for _ in range(blocks[0]))
        self.down = Conv(next(keys), 4 * high, low, size=1, gain=0.7)
        self.middle = tuple(TransformerBlock(next(keys), low, heads[1]) for _ in range(blocks[1]))
        self.up = Conv(next(keys), low, 4 * high, size=1, gain=0.7)
        self.join = Conv(next(keys), 2 * high, high, size=1, gain=0.7)
        self.decode = tuple(TransformerBlock(next(keys), high, heads[0]) for _ in range(blocks[2]))
        self.leave = Conv(next(keys), high, 4 * BLOCK, gain=0.05)

    @property
    def reach(self) -> int:
        """See :class:`~fluorojax.learned.networks.Network`; for the convolutions alone."""
        return 2 * (2 * (len(self.encode) + len(self.decode)) + 2) + 4 * 2 * len(self.middle) + 16

    def estimate(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> Float[Array, "N H W block"]:
        """See :class:`~fluorojax.learned.peers.blocks.PointNetwork`."""
        x = self.enter(images, conditions)
        for block in self.encode:
            x = block(x)
        low = self.down(unshuffle(x))
        for block in self.middle:
            low = block(low)
        x = self.join(jnp.concatenate([shuffle(self.up(low)), x], axis=-1))
        for block in self.decode:
            x = block(x)
        return shuffle(self.leave(x))


@architecture("restormer")
def _restormer(key: PRNGKeyArray) -> Restormer:
    return Restormer(key)
