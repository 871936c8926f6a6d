"""The three mismatch parameters of a fluoroscopy chain and the ranges they are known to lie in.

All three are *signed offsets* from the nominal protocol, so negative values are physical:

=============  =========  ==================================================================
name           unit       meaning
=============  =========  ==================================================================
motion_blur    ms         exposure window = ``pulse_width_ms + motion_blur``
lag            ms         detector-lag time constant = ``lag_ms + lag``
gain_drift     %/frame    gain of frame t = ``(1 + gain_drift/100)**t``
=============  =========  ==================================================================
"""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

SPEC_NAMES = ("motion_blur", "lag", "gain_drift")
"""The parameters, in the order of every array of them."""
SPEC_UNITS = {"motion_blur": "ms", "lag": "ms", "gain_drift": "%/frame"}
"""Their units."""

TIERS: dict[str, dict[str, tuple[float, float]]] = {
    "public": {"motion_blur": (-5.0, 10.0), "lag": (-3.0, 6.0), "gain_drift": (-0.5, 1.0)},
    "dev": {"motion_blur": (-6.0, 9.0), "lag": (-3.6, 5.4), "gain_drift": (-0.6, 0.9)},
    "hidden": {"motion_blur": (-3.5, 11.5), "lag": (-2.1, 6.9), "gain_drift": (-0.35, 1.15)},
}
"""Published ranges, (min, max) by tier and parameter."""


class Spec(eqx.Module):
    """One value of the three mismatch parameters; a pytree of scalars, so it batches under ``vmap``."""

    motion_blur: Float[ArrayLike, "..."] = 0.0
    """Signed offset of the exposure window from the nominal pulse width, ms."""
    lag: Float[ArrayLike, "..."] = 0.0
    """Signed offset of the detector-lag time constant from its nominal value, ms."""
    gain_drift: Float[ArrayLike, "..."] = 0.0
    """Relative gain change from frame to frame, %."""

    def as_dict(self) -> dict[str, float]:
        """The parameters as plain floats, in the order of :data:`SPEC_NAMES` (unbatched specs only)."""
        return {name: float(getattr(self, name)) for name in SPEC_NAMES}

    def as_array(self) -> Float[Array, "*batch 3"]:
        """The parameters stacked along a last axis of length 3, in the order of :data:`SPEC_NAMES`."""
        return jnp.stack([jnp.asarray(getattr(self, name)) for name in SPEC_NAMES], axis=-1)

    @classmethod
    def from_array(cls, values: Float[ArrayLike, "*batch 3"]) -> "Spec":
        """Inverse of :meth:`as_array`."""
        values = jnp.asarray(values)
        return cls(values[..., 0], values[..., 1], values[..., 2])


class SpecRanges(eqx.Module):
    """Lower and upper bounds of the three parameters, shape (3,), in the order of :data:`SPEC_NAMES`.

    The prior of each parameter is uniform on its range.
    """

    low: Float[ArrayLike, "*batch 3"]
    high: Float[ArrayLike, "*batch 3"]

    @classmethod
    def from_dict(cls, ranges: Mapping[str, tuple[float, float]]) -> "SpecRanges":
        """Build from ``{"motion_blur": (min, max), …}``; all three names are required."""
        missing = [name for name in SPEC_NAMES if name not in ranges]
        if missing:
            raise ValueError(f"spec ranges lack {', '.join(missing)}; expected {', '.join(SPEC_NAMES)}")
        pairs = np.array([ranges[name] for name in SPEC_NAMES], dtype=np.float32)
        return cls(pairs[:, 0], pairs[:, 1])

    @classmethod
    def for_tier(cls, tier: str) -> "SpecRanges":
        """The ranges of a published tier: ``public``, ``dev`` or ``hidden``."""
        if tier not in TIERS:
            raise ValueError(f"tier is {tier!r}; expected one of {', '.join(TIERS)}")
        return cls.from_dict(TIERS[tier])

    def as_dict(self) -> dict[str, tuple[float, float]]:
        """``{"motion_blur": (min, max), …}`` (unbatched ranges only)."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(SPEC_NAMES)}

    def mean(self) -> Float[Array, "*batch 3"]:
        """Prior mean: the middle of each range."""
        return 0.5 * (jnp.asarray(self.low) + jnp.asarray(self.high))

    def std(self) -> Float[Array, "*batch 3"]:
        """Prior standard deviation of a uniform distribution: (max − min)/√12."""
        return (jnp.asarray(self.high) - jnp.asarray(self.low)) / jnp.sqrt(12.0)
