"""Methods that a calibration check knows by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from fluorojax.engines.marginal import laplace_marginal
from fluorojax.engines.mgvi import marginal_draws, solve_mgvi
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.validation.methods import LatentDraws, Method, from_latent_draws
from fluorojax.validation.pipeline import batch_map
from fluorojax.validation.reference import laplace, nuts

# Small scenes of any dynamic range: more than an image needs, and cheap.
_CG_ITERATIONS = 400


def mgvi() -> Method:
    """MGVI of the scene, with chain and hyperparameters from the model's own Laplace marginal.

    Draws of a scene that did not converge are NaN: the check counts it as failed instead of judging it.
    """

    def draw(model: SceneModel, data: SceneData, key: PRNGKeyArray, draws: int) -> LatentDraws:
        marginal_key, outer_key, noise_key, pick_key = jax.random.split(key, 4)
        marginal = laplace_marginal(model, data, marginal_key)
        outer = marginal_draws(marginal, outer_key, draws)
        found = solve_mgvi(model, data, outer, noise_key, start=marginal.scene, cg_iterations=_CG_ITERATIONS)
        good = marginal.converged & found.converged
        # One member of each mirrored pair: the two are not independent, and ranks want draws that are.
        side = jax.random.bernoulli(pick_key, shape=(draws,)).astype(int)

        def pick(pairs: jax.Array) -> jax.Array:
            return jnp.where(good, pairs[side, jnp.arange(draws)], jnp.nan)

        scene = jax.tree.map(lambda mean, residual: pick(mean + residual), found.mean, found.residuals)
        return {**jax.tree.map(pick, outer.draws), **scene}

    return from_latent_draws(draw)


METHODS: dict[str, Callable[[], Method]] = {
    "nuts": nuts,
    "mgvi": mgvi,
    "laplace": laplace,
    "laplace-held": lambda: laplace(hold_hyperparameters=True),
    "map": lambda: batch_map,
}
"""Constructors by name. Add an engine with ``METHODS["name"] = lambda: from_latent_draws(draw)``."""


def make_method(name: str) -> Method:
    """The method of a name; raises ``ValueError`` for an unknown one."""
    if name not in METHODS:
        raise ValueError(f"method is {name!r}; expected one of {', '.join(METHODS)}")
    return METHODS[name]()
