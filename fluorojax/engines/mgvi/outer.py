"""Draws of the latents that MGVI does not infer itself: the spec parameters, and hyperparameters if wanted."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.spec import SpecRanges
from fluorojax.engines.energy import Latents
from fluorojax.engines.marginal import LaplaceMarginal
from fluorojax.models.protocol import SPEC_SITE, array_to_base

# Nodes of the Gauss–Hermite rule for the moments of a spec parameter whose latent is Gaussian.
_NODES = 32


class OuterDraws(eqx.Module):
    """Posterior of the outer latents of one scene as mirrored pairs of draws; a pytree, batched by ``vmap``."""

    centre: Latents
    draws: Latents
    """Leading axes (2, samples): the two members of each pair."""
    scores: Float[Array, "2 samples parameters"]
    """The draws' independent, standardised coordinates of the spec parameters."""
    up: Latents
    """Outer latents with one coordinate raised, the others at the centre; leading axis of the coordinates."""
    down: Latents
    reach: Float[Array, "parameters"]
    """Difference of the scores of ``up`` and ``down``."""
    loading: Float[Array, "parameters coordinates"]
    """Correlation of each spec parameter with each coordinate; there are as many coordinates as parameters."""


def outer_draws(posterior: SpecPosterior, ranges: SpecRanges, samples: int, seed: int) -> OuterDraws:
    """Draws of the spec parameters from independent marginals, as ``samples`` mirrored pairs.

    The draws are stratified in each parameter; the mirror image of a quantile u is 1 − u. Runs on the host, for one
    scene. **Arguments:** ``posterior`` has a marginal for each parameter that ``ranges`` names, in its unit.
    """
    rng = np.random.default_rng(seed)
    strata = np.stack([rng.permutation(samples) for _ in ranges.names], axis=-1)
    # Strata of [0, 1/2]; the mirror fills the other half, and a coin says which half belongs to which member.
    lower = (strata + rng.random(strata.shape)) / (2 * samples)
    first = np.where(rng.random(strata.shape) < 0.5, lower, 1 - lower)
    marginals = [posterior.marginals[name] for name in ranges.names]
    values = np.array(
        [[[m.quantile(u[i]) for i, m in enumerate(marginals)] for u in side] for side in (first, 1 - first)]
    )
    mean, std = (np.array([getattr(m, what) for m in marginals]) for what in ("mean", "std"))
    safe = np.where(std > 0, std, 1.0)
    up, down = (np.clip(mean + side * std, ranges.low, ranges.high) for side in (1.0, -1.0))
    each = np.eye(len(marginals), dtype=bool)
    dtype = jnp.result_type(float)

    # All specs in one array: one small program to compile instead of one for each shape.
    parts = [mean[None], values.reshape(-1, mean.size), np.where(each, up, mean), np.where(each, down, mean)]
    ends = np.cumsum([len(part) for part in parts])[:-1]
    base = np.asarray(array_to_base(np.concatenate(parts).astype(dtype), ranges))
    centre, draws, raised, lowered = np.split(base, ends)
    return OuterDraws(
        centre={SPEC_SITE: jnp.asarray(centre[0])},
        draws={SPEC_SITE: jnp.asarray(draws.reshape(values.shape))},
        scores=jnp.asarray((values - mean) / safe, dtype),
        up={SPEC_SITE: jnp.asarray(raised)},
        down={SPEC_SITE: jnp.asarray(lowered)},
        reach=jnp.asarray(np.where(std > 0, (up - down) / safe, 2.0), dtype),
        loading=jnp.asarray(np.eye(len(marginals)), dtype),
    )


def marginal_draws(marginal: LaplaceMarginal, key: Key[Array, ""], samples: int) -> OuterDraws:
    """Draws of spec and hyperparameters from the model's own Laplace marginal, as ``samples`` mirrored pairs.

    The coordinates are those of the symmetric root of the spec's covariance: of all uncorrelated ones the closest to
    the parameters. The hyperparameters follow a raised coordinate by their regression on it. Pure and traceable.
    """
    flat, unravel = ravel_pytree(marginal.mean)
    where = unravel(jnp.arange(flat.size, dtype=flat.dtype))[SPEC_SITE].astype(int)
    covariance = marginal.covariance
    spec = covariance[where][:, where]
    values, vectors = jnp.linalg.eigh(spec)
    half, inverse = ((vectors * jnp.sqrt(values) ** power) @ vectors.T for power in (1, -1))
    offsets = jax.random.normal(key, (samples, flat.size), flat.dtype) @ marginal.root.T
    offsets = jnp.stack([offsets, -offsets])
    # The base is Gaussian but the parameter is a squashed base: its scores are those of the parameter.
    centre, spread = flat[where], jnp.diag(half)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    squashed = norm.cdf(centre[:, None] + spread[:, None] * jnp.asarray(nodes, flat.dtype))
    weights = jnp.asarray(weights / weights.sum(), flat.dtype)
    mean = squashed @ weights
    std = jnp.sqrt((squashed - mean[:, None]) ** 2 @ weights)

    def score(coordinates: Array) -> Array:
        return (norm.cdf(centre + spread * coordinates) - mean) / std

    steps = (covariance[:, where] @ inverse).T
    raised = jnp.ones(where.size)
    return OuterDraws(
        centre=marginal.mean,
        draws=jax.vmap(jax.vmap(unravel))(flat + offsets),
        scores=score(offsets[..., where] @ inverse),
        up=jax.vmap(unravel)(flat + steps),
        down=jax.vmap(unravel)(flat - steps),
        reach=score(raised) - score(-raised),
        loading=half / jnp.sqrt(jnp.diag(spec))[:, None],
    )
