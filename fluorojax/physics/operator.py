"""The fluoroscopy operator Π → Σ_t → D: attenuation sequence and specification to expected counts."""

from typing import TypeVar

import equinox as eqx
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Parameter, Spec, SpecRanges
from fluorojax.physics.attenuation import BeerLambert
from fluorojax.physics.description import ChainDescription, describe_operator
from fluorojax.physics.exposure import ExposureWindow
from fluorojax.physics.gain import GainDrift
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.scalars import scalar
from fluorojax.physics.scatter import Scatter
from fluorojax.physics.stage import CountStage, RateStage, Stage, TemporalStage

_Kind = TypeVar("_Kind", bound=Stage)


class FluoroscopyOperator(eqx.Module):
    """Expected counts of a sequence: ``λ = C(I_0 · R · M exp(−A·x))``.

    M is the product of the stages that act along time (exposure window, detector lag, gain drift, in that order), R are
    the stages that act within a frame on the rate (scatter, veiling glare), and C those that act on the expected counts
    (dark signal). ``FluoroscopyOperator()`` is the imaging chain of the published task: quadratic exposure window,
    steady start, scatter by the protocol, no veiling glare, no dark signal.

    Written for one scene; batch with ``jax.vmap`` over x, spec and acquisition. Computes in the dtype of x. A scene
    carries its operator (:attr:`fluorojax.data.scene.Scene.operator`), and every method takes it from there.
    """

    stages: tuple[Stage, ...] = (ExposureWindow(), ChargeReleaseLag(), GainDrift(), Scatter())
    """The stages of the imaging chain; within each kind they act in this order."""
    attenuation: BeerLambert = BeerLambert()
    """Π: the primary transmission of x."""

    def __check_init__(self):
        for index, stage in enumerate(self.stages):
            if not isinstance(stage, TemporalStage | RateStage | CountStage):
                raise ValueError(
                    f"stages[{index}] is {type(stage).__name__}; expected a TemporalStage, RateStage or CountStage"
                )
        for what, names in (
            ("stage", [stage.name for stage in self.stages]),
            ("parameter", [parameter.name for parameter in self.parameters]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what} {', '.join(sorted(twice))} stands twice in the imaging chain; expected once")

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The unknown parameters of all stages, in the order of every array of them."""
        return tuple(parameter for stage in self.stages for parameter in stage.parameters)

    def with_stage(self, stage: Stage) -> "FluoroscopyOperator":
        """The operator with ``stage`` in the place of the stage of the same name, or after all others."""
        names = [mine.name for mine in self.stages]
        if stage.name in names:
            at = names.index(stage.name)
            return FluoroscopyOperator((*self.stages[:at], stage, *self.stages[at + 1 :]), self.attenuation)
        return FluoroscopyOperator((*self.stages, stage), self.attenuation)

    def without_stage(self, name: str) -> "FluoroscopyOperator":
        """The operator without the stage of that name. Raises ``ValueError`` where there is none."""
        kept = tuple(stage for stage in self.stages if stage.name != name)
        if len(kept) == len(self.stages):
            raise ValueError(f"no stage is named {name!r}; expected one of {', '.join(s.name for s in self.stages)}")
        return FluoroscopyOperator(kept, self.attenuation)

    def of_frames(self, first: int, last: int) -> "FluoroscopyOperator":
        """The operator for the frames ``first`` … ``last − 1`` of a run."""
        return FluoroscopyOperator(tuple(stage.of_frames(first, last) for stage in self.stages), self.attenuation)

    def describe(
        self,
        acquisition: Acquisition | None = None,
        ranges: SpecRanges | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> ChainDescription:
        """The imaging chain for a reader: its stages in the order of their action, with parameters, units and shapes.

        ``print(operator.describe())`` gives text; in a notebook, and by ``.svg()``, the description is a picture.

        **Arguments:** ``acquisition`` gives nominal values; ``ranges`` the prior ranges of the unknown parameters, by
        default those that the stages declare; ``shape`` that of the counts, (T, H, W) or (H, W).
        """
        return describe_operator(self, acquisition, ranges, shape)

    def stage(self, kind: type[_Kind]) -> _Kind | None:
        """The first stage of a class, or None."""
        return next((stage for stage in self.stages if isinstance(stage, kind)), None)

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
        for stage in self._of(RateStage):
            rate = stage(rate, spec, acquisition)
        counts = scalar("photons_per_pixel", acquisition.photons_per_pixel, rate.dtype) * rate
        for stage in self._of(CountStage):
            counts = stage(counts, spec, acquisition)
        return counts.reshape(primary.shape)

    def temporal_matrix(
        self, spec: Spec, acquisition: Acquisition, frames: int, dtype: DTypeLike = float
    ) -> Float[Array, "T T"]:
        """The stages along time as one matrix, dimensionless (T, T): transmissions at the frame times to read rates.

        For the published imaging chain it is ``diag(g) · L · W`` of gain, lag and exposure window.
        """
        matrix = jnp.eye(frames, dtype=dtype)
        for stage in self._of(TemporalStage):
            matrix = stage.applied_to(matrix, spec, acquisition)
        return matrix

    def gains(self, spec: Spec, frames: int, dtype: DTypeLike = float) -> Float[Array, " T"]:
        """Factor of each frame by which the imaging chain multiplies the rate of a scene at rest, shape (T,)."""
        gains = jnp.ones(frames, dtype)
        for stage in self._of(TemporalStage):
            gains = gains * stage.gains(spec, frames, gains.dtype)
        return gains

    def pixel_information(
        self, x: Float[Array, "*scene"], rate: Float[Array, "*scene"], spec: Spec, acquisition: Acquisition
    ) -> Float[Array, "*scene"]:
        """Fisher information of one pixel's counts about its own x: ``(A·P)² / (λ + σ_e²)``, P the primary part of the
        rate λ and σ_e the electronic noise of the protocol.

        ``P = I_0 · g_t · exp(−A·x)``: scattered and dark quanta add noise and no signal. The formula treats the imaging
        chain as local: signal that window, lag and glare spread to neighbouring frames and pixels counts where it
        came from.

        **Arguments:** ``x`` (T, H, W) or (H, W) and ``rate``, the operator's output for it, in quanta.
        """
        gains = self.gains(spec, x.shape[0] if x.ndim == 3 else 1, x.dtype)
        transmission = self.attenuation.transmission(x, acquisition.attenuation_scale)
        open_beam = scalar("photons_per_pixel", acquisition.photons_per_pixel, x.dtype) * gains
        primary = (open_beam[:, None, None] * transmission).reshape(x.shape)
        scale = scalar("attenuation_scale", acquisition.attenuation_scale, x.dtype)
        variance = rate + scalar("electronic_variance", acquisition.electronic_variance, rate.dtype)
        return (scale * primary) ** 2 / jnp.maximum(variance, jnp.finfo(rate.dtype).tiny)

    def invert_static(
        self, y: Float[Array, "*detector"], acquisition: Acquisition, spec: Spec, floor: float = 0.5
    ) -> Float[Array, "*detector"]:
        """Raw estimate ``−log(max(y, floor) / (I_0 g_t)) / A`` clipped to [0, 1], a baseline.

        The estimate ignores blur and scatter. It is exact for a scene at rest without scatter, glare, dark signal and
        noise.

        **Arguments:** ``y`` counts (T, H, W) or (H, W); ``floor`` the value to which smaller counts are raised.
        **Raises** ``ValueError`` where ``y`` has another rank or a dtype that is not floating, or ``floor`` ≤ 0.
        """
        if y.ndim not in (2, 3) or not jnp.issubdtype(y.dtype, jnp.floating):
            raise ValueError(f"y has shape {y.shape} and dtype {y.dtype}; expected floating (T, H, W) or (H, W)")
        if not floor > 0:
            raise ValueError(f"floor is {floor}; expected a positive number of counts")
        gains = self.gains(spec, y.shape[0] if y.ndim == 3 else 1, y.dtype)
        open_beam = scalar("photons_per_pixel", acquisition.photons_per_pixel, y.dtype) * gains
        scale = scalar("attenuation_scale", acquisition.attenuation_scale, y.dtype)
        depth = jnp.log(open_beam)[:, None, None] - jnp.log(jnp.maximum(y, floor))
        return jnp.clip(depth / scale, 0.0, 1.0).reshape(y.shape)

    def _of(self, kind: type[_Kind]) -> tuple[_Kind, ...]:
        return tuple(stage for stage in self.stages if isinstance(stage, kind))


PUBLISHED_OPERATOR = FluoroscopyOperator()
"""The imaging chain of the published task."""
