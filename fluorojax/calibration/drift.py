"""Posterior of the gain drift from the static part of a scene, before any reconstruction.

A drift of the gain looks exactly like a slow change of attenuation over the whole field. The pixels that do not move
separate the two: the log counts of all static pixels follow lines of the same slope, ``log(1 + d/100)`` per frame,
while the slopes of moving pixels scatter. The drift is the most frequent slope.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Float, Int

from fluorojax.calibration._atom import atom_log_likelihood
from fluorojax.calibration._blocks import block_curves
from fluorojax.data.acquisition import Acquisition
from fluorojax.physics import Scatter
from fluorojax.physics.scalars import scalar

STRIDE = 4
"""Distance between neighbouring blocks, pixels."""
SIDES = (1, 2, 3, 4)
"""Sides of the blocks, in strides: small ones find small static regions, large ones resolve slower motion."""
TEMPER = 0.5
"""Exponent of the composite likelihood. Motion is coherent over more than a block, so blocks carry less information
than independent ones; half makes the intervals cover on simulated scenes (``benchmarks/drift.py``)."""
SCATTER_STEPS = 8
_SCATTER = Scatter()
FEWEST_BLOCKS = 64
"""Fewest disjoint blocks that a mixture is fitted to; the smallest side is used whatever the field."""


@partial(jax.jit, static_argnames="points")
def drift_log_posterior(
    y: Float[Array, "T H W"],
    acquisition: Acquisition,
    low: Float[ArrayLike, ""],
    high: Float[ArrayLike, ""],
    scatter: Scatter | None = _SCATTER,
    *,
    points: int = 101,
) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
    """Posterior of ``gain_drift`` given the counts of one scene, with a uniform prior on [``low``, ``high``].

    Static blocks of pixels are told from moving ones by a mixture model, at several block sizes; the tempered composite
    likelihoods (Varin, Reid & Firth, Statistica Sinica 21:5, 2011) of the sizes, their mixture weights fitted by
    expectation maximisation (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39:1, 1977), are averaged as densities: where
    the sizes disagree, the posterior is wide, and close to the prior where nothing is static.

    Exposure window and lag hardly touch static pixels (with a steady start not at all) and are ignored; known scatter
    is subtracted. Works for one scene; batch with ``jax.vmap`` over ``y``, ``acquisition``, ``low`` and ``high``.

    **Arguments:** ``y`` counts, T ≥ 2 frames of at least 4 × 4 pixels; ``low``, ``high`` the range of the drift d in
    %/frame, where gain of frame t = ``(1 + d/100)^t``: a positive drift brightens the run; ``scatter`` the scatter
    stage of the imaging chain; ``points`` ≥ 2, grid size.

    **Returns** the grid of the drift, %/frame, and the log of its posterior density, 1/(%/frame): the trapezoid
    integral of its exponential over the grid is one.

    **Raises** ``ValueError`` where ``y`` has too few frames or pixels or the grid too few points.
    """
    frames, height, width = y.shape
    if frames < 2 or min(height, width) < STRIDE:
        raise ValueError(f"y has shape {y.shape}; expected (T, H, W) with T ≥ 2 and H, W ≥ {STRIDE}")
    if points < 2:
        raise ValueError(f"points is {points}; expected at least 2")
    fraction = scalar("scatter_fraction", acquisition.scatter_fraction, y.dtype)
    background = jnp.zeros_like(y) if scatter is None else scattered_quanta(y, fraction, scatter)
    return drift_from_cells(cell_sums(y), cell_sums(background), acquisition, low, high, points=points)


@partial(jax.jit, static_argnames="points")
def drift_from_cells(
    cells: Float[Array, "T R C"],
    background: Float[Array, "T R C"],
    acquisition: Acquisition,
    low: Float[ArrayLike, ""],
    high: Float[ArrayLike, ""],
    *,
    points: int = 101,
) -> tuple[Float[Array, " points"], Float[Array, " points"]]:
    """:func:`drift_log_posterior` from what it needs of a run: :func:`cell_sums` of the counts and of the scatter.

    A long run need not be in memory for that. **Arguments:** ``cells`` and ``background`` in quanta per cell; the
    others as in :func:`drift_log_posterior`, the electronic noise of ``acquisition`` per pixel.
    """
    grid = jnp.linspace(scalar("low", low, cells.dtype), scalar("high", high, cells.dtype), points)
    electronic = STRIDE**2 * scalar("electronic_variance", acquisition.electronic_variance, cells.dtype)
    rows, columns = cells.shape[1:]
    sides = [side for side in SIDES if side == 1 or (rows // side) * (columns // side) >= FEWEST_BLOCKS]

    def density(side: Int[Array, ""]) -> Float[Array, " points"]:
        curves = block_curves(cells, background, stride=1, side=side, electronic_variance=electronic)
        return _normalise(TEMPER * atom_log_likelihood(curves, grid), grid)

    # The fast matrix products of accelerators keep three digits, fewer than a slope needs.
    with jax.default_matmul_precision("highest"):
        densities = jax.lax.map(density, jnp.array(sides))
    return grid, _normalise(logsumexp(densities, axis=0), grid)


def cell_sums(images: Float[Array, "T H W"]) -> Float[Array, "T R C"]:
    """Sums over cells of :data:`STRIDE` × :data:`STRIDE` pixels; pixels that fill no cell are left out."""
    frames, rows, columns = images.shape[0], images.shape[1] // STRIDE, images.shape[2] // STRIDE
    cells = images[:, : rows * STRIDE, : columns * STRIDE].reshape(frames, rows, STRIDE, columns, STRIDE)
    return jnp.sum(cells, axis=(2, 4))


def scattered_quanta(
    y: Float[Array, "T H W"], fraction: Float[ArrayLike, ""], scatter: Scatter
) -> Float[Array, "T H W"]:
    """Scattered quanta in ``y`` = primary + f/(1−f) × blurred primary: a fixed point, its error shrinks by f a step."""

    share = jnp.asarray(fraction)

    def step(_: int, s: Float[Array, "T H W"]) -> Float[Array, "T H W"]:
        return share * (s + scatter.blur(y - s))

    return jax.lax.fori_loop(0, SCATTER_STEPS, step, jnp.zeros_like(y))


def _normalise(log_density: Float[Array, " points"], grid: Float[Array, " points"]) -> Float[Array, " points"]:
    """Shifted so that the trapezoid integral of the exponential over the grid is one."""
    step = (grid[-1] - grid[0]) / (grid.size - 1)
    weights = jnp.full_like(grid, step).at[jnp.array([0, -1])].multiply(0.5)
    return log_density - logsumexp(log_density, b=weights)
