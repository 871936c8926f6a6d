"""Inference methods under test, behind one interface that maps a batch of scenes to posterior draws."""

from collections.abc import Callable, Mapping
from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.methods.protocol import LatentDraws
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.validation.prior_draws import log_likelihood


class PosteriorSummary(eqx.Module):
    """Posterior draws of a batch of scenes; every field has leading axes (replicates n, draws L).

    Draws of one scene should be nearly independent: ranks among correlated draws are not uniform.
    """

    spec: Float[Array, "n L parameters"]
    """Spec parameters in physical units, in the order of the ranges of the scenes."""
    x: Float[Array, "n L *shape"]
    """Normalised attenuation."""
    joint: bool = eqx.field(static=True, default=True)
    """Whether a draw of x is a draw of the whole field. False where pixels were drawn independently, from a mean and a
    standard deviation: region means then say nothing and are left out. Static: it selects what is reported."""
    log_likelihood: Float[Array, "n L"] | None = None
    """Of the counts given each draw (:func:`fluorojax.validation.log_likelihood`); None where a draw has no rate."""


class Sampler(Protocol):
    """Draws of the posterior of each scene of a batch."""

    def __call__(self, model: SceneModel, data: SceneData, keys: PRNGKeyArray, draws: int) -> PosteriorSummary:
        """**Arguments:** ``data`` with a leading replicate axis n on every leaf; ``keys`` (n,); ``draws`` L per scene.

        A scene's draws may depend on its own data and key only.
        """
        ...


def from_latent_draws(
    draw: Callable[[SceneModel, SceneData, PRNGKeyArray, int], LatentDraws],
) -> Sampler:
    """A :class:`Sampler` from a function that gives draws of all latents of one scene, leading axis L.

    The function must be traceable: it is batched with ``vmap`` and compiled once per model, shape and number of draws.
    """

    def one(model: SceneModel, data: SceneData, key: PRNGKeyArray, draws: int) -> PosteriorSummary:
        return summarise(model, data, draw(model, data, key, draws))

    @eqx.filter_jit
    def method(model: SceneModel, data: SceneData, keys: PRNGKeyArray, draws: int) -> PosteriorSummary:
        return jax.vmap(lambda d, k: one(model, d, k, draws))(data, keys)

    return method


def summarise(model: SceneModel, data: SceneData, latents: Mapping[str, Float[Array, "L *latent"]]) -> PosteriorSummary:
    """Spec, x and log likelihood of draws of all latents of one scene; no replicate axis.

    Raises ``ValueError`` naming latents of the model that are missing: without them the model would draw its prior.
    """
    if missing := [name for name in model.latent_shapes(data) if name not in latents]:
        raise ValueError(f"draws lack the latents {', '.join(missing)} of model {model.name}; expected all")

    def evaluate(draw: dict[str, Array]) -> tuple[Array, Array, Array]:
        sites = model.sites(data, draw)
        spec = jnp.stack([jnp.asarray(sites[name]) for name in data.ranges.names])
        return spec, sites["x"], log_likelihood(model, data, draw)

    spec, x, likelihood = jax.lax.map(evaluate, dict(latents))
    return PosteriorSummary(spec, x, log_likelihood=likelihood)


def distorted(method: Sampler, *, sd_factor: float = 1.0, shift_sd: float = 0.0) -> Sampler:
    """A deliberately wrong posterior, which tests whether a check finds the error.

    Every draw d of spec and x becomes ``m + f·(d − m) + b·s`` with m and s the mean and standard deviation over the
    draws of its scene. **Arguments:** ``sd_factor`` f; ``shift_sd`` b. The log likelihood is left out: it would belong
    to other draws.
    """

    def distort(values: Array) -> Array:
        mean = jnp.mean(values, axis=1, keepdims=True)
        spread = jnp.std(values, axis=1, keepdims=True)
        return mean + sd_factor * (values - mean) + shift_sd * spread

    def wrong(model: SceneModel, data: SceneData, keys: PRNGKeyArray, draws: int) -> PosteriorSummary:
        right = method(model, data, keys, draws)
        return PosteriorSummary(distort(right.spec), distort(right.x), joint=right.joint)

    return wrong
