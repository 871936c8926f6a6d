"""Σ_t, part 1b: exposures of different strength in one run."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.stage import TemporalStage, product


class FrameDose(TemporalStage):
    """Exposure of each frame relative to the one that I_0 stands for, where tube voltage or current changed in the run.

    It multiplies the signal of a frame after the exposure window and before the lag: the ghost of a frame has the dose
    of that frame.
    """

    name: ClassVar[str] = "frame_dose"

    relative: tuple[float, ...] = eqx.field(static=True, converter=lambda values: tuple(float(v) for v in values))
    """Relative exposure of every frame, positive."""

    def __check_init__(self):
        if not self.relative or not all(np.isfinite(value) and value > 0 for value in self.relative):
            raise ValueError(
                "relative holds values that are not positive numbers; expected one positive number a frame"
            )

    def applied_to(self, matrix: Float[Array, "T T"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T T"]:
        """The rows of ``matrix`` times the exposures of their frames."""
        return product(jnp.diag(self.gains(spec, matrix.shape[0], matrix.dtype)), matrix)

    def gains(self, spec: Spec, frames: int, dtype: DTypeLike = float) -> Float[Array, " T"]:
        """The relative exposures (T,); what the lag carries from a frame to the next is left out of them."""
        if frames != len(self.relative):
            raise ValueError(f"the imaging chain has the dose of {len(self.relative)} frames; the run has {frames}")
        return jnp.asarray(self.relative, dtype)

    def of_frames(self, first: int, last: int) -> "FrameDose":
        """The doses of these frames; still relative to the exposure that I_0 stands for."""
        return FrameDose(self.relative[first:last])
