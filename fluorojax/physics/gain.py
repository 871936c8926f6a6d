"""D, part 1: drift of the detector gain."""

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import GAIN_DRIFT, Parameter, Spec
from fluorojax.physics.scalars import frame_count, scalar
from fluorojax.physics.stage import TemporalStage


class GainDrift(TemporalStage):
    """Gain ``g_t = (1 + d/100)^t`` of frame t for a drift of d %/frame (d > −100); ``g_0 = 1``.

    It multiplies the rate before counting, so drifted counts are Poisson.
    """

    name: ClassVar[str] = "gain_drift"
    parameters: ClassVar[tuple[Parameter, ...]] = (GAIN_DRIFT,)

    def applied_to(self, matrix: Float[Array, "T T"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T T"]:
        """The rows of ``matrix`` times the gains of their frames."""
        return self.gains(spec, matrix.shape[0], matrix.dtype)[:, None] * matrix

    def gains(self, spec: Spec, frames: int, dtype: DTypeLike = float) -> Float[Array, " T"]:
        """Gains (T,), dimensionless. **Arguments:** ``spec`` with the drift d in %/frame, ``frames`` T."""
        t = np.arange(frame_count(frames))
        log_gain = jnp.log1p(scalar("gain_drift", spec.value(GAIN_DRIFT), dtype) / 100)
        return jnp.exp(log_gain * t.astype(log_gain.dtype))
