"""The network on top of the filter of a stream: what the filter makes of a frame, corrected, with its own uncertainty.

The filter of a stream knows the energy of what has changed and not its form. A small network
sees what the filter returns and how it differs from the last frames, and corrects mean and standard deviation. Both
work on stabilised counts z: with the mean m and the variance v of the filter, the corrected mean is ``m + √v·f`` and
the corrected standard deviation ``√v·s``, where f and log s are the outputs of the network. The network remembers
nothing of its own: all memory is in the state of the stream.

It is a U-Net of two levels on 4 × 4 unshuffled pixels, which makes 5.8 thousand multiplications per pixel.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from fluorojax.learned.networks import Conv, rectify, shuffle, unshuffle
from fluorojax.learned.spread import corrected
from fluorojax.streaming.bands import NOISE
from fluorojax.streaming.tracking import Belief

BEFORE = 2
"""Frames before the one of the result that the network sees."""
AFTER = 2
"""Frames after it that the network sees where the result is as late."""
PLANES = BEFORE + 1 + AFTER + 6
"""Input images."""
CONDITIONS = BEFORE + AFTER + 2
"""Numbers that describe the place of the frame in the run."""
GRAIN = 8
"""The input images are padded to multiples of this."""
LOG_STD_RANGE = (-3.0, 3.0)
"""Limits of log s."""
_CELL = 4


class Features(NamedTuple):
    """What the network sees of one frame, and what its outputs count from."""

    planes: Float[Array, "planes H W"]
    conditions: Float[Array, " conditions"]
    mean: Float[Array, "H W"]
    """Mean m of the filter, stabilised counts."""
    std: Float[Array, "H W"]
    """Standard deviation √v of the filter."""


def features(
    belief: Belief,
    frames: tuple[Float[Array, "H W"], ...],
    inside: Float[Array, " frames"],
    noise: Float[ArrayLike, ""],
    number: Float[ArrayLike, ""],
) -> Features:
    """What the network sees of a frame.

    **Arguments:**

    - `belief`: of the filter about the frame, in units of the last frame.
    - `frames`: the stabilised counts of the BEFORE frames before, of the frame, and of the AFTER frames after it, in
      units of the last frame.
    - `inside`: one for each of them that there is, else zero.
    - `noise`: variance of the stabilised counts of a frame.
    - `number`: frames that the belief has seen.
    """
    root = jnp.sqrt(jnp.asarray(noise))
    mean = sum(belief.means[1:], belief.means[0])
    variance = sum(belief.variances[1:], belief.variances[0])
    rest = [there * (frame - mean) / root for frame, there in zip(frames, inside, strict=True)]
    fine, middle, coarse = (
        jnp.arcsinh(factor * band / root) for factor, band in zip((2.0, 4.0, 8.0), belief.means[:3], strict=True)
    )
    planes = (
        *rest,
        fine,
        middle,
        coarse,
        0.5 * jnp.log(variance / noise) + 1.0,
        0.5 * jnp.log(belief.variances[0] / (NOISE[0] * noise)) + 1.0,
        jnp.log(jnp.maximum(mean, 1.0)) - 2.0,
    )
    others = jnp.concatenate([inside[:BEFORE], inside[BEFORE + 1 :]])
    facts = jnp.stack([jax.lax.rsqrt(jnp.maximum(1.0 * jnp.asarray(number), 1.0)), root - 1.0])
    return Features(jnp.stack(planes), jnp.concatenate([others, facts]), mean, jnp.sqrt(variance))


class LiveNetwork(eqx.Module):
    """The U-Net of two levels."""

    enter: Conv
    place: Conv
    above: tuple[tuple[Conv, Conv], ...]
    down: Conv
    below: tuple[tuple[Conv, Conv], ...]
    up: Conv
    after: tuple[tuple[Conv, Conv], ...]
    leave: Conv

    def __init__(self, key: PRNGKeyArray, widths: tuple[int, int] = (32, 64), blocks: tuple[int, int, int] = (1, 2, 1)):
        keys = iter(jax.random.split(key, 32))
        high, low = widths

        def pairs(width: int, count: int) -> tuple[tuple[Conv, Conv], ...]:
            return tuple(
                (Conv(next(keys), width, width), Conv(next(keys), width, width, gain=0.4)) for _ in range(count)
            )

        self.enter = Conv(next(keys), _CELL**2 * PLANES, high, size=1)
        self.place = Conv(next(keys), CONDITIONS, high, size=1)
        self.above, self.below, self.after = (
            pairs(width, count) for width, count in zip((high, low, high), blocks, strict=True)
        )
        self.down = Conv(next(keys), 4 * high, low, size=1)
        self.up = Conv(next(keys), low, 4 * high, size=1)
        self.leave = Conv(next(keys), high, 2 * _CELL**2, gain=0.05)

    def __call__(
        self, planes: Float[Array, "N planes H W"], conditions: Float[Array, "N conditions"]
    ) -> tuple[Float[Array, "N H W"], Float[Array, "N H W"]]:
        """f and log s of frames whose height and width are multiples of GRAIN."""
        x = rectify(self.enter(_cells(planes)) + self.place(conditions[:, None, None, :]))
        x = _residual(self.above, x)
        below = _residual(self.below, rectify(self.down(unshuffle(x))))
        x = _residual(self.after, rectify(x + shuffle(self.up(below))))
        n, h, w, _ = x.shape
        out = self.leave(x).reshape(n, h, w, 2, _CELL, _CELL).transpose(3, 0, 1, 4, 2, 5)
        mean, log_std = out.reshape(2, n, h * _CELL, w * _CELL)
        return mean, jnp.clip(log_std, *LOG_STD_RANGE)


class Refiner(eqx.Module):
    """A trained network and the calibration of its standard deviations."""

    network: LiveNetwork
    coefficients: Float[Array, " terms"]
    """See :func:`fluorojax.learned.spread.corrected`."""

    def __call__(self, seen: Features) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
        """Corrected mean and standard deviation of the stabilised counts of a frame of any size."""
        rows, columns = seen.mean.shape
        planes = jnp.pad(seen.planes, [(0, 0), (0, -rows % GRAIN), (0, -columns % GRAIN)], mode="edge")
        mean, log_std = (out[0, :rows, :columns] for out in self.network(planes[None], seen.conditions[None]))
        z = seen.mean + seen.std * mean
        log_std = corrected(jnp.log(seen.std) + log_std, jnp.log(level_of(z) + 0.5), self.coefficients)
        return z, jnp.exp(log_std)


def rate_of(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The rate whose stabilised counts have the mean z (:func:`fluorojax.classical.inverse_anscombe`)."""
    z, root = jnp.maximum(z, 1.5**0.5), 1.5**0.5
    return jnp.maximum(z**2 / 4 + root / 4 / z - 11 / 8 / z**2 + 5 / 8 * root / z**3 - 1 / 8, 0)


def level_of(z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The rate of z, at least ¼ quantum: the level that standard deviations refer to."""
    return jnp.maximum(rate_of(z), 0.25)


def _residual(blocks: tuple[tuple[Conv, Conv], ...], x: Array) -> Array:
    for first, second in blocks:
        x = x + second(rectify(first(x)))
    return x


def _cells(planes: Float[Array, "N planes H W"]) -> Float[Array, "N H4 W4 cells"]:
    """4 × 4 pixels of every plane as channels."""
    n, count, h, w = planes.shape
    cells = planes.reshape(n, count, h // _CELL, _CELL, w // _CELL, _CELL).transpose(0, 2, 4, 1, 3, 5)
    return cells.reshape(n, h // _CELL, w // _CELL, count * _CELL**2)
