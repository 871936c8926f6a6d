"""Where the atom of the block slopes lies: a mixture of static and moving blocks, fitted for every drift at once."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.calibration._blocks import BlockCurves

EM_STEPS = 24
SLOPE_COMPONENTS = 18
SLOPE_MARGIN = 1.0
"""How far the finely resolved slopes of moving blocks reach beyond the range of the drift, %/frame."""
WIDE_SLOPES = (1.0, 3.0, 10.0)
"""Standard deviations of the components for everything faster, %/frame."""
BEND_SCALES = (0.0, *np.geomspace(3e-4, 0.3, 7))
"""Root-mean-square bend of a curve, log units; zero first, the value of a static block."""
BEND_POWER = -3.0
"""Temporal spectrum of the bends: variance ∝ frequency^−3, steeper than white noise as inertia makes it."""
STATIC_WIDTH = 0.03
"""Standard deviation of the slopes called static, %/frame: anatomy at rest still moves slightly."""
FLOOR = 0.02
"""Share of the weight of moving blocks that is spread evenly, so that no component dies out."""


def atom_log_likelihood(curves: BlockCurves, grid: Float[Array, " D"]) -> Float[Array, " D"]:
    """Composite log-likelihood of each drift on the grid (%/frame), up to a constant.

    A block is *static* (slope of the drift, no bend) with a local probability, or *moving* (slope from a free mixture
    of Gaussians, bend from a mixture of scales). All weights are fitted by expectation maximisation for each drift;
    local probabilities are responsibilities smoothed over neighbours, as static regions are contiguous (the EMS of
    Silverman et al., J. R. Stat. Soc. B 52:271, 1990). Overlapping blocks share pixels: the sum over blocks is divided
    by their overlap, so that every pixel counts once.
    """
    dtype = grid.dtype
    slope, variance = curves.slope[:, None], curves.slope_variance[:, None]
    bends = _bend_log_densities(curves)
    centres, spreads = _slope_components(grid)
    trend = _log_normal(slope - centres, variance + spreads**2)
    moving = (trend[:, :, None] + bends[:, None, :]).reshape(len(curves.slope), -1)
    static = _log_normal(slope - 100 * jnp.log1p(grid / 100), variance + STATIC_WIDTH**2) + bends[:, :1]
    top = jnp.maximum(moving.max(axis=1), static.max(axis=1))[:, None]
    moving, static = jnp.exp(moving - top), jnp.exp(static - top)
    components = moving.shape[1]
    # Keeps logarithms and quotients finite where every density underflows.
    tiny = 1e4 * float(jnp.finfo(dtype).tiny)

    def densities(probability, weights):
        return probability * static, (1 - probability) * (moving @ weights + tiny)

    def step(state, _):
        probability, weights = state
        at_rest, in_motion = densities(probability, weights)
        moving_share = (1 - probability) / (at_rest + in_motion)
        responsibility = at_rest / (at_rest + in_motion)
        weights = weights * (moving.T @ (curves.present[:, None] * moving_share))
        weights = (1 - FLOOR) * weights / weights.sum(axis=0) + FLOOR / components
        return (_local_mean(responsibility, curves), weights), None

    start = (jnp.full(static.shape, 0.2, dtype), jnp.full((components, grid.size), 1 / components, dtype))
    state, _ = jax.lax.scan(step, start, None, length=EM_STEPS)
    return curves.present @ jnp.log(sum(densities(*state))) / curves.overlap


def _slope_components(grid: Float[Array, " D"]) -> tuple[Float[Array, " M"], Float[Array, " M"]]:
    """Centres and standard deviations (%/frame) of the slopes of moving blocks: a comb, and wide tails."""
    centres = jnp.linspace(grid[0] - SLOPE_MARGIN, grid[-1] + SLOPE_MARGIN, SLOPE_COMPONENTS)
    spread = 1.25 * (centres[1] - centres[0])
    wide = jnp.array(WIDE_SLOPES, grid.dtype)
    return (
        jnp.concatenate([centres, jnp.full(wide.shape, centres.mean())]),
        jnp.concatenate([jnp.full(centres.shape, spread), wide]),
    )


def _bend_log_densities(curves: BlockCurves) -> Float[Array, "N S"]:
    """Log density of each block's bends under each scale of :data:`BEND_SCALES`."""
    k = np.arange(2, 2 + curves.bends.shape[1])
    shape = (k / 2.0) ** BEND_POWER * (k.size + 2)
    excess = (np.square(BEND_SCALES)[:, None] * shape).astype(curves.bends.dtype)
    return _log_normal(curves.bends[:, None, :], curves.bend_variance[:, None, None] + excess).sum(axis=-1)


def _log_normal(residual: Float[Array, "*#n"], variance: Float[Array, "*#n"]) -> Float[Array, "*#n"]:
    return -0.5 * (residual**2 / variance + jnp.log(variance))


def _local_mean(responsibility: Float[Array, "N D"], curves: BlockCurves) -> Float[Array, "N D"]:
    """Nine parts the Gaussian mean over neighbours (standard deviation of one block), one part the mean of all."""
    down, across = (_neighbour_weights(present) for present in (curves.rows, curves.columns))
    field = responsibility.reshape(curves.rows.size, curves.columns.size, -1)
    local = jnp.einsum("ai,bj,ijd->abd", down, across, field).reshape(responsibility.shape)
    mean = 0.9 * local + 0.1 * (curves.present @ responsibility) / curves.present.sum()
    return jnp.clip(mean, 1e-3, 0.97)


def _neighbour_weights(present: Float[Array, " n"]) -> Float[Array, "n n"]:
    distance = np.arange(present.size)[:, None] - np.arange(present.size)
    weights = jnp.asarray(np.exp(-0.5 * distance**2), present.dtype) * present
    return weights / weights.sum(axis=1, keepdims=True)
