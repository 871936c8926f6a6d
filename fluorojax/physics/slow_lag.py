"""Σ_t, part 3: slow lag, charge in deep traps that leave a faint tail over many frames."""

from typing import ClassVar, Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Parameter, Spec
from fluorojax.physics.lag import Start
from fluorojax.physics.scalars import frame_count, scalar
from fluorojax.physics.stage import TemporalStage, product

SLOW_LAG_SHARE = Parameter("slow_lag_share", "", 0.0, 0.03, "share of the slow lag", nominal=0.011)
"""Signal in the first frame after a long exposure that the slow traps release, relative to the exposure."""


class SlowLag(TemporalStage):
    """Charge traps in series, each of which keeps a part of a frame and releases it over many.

    Trap k takes the part a_k of what reaches it and has released ``1 − e^{−n/τ_k}`` of that n frames later::

        y_t = (1 − a) s_t + (1 − κ) u_{t−1},   u_t = κ u_{t−1} + a s_t,   κ = e^{−1/τ}

    Charge is conserved. All traps take the same part, such that after a long exposure the first frame without beam
    shows ``1 − Π(1 − a_k)``, :attr:`share`, of it. The defaults are those of a flat panel of caesium iodide on
    amorphous silicon. Append the stage after the fast lag.
    """

    name: ClassVar[str] = "slow_lag"

    share: float = 0.011
    """First frame after a long exposure, relative to it."""
    frames: tuple[float, ...] = eqx.field(
        static=True, default=(9.0, 47.0, 303.0), converter=lambda values: tuple(float(v) for v in values)
    )
    """Time constants τ_k of the traps, frames."""
    start: Start = eqx.field(static=True, default="steady")
    """``"steady"``: the traps are full, as after a long exposure of the first scene. ``"dark"``: they are empty but for
    what :attr:`exposed` frames left in them."""
    exposed: float = eqx.field(static=True, default=0.0)
    """Frames of exposure between the dark and the first frame, the scene at rest; only for a start from dark."""
    unknown: Literal["nothing", "share"] = eqx.field(static=True, default="nothing")
    """Whether the share is inferred (:data:`SLOW_LAG_SHARE`), in the place of what the stage states."""

    def __check_init__(self):
        if isinstance(self.share, float | int) and not 0 <= self.share < 1:
            raise ValueError(f"share is {self.share}; expected 0 ≤ share < 1")
        if not self.frames or not all(np.isfinite(value) and value > 0 for value in self.frames):
            raise ValueError("frames holds values that are not positive numbers; expected one time constant a trap")
        if not (np.isfinite(self.exposed) and self.exposed >= 0):
            raise ValueError(f"exposed is {self.exposed}; expected a number of frames ≥ 0")
        if self.start not in get_args(Start):
            raise ValueError(f"start is {self.start!r}; expected one of {', '.join(get_args(Start))}")
        if self.unknown not in ("nothing", "share"):
            raise ValueError(f"unknown is {self.unknown!r}; expected nothing or share")

    @property
    def parameters(self) -> tuple[Parameter, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The share, where it is unknown."""
        return (SLOW_LAG_SHARE,) if self.unknown == "share" else ()

    def applied_to(self, matrix: Float[Array, "T T"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T T"]:
        """The release of all traps applied after ``matrix``."""
        share = spec.value(SLOW_LAG_SHARE) if self.unknown == "share" else self.share
        return product(self.matrix(scalar("share", share, matrix.dtype), matrix.shape[0], matrix.dtype), matrix)

    def matrix(self, share: Float[Array, ""], frames: int, dtype: DTypeLike = float) -> Float[Array, "T T"]:
        """The traps as one matrix (T, T), lower triangular; rows sum to one for a steady start."""
        part = -jnp.expm1(jnp.log1p(-share) / len(self.frames))
        found = jnp.eye(frame_count(frames), dtype=dtype)
        for tau in self.frames:
            found = product(self._trap(part, tau, frames, dtype), found)
        return found

    def _trap(self, part: Float[Array, ""], tau: float, frames: int, dtype: DTypeLike) -> Float[Array, "T T"]:
        kept, t = np.exp(-1.0 / tau), np.arange(frames)
        age = t[:, None] - t
        released = np.where(age > 0, (1.0 - kept) * kept ** np.maximum(age - 1, 0), 0.0)
        full = 1.0 if self.start == "steady" else 1.0 - kept**self.exposed
        first = np.zeros((frames, frames))
        first[:, 0] = full * kept**t
        return jnp.asarray(np.eye(frames), dtype) + part * jnp.asarray(released + first - np.eye(frames), dtype)

    def of_frames(self, first: int, last: int) -> "SlowLag":
        """The stage of the frames from ``first`` on: the frames before them have filled the traps in part."""
        if first == 0 or self.start == "steady":
            return self
        return SlowLag(self.share, self.frames, "dark", self.exposed + first, self.unknown)
