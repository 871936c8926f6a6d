"""Linear response around a mode: posterior samples and the image's sensitivity to the chain, by conjugate gradients.

With ξ standard normal and λ(ξ) the rate, the posterior is approximated by a Gaussian of precision ``M = Jᵀ F J + 1``
(Knollmüller & Enßlin, arXiv:1901.11033). Only Jacobian products are needed; M is never formed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fluorojax.engines.energy import Latents, Posterior

# Relative residual and most iterations of a solve; looser changes a sample by less than its own scatter.
_TOLERANCE = 1e-2
_MAX_ITERATIONS = 60


def _solver(target: Posterior, at: Latents, scale: Latents) -> Callable[[Latents], Latents]:
    """``b ↦ M⁻¹ b`` in the latents' own coordinates, preconditioned by ``scale`` = 1/√diag(M)."""
    _, push = jax.linearize(target.rate, at)
    pull = jax.linear_transpose(push, at)
    information = target.information(at)

    def metric(step: Latents) -> Latents:
        unscaled = jax.tree.map(jnp.multiply, scale, step)
        curvature = pull(information * push(unscaled))[0]
        return jax.tree.map(lambda s, u, c: s * (u + c), scale, unscaled, curvature)

    def solve(right: Latents) -> Latents:
        scaled = jax.tree.map(jnp.multiply, scale, right)
        solution, _ = jax.scipy.sparse.linalg.cg(metric, scaled, tol=_TOLERANCE, maxiter=_MAX_ITERATIONS)
        return jax.tree.map(jnp.multiply, scale, solution)

    return solve


def sample_variance(target: Posterior, at: Latents, scale: Latents, key: Array, samples: int) -> Float[Array, "*shape"]:
    """Variance of x at fixed chain from ``samples`` mirrored pairs of linear-response draws.

    A draw of N(0, M) is ``Jᵀ√F·n₁ + n₂``; M⁻¹ turns it into a draw of N(0, M⁻¹). The mirrored partner adds the same
    square, so the variance is the mean square over draws, with relative error √(2/samples) per pixel.
    """
    solve = _solver(target, at, scale)
    rate, pull = jax.vjp(target.rate, at)
    root = jnp.sqrt(target.information(at))

    def draw(key: Array) -> Float[Array, "*shape"]:
        data_key, prior_key = jax.random.split(key)
        leaves, structure = jax.tree.flatten(at)
        keys = jax.random.split(prior_key, len(leaves))
        noise = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        push = pull(root * jax.random.normal(data_key, rate.shape, rate.dtype))[0]
        step = solve(jax.tree.map(jnp.add, push, jax.tree.unflatten(structure, noise)))
        return jax.jvp(target.x, (at,), (step,))[1] ** 2

    return jnp.mean(jax.lax.map(draw, jax.random.split(key, samples)), axis=0)


def chain_response(
    target: Posterior, at: Latents, scale: Latents, rate_change: Float[Array, "params *shape"]
) -> Float[Array, "params *shape"]:
    """Change of the mode of x when the chain changes the rate by ``rate_change`` at fixed latents.

    ``δξ = −M⁻¹ Jᵀ F δλ``: the latents move to undo what the chain did to the rate, as far as their prior lets them.
    """
    solve = _solver(target, at, scale)
    _, pull = jax.vjp(target.rate, at)
    information = target.information(at)

    def respond(change: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        step = solve(pull(-information * change)[0])
        return jax.jvp(target.x, (at,), (step,))[1]

    return jax.lax.map(respond, rate_change)
