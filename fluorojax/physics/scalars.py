"""Scalars of the imaging chain in the dtype of the sequence they act on."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, DTypeLike, Float


def scalar(name: str, value: Float[ArrayLike, ""], dtype: DTypeLike) -> Float[Array, ""]:
    """``value`` (a Python float, or a NumPy or JAX scalar) as a zero-dimensional array of type ``dtype``.

    The fields of a specification and of a protocol may be any of these; casting them here keeps a float32 sequence
    float32 under strict dtype promotion, and a float64 one float64.

    **Raises** ``ValueError`` naming the quantity where it is not a scalar: scenes are batched by ``jax.vmap``, never by
    broadcasting.
    """
    result = jnp.asarray(value, dtype)
    if result.ndim:
        raise ValueError(f"{name} has shape {result.shape}; expected a scalar (batch scenes with jax.vmap)")
    return result


def frame_count(frames: int) -> int:
    """``frames`` itself, after raising ``ValueError`` where it is not a positive number of frames."""
    if frames < 1:
        raise ValueError(f"frames is {frames}; expected at least 1")
    return frames
