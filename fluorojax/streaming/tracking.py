"""The temporal filter of every pixel of every band, with a process noise that follows its own innovations.

A band of the stabilised counts of a frame is its content c plus noise of the known variance r. Where the scene is at
rest, c stays as it is up to a small process noise. Where the innovations (band minus mean) of a neighbourhood have more
energy than the variance P of the filter and the noise explain, the scene has moved, and the process noise rises by what
is not explained. How much the past is then worth is weighed against the prior that a detail is zero with the variance
that the neighbourhood shows in this frame: content that is new is denoised in space, content at rest in time.
"""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fluorojax.streaming.bands import LEVELS, NOISE, pool, split

UNKNOWN = 1e6
"""Variance, in units of that of a frame, of a band of which nothing is known."""
Bands = tuple[Float[Array, "H W"], ...]


class Tuning(eqx.Module):
    """Constants of the filter, chosen on simulated scenes of seed 5000."""

    drift: float = 0.003
    """Process noise of content at rest per frame, in units of the noise variance of its band."""
    tolerance: float = 1.3
    """Energy of the innovations over their expectation that counts as unexplained."""
    inheritance: float = 0.1
    """Share of the process noise of the next coarser band that a band takes over, in units of their noise."""
    least_signal: float = 0.02
    """Least variance of details, in units of the noise variance of their band."""


class Belief(eqx.Module):
    """Mean and variance of every pixel of every band, finest first."""

    means: Bands
    variances: Bands

    def scaled(self, factor: Float[ArrayLike, ""]) -> "Belief":
        """The belief after the rate has changed by ``factor``, which changes stabilised counts by its root."""
        factor = jnp.asarray(factor)
        root = jnp.sqrt(factor)
        return Belief(tuple(root * m for m in self.means), tuple(factor * p for p in self.variances))


class Link(NamedTuple):
    """How the belief about a frame became the prediction of the next one."""

    kept: Bands
    """Factor of the mean."""
    predicted: Bands
    """Variance of the prediction."""


def unknown(shape: tuple[int, int]) -> Belief:
    """What is known before the first frame."""
    nothing = tuple(jnp.zeros(shape) for _ in NOISE)
    return Belief(nothing, tuple(jnp.full(shape, UNKNOWN * noise) for noise in NOISE))


def observe(
    belief: Belief,
    stabilised: Float[Array, "H W"],
    noise: Float[ArrayLike, ""],
    gap: Float[ArrayLike, ""],
    doubt: Float[ArrayLike, ""],
    tuning: Tuning,
) -> tuple[Belief, Link]:
    """The belief after a frame.

    **Arguments:** ``belief`` about the frame before, in the units of this one; ``stabilised`` counts with noise of the
    variance ``noise``; ``gap`` frames since the frame before; ``doubt`` further process noise of every pixel, in units
    of the noise variance of its band.
    """
    means, variances, kept, predicted = [], [], [], []
    bands = split(stabilised)
    inherited: Array | float = 0.0
    for level in range(LEVELS, -1, -1):
        band, mean, variance = bands[level], belief.means[level], belief.variances[level]
        r = NOISE[level] * noise
        step = 2**level
        expected = tuning.tolerance * (variance + r)
        surprise = jnp.maximum(pool((band - mean) ** 2, step) - expected, 0.0) + tuning.inheritance * inherited * r
        inherited = surprise / r
        prior = variance + surprise + (tuning.drift * gap + doubt) * r
        if level < LEVELS:
            signal = jnp.maximum(pool(band**2, step) - r, tuning.least_signal * r)
            known = jnp.minimum(variance, r)
            lost = jnp.maximum(prior - known - tuning.drift * gap * r, 0.0) / prior
            narrowed = 1.0 / (1.0 / prior + lost / signal)
            factor = narrowed / prior
        else:
            narrowed, factor = prior, jnp.ones_like(prior)
        predicted.append(narrowed)
        kept.append(factor)
        weight = narrowed / (narrowed + r)
        means.append(factor * mean + weight * (band - factor * mean))
        variances.append(weight * r)
    flip = slice(None, None, -1)
    after = Belief(tuple(means[flip]), tuple(variances[flip]))
    return after, Link(tuple(kept[flip]), tuple(predicted[flip]))


def look_back(before: Belief, link: Link, after: Belief) -> Belief:
    """The belief about a frame once the next one is known: one step of the Rauch–Tung–Striebel recursion."""
    means, variances = [], []
    for m, p, kept, predicted, later, left in zip(
        before.means, before.variances, link.kept, link.predicted, after.means, after.variances, strict=True
    ):
        gain = jnp.minimum(kept * p / predicted, 1.0)
        means.append(m + gain * (later - kept * m))
        variances.append(jnp.maximum(p + gain**2 * (left - predicted), 0.1 * jnp.minimum(p, left)))
    return Belief(tuple(means), tuple(variances))
