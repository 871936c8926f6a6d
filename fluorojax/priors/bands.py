"""Bands of the orthonormal cosine basis (DCT-II), as small dense matrices.

A field is a sum of band-limited fields, one per octave of spatial frequency. The bands partition the coefficients, so
one array of white latents serves them all. The transform of a band touches only its own corner of the coefficients,
which makes coarse bands almost free, and matrix products beat XLA's FFT-based DCT on CPU at these sizes (and run on
matrix units elsewhere).
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.priors.constants import opaque


@lru_cache(maxsize=64)
def cosine_matrix(size: int, terms: int) -> Float[np.ndarray, "terms size"]:
    """The first ``terms`` rows of the orthonormal DCT-II matrix of length ``size`` (float64)."""
    index = np.arange(size) + 0.5
    rows = np.cos(np.pi * np.outer(np.arange(terms), index) / size) * np.sqrt(2.0 / size)
    rows[0] = np.sqrt(1.0 / size)
    return rows


@dataclass(frozen=True)
class Band:
    """One band: which coefficients belong to it, and the frequency that sets how finely its local scale can vary."""

    rows: int
    """Coefficient rows of the corner that contains the band."""
    columns: int
    upper: int
    """Upper edge of the octave, in half-cycles per larger side of the field of view."""
    mask: Float[np.ndarray, "rows columns"]
    """One where a coefficient of the corner belongs to the band."""

    def corner(self, coefficients: Float[Array, "*lead H W"]) -> Float[Array, "*lead rows columns"]:
        """The band's coefficients, zero where the corner holds those of other bands."""
        inside = coefficients[..., : self.rows, : self.columns]
        return inside * opaque(self.mask, coefficients.dtype)


@dataclass(frozen=True)
class Bands:
    """Bands of images (H, W) and sequences (T, H, W); hashable, so it can be a static argument."""

    frames: int
    height: int
    width: int

    @cached_property
    def wavenumber(self) -> Float[np.ndarray, "H W"]:
        """Radial spatial wavenumber of each coefficient, in half-cycles per larger side of the field of view."""
        rows, columns = self._axes()
        return np.hypot(rows[:, None], columns[None, :])

    @cached_property
    def spatial(self) -> tuple[Band, ...]:
        """The spatial bands, coarse to fine."""
        rows, columns = self._axes()
        larger = np.maximum(rows[:, None], columns[None, :])
        bands = []
        for low, high in self._octaves():
            octave = (larger >= low) & (larger < high)
            h, w = (int(np.flatnonzero(octave.any(axis=axis))[-1]) + 1 for axis in (1, 0))
            bands.append(Band(h, w, high, octave[:h, :w].astype(np.float64)))
        return tuple(bands)

    @cached_property
    def membership(self) -> Float[np.ndarray, "bands H W"]:
        """One where a coefficient belongs to a band."""
        members = np.zeros((len(self.spatial), self.height, self.width))
        for band, member in zip(self.spatial, members, strict=True):
            member[: band.rows, : band.columns] = band.mask
        return members

    @cached_property
    def group_of(self) -> tuple[int, ...]:
        """Temporal group of each temporal cosine index."""
        return tuple(g for g, (low, high) in enumerate(self.temporal) for _ in range(low, high))

    @cached_property
    def temporal(self) -> tuple[tuple[int, int], ...]:
        """Ranges [low, high) of temporal cosine indices that share a local scale: slow, medium and fast changes."""
        cuts = [0, *(cut for cut in (2, 5) if cut < self.frames), self.frames]
        return tuple(pairwise(cuts))

    def image(self, band: Band, coefficients: Float[Array, "*lead H W"]) -> Float[Array, "*lead H W"]:
        """Pixel values of one band of an image's coefficients."""
        dtype = coefficients.dtype
        rows = opaque(cosine_matrix(self.height, band.rows), dtype)
        columns = opaque(cosine_matrix(self.width, band.columns), dtype)
        across = jnp.einsum("...hw,wx->...hx", band.corner(coefficients), columns)
        return jnp.einsum("hy,...hx->...yx", rows, across)

    def stack(self, band: Band, coefficients: Float[Array, "H K W"]) -> Float[Array, "H K W"]:
        """Pixel values of one band of K images; their rows come first, as those of their coefficients."""
        dtype = coefficients.dtype
        rows = opaque(cosine_matrix(self.height, band.rows), dtype)
        columns = opaque(cosine_matrix(self.width, band.columns), dtype)
        corner = coefficients[: band.rows, :, : band.columns] * opaque(band.mask, dtype)[:, None]
        return jnp.einsum("hy,hkx->ykx", rows, jnp.einsum("hkw,wx->hkx", corner, columns))

    def in_time(self, coefficients: Float[Array, "T H W"]) -> Float[Array, "T H W"]:
        """A sequence from the pixel values of its temporal cosine coefficients (index first)."""
        temporal = opaque(cosine_matrix(self.frames, self.frames), coefficients.dtype)
        return jnp.einsum("kt,kyx->tyx", temporal, coefficients)

    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        side = max(self.height, self.width)
        return np.arange(self.height) * (side / self.height), np.arange(self.width) * (side / self.width)

    def _octaves(self) -> list[tuple[int, int]]:
        side = max(self.height, self.width)
        edges = [0, 4]
        while edges[-1] < side:
            edges.append(edges[-1] * 2)
        return list(pairwise(edges))
