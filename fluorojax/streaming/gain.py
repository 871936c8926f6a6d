"""Gain drift and steps of dose of a running stream, from the block means of its frames.

A drift of the gain changes the logarithm of every block of pixels that is at rest by the same amount per frame, while
the slopes of moving blocks scatter. The tracker keeps a straight line through the log counts of every block, in sums of
constant size, and the posterior of the slope that the blocks at rest share. A step of dose moves all blocks at once.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

BLOCKS = 1024
"""About the largest number of blocks."""
LEAST_SIDE = 4
"""Least side of a block, pixels."""
WINDOW = 256
"""Frames after which a new line begins, with the posterior of the last one as its prior."""
SIDES = (1, 2, 4)
"""Sides of the blocks in units of the smallest ones: small blocks find small regions at rest, large ones resolve slower
motion."""
FEWEST = 64
"""Fewest blocks of a size that a drift is looked for in; the smallest ones are used whatever the frame."""
TEMPER = 0.25
"""Exponent of the composite likelihood: motion is coherent over more than a block, so blocks carry less information
than independent ones."""
LEAST_STEP = 0.06
"""Least step of the log dose that is told from drift and motion."""
_POINTS = 41
_STILL = 0.5  # share of blocks at rest
_REACH = 5.0  # standard deviations that the fine grid covers
_NARROWING = 0.25
_WIDE = 4.0  # slopes of moving blocks against the median deviation of all slopes
_SIGNIFICANT = 6.0  # standard deviations of a step of dose
_OFF = 4.0  # standard deviations of a block that has changed


class Gain(eqx.Module):
    """What is known of the gain, relative to the first frame. All but the block sums are scalars."""

    drift: Float[Array, ""]
    """Posterior mean of the log gain change per frame."""
    drift_std: Float[Array, ""]
    """Its posterior standard deviation."""
    prior: Float[Array, ""]
    """Mean of the log gain change per frame at the begin of the line."""
    prior_std: Float[Array, ""]
    """Its standard deviation; infinite for the uniform prior on the range."""
    low: Float[Array, ""]
    high: Float[Array, ""]
    anchor: Float[Array, ""]
    """Log of gain times dose at the begin of the line."""
    anchor_variance: Float[Array, ""]
    age: Float[Array, ""]
    """Frames since the begin of the line, lost ones included."""
    sums: Float[Array, "3"]
    """Σ1, Σn and Σn² over the frames of the line."""
    lines: Float[Array, "3 blocks"]
    """Σl, Σnl and Σl² of the log counts of every block, relative to :attr:`origin`."""
    origin: Float[Array, " blocks"]
    """Log counts of the blocks in the first frame of the line."""
    previous: Float[Array, " blocks"]
    """Log counts of the blocks in the last frame."""
    electronic: Float[Array, " blocks"]
    """Variance that electronic noise adds to the counts of every block, quanta²."""
    grid: tuple[int, int] = eqx.field(static=True)
    """Rows and columns of the smallest blocks."""

    @property
    def log_gain(self) -> Float[Array, ""]:
        """Posterior mean of the log of gain times dose of the last frame, relative to the first frame."""
        return self.anchor + self.age * self.drift

    @property
    def log_gain_variance(self) -> Float[Array, ""]:
        """Variance of :attr:`log_gain`."""
        return self.anchor_variance + (self.age * self.drift_std) ** 2


class Change(NamedTuple):
    """What the blocks of a frame say about the step from the frame before."""

    log_dose: Float[Array, ""]
    """Log of the factor of the dose; zero where the dose has not stepped."""
    variance: Float[Array, ""]
    """Its variance."""
    stepped: Bool[Array, ""]
    """Whether the dose has stepped."""
    changed: Float[Array, ""]
    """Share of the blocks that differ from what the frame before predicts."""


def block_side(shape: tuple[int, int]) -> int:
    """Side of the smallest blocks of a frame, pixels."""
    return max(LEAST_SIDE, int(np.ceil(np.sqrt(shape[0] * shape[1] / BLOCKS))))


def start_gain(
    shape: tuple[int, int], low: float, high: float, electronic_variance: Float[ArrayLike, ""] = 0.0
) -> Gain:
    """State before the first frame; ``low`` and ``high`` are the range of the drift in %/frame, and
    ``electronic_variance`` is what the readout of a pixel adds to the variance of its counts, quanta²."""
    side = block_side(shape)
    grid = (shape[0] // side, shape[1] // side)
    numbers = [rows * columns for rows, columns in _grids(grid)]
    areas = np.repeat([(side * size) ** 2 for size in SIDES[: len(numbers)]], numbers)
    blocks = sum(numbers)
    low, high = float(np.log1p(low / 100)), float(np.log1p(high / 100))
    zero = jnp.zeros(())
    line = jnp.zeros(blocks)
    return Gain(
        drift=jnp.asarray(0.5 * (low + high)),
        drift_std=jnp.asarray((high - low) / np.sqrt(12)),
        prior=jnp.asarray(0.5 * (low + high)),
        prior_std=jnp.asarray(jnp.inf),
        low=jnp.asarray(low),
        high=jnp.asarray(high),
        anchor=zero,
        anchor_variance=zero,
        age=zero,
        sums=jnp.zeros(3),
        lines=jnp.zeros((3, blocks)),
        origin=line,
        previous=line,
        electronic=jnp.asarray(areas, jnp.float32) * jnp.asarray(electronic_variance, jnp.float32),
        grid=grid,
    )


def block_counts(counts: Float[Array, "H W"]) -> Float[Array, " blocks"]:
    """Counts of every block of every size, the smallest first, at least half a quantum.

    Half a quantum is added, which makes the logarithm unbiased. Rows and columns that fill no block are left out.
    """
    side = block_side(counts.shape)  # pyright: ignore[reportArgumentType]
    height, width = (size // side for size in counts.shape)
    finest = _merged(counts, side, (height, width))
    sums = [_merged(finest, side, grid) for side, grid in zip(SIDES, _grids((height, width)), strict=False)]
    return jnp.maximum(jnp.concatenate([one.reshape(-1) for one in sums]) + 0.5, 0.5)


def _grids(finest: tuple[int, int]) -> list[tuple[int, int]]:
    """Rows and columns of the blocks of each size."""
    grids = [(finest[0] // side, finest[1] // side) for side in SIDES]
    return [grid for i, grid in enumerate(grids) if i == 0 or grid[0] * grid[1] >= FEWEST]


def _merged(image: Float[Array, "H W"], side: int, grid: tuple[int, int]) -> Float[Array, "rows columns"]:
    rows, columns = grid
    return image[: rows * side, : columns * side].reshape(rows, side, columns, side).sum((1, 3))


def change_of(gain: Gain, blocks: Float[Array, " blocks"], gap: Float[ArrayLike, ""]) -> Change:
    """Compare the block counts of a frame with those of the frame before, ``gap`` frames earlier.

    A step of dose is the mean change of the blocks that agree with the median of all, where it is significant, larger
    than :data:`LEAST_STEP`, and shared by more than half of the blocks.
    """
    smallest = gain.grid[0] * gain.grid[1]
    log, previous = jnp.log(blocks[:smallest]), gain.previous[:smallest]
    electronic = gain.electronic[:smallest]
    variance = sum(jnp.exp(-one) * (1 + electronic * jnp.exp(-one)) for one in (log, previous))
    change = log - previous - gap * gain.drift
    shares = jnp.abs(change - jnp.median(change)) < _OFF * jnp.sqrt(variance)
    weights = shares / variance
    error = 1 / jnp.maximum(jnp.sum(weights), 1e-6)
    mean = error * jnp.sum(weights * change)
    large = jnp.abs(mean) > jnp.maximum(LEAST_STEP, _SIGNIFICANT * jnp.sqrt(error))
    stepped = large & (jnp.mean(shares) > 0.5)
    log_dose = jnp.where(stepped, mean, 0.0)
    changed = jnp.mean(jnp.abs(change - log_dose) > _OFF * jnp.sqrt(variance))
    return Change(log_dose, jnp.where(stepped, error, 0.0), stepped, changed)


def update_gain(
    gain: Gain,
    blocks: Float[Array, " blocks"],
    gap: Float[ArrayLike, ""],
    change: Change,
    first: Bool[Array, ""],
) -> Gain:
    """The state after a frame with the block counts ``blocks``, ``gap`` frames after the one before."""
    log = jnp.log(blocks)
    age = jnp.where(first, 0.0, gain.age + gap)
    anew = first | change.stepped | (age >= WINDOW)
    here = gain.anchor + age * gain.drift + change.log_dose
    spread = gain.anchor_variance + (age * gain.drift_std) ** 2 + change.variance
    begun = Gain(
        drift=gain.drift,
        drift_std=gain.drift_std,
        prior=jnp.where(first, gain.prior, gain.drift),
        prior_std=jnp.where(first, gain.prior_std, gain.drift_std),
        low=gain.low,
        high=gain.high,
        anchor=jnp.where(first, 0.0, here),
        anchor_variance=jnp.where(first, 0.0, spread),
        age=jnp.zeros(()),
        sums=jnp.zeros(3),
        lines=jnp.zeros_like(gain.lines),
        origin=log,
        previous=log,
        electronic=gain.electronic,
        grid=gain.grid,
    )
    gain = jax.tree.map(lambda new, old: jnp.where(anew, new, old), begun, eqx.tree_at(lambda g: g.age, gain, age))
    level = log - gain.origin
    n = gain.age
    sums = gain.sums + jnp.stack([jnp.ones(()), n, n**2])
    lines = gain.lines + jnp.stack([level, n * level, level**2])
    gain = eqx.tree_at(lambda g: (g.sums, g.lines, g.previous), gain, (sums, lines, log))
    return _posterior(gain, blocks)


def _posterior(gain: Gain, blocks: Float[Array, " blocks"]) -> Gain:
    """Mean and standard deviation of the drift from the lines of the blocks.

    The densities that the sizes of blocks give are averaged: where the sizes disagree, the posterior is wide.
    """
    count, first, second = gain.sums
    spread = second - first**2 / count
    known = count >= 3
    spread = jnp.where(known, spread, 1.0)
    slopes = (gain.lines[1] - first / count * gain.lines[0]) / spread
    total = gain.lines[2] - gain.lines[0] ** 2 / count - slopes**2 * spread
    # What scatters about its line by more than its quanta moves: its slope is known less well.
    noise = (1 + gain.electronic / blocks) / blocks
    excess = jnp.maximum(1.0, total / jnp.maximum(count - 2, 1.0) / noise)
    variances = noise * excess / spread

    wide_grid = jnp.linspace(0.0, 1.0, _POINTS) * (gain.high - gain.low) + gain.low
    fine_grid = jnp.linspace(-_REACH, _REACH, _POINTS) * gain.drift_std + gain.drift
    grid = jnp.clip(jnp.sort(jnp.concatenate([wide_grid, fine_grid])), gain.low, gain.high)
    steps = jnp.diff(grid)
    trapezoid = 0.5 * (jnp.pad(steps, (0, 1)) + jnp.pad(steps, (1, 0)))
    prior = -0.5 * ((grid - gain.prior) / gain.prior_std) ** 2

    weights, at = jnp.zeros_like(grid), 0
    for rows, columns in _grids(gain.grid):
        slope, variance = slopes[at : at + rows * columns], variances[at : at + rows * columns]
        at += rows * columns
        median = jnp.median(slope)
        wide = variance + (_WIDE * jnp.median(jnp.abs(slope - median))) ** 2 + 1e-10
        off = (slope - grid[:, None]) ** 2
        at_rest = np.log(_STILL) - 0.5 * (off / variance + jnp.log(variance))
        moving = np.log1p(-_STILL) - 0.5 * (off / wide + jnp.log(wide))
        density = prior + TEMPER * jnp.sum(jnp.logaddexp(at_rest, moving), axis=-1)
        density = jnp.exp(density - jnp.max(density)) * trapezoid
        weights = weights + density / jnp.sum(density)
    weights = weights / jnp.sum(weights)
    mean = jnp.sum(weights * grid)
    # The fine grid narrows by a factor a frame at most, so that it cannot pass between two of its own points.
    std = jnp.maximum(jnp.sqrt(jnp.sum(weights * (grid - mean) ** 2)), _NARROWING * gain.drift_std)
    return eqx.tree_at(
        lambda g: (g.drift, g.drift_std),
        gain,
        (jnp.where(known, mean, gain.drift), jnp.where(known, std, gain.drift_std)),
    )


__all__ = ["Change", "Gain", "block_counts", "block_side", "change_of", "start_gain", "update_gain"]
