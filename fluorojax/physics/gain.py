"""D, part 1: drift of the detector gain."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, DTypeLike, Float

from fluorojax.physics.scalars import frame_count, scalar


class GainDrift(eqx.Module):
    """Gain ``g_t = (1 + d/100)^t`` of frame t for a drift of d %/frame (d > −100); ``g_0 = 1``.

    It multiplies the rate before counting, so drifted counts are Poisson.
    """

    def gains(self, drift: Float[ArrayLike, ""], frames: int, dtype: DTypeLike = float) -> Float[Array, " T"]:
        """Gains (T,), dimensionless. **Arguments:** ``drift`` d in %/frame, ``frames`` T."""
        t = np.arange(frame_count(frames))
        log_gain = jnp.log1p(scalar("drift", drift, dtype) / 100)
        return jnp.exp(log_gain * t.astype(log_gain.dtype))
