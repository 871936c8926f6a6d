"""SwinIR: attention within windows that are shifted from layer to layer.

J. Liang, J. Cao, G. Sun, K. Zhang, L. Van Gool and R. Timofte, "SwinIR: image restoration using Swin transformer", ICCV
Workshops (2021), arXiv:2108.10257; section 3.1, equations 1 to 4 (the network), and section 3.2 (residual groups and
layers). The layers are those of Z. Liu et al., "Swin transformer: hierarchical vision transformer using shifted
windows", ICCV (2021), arXiv:2103.14030, equations 3 and 4.

What differs: two residual groups of two layers instead of six of six, 32 channels instead of 180, on 2 × 2 unshuffled
pixels. A window is 4 × 4 of these, which are the 8 × 8 pixels of the paper. The residual is taken to the mean of the
run, as for every network here.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from fluorojax.learned.features import BLOCK
from fluorojax.learned.networks import Conv, architecture, shuffle
from fluorojax.learned.peers.blocks import Enter, LayerNorm, PointNetwork

WINDOW = 4
"""Side of a window, in groups of 2 × 2 pixels; images have to be a multiple of it."""


def windows_of(x: Float[Array, "N H W c"]) -> Float[Array, "N windows pixels c"]:
    """The image cut into windows of WINDOW × WINDOW."""
    n, height, width, c = x.shape
    cut = x.reshape(n, height // WINDOW, WINDOW, width // WINDOW, WINDOW, c).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(n, -1, WINDOW**2, c)


def image_of(windows: Float[Array, "N windows pixels c"], height: int, width: int) -> Float[Array, "N H W c"]:
    """Inverse of :func:`windows_of`."""
    n, _, _, c = windows.shape
    cut = windows.reshape(n, height // WINDOW, width // WINDOW, WINDOW, WINDOW, c).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(n, height, width, c)


def apart(height: int, width: int, shift: int) -> Bool[np.ndarray, "windows pixels pixels"]:
    """Pairs of pixels that a cyclic shift brought into one window from opposite edges of the image."""
    rows, columns = (
        np.where(np.arange(size) < size - WINDOW, 0, np.where(np.arange(size) < size - shift, 1, 2))
        for size in (height, width)
    )
    region = (3 * rows[:, None] + columns).astype(np.float32)
    cut = region.reshape(height // WINDOW, WINDOW, width // WINDOW, WINDOW).transpose(0, 2, 1, 3)
    flat = cut.reshape(-1, WINDOW**2)
    return flat[:, :, None] != flat[:, None, :]


def _offsets() -> Int[np.ndarray, "pixels pixels"]:
    """Index of the relative position of each pair of pixels of a window."""
    y, x = np.divmod(np.arange(WINDOW**2), WINDOW)
    side = 2 * WINDOW - 1
    return (y[:, None] - y + WINDOW - 1) * side + (x[:, None] - x + WINDOW - 1)


class WindowAttention(eqx.Module):
    """Self-attention of the pixels of each window, with a bias for their relative position (Liu et al., eq. 4)."""

    project: Conv
    bias: Float[Array, "offsets heads"]
    merge: Conv

    def __init__(self, key: PRNGKeyArray, width: int, heads: int):
        one, two = jax.random.split(key)
        self.project = Conv(one, width, 3 * width, size=1, gain=0.7)
        self.bias = jnp.zeros(((2 * WINDOW - 1) ** 2, heads))
        self.merge = Conv(two, width, width, size=1, gain=0.3)

    def __call__(self, x: Float[Array, "N H W width"], shift: int) -> Float[Array, "N H W width"]:
        """Attention in windows that are moved by ``shift`` along both axes."""
        _, height, width, channels = x.shape
        heads = self.bias.shape[1]
        projected = self.project(x)
        if shift:
            projected = jnp.roll(projected, (-shift, -shift), (1, 2))
        cut = windows_of(projected)
        query, key, value = (v.reshape((*v.shape[:-1], heads, channels // heads)) for v in jnp.split(cut, 3, axis=-1))
        scores = jnp.einsum("nwpha,nwqha->nwhpq", query, key) * (channels // heads) ** -0.5
        scores = scores + jnp.moveaxis(self.bias[_offsets()], -1, 0)
        if shift:
            scores = jnp.where(apart(height, width, shift)[None, :, None], -100.0, scores)
        mixed = jnp.einsum("nwhpq,nwqha->nwpha", jax.nn.softmax(scores, axis=-1), value)
        back = image_of(mixed.reshape((*mixed.shape[:-2], channels)), height, width)
        return self.merge(jnp.roll(back, (shift, shift), (1, 2)) if shift else back)


class SwinLayer(eqx.Module):
    """Window attention and a multilayer perceptron, each after a normalisation (Liu et al., eq. 3)."""

    norms: tuple[LayerNorm, LayerNorm]
    attend: WindowAttention
    expand: Conv
    reduce: Conv
    shift: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, width: int, heads: int, shift: int):
        one, two, three = jax.random.split(key, 3)
        self.norms = LayerNorm(width), LayerNorm(width)
        self.attend = WindowAttention(one, width, heads)
        self.expand = Conv(two, width, 2 * width, size=1, gain=0.7)
        self.reduce = Conv(three, 2 * width, width, size=1, gain=0.3)
        self.shift = shift

    def __call__(self, x: Float[Array, "N H W width"]) -> Float[Array, "N H W width"]:
        """Apply the layer."""
        x = x + self.attend(self.norms[0](x), self.shift)
        return x + self.reduce(jax.nn.gelu(self.expand(self.norms[1](x))))


class ResidualGroup(eqx.Module):
    """Layers with plain and shifted windows in turn, a convolution, and a shortcut."""

    layers: tuple[SwinLayer, ...]
    convolve: Conv

    def __init__(self, key: PRNGKeyArray, width: int, heads: int, count: int):
        *keys, last = jax.random.split(key, count + 1)
        self.layers = tuple(SwinLayer(k, width, heads, (i % 2) * (WINDOW // 2)) for i, k in enumerate(keys))
        self.convolve = Conv(last, width, width, gain=0.3)

    def __call__(self, x: Float[Array, "N H W width"]) -> Float[Array, "N H W width"]:
        """Apply the group."""
        deep = x
        for layer in self.layers:
            deep = layer(deep)
        return x + self.convolve(deep)


class SwinIR(PointNetwork):
    """See the module docstring."""

    enter: Enter
    groups: tuple[ResidualGroup, ...]
    norm: LayerNorm
    convolve: Conv
    leave: Conv

    def __init__(self, key: PRNGKeyArray, width: int = 32, groups: int = 2, layers: int = 2, heads: int = 2):
        first, *keys, before, last = jax.random.split(key, groups + 3)
        self.enter = Enter(first, width)
        self.groups = tuple(ResidualGroup(k, width, heads, layers) for k in keys)
        self.norm = LayerNorm(width)
        self.convolve = Conv(before, width, width, gain=0.3)
        self.leave = Conv(last, width, 4 * BLOCK, gain=0.05)

    @property
    def reach(self) -> int:
        """See :class:`~fluorojax.learned.networks.Network`."""
        layers = sum(len(group.layers) for group in self.groups)
        return 2 * (WINDOW * layers + len(self.groups) + 3) + 16

    def estimate(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> Float[Array, "N H W block"]:
        """See :class:`~fluorojax.learned.peers.blocks.PointNetwork`."""
        shallow = self.enter(images, conditions)
        deep = shallow
        for group in self.groups:
            deep = group(deep)
        return shuffle(self.leave(shallow + self.convolve(self.norm(deep))))


@architecture("swinir")
def _swinir(key: PRNGKeyArray) -> SwinIR:
    return SwinIR(key)
