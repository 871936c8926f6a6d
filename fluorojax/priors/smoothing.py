"""Gaussian smoothing, by dense matrices on short axes: differentiable, batchable, and free of boundary bias."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.priors.constants import opaque

# Longest axis that a dense matrix smooths, and the reach of the window on longer ones, in standard deviations.
_DENSE = 256
_REACH = 4.0


@lru_cache(maxsize=128)
def gaussian_matrix(size: int, sigma: float) -> Float[np.ndarray, "size size"]:
    """Row-normalised Gaussian weights of width ``sigma`` (samples); the mean over all samples where sigma is inf."""
    if sigma <= 0:
        return np.eye(size)
    distance = np.subtract.outer(np.arange(size), np.arange(size))
    weights = np.exp(-0.5 * (distance / sigma) ** 2) if np.isfinite(sigma) else np.ones((size, size))
    return weights / weights.sum(axis=1, keepdims=True)


@partial(jax.jit, static_argnames="sigma")
def smooth(field: Float[Array, "*lead H W"], sigma: float) -> Float[Array, "*lead H W"]:
    """Gaussian smoothing of the last two axes with standard deviation ``sigma`` pixels.

    The kernel is renormalised at the borders, so a constant stays constant. Long axes are smoothed by a window of
    ±4 ``sigma``, in time linear in the pixels.
    """
    return _smooth_axis(_smooth_axis(field, sigma, -1), sigma, -2)


def _smooth_axis(field: Array, sigma: float, axis: int) -> Array:
    if sigma <= 0:
        return field
    size = field.shape[axis]
    reach = int(np.ceil(_REACH * sigma)) if np.isfinite(sigma) else size
    if size <= max(_DENSE, 2 * reach + 1):
        matrix = opaque(gaussian_matrix(size, sigma), field.dtype)
        return jnp.moveaxis(jnp.tensordot(field, matrix, ((axis,), (1,))), -1, axis)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    norm = np.convolve(np.ones(size), weights, mode="same")
    pads = [(0, 0)] * field.ndim
    pads[axis] = (reach, reach)
    padded, at = jnp.pad(field, pads), field.ndim + axis
    total = sum(w * jax.lax.slice_in_dim(padded, i, i + size, axis=at) for i, w in enumerate(weights.tolist()))
    return total / jnp.asarray(norm, field.dtype).reshape(-1, *[1] * (-1 - axis))
