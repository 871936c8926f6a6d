"""Σ_t, part 2: detector lag as the delayed release of trapped charge."""

from typing import ClassVar, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import LAG, Parameter, Spec
from fluorojax.physics.scalars import frame_count, scalar
from fluorojax.physics.stage import TemporalStage, product

Start = Literal["steady", "dark"]


class ChargeReleaseLag(TemporalStage):
    """First-order release of the charge a frame leaves behind, with time constant τ (ms).

    With Δ the frame period, t_r the delay from exposure to readout, ``ℓ = e^{−Δ/τ}`` and ``r = e^{−t_r/τ}``::

        y_t = (1 − r) s_t + (1 − ℓ) u_{t−1}        charge read in frame t
        u_t = ℓ u_{t−1} + r s_t                    charge still held after it

    Charge is conserved: ``Σ y + u_{T−1} = Σ s + u_{−1}``. For t_r = Δ this is the AR(1) ghost
    ``y_t = ℓ y_{t−1} + (1 − ℓ) s_t``. A non-positive time constant is no decay: zero means prompt release, a negative
    value gives NaN.
    """

    name: ClassVar[str] = "charge_release_lag"
    parameters: ClassVar[tuple[Parameter, ...]] = (LAG,)

    start: Start = eqx.field(static=True, default="steady")
    """Charge held before the first frame; static, as it selects a formula. ``"steady"``: the beam has been on and the
    scene at rest, ``u_{−1} = r s_0 / (1 − ℓ)``. ``"dark"``: no earlier exposure, ``u_{−1} = 0``."""

    def __check_init__(self):
        if self.start not in get_args(Start):
            raise ValueError(f"start is {self.start!r}; expected one of {', '.join(get_args(Start))}")

    def of_frames(self, first: int, last: int) -> "ChargeReleaseLag":
        """The stage of the frames from ``first`` on: whatever the start, the frames before them left their charge."""
        return self if first == 0 else ChargeReleaseLag()

    def applied_to(self, matrix: Float[Array, "T T"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T T"]:
        """The release with time constant ``τ = lag_ms + lag`` applied after ``matrix``."""
        dtype, frames = matrix.dtype, matrix.shape[0]
        tau = scalar("lag_ms", acquisition.lag_ms, dtype) + scalar("lag", spec.value(LAG), dtype)
        times = (acquisition.frame_time_ms, acquisition.readout_delay_ms)
        return product(self.matrix(tau, *times, frames, dtype), matrix)

    def matrix(
        self,
        tau_ms: Float[ArrayLike, ""],
        frame_time_ms: Float[ArrayLike, ""],
        readout_delay_ms: Float[ArrayLike, ""],
        frames: int,
        dtype: DTypeLike = float,
    ) -> Float[Array, "T T"]:
        """Closed form of the recursion, lower triangular (T, T): row t is the readout of frame t.

        Rows sum to one for a steady start. **Arguments:** τ, Δ and t_r in ms; ``frames`` T.
        """
        frames = frame_count(frames)
        per_frame, per_readout = _exponents(tau_ms, frame_time_ms, readout_delay_ms, dtype)
        held, released, released_later = jnp.exp(-per_readout), -jnp.expm1(-per_readout), -jnp.expm1(-per_frame)
        t = np.arange(frames)
        age = t[:, None] - t
        powers = jnp.exp(-per_frame * np.maximum(age - 1, 0).astype(per_frame.dtype))
        weights = jnp.where(age > 0, released_later * held * powers, 0.0) + released * np.eye(frames, dtype=held.dtype)
        if self.start == "steady":
            weights = weights.at[:, 0].add(held * jnp.exp(-per_frame * t.astype(per_frame.dtype)))
        return weights

    def scan(
        self,
        s: Float[Array, "T *detector"],
        tau_ms: Float[ArrayLike, ""],
        frame_time_ms: Float[ArrayLike, ""],
        readout_delay_ms: Float[ArrayLike, ""],
    ) -> tuple[Float[Array, "T *detector"], Float[Array, "*detector"]]:
        """The recursion itself, frame by frame: the readouts (T, …) and the charge u_{T−1} held at the end.

        Constant memory in T apart from the output; use it for long runs and as the reference for :meth:`matrix`.
        """
        per_frame, per_readout = _exponents(tau_ms, frame_time_ms, readout_delay_ms, s.dtype)
        kept, held = jnp.exp(-per_frame), jnp.exp(-per_readout)
        released, released_later = -jnp.expm1(-per_readout), -jnp.expm1(-per_frame)

        def frame(u, s_t):
            return kept * u + held * s_t, released * s_t + released_later * u

        u = held / released_later * s[0] if self.start == "steady" else jnp.zeros_like(s[0])
        u, y = jax.lax.scan(frame, u, s)
        return y, u


def _exponents(tau_ms, frame_time_ms, readout_delay_ms, dtype) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Δ/τ and t_r/τ, at most 1000 (nothing is left of e^{−1000}), with finite derivatives; NaN for negative τ."""
    tau = scalar("tau_ms", tau_ms, dtype)

    def ratio(time: Float[Array, ""]) -> Float[Array, ""]:
        decays = 1000 * tau > time
        limited = jnp.where(decays, time / jnp.where(decays, tau, 1.0), 1000.0)
        return jnp.where(tau < 0, jnp.nan, limited)

    return ratio(scalar("frame_time_ms", frame_time_ms, dtype)), ratio(
        scalar("readout_delay_ms", readout_delay_ms, dtype)
    )
