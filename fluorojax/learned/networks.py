"""Networks by name: each maps input images and conditions of blocks to mean and log standard deviation of their frames.

An architecture is a constructor ``(key) -> Network``; peers add theirs with :func:`architecture`. Images are NHWC,
which is what XLA's convolutions on a CPU want.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from typing import Literal, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from fluorojax.learned.features import BLOCK, CHANNELS, CONDITIONS, SpecState
from fluorojax.learned.peers import PEERS

GRAIN = 8
"""Height and width of the input images must be multiples of this."""


StdSource = Literal["head", "draws", "none"]
"""Where standard deviations come from: an output of the network, draws from the posterior, or nowhere."""


class Network(Protocol):
    """The interface of a network."""

    @property
    def reach(self) -> int:
        """Number of pixels to each side on which an output pixel can depend."""
        ...

    @property
    def std_source(self) -> StdSource:
        """Where log s comes from; with "none" it has no meaning."""
        ...

    def __call__(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> tuple[Float[Array, "N H W block"], Float[Array, "N H W block"]]:
        """f and log s of every frame of the blocks, in units of the noise; see :mod:`fluorojax.learned.features`."""
        ...


class RunNetwork(Protocol):
    """The interface of a network that takes the counts of a whole run instead of the images of blocks."""

    @property
    def reach(self) -> int:
        """See :class:`Network`."""
        ...

    @property
    def std_source(self) -> StdSource:
        """See :class:`Network`."""
        ...

    def solve(
        self,
        counts: Float[Array, "T H W"],
        frames: Int[ArrayLike, ""],
        spec: SpecState,
        photons: Float[ArrayLike, ""],
    ) -> Float[Array, "T H W"]:
        """Optical depth of a run whose first ``frames`` frames are valid, from its counts as they were measured."""
        ...


class BlockNetwork(Protocol):
    """The interface of a network that takes the counts of a run and returns blocks of its frames."""

    @property
    def reach(self) -> int:
        """See :class:`Network`."""
        ...

    @property
    def std_source(self) -> StdSource:
        """See :class:`Network`."""
        ...

    def solve_blocks(
        self,
        counts: Float[Array, "T H W"],
        frames: Int[ArrayLike, ""],
        starts: Int[Array, " K"],
        spec: SpecState,
        photons: Float[ArrayLike, ""],
    ) -> tuple[Float[Array, "K H W block"], Float[Array, "K H W block"], Float[Array, "K H W block"]]:
        """Optical depth of the blocks that begin at ``starts``, log s, and the unit of s."""
        ...


AnyNetwork = Network | RunNetwork | BlockNetwork
"""What can be trained and used."""


ARCHITECTURES: dict[str, Callable[[PRNGKeyArray], AnyNetwork]] = {}
"""Constructors by name; those of :data:`fluorojax.learned.peers.PEERS` join them when they are asked for."""


def architecture(
    name: str,
) -> Callable[[Callable[[PRNGKeyArray], AnyNetwork]], Callable[[PRNGKeyArray], AnyNetwork]]:
    """Register a constructor under a name."""

    def register(build: Callable[[PRNGKeyArray], AnyNetwork]) -> Callable[[PRNGKeyArray], AnyNetwork]:
        ARCHITECTURES[name] = build
        return build

    return register


def check_architecture(name: str) -> None:
    """**Raises:** ``ValueError`` for an unknown architecture."""
    if name in PEERS:
        import_module(f"fluorojax.learned.peers.{PEERS[name].module}")
    if name not in ARCHITECTURES:
        known = ", ".join(sorted({*ARCHITECTURES, *PEERS}))
        raise ValueError(f"architecture is {name!r}; expected one of {known}")


def build_network(name: str, key: PRNGKeyArray) -> AnyNetwork:
    """A network with fresh weights. **Raises:** ``ValueError`` for an unknown architecture."""
    check_architecture(name)
    return ARCHITECTURES[name](key)


class Conv(eqx.Module):
    """A convolution of odd kernel size with zero padding and a bias."""

    weight: Float[Array, "k k cin cout"]
    bias: Float[Array, " cout"]

    def __init__(self, key: PRNGKeyArray, cin: int, cout: int, *, size: int = 3, gain: float = 1.0):
        self.weight = jax.random.normal(key, (size, size, cin, cout)) * gain * jnp.sqrt(2.0 / (size**2 * cin))
        self.bias = jnp.zeros(cout)

    def __call__(self, x: Float[Array, "N H W cin"]) -> Float[Array, "N H W cout"]:
        """Convolve."""
        if self.weight.shape[0] == 1:
            return x @ self.weight[0, 0] + self.bias
        y = jax.lax.conv_general_dilated(x, self.weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return y + self.bias


class Block(eqx.Module):
    """Two convolutions around which the input is added; the conditions scale and shift what lies between them."""

    first: Conv
    second: Conv
    film: Conv

    def __init__(self, key: PRNGKeyArray, width: int, conditions: int):
        one, two, three = jax.random.split(key, 3)
        self.first, self.second = Conv(one, width, width), Conv(two, width, width, gain=0.4)
        self.film = Conv(three, conditions, 2 * width, size=1, gain=0.1)

    def __call__(self, x: Float[Array, "N H W width"], context: Float[Array, "N conditions"]) -> Array:
        """Apply the block."""
        scale, shift = jnp.split(self.film(context[:, None, None, :]), 2, axis=-1)
        return x + self.second(rectify(self.first(x) * (1.0 + scale) + shift))


def rectify(x: Array) -> Array:
    """Leaky rectifier of slope 0.1."""
    return jnp.where(x > 0, x, 0.1 * x)


def unshuffle(x: Float[Array, "N H W c"]) -> Float[Array, "N H2 W2 c4"]:
    """2 × 2 pixels to channels."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def shuffle(x: Float[Array, "N H W c4"]) -> Float[Array, "N H2 W2 c"]:
    """Inverse of :func:`unshuffle`."""
    n, h, w, c = x.shape
    return x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, c // 4)


