"""Iterative reconstructions from line integrals, as peers: SIRT, and weighted least squares with total variation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.engines.lbfgs import minimise
from fluorojax.tomography.geometry import ConeGeometry
from fluorojax.tomography.grid import WATER_PER_MM, VoxelGrid
from fluorojax.tomography.projector import backproject, project


def measured_depths(
    counts: Float[np.ndarray, "T rows columns"], photons: float, floor: float = 0.5
) -> Float[np.ndarray, "T rows columns"]:
    """Line integrals ``log(I_0 / max(counts, floor))``, not below zero, float32: what the peers reconstruct from."""
    return np.maximum(np.log(photons / np.maximum(counts, floor)), 0).astype(np.float32)


@partial(jax.jit, static_argnames=("grid", "iterations"))
def sirt(
    depths: Float[Array, "T rows columns"], geometry: ConeGeometry, grid: VoxelGrid, *, iterations: int = 30
) -> Float[Array, "X Y Z"]:
    """Attenuation, 1/mm, by the simultaneous iterative reconstruction technique with positivity.

    ``x ← max(0, x + C Aᵀ R (b − A x))`` from zero, R and C the inverse sums of the rows and columns of A (Gilbert,
    J. Theor. Biol. 36:105, 1972). Few iterations are smooth, many are sharp and noisy.
    """
    ones = project(jnp.ones(grid.shape, depths.dtype), geometry, grid)
    rows = jnp.where(ones > 0, 1 / jnp.maximum(ones, 1e-3 * ones.max()), 0)
    weight = backproject(jnp.ones_like(depths), geometry, grid)
    columns = 1 / jnp.maximum(weight, 1e-3 * weight.max())

    def step(_: int, x: Array) -> Array:
        return jnp.maximum(x + columns * backproject(rows * (depths - project(x, geometry, grid)), geometry, grid), 0)

    return jax.lax.fori_loop(0, iterations, step, jnp.zeros(grid.shape, depths.dtype))


@partial(jax.jit, static_argnames=("grid", "iterations"))
def total_variation(
    depths: Float[Array, "T rows columns"],
    counts: Float[Array, "T rows columns"],
    geometry: ConeGeometry,
    grid: VoxelGrid,
    *,
    weight: float = 20.0,
    edge: float = 0.02,
    iterations: int = 30,
) -> Float[Array, "X Y Z"]:
    """Attenuation, 1/mm: least ``½ Σ n (A x − b)² + weight Σ √(|∇x|² + edge²)`` by L-BFGS, clipped at zero.

    n are the counts, the inverse variance of the line integrals b (Sauer & Bouman, IEEE Trans. Signal Process. 41:534,
    1993). Differences between neighbours, ``edge`` and ``weight`` are in units of the attenuation of water.
    """
    start = sirt(depths, geometry, grid, iterations=5) / WATER_PER_MM
    scale = (
        1 / jnp.sqrt(jnp.maximum(backproject(counts, geometry, grid), 1e-6) * min(grid.spacing) + 1.0) / WATER_PER_MM
    )

    def energy(latent: Array) -> Array:
        x = start + latent * scale
        misfit = 0.5 * jnp.sum(counts * (project(WATER_PER_MM * x, geometry, grid) - depths) ** 2)
        return misfit + weight * jnp.sum(jnp.sqrt(squared_gradient(x) + edge**2) - edge)

    found = minimise(energy, jnp.zeros_like(start), max_iterations=iterations, tolerance=1e-4)
    return WATER_PER_MM * jnp.maximum(start + found.position * scale, 0)


def differences(x: Float[Array, "X Y Z"]) -> Float[Array, "3 X Y Z"]:
    """Forward differences along the three axes, zero at the last voxel."""
    return jnp.stack(
        [jnp.diff(x, axis=k, append=jax.lax.slice_in_dim(x, x.shape[k] - 1, x.shape[k], axis=k)) for k in range(3)]
    )


def squared_gradient(x: Float[Array, "X Y Z"]) -> Float[Array, "X Y Z"]:
    """Sum of the squares of the :func:`differences`."""
    return jnp.sum(differences(x) ** 2, 0)
