"""The evidence of outer latents with the scene integrated out by Laplace's method, and its gradient.

With the outer latents φ held, the posterior of the scene latents ξ is nearly Gaussian at the counts of fluoroscopy:
``−log p(y, φ) ≈ V(φ) = E(ξ̂(φ), φ) + ½ log det M(φ)``, M the metric of :mod:`~fluorojax.engines.linear_response` at
the conditional mode ξ̂ (Rue, Martino & Chopin, J. R. Stat. Soc. B 71:319, 2009).
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key

from fluorojax.engines.energy import Latents, Posterior, posterior
from fluorojax.engines.linear_response import Metric, metric, sample_residuals
from fluorojax.engines.newton import conditional_mode
from fluorojax.models.protocol import SceneData, SceneModel


class Evidence(NamedTuple):
    """``V(φ) = E(ξ̂, φ) + ½ log det M``, up to the log evidence of the saturated model, and its gradient."""

    value: Float[Array, ""]
    """Without the log-determinant where its derivative is sampled: see :func:`stochastic_log_determinant`."""
    gradient: Float[Array, "d"]
    scene: Latents


def laplace_evidence(
    model: SceneModel,
    data: SceneData,
    outer: Latents,
    start: Latents,
    scale: Latents,
    *,
    fixed: Mapping[str, Array] | None = None,
    probes: int | None = None,
    key: Key[Array, ""] | None = None,
) -> Evidence:
    """V and its gradient with respect to the flattened ``outer`` latents.

    The derivative of the log-determinant is ``½ tr(M⁻¹ ∂M)``, with the implicit dependence through ξ̂. Exact by
    factorisation where ``probes`` is None, for scenes of at most some 3000 latents; else from ``probes``
    linear-response draws z ~ N(0, M⁻¹), because ``E[½ zᵀ ∂M z]`` is that trace. The error of the mode is then at most
    ``1/√probes`` posterior standard deviations, and the same for every φ with the same ``key``. Raises ``ValueError``
    where there are ``probes`` but no ``key``.
    """
    flat, unravel = ravel_pytree(outer)

    def target_at(flat: Array) -> Posterior:
        return posterior(model, data, {**(fixed or {}), **unravel(flat)})

    found = conditional_mode(target_at(flat), start, scale)
    linear = metric(target_at(flat), found.position, scale)
    if probes is None:
        draws, log_determinant = _exact(linear)
        weight = 1.0
    else:
        if key is None:
            raise ValueError("key is None; expected a random key for sampled probes")
        draws, log_determinant = sample_residuals(linear, key, probes).solution, 0.0
        weight = 1.0 / probes

    def half_square(flat: Array, scene: Latents, draw: Latents) -> Array:
        target = target_at(flat)
        square = jnp.sum(target.information(scene) * jax.jvp(target.rate, (scene,), (draw,))[1] ** 2)
        if target.residuals is not None:
            square += jnp.sum(jax.jvp(target.residuals, (scene,), (draw,))[1] ** 2)
        return 0.5 * square

    # All columns at once where they are exact and small, one after the other where each is an image.
    traces = jax.lax.map(
        lambda z: jax.grad(half_square, (0, 1))(flat, found.position, z),
        draws,
        batch_size=1 if probes else _count(draws),
    )
    trace, by_scene = jax.tree.map(lambda leaf: weight * jnp.sum(leaf, axis=0), traces)
    energy, by_mode = jax.grad(lambda f, s: target_at(f).energy(s), (0, 1))(flat, found.position)
    # dξ̂/dφ = −M⁻¹ ∂²E/∂ξ∂φ: what is left of the energy's own gradient rides along.
    adjoint = linear.solve(optax.tree.add(by_scene, by_mode), tolerance=1e-3).solution
    implicit = jax.grad(lambda f: jax.jvp(target_at(f).energy, (found.position,), (adjoint,))[1])(flat)
    value = found.energy + 0.5 * log_determinant + 0.5 * jnp.sum(flat**2)
    return Evidence(value, energy + trace - implicit + flat, found.position)


def _count(stacked: Latents) -> int:
    return jax.tree.leaves(stacked)[0].shape[0]


def _exact(linear: Metric) -> tuple[Latents, Array]:
    """Columns of a root of M⁻¹, leading axis first, and log det M."""
    flat, unravel = ravel_pytree(linear.at)
    eye = jnp.eye(flat.size, dtype=flat.dtype)
    rows = jax.vmap(lambda v: (jnp.sqrt(linear.information) * linear.push(unravel(v))).ravel())(eye)
    if (push := linear.push_residuals) is not None:
        rows = jnp.concatenate([rows, jax.vmap(lambda v: push(unravel(v)))(eye)], axis=1)
    # R of [√F·J; 1] is the Cholesky factor of M without forming M, whose condition number float32 cannot hold where
    # several latents say the same thing.
    root = jnp.linalg.qr(jnp.concatenate([rows.T, eye]), mode="r")
    inverse = jax.scipy.linalg.solve_triangular(root, eye, trans="T")
    return jax.vmap(unravel)(inverse), 2.0 * jnp.sum(jnp.log(jnp.abs(jnp.diag(root))))


def stochastic_log_determinant(
    linear: Metric, key: Key[Array, ""], *, probes: int = 16, steps: int = 40
) -> Float[Array, ""]:
    """``log det M`` by stochastic Lanczos quadrature (Ubaru, Chen & Saad, SIAM J. Matrix Anal. Appl. 38:1075, 2017).

    Of the preconditioned metric S·M·S, whose spectrum is compact, less ``2 Σ log S``; ``probes`` random signs and
    ``steps`` products each, with full reorthogonalisation. The same key gives the same probes, so that differences
    between neighbouring models are far more precise than the value.
    """
    flat, unravel = ravel_pytree(linear.scale)
    steps = min(steps, flat.size)

    def product(v: Array) -> Array:
        return flat * ravel_pytree(linear.product(unravel(flat * v)))[0]

    def quadrature(sign: Array) -> Array:
        def step(carry: tuple[Array, Array, Array], i: Array) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
            basis, now, last = carry
            basis = basis.at[i].set(now)
            image = product(now)
            diagonal = jnp.vdot(now, image)
            image = image - basis.T @ (basis @ image)
            image = image - basis.T @ (basis @ image)
            beta = jnp.linalg.norm(image)
            # An invariant subspace ends the recurrence; the rest of the tridiagonal matrix is then decoupled.
            alive = last & (beta > 1e-5 * diagonal)
            return (basis, jnp.where(alive, image / jnp.where(alive, beta, 1.0), 0.0), alive), (
                jnp.where(last, diagonal, 1.0),
                jnp.where(alive, beta, 0.0),
            )

        basis = jnp.zeros((steps, flat.size), flat.dtype)
        begin = (basis, sign / jnp.sqrt(flat.size), jnp.asarray(True))
        _, (diagonal, beta) = jax.lax.scan(step, begin, jnp.arange(steps))
        nodes, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(beta[:-1], 1) + jnp.diag(beta[:-1], -1))
        return flat.size * jnp.sum(vectors[0] ** 2 * jnp.log(nodes))

    signs = jax.random.rademacher(key, (probes, flat.size), flat.dtype)
    return jnp.mean(jax.lax.map(quadrature, signs)) - 2.0 * jnp.sum(jnp.log(flat))