class UNet(eqx.Module):
    """A U-Net of three levels on 2 × 2 unshuffled pixels, without normalisation, conditioned on the spec."""

    context: tuple[Conv, Conv]
    enter: Conv
    encode: tuple[tuple[Block, ...], ...]
    down: tuple[Conv, ...]
    up: tuple[Conv, ...]
    decode: tuple[tuple[Block, ...], ...]
    leave: Conv
    reach: int = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        widths: tuple[int, ...] = (64, 64, 80),
        encode: tuple[int, ...] = (1, 3, 4),
        decode: tuple[int, ...] = (2, 2),
        hidden: int = 32,
        *,
        channels: int = CHANNELS,
        conditions: int = CONDITIONS,
        outputs: int = 2,
    ):
        keys = iter(jax.random.split(key, 64))
        self.context = Conv(next(keys), conditions, hidden, size=1), Conv(next(keys), hidden, hidden, size=1)
        self.enter = Conv(next(keys), 4 * channels, widths[0])
        self.encode = tuple(
            tuple(Block(next(keys), width, hidden) for _ in range(count))
            for width, count in zip(widths, encode, strict=True)
        )
        pairs = list(pairwise(widths))
        self.down = tuple(Conv(next(keys), 4 * high, low, size=1) for high, low in pairs)
        self.up = tuple(Conv(next(keys), low, 4 * high, size=1) for high, low in pairs)
        self.decode = tuple(
            tuple(Block(next(keys), width, hidden) for _ in range(count))
            for width, count in zip(widths[:-1], decode, strict=True)
        )
        self.leave = Conv(next(keys), widths[0], 4 * outputs * BLOCK, gain=0.05)
        convolutions = [2 * e + 2 * d for e, d in zip(encode, (*decode, 0), strict=True)]
        convolutions[0] += 2
        # The smooth level reaches 6 pixels, and pixels are grouped by 8.
        self.reach = sum(2 ** (level + 1) * count for level, count in enumerate(convolutions)) + 16

    @property
    def std_source(self) -> StdSource:
        """See :class:`Network`."""
        return "head"

    def __call__(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> tuple[Float[Array, "N H W block"], Float[Array, "N H W block"]]:
        """See :class:`Network`."""
        mean, log_std = self.outputs(images, conditions)
        return mean, log_std

    def outputs(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> list[Float[Array, "N H W block"]]:
        """All outputs, of which there are two in a :class:`Network`."""
        context = conditions[:, None, None, :]
        for layer in self.context:
            context = rectify(layer(context))
        context = context[:, 0, 0]
        x = rectify(self.enter(unshuffle(images)))
        skips = []
        for level, blocks in enumerate(self.encode):
            for block in blocks:
                x = block(x, context)
            if level < len(self.down):
                skips.append(x)
                x = rectify(self.down[level](unshuffle(x)))
        for level in reversed(range(len(self.up))):
            x = rectify(shuffle(self.up[level](x)) + skips[level])
            for block in self.decode[level]:
                x = block(x, context)
        found = shuffle(self.leave(x))
        return jnp.split(found, found.shape[-1] // BLOCK, axis=-1)


@architecture("unet")
def _unet(key: PRNGKeyArray) -> UNet:
    return UNet(key)


@architecture("unet-small")
def _unet_small(key: PRNGKeyArray) -> UNet:
    return UNet(key, widths=(16, 16, 16), encode=(1, 1, 1), decode=(1, 1), hidden=8)
