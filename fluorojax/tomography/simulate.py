"""Rotational runs of phantoms, from closed forms: no projector of the reconstruction takes part."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator
from fluorojax.tomography.geometry import ConeGeometry, check_geometry
from fluorojax.tomography.grid import VoxelGrid
from fluorojax.tomography.operator import RotationalOperator
from fluorojax.tomography.phantoms import Ellipsoids


@dataclass(frozen=True)
class RotationalRun:
    """The counts of a rotational run with everything that is known about them."""

    counts: Float[np.ndarray, "T rows columns"]
    """Counts, float32."""
    geometry: ConeGeometry
    acquisition: Acquisition
    ranges: SpecRanges
    chain: FluoroscopyOperator = PUBLISHED_OPERATOR
    true_spec: Spec | None = None
    """True parameters, where the run is simulated."""
    truth: Float[np.ndarray, "X Y Z"] | None = None
    """True attenuation on ``truth_grid``, 1/mm, where the run is simulated."""
    truth_grid: VoxelGrid | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.counts.ndim != 3:
            raise ValueError(f"counts of a rotational run have shape {self.counts.shape}; expected (T, rows, columns)")
        check_geometry(self.geometry, frames=len(self.counts))
        shape = (self.geometry.rows, self.geometry.columns)
        if self.counts.shape[1:] != shape:
            raise ValueError(f"geometry: has {shape} pixels, the run has {self.counts.shape[1:]}; expected as many")


def simulate_run(
    phantom: Ellipsoids,
    geometry: ConeGeometry,
    acquisition: Acquisition,
    *,
    spec: Spec | None = None,
    tier: str = "public",
    seed: int = 0,
    sub_angles: int = 3,
    subpixels: int = 2,
    grid: VoxelGrid | None = None,
    chain: FluoroscopyOperator = PUBLISHED_OPERATOR,
) -> RotationalRun:
    """Poisson counts of a phantom at rest under a moving gantry.

    The transmission is averaged over ``subpixels`` by ``subpixels`` points of every pixel and ``sub_angles`` poses of
    every exposure, from exact line integrals; lag, gain drift and scatter follow as in ``chain``.

    **Arguments:** ``acquisition`` with I_0 and the protocol; its ``attenuation_scale`` does not matter; ``spec`` the
    true parameters, nominal by default; ``grid`` on which to store the true volume. **Raises** ``ValueError`` where the
    geometry is impossible (:func:`~fluorojax.tomography.geometry.check_geometry`) or a number is below one.
    """
    check_geometry(geometry, grid)
    if min(sub_angles, subpixels) < 1:
        raise ValueError(f"sub_angles {sub_angles} and subpixels {subpixels}; expected at least 1")
    spec = Spec.nominal(chain.parameters) if spec is None else spec
    grid_of_chain = grid or VoxelGrid.centred(2, 1.0)
    operator = RotationalOperator(geometry, grid_of_chain, chain, sub_angles)
    poses = operator.poses(spec, acquisition, jnp.float32)
    fine = ConeGeometry(
        *(jnp.asarray(pose, jnp.float32) for pose in poses.poses()),
        pitch=(geometry.pitch[0] / subpixels, geometry.pitch[1] / subpixels),
        rows=geometry.rows * subpixels,
        columns=geometry.columns * subpixels,
    )

    @jax.jit
    def expected() -> jax.Array:
        transmission = jnp.exp(-phantom.line_integrals(fine, jnp.float32))
        blocks = transmission.reshape(-1, geometry.rows, subpixels, geometry.columns, subpixels).mean((2, 4))
        return operator.counts(-jnp.log(blocks), spec, acquisition)

    rate = np.asarray(expected(), np.float64)
    counts = np.random.default_rng(seed).poisson(rate).astype(np.float32)
    truth = None if grid is None else phantom.volume(grid)
    return RotationalRun(
        counts, geometry, acquisition, SpecRanges.for_tier(tier), chain, spec, truth, grid, {"scene": "rotational"}
    )
