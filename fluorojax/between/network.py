"""The network between frames: posterior mean and standard deviation of one image from the frames around it.

The image at the share u of the gap between the frames 0 and 1 is a mixture of six parts: both frames, both frames
warped to that time along the motion, the cubic of Catmull and Rom (Computer Aided Geometric Design, Academic Press
1974, p. 317) through four frames, and what the network paints itself. The network sees the frames as differences from
their linear blend, in units of their local spread, so that it serves any unit and any method. It returns the weights of
the parts, a correction of the motion of :mod:`fluorojax.between.flow`, and the standard deviation.

Every part but the blend has a factor that vanishes at the frames: at u = 0 and u = 1 the answer is the posterior of the
frame itself, and it is reached continuously. The variance is that of the frames, less what the mean of two frames
averages out, plus that of a Brownian bridge ``4u(1 − u)·D²`` with D from the network.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from fluorojax.learned.features import smooth
from fluorojax.learned.networks import UNet

CHANNELS, CONDITIONS, OUTPUTS = 11, 5, 3
TERMS = 6
"""Coefficients of the correction of log s."""
LARGEST = 0.7
"""Largest change of log s, in either direction."""
AVERAGED = 0.6
"""Largest share of the variance of the frames that their mean averages out in the middle of the gap."""
_PIXELS = 3.0  # displacement of an output of one
_LARGE = 12.0


class Neighbours(NamedTuple):
    """What is known around the time of one image."""

    frames: Float[Array, "4 H W"]
    """Posterior means of the frames −1, 0, 1 and 2; where there is no frame −1 or 2, the next one stands in."""
    std: Float[Array, "2 H W"]
    """Posterior standard deviations of the frames 0 and 1."""
    flow: Float[Array, "2 H W"]
    """Displacement over the gap of what stands at a pixel at the time asked for."""
    share: Float[ArrayLike, ""]
    """u, 0 … 1."""
    beyond: Float[Array, " 2"]
    """1 where there is a frame −1, and a frame 2; else 0."""


class BetweenNetwork(eqx.Module):
    """See the module docstring; ``coefficients`` calibrate log s (:func:`fluorojax.between.training.fit_between`)."""

    net: UNet
    coefficients: Float[Array, " terms"]

    def __init__(self, key: PRNGKeyArray, width: int = 24):
        self.net = UNet(
            key,
            widths=(width, width, width),
            encode=(1, 1, 2),
            decode=(1, 1),
            hidden=8,
            channels=CHANNELS,
            conditions=CONDITIONS,
            outputs=OUTPUTS,
        )
        self.coefficients = jnp.zeros(TERMS)

    @property
    def reach(self) -> int:
        """Pixels to each side on which an output pixel can depend, displacements apart."""
        return self.net.reach

    def __call__(self, near: Neighbours) -> tuple[Float[Array, "N H W"], Float[Array, "N H W"]]:
        """Mean and standard deviation at the times asked for.

        The fields of ``near`` have one more axis in front, of N images; H and W are multiples of 8.
        """
        mean, std, base = self.raw(near)
        terms = spread_terms(std, base, jnp.asarray(near.share)[:, None, None])
        change = jnp.tensordot(self.coefficients, terms, axes=1)
        return mean, std * jnp.exp(jnp.clip(change, -LARGEST, LARGEST))

    def raw(self, near: Neighbours) -> tuple[Float[Array, "N H W"], Float[Array, "N H W"], Float[Array, "N H W"]]:
        """Mean, standard deviation before its calibration, and the standard deviation of the frames themselves."""
        u = jnp.asarray(near.share)[:, None, None]
        middle = 4.0 * u * (1.0 - u)
        before, first, second, after = (near.frames[:, i] for i in range(4))
        blend = (1.0 - u) * first + u * second
        base = jnp.sqrt((1.0 - u) * near.std[:, 0] ** 2 + u * near.std[:, 1] ** 2)
        level = jax.vmap(smooth)(base**2)
        spread = jnp.sqrt(level + jax.vmap(smooth)((second - first) ** 2))
        cubic = catmull_rom(near.frames, jnp.asarray(near.share))
        along = warp(first, -u[:, None] * near.flow), warp(second, (1.0 - u[:, None]) * near.flow)

        def unit(x: Array) -> Array:
            return jnp.clip(x / spread, -_LARGE, _LARGE)

        images = [
            unit(second - first),
            *(unit(x - blend) for x in (*along, before, after, cubic)),
            2.0 * jnp.arcsinh(0.5 * (blend - jax.vmap(smooth)(blend)) / spread),
            0.5 * jnp.log(spread**2 / level),
            jnp.log(base**2 / level),
            *(jnp.arcsinh(near.flow[:, i] / 2.0) for i in (0, 1)),
        ]
        share = jnp.asarray(near.share)
        conditions = jnp.stack([share, 1.0 - share, 4.0 * share * (1.0 - share), *near.beyond.T], axis=1)
        motion, logits, rest = self.net.outputs(jnp.stack(images, axis=-1), conditions)
        moved = (
            warp(first, -u[:, None] * (near.flow + _PIXELS * _front(motion[..., :2]))),
            warp(second, (1.0 - u[:, None]) * (near.flow + _PIXELS * _front(motion[..., 2:]))),
        )
        weight = jnp.stack([1.0 - u, u, 1.0 - u, u]) * jnp.exp(4.0 * jnp.tanh(0.25 * _front(logits, 3)))
        weight = weight / weight.sum(0)
        parts = jnp.stack([*moved, first, second])
        mean = jnp.sum(weight * parts, axis=0) + rest[..., 0] * (cubic - blend) + middle * spread * rest[..., 1]
        averaged = 1.0 - middle * AVERAGED * jax.nn.sigmoid(4.0 * rest[..., 2] - 1.0)
        bridge = spread * jnp.exp(jnp.clip(4.0 * rest[..., 3] - 2.0, -8.0, 2.0))
        return mean, jnp.sqrt(base**2 * averaged + middle * bridge**2), base


def spread_terms(
    std: Float[Array, "*shape"], base: Float[Array, "*shape"], share: Float[ArrayLike, "..."]
) -> Float[Array, "terms *shape"]:
    """What the calibration of log s is linear in; all vanish at the frames (share 0 and 1)."""
    share = jnp.asarray(share)
    middle = jnp.broadcast_to(4.0 * share * (1.0 - share), std.shape)
    wide = jnp.log(std / base)
    ramp = jnp.sqrt(middle)
    return jnp.stack([ramp, ramp * wide, ramp * wide**2, middle, middle * wide, middle * wide**2])


def catmull_rom(frames: Float[Array, "N 4 H W"], share: Float[Array, " N"]) -> Float[Array, "N H W"]:
    """The cubic through the frames 0 and 1 whose slopes there are those of their neighbours' chords."""
    u = share[:, None, None]
    weights = (
        0.5 * u * (-1.0 + u * (2.0 - u)),
        0.5 * (2.0 + u**2 * (3.0 * u - 5.0)),
        0.5 * u * (1.0 + u * (4.0 - 3.0 * u)),
        0.5 * u**2 * (u - 1.0),
    )
    return sum(w * frames[:, i] for i, w in enumerate(weights))  # pyright: ignore[reportReturnType]


