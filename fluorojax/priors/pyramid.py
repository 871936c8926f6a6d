"""A pyramid of cubic splines: one set of coefficients per octave of spatial frequency, in time linear in the pixels.

Level l holds splines whose knots are ``2^l`` pixels apart; all levels but the coarsest lose their own low frequencies,
so that each level stands for about one octave. Going from a level to the next finer one is exact (the two-scale
relation of splines, Unser, IEEE Signal Process. Mag. 16:22, 1999) and takes five products per value and axis. Grids
reach over the borders of the image, so no boundary condition disturbs the field there. Time has dense cosines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fluorojax.priors.constants import opaque

# The coarsest level has at most so many knots along the larger side of the field of view.
_COARSEST = 4
# Points of a level's grid that its high-pass filter uses up at each end.
_MARGIN = 2
# First temporal cosine index of each group after the first: slow, medium and fast changes.
_CUTS = (1, 2, 5)


def cosine_matrix(size: int) -> Float[np.ndarray, "size size"]:
    """The orthonormal DCT-II matrix of length ``size`` (float64), index of the cosine first."""
    rows = np.cos(np.pi * np.outer(np.arange(size), np.arange(size) + 0.5) / size) * np.sqrt(2.0 / size)
    rows[0] = np.sqrt(1.0 / size)
    return rows


@dataclass(frozen=True)
class Pyramid:
    """Grids of a sequence (T, H, W); hashable, so it can be a static argument. Layouts are (rows, columns, K)."""

    frames: int
    height: int
    width: int

    @cached_property
    def levels(self) -> int:
        """Number of levels, fine to coarse: the fewest for at most four knots along the larger side."""
        return 1 + max(0, int(np.ceil(np.log2(max(self.height, self.width) / _COARSEST))))

    @cached_property
    def nyquist(self) -> Float[np.ndarray, "levels"]:
        """Highest wavenumber of each level, in half-cycles per larger side of the field of view."""
        return max(self.height, self.width) / 2.0 ** np.arange(self.levels)

    @cached_property
    def splines(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the spline coefficients of each level."""
        shapes = [(self.height + 2, self.width + 2)]
        while len(shapes) < self.levels:
            shapes.append(((shapes[-1][0] + 1) // 2 + 2, (shapes[-1][1] + 1) // 2 + 2))
        return tuple(shapes)

    @cached_property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of the latents of each level: the spline coefficients before the high-pass filter."""
        margins = [2 * _MARGIN * (level < self.levels - 1) for level in range(self.levels)]
        return tuple((h + more, w + more) for (h, w), more in zip(self.splines, margins, strict=True))

    @cached_property
    def size(self) -> int:
        """Number of latents of all levels together."""
        return sum(h * w for h, w in self.grids)

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """Ranges [low, high) of temporal cosine indices that share a local scale; the first is the constant alone."""
        return tuple(pairwise([0, *(cut for cut in _CUTS if cut < self.frames), self.frames]))

    @cached_property
    def group_of(self) -> Int[np.ndarray, "T"]:
        """Temporal group of each temporal cosine index."""
        return np.repeat(np.arange(len(self.groups)), [high - low for low, high in self.groups])

    def split(self, flat: Float[Array, "N K"]) -> list[Float[Array, "rows columns K"]]:
        """The levels of flattened latents, fine to coarse."""
        ends = np.cumsum([h * w for h, w in self.grids])[:-1]
        return [part.reshape(*grid, -1) for part, grid in zip(jnp.split(flat, ends), self.grids, strict=True)]

    def join(self, parts: Sequence[Float[Array, "rows columns K"]]) -> Float[Array, "N K"]:
        """The inverse of :meth:`split`."""
        return jnp.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])

    def image(self, parts: Sequence[Float[Array, "rows columns K"]]) -> Float[Array, "H W K"]:
        """Pixel values of K images from the latents of their levels."""
        total = parts[-1]
        for level in range(self.levels - 2, -1, -1):
            total = _finer(total, self.splines[level]) + _high_pass(parts[level])
        return _sample(_sample(total, 0), 1)

    def in_time(self, coefficients: Float[Array, "H W T"]) -> Float[Array, "T H W"]:
        """A sequence from the pixel values of its temporal cosine coefficients (index last)."""
        temporal = opaque(cosine_matrix(self.frames), coefficients.dtype)
        return jnp.einsum("yxk,kt->tyx", coefficients, temporal)

    def on_pixels(self, maps: Sequence[Float[Array, "rows columns K"]]) -> Float[Array, "levels H W K"]:
        """Smooth maps that are given on the grids of the latents, at every pixel."""
        inner = [self._spline_part(level, values) for level, values in enumerate(maps)]
        total = inner[-1][None]
        for level in range(self.levels - 2, -1, -1):
            total = jnp.concatenate([inner[level][None], _finer(total, self.splines[level], first=1)])
        return total[:, 1:-1, 1:-1]

    def at_nodes(self, level: int, image: Float[Array, "H W *K"]) -> Float[Array, "rows columns *K"]:
        """A smooth image at the nodes of the grid of a level; nodes beyond the border take the nearest pixel."""
        rows, columns = (np.clip(nodes, 0, size - 1) for nodes, size in self._nodes(level))
        return image[rows][:, columns]

    def inside(self, level: int) -> Float[np.ndarray, "rows columns"]:
        """One at the nodes of the grid of a level that lie on the image, zero beyond its border."""
        rows, columns = ((nodes >= 0) & (nodes < size) for nodes, size in self._nodes(level))
        return np.outer(rows, columns).astype(float)

    @cached_property
    def basis_energy(self) -> Float[np.ndarray, "levels"]:
        """Mean variance of a pixel where the latents of one level are white with variance one."""
        return np.array([self._basis_energy(level) for level in range(self.levels)])

    @cached_property
    def frequencies(self) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "levels K"]]:
        """A quadrature over spatial frequency: weights, which sum to one, and the power of each level there.

        The power of a level is the spectrum of its image where its latents are white with variance one; its mean under
        the weights is :attr:`basis_energy`.
        """
        # Rings of half an octave, each seen in two directions; the outermost holds the corners of the square.
        edges = np.concatenate([[2**0.5], 2.0 ** -np.arange(0, self.levels + 1, 0.5), [0.0]])
        radius = np.pi * np.sqrt(0.5 * (edges[:-1] ** 2 + edges[1:] ** 2))
        area = np.pi / 4 * (edges[:-1] ** 2 - edges[1:] ** 2)
        area[0] = 1.0 - np.pi / 4
        angles = np.deg2rad([10.0, 35.0])
        across = np.minimum(np.pi, radius[:, None] * np.cos(angles)).ravel()
        down = np.minimum(np.pi, radius[:, None] * np.sin(angles)).ravel()
        weights = np.repeat(area / angles.size, angles.size)
        power = np.stack([self._power(level, across, down) for level in range(self.levels)])
        return weights, power * (self.basis_energy / (power @ weights))[:, None]

    def _spline_part(self, level: int, values: Array) -> Array:
        return values if level == self.levels - 1 else values[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]

    def _nodes(self, level: int) -> list[tuple[Int[np.ndarray, "nodes"], int]]:
        """Pixel coordinates of the nodes of each axis, and the size of the image along it."""
        found = []
        for nodes, size in zip(self.grids[level], (self.height, self.width), strict=True):
            at = np.arange(nodes) - _MARGIN * (level < self.levels - 1)
            for _ in range(level):
                at = 2 * (at - 1)
            found.append((at - 1, size))
        return found

    def _basis(self, level: int) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
        """One axis of the spline of a level on the pixels, and the same after the low-pass part of its filter."""
        step = 2**level
        at = np.arange(-4 * step, 4 * step + 1) / step
        distance = np.abs(at)
        near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance) ** 3 / 6
        spline = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
        if level == self.levels - 1:
            return spline, np.zeros_like(spline)
        shifted = [np.roll(spline, shift * step) for shift in (-2, -1, 0, 1, 2)]
        return spline, np.asarray(_LOW) @ np.stack(shifted)

    def _basis_energy(self, level: int) -> float:
        spline, low = self._basis(level)
        return float((spline @ spline) ** 2 - 2 * (spline @ low) ** 2 + (low @ low) ** 2) / 4.0**level

    def _power(self, level: int, across: np.ndarray, down: np.ndarray) -> Float[np.ndarray, "K"]:
        spline, low = self._basis(level)
        at = np.arange(spline.size) - spline.size // 2
        waves = [np.cos(np.outer(frequency, at)) for frequency in (across, down)]
        return ((waves[0] @ spline) * (waves[1] @ spline) - (waves[0] @ low) * (waves[1] @ low)) ** 2 / 4.0**level


# The low-pass filter whose complement keeps one octave of a level.
_LOW = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def _finer(values: Array, shape: tuple[int, int], first: int = 0) -> Array:
    """Spline coefficients of the next finer level along two axes from ``first``, the first ``shape`` of them."""
    return _refine(_refine(values, shape[0], first), shape[1], first + 1)


def _refine(values: Array, size: int, axis: int) -> Array:
    half = (size + 1) // 2
    before, here, after = (jax.lax.slice_in_dim(values, i, i + half, axis=axis) for i in range(3))
    pair = jnp.stack([0.125 * (before + after) + 0.75 * here, 0.5 * (here + after)], axis=axis + 1)
    shape = (*values.shape[:axis], 2 * half, *values.shape[axis + 1 :])
    return jax.lax.slice_in_dim(pair.reshape(shape), 0, size, axis=axis)


def _sample(values: Array, axis: int) -> Array:
    """Values of splines at their knots."""
    before, here, after = (jax.lax.slice_in_dim(values, i, i + values.shape[axis] - 2, axis=axis) for i in range(3))
    return (before + after) / 6.0 + here * (2.0 / 3.0)


def _high_pass(values: Array) -> Array:
    low = values
    for axis in (0, 1):
        size = low.shape[axis] - 2 * _MARGIN
        outer, near, middle, behind, last = (jax.lax.slice_in_dim(low, i, i + size, axis=axis) for i in range(5))
        low = _LOW[0] * (outer + last) + _LOW[1] * (near + behind) + _LOW[2] * middle
    return values[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] - low
