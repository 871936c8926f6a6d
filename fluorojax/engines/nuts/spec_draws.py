"""Draws of the spec parameters from a posterior that is given, tabulated as quantiles."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.special import ndtr

# Normal score of the outermost quantile of a given spec posterior; beyond it lie seven draws in a million.
_LAST_SCORE = 4.5


def spec_levels(points: int) -> Float[np.ndarray, "points"]:
    """Probabilities at which the quantiles of a spec posterior are tabulated: Φ(s), scores s even from −4.5 to 4.5."""
    return ndtr(np.linspace(-_LAST_SCORE, _LAST_SCORE, points))


def draw_from_quantiles(quantiles: Float[Array, "points n"], key: Key[Array, ""]) -> Float[Array, "n"]:
    """An independent draw from each column of quantiles at :func:`spec_levels`, by inverse transform.

    The interpolation is linear in the normal score and not in the probability, which would spread the tails of a narrow
    posterior over the whole range.
    """
    scores = jnp.linspace(-_LAST_SCORE, _LAST_SCORE, quantiles.shape[0])
    place = jax.random.normal(key, (quantiles.shape[1],), quantiles.dtype)
    return jax.vmap(lambda at, values: jnp.interp(at, scores, values), in_axes=(0, 1))(place, quantiles)


def checked_quantiles(
    spec_quantiles: Float[np.ndarray, "points parameters"], names: tuple[str, ...]
) -> Float[Array, "points parameters"]:
    """The quantiles on the device; raises ``ValueError`` where they are no table of quantiles of these parameters."""
    values = np.asarray(spec_quantiles)
    ordered = values.ndim == 2 and values.shape[0] > 1 and values.shape[1] == len(names)
    if not ordered or not np.all(np.isfinite(values)) or np.any(np.diff(values, axis=0) < 0):
        raise ValueError(
            f"spec_quantiles has shape {values.shape}; expected finite quantiles (points, {len(names)}), ascending, of "
            f"{', '.join(names)}"
        )
    return jnp.asarray(values, jnp.result_type(float))
