"""Expected counts of a rotational run: Π is the cone-beam projector, Σ_t and D are those of every other scene."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import MOTION_BLUR, Parameter, Spec
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator
from fluorojax.physics.scalars import scalar
from fluorojax.tomography.geometry import ConeGeometry
from fluorojax.tomography.grid import VoxelGrid
from fluorojax.tomography.projector import project

WINDOW = "exposure_window"


class RotationalOperator(eqx.Module):
    """Volume and specification to expected counts, ``λ = D(lag(mean over the exposure of exp(−∫μ)))``.

    The frames of the run are views of a volume at rest. The gantry moves while a frame is exposed, so the exposure
    window blurs over the angle: the transmission is averaged over ``sub_angles`` poses spread evenly over the window
    ``pulse_width_ms + motion_blur``. Lag, gain drift and scatter follow as in ``chain``, whose own exposure window,
    made for movement between frames that are alike, is left out.
    """

    geometry: ConeGeometry
    grid: VoxelGrid
    chain: FluoroscopyOperator = PUBLISHED_OPERATOR
    """The imaging chain behind the patient."""
    sub_angles: int = eqx.field(static=True, default=1)
    """Poses per exposure. One takes the gantry to stand still during an exposure: ``motion_blur`` then changes
    nothing. Cost and memory of the projections are proportional to it."""

    def __check_init__(self):
        if self.sub_angles < 1:
            raise ValueError(f"sub_angles is {self.sub_angles}; expected at least 1")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The unknown parameters of the run, those of the published chain and of further stages."""
        return self.chain.parameters

    def poses(self, spec: Spec, acquisition: Acquisition, dtype: Any = float) -> ConeGeometry:
        """The poses of all exposures, ``sub_angles`` blocks of one pose per frame."""
        if self.sub_angles == 1:
            return self.geometry
        width = scalar("pulse_width_ms", acquisition.pulse_width_ms, dtype)
        width = width + scalar("motion_blur", spec.value(MOTION_BLUR), dtype)
        share = (jnp.arange(self.sub_angles, dtype=dtype) + 0.5) / self.sub_angles - 0.5
        offset = share * width / scalar("frame_time_ms", acquisition.frame_time_ms, dtype)
        return self.geometry.at((offset[:, None] + jnp.arange(self.geometry.views, dtype=dtype)).ravel(), dtype)

    def depths(
        self, volume: Float[Array, "X Y Z"], spec: Spec, acquisition: Acquisition
    ) -> Float[Array, "exposures rows columns"]:
        """Line integrals at :meth:`poses`, dimensionless; linear in ``volume`` (1/mm)."""
        return project(volume, self.poses(spec, acquisition, volume.dtype), self.grid)

    def counts(
        self, depths: Float[Array, "exposures rows columns"], spec: Spec, acquisition: Acquisition
    ) -> Float[Array, "T rows columns"]:
        """Expected counts, quanta per pixel and frame, from the line integrals at :meth:`poses`."""
        blocks = depths.reshape(self.sub_angles, -1, *depths.shape[1:])
        # The mean of exp(−L) as an optical depth, so that the chain takes it like any other.
        depth = jnp.log(jnp.asarray(self.sub_angles, depths.dtype)) - jax.nn.logsumexp(-blocks, axis=0)
        scale = scalar("attenuation_scale", acquisition.attenuation_scale, depths.dtype)
        return self._behind(depth / scale, spec, acquisition)

    def __call__(
        self, volume: Float[Array, "X Y Z"], spec: Spec, acquisition: Acquisition
    ) -> Float[Array, "T rows columns"]:
        """Expected counts, quanta per pixel and frame. **Arguments:** ``volume`` attenuation, 1/mm."""
        return self.counts(self.depths(volume, spec, acquisition), spec, acquisition)

    @property
    def _behind(self) -> FluoroscopyOperator:
        names = [stage.name for stage in self.chain.stages]
        return self.chain.without_stage(WINDOW) if WINDOW in names else self.chain
