"""The fluoroscopy operator Π → Σ_t → D: attenuation sequence and specification to expected counts."""

import equinox as eqx
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.attenuation import BeerLambert
from fluorojax.physics.exposure import ExposureWindow
from fluorojax.physics.gain import GainDrift
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.scalars import scalar
from fluorojax.physics.scatter import Scatter


class FluoroscopyOperator(eqx.Module):
    """Expected counts of a sequence: ``λ = I_0 · g_t · G S L W exp(−A·x) + dark``.

    W exposure window, L lag (both act along time), S scatter, G veiling glare (both act within a frame, so they commute
    with W and L), g_t gain drift. Specification: window ``w = pulse_width_ms + motion_blur`` and time constant
    ``τ = lag_ms + lag`` in ms, drift in %/frame.

    Written for one scene; batch with ``jax.vmap`` over x, spec and acquisition. Computes in the dtype of x.
    """

    attenuation: BeerLambert = BeerLambert()
    exposure: ExposureWindow = ExposureWindow()
    lag: ChargeReleaseLag = ChargeReleaseLag()
    gain: GainDrift = GainDrift()
    scatter: Scatter | None = Scatter()
    """None leaves scatter out of the chain whatever the protocol's ``scatter_fraction`` says."""
    psf: VeilingGlare | None = None
    """Veiling glare; None is a perfect detector."""
    dark_rate: Float[ArrayLike, ""] | None = None
    """Counts per pixel and frame without any beam, not subject to gain; None is no dark signal."""

    def __call__(self, x: Float[Array, "*scene"], spec: Spec, acquisition: Acquisition) -> Float[Array, "*detector"]:
        """Expected counts, quanta per pixel and frame, shape (T, H, W) or (H, W) like ``x``.

        A single frame (H, W) is a run at rest: no blur, no carry-over, gain one.

        **Arguments:** ``x`` normalised attenuation at the frame times, dimensionless; ``spec`` and ``acquisition``
        unbatched. **Raises** ``ValueError`` where ``x`` is not floating or its projection is not 2-D or 3-D.
        """
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"x has dtype {x.dtype}; expected a floating dtype")
        primary = self.attenuation.transmission(x, acquisition.attenuation_scale)
        if primary.ndim not in (2, 3):
            raise ValueError(f"the projected x has shape {primary.shape}; expected (T, H, W) or (H, W)")
        sequence = primary if primary.ndim == 3 else primary[None]
        weights = self.temporal_matrix(spec, acquisition, sequence.shape[0], sequence.dtype)
        # Highest precision: the TF32 default of recent GPUs would round every transmission to three digits.
        rate = jnp.einsum("tj,jhw->thw", weights, sequence, precision=Precision.HIGHEST)
        if self.scatter is not None:
            rate = self.scatter(rate, acquisition.scatter_fraction)
        if self.psf is not None:
            rate = self.psf(rate)
        counts = scalar("photons_per_pixel", acquisition.photons_per_pixel, rate.dtype) * rate
        if self.dark_rate is not None:
            counts = counts + scalar("dark_rate", self.dark_rate, rate.dtype)
        return counts.reshape(primary.shape)

    def temporal_matrix(
        self, spec: Spec, acquisition: Acquisition, frames: int, dtype: DTypeLike = float
    ) -> Float[Array, "T T"]:
        """``diag(g) · L · W``, dimensionless (T, T): from transmissions at the frame times to read rates."""
        width = scalar("pulse_width_ms", acquisition.pulse_width_ms, dtype) + scalar(
            "motion_blur", spec.motion_blur, dtype
        )
        tau = scalar("lag_ms", acquisition.lag_ms, dtype) + scalar("lag", spec.lag, dtype)
        window = self.exposure.matrix(width, acquisition.frame_time_ms, frames, dtype)
        lag = self.lag.matrix(tau, acquisition.frame_time_ms, acquisition.readout_delay_ms, frames, dtype)
        gains = self.gain.gains(spec.gain_drift, frames, dtype)
        return gains[:, None] * jnp.matmul(lag, window, precision=Precision.HIGHEST)

    def pixel_information(
        self, x: Float[Array, "*scene"], rate: Float[Array, "*scene"], spec: Spec, acquisition: Acquisition
    ) -> Float[Array, "*scene"]:
        """Fisher information of one pixel's counts about its own x: ``(A·P)² / λ``, P the primary part of the rate λ.

        ``P = I_0 · g_t · exp(−A·x)``: scattered and dark quanta add noise, no signal. Takes the chain as local: what
        window, lag and glare spread to neighbouring frames and pixels counts as seen in place.

        **Arguments:** ``x`` (T, H, W) or (H, W) and ``rate``, the operator's output for it, in quanta.
        """
        gains = self.gain.gains(spec.gain_drift, x.shape[0] if x.ndim == 3 else 1, x.dtype)
        transmission = self.attenuation.transmission(x, acquisition.attenuation_scale)
        open_beam = scalar("photons_per_pixel", acquisition.photons_per_pixel, x.dtype) * gains
        primary = (open_beam[:, None, None] * transmission).reshape(x.shape)
        scale = scalar("attenuation_scale", acquisition.attenuation_scale, x.dtype)
        return (scale * primary) ** 2 / jnp.maximum(rate, jnp.finfo(rate.dtype).tiny)

    def invert_static(
        self, y: Float[Array, "*detector"], acquisition: Acquisition, spec: Spec, floor: float = 0.5
    ) -> Float[Array, "*detector"]:
        """Raw estimate ``−log(max(y, floor) / (I_0 g_t)) / A`` clipped to [0, 1], a baseline.

        Blind to blur and scatter; exact for a scene at rest without scatter, glare, dark signal and noise.

        **Arguments:** ``y`` counts (T, H, W) or (H, W); ``floor`` the smallest count taken at its word.
        **Raises** ``ValueError`` where ``y`` has another rank or a dtype that is not floating, or ``floor`` ≤ 0.
        """
        if y.ndim not in (2, 3) or not jnp.issubdtype(y.dtype, jnp.floating):
            raise ValueError(f"y has shape {y.shape} and dtype {y.dtype}; expected floating (T, H, W) or (H, W)")
        if not floor > 0:
            raise ValueError(f"floor is {floor}; expected a positive number of counts")
        frames = y.shape[0] if y.ndim == 3 else 1
        gains = self.gain.gains(spec.gain_drift, frames, y.dtype)
        open_beam = scalar("photons_per_pixel", acquisition.photons_per_pixel, y.dtype) * gains
        scale = scalar("attenuation_scale", acquisition.attenuation_scale, y.dtype)
        depth = jnp.log(open_beam)[:, None, None] - jnp.log(jnp.maximum(y, floor))
        return jnp.clip(depth / scale, 0.0, 1.0).reshape(y.shape)


def default_operator() -> FluoroscopyOperator:
    """The chain of the published task: quadratic window, steady start, scatter by the protocol, no veiling glare."""
    return FluoroscopyOperator()
