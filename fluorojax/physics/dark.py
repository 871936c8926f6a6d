"""D, part 4: the dark signal of the detector."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, ArrayLike, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.scalars import scalar
from fluorojax.physics.stage import CountStage


class DarkRate(CountStage):
    """Counts without any beam, the same in every pixel and frame and not subject to the gain drift."""

    name: ClassVar[str] = "dark_rate"

    rate: Float[ArrayLike, ""] = eqx.field(default=0.0)
    """Quanta per pixel and frame, ≥ 0."""

    def __call__(self, counts: Float[Array, "T H W"], spec: Spec, acquisition: Acquisition) -> Float[Array, "T H W"]:
        """The expected counts plus the dark rate, quanta."""
        return counts + scalar("dark_rate", self.rate, counts.dtype)
