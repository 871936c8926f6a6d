"""Constant matrices that the compiler takes as they are."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, DTypeLike, Float


def opaque(values: Float[np.ndarray, "*shape"], dtype: DTypeLike) -> Float[Array, "*shape"]:
    """A constant of ``dtype`` that XLA does not evaluate at compile time.

    XLA folds operations whose operands are all constant, one element at a time in an interpreter. For products of
    matrices as large as an image that takes seconds and ends in warnings about slow compilation.
    """
    return jax.lax.optimization_barrier(jnp.asarray(values, dtype))
