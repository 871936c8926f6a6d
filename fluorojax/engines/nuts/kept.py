"""What a Markov chain stores of its images: online statistics of every pixel, and all draws of a few pixels."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from fluorojax.engines.online_statistics import CoMoments, Grid, Moments


class ImageStatistics(eqx.Module):
    """Online statistics of the images of one Markov chain, and of the spec with them."""

    pilot: Moments
    """Later half of the warm-up, which lays out the grid."""
    moments: Moments
    """First and second half of the draws."""
    histogram: Integer[Array, "bins *shape"]
    together: CoMoments
    """Spec parameters and x over the draws."""

    @classmethod
    def zero(cls, grid: Grid, parameters: int) -> "ImageStatistics":
        """Nothing seen yet; ``parameters`` is the number of spec parameters."""
        shape = grid.low.shape
        together = CoMoments.zero(parameters, shape)
        return cls(Moments.zero(shape), Moments.zero(shape, (2,)), grid.empty(), together)

    def add(
        self,
        spec: Float[Array, "parameters"],
        image: Float[Array, "*shape"],
        grid: Grid,
        index: Integer[Array, ""],
        warmup: int,
        half: Integer[Array, ""],
    ) -> "ImageStatistics":
        """With the spec and the image of number ``index``; draws start at ``warmup``, their second half at ``half``."""
        drawn = index >= warmup
        return ImageStatistics(
            self.pilot.add(image, ~drawn & (index >= warmup // 2)),
            self.moments.add(image, jnp.stack([drawn & (index < half), index >= half])),
            grid.add(self.histogram, image, drawn),
            self.together.add(spec, image, drawn),
        )


class Watch(eqx.Module):
    """Places of x of which every draw is kept: single pixels, and regions by their mean."""

    pixels: Integer[Array, "pixels axes"]
    regions: Bool[Array, "regions *shape"]
    names: tuple[str, ...] = eqx.field(static=True)
    """Of the pixels, then of the regions."""

    @classmethod
    def of(cls, places: Mapping[str, tuple[int, ...] | np.ndarray] | None, shape: tuple[int, ...]) -> "Watch":
        """Index tuples and boolean masks by name; for None a grid of 4 × 4 pixels of the middle frame.

        Raises ``ValueError`` for an index outside x, and a mask that is empty or of another shape.
        """
        if places is None:
            rows, columns = (np.unique((np.arange(4) + 0.5) * size / 4).astype(int).tolist() for size in shape[-2:])
            frame = tuple(size // 2 for size in shape[:-2])
            indices = [(*frame, row, column) for row in rows for column in columns]
            places = {f"x{list(index)}": index for index in indices}
        pixels, regions = {}, {}
        for name, place in places.items():
            if isinstance(place, np.ndarray) and place.dtype == bool:
                if place.shape != shape or not place.any():
                    raise ValueError(
                        f"watch[{name!r}] is a mask of shape {place.shape}; expected {shape}, not all False"
                    )
                regions[name] = place
            else:
                index = tuple(place)
                if len(index) != len(shape) or not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
                    raise ValueError(f"watch[{name!r}] is {index}; expected the index of a pixel inside {shape}")
                pixels[name] = index
        return cls(
            jnp.asarray(np.array(list(pixels.values()), np.int32).reshape(-1, len(shape))),
            jnp.asarray(np.array(list(regions.values()), bool).reshape(-1, *shape)),
            (*pixels, *regions),
        )

    def values(self, image: Float[Array, "*shape"]) -> Float[Array, "places"]:
        """x in the pixels and its means over the regions."""
        pixels = image[tuple(self.pixels.T)]
        return jnp.concatenate([pixels, jax.vmap(lambda region: jnp.mean(image, where=region))(self.regions)])
