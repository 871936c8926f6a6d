"""MAP: the mode of the image at the given spec, with a variance map and its response to the spec."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import Spec
from fluorojax.engines.map import solve_map
from fluorojax.methods.protocol import BatchedMethod
from fluorojax.methods.summary import Summary
from fluorojax.models.protocol import SceneData, SceneModel


@dataclass(frozen=True)
class MapMethod(BatchedMethod):
    """See the module docstring and :func:`fluorojax.engines.map.solve_map`."""

    # Above the peaks that benchmarks/RESULTS.md gives, "A pyramid of splines".
    working_arrays: ClassVar[int] = 200
    process_bytes: ClassVar[int] = 1_000_000_000

    label: ClassVar[str] = "fluorojax map"
    why_not_joint: ClassVar[str] = "a joint mode of image and spec is biased"
    summary: ClassVar[str] = "Most probable image sequence with a standard deviation per pixel, in seconds per scene."

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "MapMethod":
        """MAP has no settings of its own."""
        return cls()

    def seconds(self, frames: int, pixels: int) -> float:
        """See :class:`~fluorojax.methods.protocol.Method`; fitted to the measured growth."""
        return 4.0 * (frames / 16) ** 1.1 * pixels / 128**2

    def solve(self, model: SceneModel, data: SceneData, inputs: tuple[Spec, Array], key: Array) -> Summary:
        """See :class:`~fluorojax.methods.protocol.BatchedMethod`."""
        spec, std = inputs
        found = solve_map(model, data, spec, std, key)
        minimum, response = found.minimum, found.spec_response
        spec_variance = response**2
        total = found.noise_variance + jnp.sum(spec_variance, axis=0)
        return Summary(
            x=found.x,
            noise_variance=found.noise_variance,
            spec_variance=spec_variance,
            correlation=response / jnp.sqrt(jnp.maximum(total, jnp.finfo(total.dtype).tiny)),
            spec_information=found.spec_information,
            converged=minimum.converged,
            stalled=minimum.stalled,
            diverged=minimum.diverged,
            facts={
                "energy": minimum.energy,
                "half_squared_gradient": minimum.decrement,
                "iterations": minimum.iterations,
                **found.factor.facts(),
            },
        )
