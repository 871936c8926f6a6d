"""Time curves of overlapping square blocks of pixels, split into a linear trend and the rest."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float


class BlockCurves(eqx.Module):
    """Log time curves of N blocks in raster order, with the variances that Poisson counts give them."""

    slope: Float[Array, " N"]
    """Least-squares slope of the log counts, %/frame (100 × log units per frame)."""
    slope_variance: Float[Array, " N"]
    """Variance of the slope, (%/frame)²."""
    bends: Float[Array, "N K"]
    """Coefficients of the log counts along K = T − 2 orthonormal directions beyond the trend, slowest first."""
    bend_variance: Float[Array, " N"]
    """Variance of each of these coefficients."""
    shape: tuple[int, int] = eqx.field(static=True)
    """Blocks along height and width."""
    overlap: int = eqx.field(static=True)
    """How many blocks cover a pixel away from the border."""


def block_curves(
    counts: Float[Array, "T H W"], scatter: Float[Array, "T H W"], *, stride: int, side: int
) -> BlockCurves:
    """Curves of blocks of ``side`` × ``side`` cells that start at every cell; a cell is ``stride`` × ``stride`` pixels.

    ``scatter`` (quanta) is subtracted before the logarithm, and its noise stays. Pixels that fill no cell are cropped.
    """
    frames, height, width = counts.shape
    total, background = (_block_sums(image, stride, side) for image in (counts, scatter))
    primary = jnp.maximum(total - background, 0.01 * total)
    # Half a count makes the logarithm of a Poisson count unbiased to first order and finite at zero.
    variance = (total.mean(axis=1) + 0.5) / (primary.mean(axis=1) + 0.5) ** 2
    basis, length = _time_basis(frames, counts.dtype)
    coefficients = jnp.log(primary + 0.5) @ basis
    return BlockCurves(
        slope=100 / length * coefficients[:, 0],
        slope_variance=(100 / length) ** 2 * variance,
        bends=coefficients[:, 1:],
        bend_variance=variance,
        shape=(height // stride - side + 1, width // stride - side + 1),
        overlap=side**2,
    )


def _block_sums(image: Float[Array, "T H W"], stride: int, side: int) -> Float[Array, "N T"]:
    frames, height, width = image.shape
    rows, columns = height // stride, width // stride
    cells = image[:, : rows * stride, : columns * stride].reshape(frames, rows, stride, columns, stride).sum((2, 4))
    for axis, cell_count in ((1, rows), (2, columns)):
        starts = cell_count - side + 1
        cells = jnp.stack([jnp.take(cells, jnp.arange(k, k + starts), axis=axis) for k in range(side)]).sum(axis=0)
    return cells.reshape(frames, -1).T


def _time_basis(frames: int, dtype: DTypeLike) -> tuple[np.ndarray, float]:
    """Orthonormal basis (T, T−1) without the mean: the trend, then cosines of rising frequency; and the trend's norm.

    Its columns sum to zero, so a curve need not be centred first.
    """
    t = np.arange(frames) - (frames - 1) / 2
    cosines = np.cos(np.pi * np.arange(2, frames) * (np.arange(frames)[:, None] + 0.5) / frames)
    q, r = np.linalg.qr(np.column_stack([np.ones(frames), t, cosines]))
    return (q * np.sign(np.diag(r)))[:, 1:].astype(dtype), float(np.linalg.norm(t))
