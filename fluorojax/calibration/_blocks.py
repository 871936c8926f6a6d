"""Time curves of overlapping square blocks of pixels, split into a linear trend and the rest.

Arrays have a place for every cell, whatever the side of the blocks, so that one program serves all sides.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, DTypeLike, Float, Int


class BlockCurves(eqx.Module):
    """Log time curves of the blocks that begin at each of N cells, in raster order, with the variances of their
    noise."""

    slope: Float[Array, " N"]
    """Least-squares slope of the log counts, %/frame (100 × log units per frame)."""
    slope_variance: Float[Array, " N"]
    """Variance of the slope, (%/frame)²."""
    bends: Float[Array, "N K"]
    """Coefficients of the log counts along K = T − 2 orthonormal directions beyond the trend, slowest first."""
    bend_variance: Float[Array, " N"]
    """Variance of each of these coefficients."""
    rows: Float[Array, " R"]
    """One where a block begins at this row of cells; zero near the lower border, where none fits."""
    columns: Float[Array, " C"]
    """The same along the width; N = R·C."""
    overlap: Float[Array, ""]
    """How many blocks cover a pixel away from the border."""

    @property
    def present(self) -> Float[Array, " N"]:
        """One where a block begins at this cell. Values of cells without a block mean nothing."""
        return jnp.outer(self.rows, self.columns).ravel()


def block_curves(
    counts: Float[Array, "T H W"],
    scatter: Float[Array, "T H W"],
    *,
    stride: int,
    side: Int[Array, ""] | int,
    electronic_variance: Float[ArrayLike, ""] = 0.0,
) -> BlockCurves:
    """Curves of blocks of ``side`` × ``side`` cells that start at every cell; a cell is ``stride`` × ``stride`` pixels.

    ``scatter`` (quanta) is subtracted before the logarithm, and its noise stays; ``electronic_variance`` (quanta²) is
    what the readout of a pixel adds to that noise. Pixels that fill no cell are cropped.
    """
    frames, height, width = counts.shape
    down, across = (_windows(size // stride, side, counts.dtype) for size in (height, width))
    total, background = (_block_sums(image, stride, down, across) for image in (counts, scatter))
    added = jnp.asarray(stride * side, counts.dtype) ** 2 * jnp.asarray(electronic_variance, counts.dtype)
    # Electronic noise can make a dark block negative. Half of its deviation keeps the logarithm finite; the variance
    # says that such a block tells nothing.
    primary = jnp.maximum(total - background, jnp.maximum(0.01 * total, 0.5 * jnp.sqrt(added)))
    # Half a count makes the logarithm of a Poisson count unbiased to first order and finite at zero.
    variance = (total.mean(axis=1) + added + 0.5) / (primary.mean(axis=1) + 0.5) ** 2
    basis, length = _time_basis(frames, counts.dtype)
    coefficients = jnp.log(primary + 0.5) @ basis
    return BlockCurves(
        slope=100 / length * coefficients[:, 0],
        slope_variance=(100 / length) ** 2 * variance,
        bends=coefficients[:, 1:],
        bend_variance=variance,
        rows=down.max(axis=1),
        columns=across.max(axis=1),
        overlap=jnp.asarray(side, counts.dtype) ** 2,
    )


def _windows(cells: int, side: Int[Array, ""] | int, dtype: DTypeLike) -> Float[Array, "cells cells"]:
    """Row i is one on the ``side`` cells from i on, and zero where that many are not left."""
    first, cell = jnp.arange(cells)[:, None], jnp.arange(cells)
    return ((cell >= first) & (cell < first + side) & (first + side <= cells)).astype(dtype)


def _block_sums(
    image: Float[Array, "T H W"], stride: int, down: Float[Array, "R R"], across: Float[Array, "C C"]
) -> Float[Array, "N T"]:
    frames, rows, columns = len(image), len(down), len(across)
    cells = image[:, : rows * stride, : columns * stride].reshape(frames, rows, stride, columns, stride).sum((2, 4))
    return jnp.einsum("ai,tij,bj->abt", down, cells, across).reshape(-1, frames)


def _time_basis(frames: int, dtype: DTypeLike) -> tuple[np.ndarray, float]:
    """Orthonormal basis (T, T−1) without the mean: the trend, then cosines of rising frequency; and the trend's norm.

    Its columns sum to zero, so a curve need not be centred first.
    """
    t = np.arange(frames) - (frames - 1) / 2
    cosines = np.cos(np.pi * np.arange(2, frames) * (np.arange(frames)[:, None] + 0.5) / frames)
    q, r = np.linalg.qr(np.column_stack([np.ones(frames), t, cosines]))
    return (q * np.sign(np.diag(r)))[:, 1:].astype(dtype), float(np.linalg.norm(t))