def warp(images: Float[Array, "N H W"], by: Float[Array, "N 2 H W"]) -> Float[Array, "N H W"]:
    """The images at ``p + by(p)``, by cubic convolution over 4 × 4 pixels (Keys, IEEE Trans. ASSP 29:1153, 1981).

    Beyond the edge they have the value of the edge. Without a displacement nothing changes.
    """
    _, height, width = images.shape
    rows = jnp.clip(jnp.arange(height)[:, None] + by[:, 0], 0.0, height - 1.0)
    columns = jnp.clip(jnp.arange(width)[None, :] + by[:, 1], 0.0, width - 1.0)
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = _keys(rows - top), _keys(columns - left)
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    flat = images.reshape(len(images), -1)
    found = jnp.zeros_like(images)
    for i in range(4):
        row = jnp.clip(top + i - 1, 0, height - 1) * width
        line = jnp.zeros_like(images)
        for j in range(4):
            place = row + jnp.clip(left + j - 1, 0, width - 1)
            line += right[j] * jnp.take_along_axis(flat, place.reshape(len(images), -1), 1).reshape(images.shape)
        found += down[i] * line
    return found


def _keys(t: Array) -> tuple[Array, Array, Array, Array]:
    return (
        0.5 * t * (-1.0 + t * (2.0 - t)),
        0.5 * (2.0 + t**2 * (3.0 * t - 5.0)),
        0.5 * t * (1.0 + t * (4.0 - 3.0 * t)),
        0.5 * t**2 * (t - 1.0),
    )


def _front(x: Array, axes: int = 1) -> Array:
    """The channels as the second axis, or the first (3)."""
    return jnp.moveaxis(x, -1, 1 if axes == 1 else 0)
