"""Time stamps of a stream: which frames are missing, and when the frame rate has changed."""

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_LATE = 1.5  # periods after which a frame is missing
_EARLY = 0.75  # periods before which the rate must have risen
_ALIKE = 0.15  # relative difference of two intervals that are the same


class Clock(eqx.Module):
    """Frame period of a stream, all scalars in ms."""

    period: Float[Array, ""]
    """The frame period in force."""
    odd: Float[Array, ""]
    """The interval of the last frame where it was not the period; zero otherwise."""


class Tick(NamedTuple):
    """What the interval before a frame says."""

    elapsed: Float[Array, ""]
    """Time since the frame before, ms."""
    gap: Float[Array, ""]
    """Frames since the frame before: one, and one more for each that is missing."""
    changed: Bool[Array, ""]
    """Whether the frame rate has changed."""


def tick(clock: Clock, elapsed: Float[Array, ""], first: Bool[Array, ""]) -> tuple[Clock, Tick]:
    """The clock after a frame that came ``elapsed`` ms after the one before.

    A single long interval means missing frames. Two like intervals in a row that are not the period mean a new frame
    rate. An interval that is no positive number counts as one period.
    """
    elapsed = jnp.where((elapsed > 0) & jnp.isfinite(elapsed) & ~first, elapsed, clock.period)
    ratio = elapsed / clock.period
    odd = (ratio > _LATE) | (ratio < _EARLY)
    changed = odd & (jnp.abs(elapsed - clock.odd) < _ALIKE * elapsed)
    gap = jnp.where(changed, 1.0, jnp.maximum(jnp.round(ratio), 1.0))
    period = jnp.where(changed, elapsed, clock.period)
    # Slow changes of the period are followed, so that a nominal value that is slightly wrong adds up to nothing.
    period = jnp.where(odd, period, period + 0.1 * (elapsed - period))
    return Clock(period, jnp.where(odd & ~changed, elapsed, 0.0)), Tick(elapsed, gap, changed)


__all__ = ["Clock", "Tick", "tick"]
