"""The negative log posterior of a model's latents, and its Gauss–Newton metric."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import SceneData, SceneModel, observed_sites
from fluorojax.physics.scalars import scalar

Latents = dict[str, Array]

# The smallest expected count: keeps the deviance finite where a trial step drives the transmission to zero.
_MIN_RATE = 1e-6

# Where a residual stops to count as chance.
_MOST_DEVIATIONS = 6.0


def poisson_deviance(
    counts: Float[Array, "*shape"],
    rate: Float[Array, "*shape"],
    electronic_variance: Float[ArrayLike, ""] = 0.0,
) -> Float[Array, ""]:
    """Half the deviance of counts with electronic noise, ``Σ λ' − n + n·log(n/λ')`` with λ' = λ + σ² and n = y + σ².

    Without electronic noise (σ² = 0) it is that of the Poisson distribution: the negative log likelihood relative to
    λ = y. With it, y + σ² counts as Poisson with mean λ + σ² (Snyder, Hammoud & White, J. Opt. Soc. Am. A 10:1014,
    1993): mean and variance are exact, so that the score ``(y − λ)/(λ + σ²)`` is zero on average at the true
    rate, whatever the sign of n. Where n ≤ 0 no rate is the best one, and the value is relative to λ = 0.

    Of order one per pixel, where the raw log likelihood is of order y·log y and loses the differences that matter in
    float32. Rates λ' below 1e-6 are taken as 1e-6.
    """
    dark = scalar("electronic_variance", electronic_variance, rate.dtype)
    counts, rate = counts + dark, jnp.maximum(rate + dark, _MIN_RATE)
    # The placeholder keeps the branch that is not used differentiable.
    seen = counts > 0
    count = jnp.where(seen, counts, rate)
    # log(y/λ) − (y − λ)/y cancels near y = λ; log1p keeps that in float32.
    relative = (count - rate) / rate
    near = jnp.abs(relative) < 0.1
    log_ratio = jnp.where(near, jnp.log1p(jnp.where(near, relative, 0.0)), jnp.log(count / rate))
    # Where nothing was counted and no noise was added the term is λ alone.
    unseen = (rate - dark) - counts * jnp.log(rate / jnp.maximum(dark, _MIN_RATE))
    return jnp.sum(jnp.where(seen, count * log_ratio - (count - rate), unseen))


class Posterior(NamedTuple):
    """Energy and likelihood geometry of one scene, as functions of its free latents."""

    energy: Callable[[Latents], Float[Array, ""]]
    """Negative log posterior: misfit, energies of the prior, and half the squared norm of the latents."""
    rate: Callable[[Latents], Float[Array, "*shape"]]
    x: Callable[[Latents], Float[Array, "*shape"]]
    information: Callable[[Latents], Float[Array, "*shape"]]
    """Fisher information about the rate, per pixel: 1/(λ + σ_e²) (Poisson with the electronic noise of the scene) or
    1/σ² (Normal)."""
    standardised: Callable[[Latents], Float[Array, "*shape"]]
    """The rate in the coordinate in which that information is one: 2√(λ + σ_e²) (Poisson) or λ/σ (Normal)."""
    excess: Callable[[Latents], Float[Array, "*shape"]]
    """Information times the squared residual less an unbiased estimate of its noise: ``((y − λ)² − y) / λ`` (Poisson;
    with electronic noise y + σ_e² and λ + σ_e² in place of y and λ) or ``((y − λ)² − σ²) / σ²`` (Normal), residuals
    limited to six deviations. Zero on average at the true rate."""
    residuals: Callable[[Latents], Float[Array, " residuals"]] | None = None
    """Residuals r of the energies ½ Σ r² of the prior; None for a prior of latents alone."""


def posterior(model: SceneModel, data: SceneData, fixed: Mapping[str, Array]) -> Posterior:
    """The posterior of a model's latents other than ``fixed``.

    The electronic noise of the scene's protocol enters here, for every engine and every model whose counts are Poisson;
    a model whose counts are Normal states all of its noise by itself.
    """
    electronic = data.acquisition.electronic_variance

    def observed(latents: Latents):
        return observed_sites(model, data, {**fixed, **latents})

    def shifted(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return values + scalar("electronic_variance", electronic, values.dtype)

    def energy(latents: Latents) -> Float[Array, ""]:
        sites, distribution, value = observed(latents)
        if isinstance(distribution, Poisson):
            misfit = poisson_deviance(value, sites["rate"], electronic)
        else:
            misfit = -jnp.sum(distribution.log_prob(value))
        if model.energies:
            misfit = misfit + 0.5 * jnp.sum(model.energy_residuals(sites) ** 2)
        return misfit + 0.5 * sum(jnp.sum(latent**2) for latent in latents.values())

    def information(latents: Latents) -> Float[Array, "*shape"]:
        sites, distribution, value = observed(latents)
        if isinstance(distribution, Normal):
            return jnp.broadcast_to(1.0 / jnp.asarray(distribution.scale) ** 2, value.shape)
        return 1.0 / jnp.maximum(shifted(sites["rate"]), _MIN_RATE)

    def standardised(latents: Latents) -> Float[Array, "*shape"]:
        sites, distribution, _ = observed(latents)
        rate = sites["rate"]
        if isinstance(distribution, Normal):
            return rate / jnp.asarray(distribution.scale)
        return 2.0 * jnp.sqrt(jnp.maximum(shifted(rate), _MIN_RATE))

    def excess(latents: Latents) -> Float[Array, "*shape"]:
        sites, distribution, value = observed(latents)
        rate = sites["rate"]
        normal = isinstance(distribution, Normal)
        if not normal:
            value, rate = shifted(value), shifted(rate)
        spread = jnp.asarray(distribution.scale) if normal else jnp.sqrt(rate + 1.0)
        # One defective pixel must not outweigh a whole scene.
        value = rate + jnp.clip(value - rate, -_MOST_DEVIATIONS * spread, _MOST_DEVIATIONS * spread)
        # The counts estimate their own variance: the rate in its place would turn its bias into an error of the noise.
        noise = spread**2 if normal else value
        return information(latents) * ((value - rate) ** 2 - noise)

    def residuals(latents: Latents) -> Float[Array, " residuals"]:
        return model.energy_residuals(observed(latents)[0])

    return Posterior(
        energy=energy,
        rate=lambda latents: observed(latents)[0]["rate"],
        x=lambda latents: observed(latents)[0]["x"],
        information=information,
        standardised=standardised,
        excess=excess,
        residuals=residuals if model.energies else None,
    )


def diagonal_scale(target: Posterior, at: Latents, key: Array, probes: int = 8) -> Latents:
    """Approximate ``1/√diag(M)`` of the metric ``M = Jᵀ F J + RᵀR + 1``, J = ∂λ/∂ξ, R = ∂r/∂ξ: the preconditioner of
    every engine.

    Stochastic diagonal of Bekas, Kokiopoulou & Saad (Appl. Numer. Math. 57:1214, 2007): the mean of ``(Jᵀ√F·v)²`` over
    random signs v, here with the geometric mean over neighbouring latents, whose curvatures are alike.
    """
    rate, pullback = jax.vjp(target.rate, at)
    root = jnp.sqrt(target.information(at))
    signs = jax.random.rademacher(key, (probes, *rate.shape), rate.dtype)
    squares = jax.lax.map(lambda sign: jax.tree.map(jnp.square, pullback(root * sign)[0]), signs)
    squares = jax.tree.map(lambda square: jnp.mean(square, axis=0), squares)
    if target.residuals is not None:
        residuals, pull = jax.vjp(target.residuals, at)
        signs = jax.random.rademacher(key, (probes, *residuals.shape), residuals.dtype)
        more = jax.lax.map(lambda sign: jax.tree.map(jnp.square, pull(sign)[0]), signs)
        squares = jax.tree.map(lambda square, other: square + jnp.mean(other, axis=0), squares, more)
    return jax.tree.map(lambda square: 1.0 / jnp.sqrt(1.0 + _neighbours(square)), squares)


def _neighbours(values: Array) -> Array:
    """Geometric mean over each element and its direct neighbours along every axis; edge elements count twice."""
    logs = jnp.log(values + 1e-12)
    for axis in range(values.ndim):
        if (size := values.shape[axis]) > 2:
            first, last = (jax.lax.slice_in_dim(logs, i, i + 1, axis=axis) for i in (0, size - 1))
            padded = jnp.concatenate([first, logs, last], axis=axis)
            shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
            logs = (shifted[0] + shifted[1] + shifted[2]) / 3.0
    return jnp.exp(logs)
