"""MAP: the mode of the image at the given spec, with a variance map and its response to the spec."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import Spec
from fluorojax.engines.map import solve_map
from fluorojax.methods.protocol import BatchedMethod, Block, Job
from fluorojax.methods.summary import Summary
from fluorojax.models.protocol import SceneData, SceneModel

HALO = 12
"""Pixels at each inner side of a tile that are solved and not kept."""
# Counts of a tile by default, and the shortest side of a tile, of which a part of 8 pixels is kept.
_TILE_VALUES, _SHORTEST = 1 << 20, 2 * HALO + 8


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

    def block_values(self, shape: tuple[int, int, int], frames: int | None) -> int:
        """See :class:`~fluorojax.methods.protocol.Method`."""
        return shape[0] * math.prod(min(size, _side(shape, frames)) for size in shape[1:])

    def blocks(self, job: Job, shape: tuple[int, int, int], frames: int | None) -> list[Block]:
        """See :class:`~fluorojax.methods.protocol.Method`. A block is a tile of pixels with all frames of the run.

        What a pixel shows at rest is known from all frames, and blocks of frames would each know it from their own: a
        block of a tenth of the frames would be off by three posterior standard deviations of the whole. The spectrum
        of detail is local in the image, so that tiles that overlap by :data:`HALO` pixels on each side agree with the
        whole. ``frames`` says how large a tile is: as many counts as so many whole frames have.
        """
        del job
        side = _side(shape, frames)
        rows, columns = (_tiles(size, side) for size in shape[1:])
        every = slice(0, shape[0])
        return [Block((every, r[0], c[0]), (every, r[1], c[1])) for r in rows for c in columns]

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


def _side(shape: tuple[int, int, int], frames: int | None) -> int:
    """Side of a tile, pixels; raises ``ValueError`` where tiles are asked for that are smaller than their overlap."""
    total, height, width = shape
    if frames is None:
        return max(_SHORTEST, math.isqrt(_TILE_VALUES // total))
    side = math.isqrt(frames * height * width // total)
    if side < min(_SHORTEST, max(height, width)):
        least = -(-total * _SHORTEST**2 // (height * width))
        raise ValueError(
            f"block_frames is {frames}; expected at least {least} for {total} frames of {height} × {width} pixels: a "
            f"block of map is a tile with all frames and the counts of so many whole frames, and of its side "
            f"{2 * HALO} pixels overlap with other tiles"
        )
    return side


def _tiles(size: int, side: int) -> list[tuple[slice, slice]]:
    """What tiles of one length keep and see along an axis, so that one compiled program serves all of them."""
    if size <= side:
        return [(slice(0, size), slice(0, size))]
    number = -(-(size - 2 * HALO) // (side - 2 * HALO))
    starts = [index * (size - side) // (number - 1) for index in range(number)]
    cuts = [0, *((before + side + after) // 2 for before, after in itertools.pairwise(starts)), size]
    return [(slice(*cuts[i : i + 2]), slice(start, start + side)) for i, start in enumerate(starts)]
