"""Posterior of a few outer latents (chain, hyperparameters) with the scene integrated out by Laplace's method.

With the outer latents φ held, the posterior of the scene latents ξ is nearly Gaussian at the counts of fluoroscopy:
``−log p(y, φ) ≈ V(φ) = E(ξ̂(φ), φ) + ½ log det M(φ)``, M the metric of :mod:`~fluorojax.engines.linear_response` at
the conditional mode ξ̂ (Rue, Martino & Chopin, J. R. Stat. Soc. B 71:319, 2009). φ has some twenty dimensions, so V is
explored by Newton steps with finite differences of its gradient, and its Gaussian approximation is the posterior.
Unlike the joint mode of scene and chain, the mode of V is not drawn to smoother scenes.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
import scipy.stats
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from fluorojax.calibration.posterior import Marginal, SpecPosterior
from fluorojax.data.spec import SPEC_NAMES, SpecRanges
from fluorojax.engines.energy import Latents, Posterior, diagonal_scale, posterior
from fluorojax.engines.linear_response import Metric, conditional_mode, metric, sample_residuals
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel

# Half-width of the finite differences in posterior standard deviations: wide, because the Gaussian is to describe
# the posterior over its width rather than at a point, and because float32 energies have no finer structure.
_WIDTH = 0.7
# Most Newton steps, and the longest: in posterior standard deviations, and in prior ones.
_HESSIANS = 20
_LONGEST = 8.0
_LONGEST_PRIOR = 1.5
# Least curvature relative to the last guess: keeps a step finite where the marginal is not yet convex.
_FLAT = 0.2
# Newton steps before half steps.
_FULL_STEPS = 10
# Newton step, in posterior standard deviations per dimension, below which the mode counts as found.
_STEP = 0.05


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
    key: Array | None = None,
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
    linear = metric(target_at(flat), found.scene, scale)
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
        return 0.5 * jnp.sum(target.information(scene) * jax.jvp(target.rate, (scene,), (draw,))[1] ** 2)

    # All columns at once where they are exact and small, one after the other where each is an image.
    traces = jax.lax.map(
        lambda z: jax.grad(half_square, (0, 1))(flat, found.scene, z), draws, batch_size=1 if probes else _count(draws)
    )
    trace, by_scene = jax.tree.map(lambda leaf: weight * jnp.sum(leaf, axis=0), traces)
    energy, by_mode = jax.grad(lambda f, s: target_at(f).energy(s), (0, 1))(flat, found.scene)
    # dξ̂/dφ = −M⁻¹ ∂²E/∂ξ∂φ: what is left of the energy's own gradient rides along.
    adjoint = linear.solve(optax.tree.add(by_scene, by_mode), tolerance=1e-3).solution
    implicit = jax.grad(lambda f: jax.jvp(target_at(f).energy, (found.scene,), (adjoint,))[1])(flat)
    value = found.energy + 0.5 * log_determinant + 0.5 * jnp.sum(flat**2)
    return Evidence(value, energy + trace - implicit + flat, found.scene)


def _count(stacked: Latents) -> int:
    return jax.tree.leaves(stacked)[0].shape[0]


def _exact(linear: Metric) -> tuple[Latents, Array]:
    """Columns of a root of M⁻¹, leading axis first, and log det M."""
    flat, unravel = ravel_pytree(linear.at)
    eye = jnp.eye(flat.size, dtype=flat.dtype)
    rows = jax.vmap(lambda v: (jnp.sqrt(linear.information) * linear.push(unravel(v))).ravel())(eye)
    # R of [√F·J; 1] is the Cholesky factor of M without forming M, whose condition number float32 cannot hold where
    # several latents say the same thing.
    root = jnp.linalg.qr(jnp.concatenate([rows.T, eye]), mode="r")
    inverse = jax.scipy.linalg.solve_triangular(root, eye, trans="T")
    return jax.vmap(unravel)(inverse), 2.0 * jnp.sum(jnp.log(jnp.abs(jnp.diag(root))))


def stochastic_log_determinant(linear: Metric, key: Array, *, probes: int = 16, steps: int = 40) -> Float[Array, ""]:
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


class LaplaceMarginal(eqx.Module):
    """Gaussian posterior of the outer latents of one scene; every field gains a leading axis under ``vmap``."""

    mean: Latents
    root: Float[Array, "d d"]
    """Symmetric or triangular R with R·Rᵀ the covariance of the outer latents, flattened by name."""
    scene: Latents
    """Conditional mode of the scene latents at ``mean``."""
    scale: Latents
    """Their preconditioner."""
    log_evidence: Float[Array, ""]
    """``log p(y)``; of Poisson counts relative to the saturated model."""
    step: Float[Array, ""]
    """Length of the Newton step left at ``mean``, in posterior standard deviations."""
    hessians: Int[Array, ""]
    converged: Bool[Array, ""]

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """Covariance of the outer latents, in the order of their flattening by name."""
        return self.root @ jnp.swapaxes(self.root, -1, -2)


def as_spec_posterior(marginal: LaplaceMarginal, ranges: SpecRanges, points: int = 201) -> SpecPosterior:
    """The marginals of the spec parameters as densities over their ranges. On the host, for one scene.

    The posterior is Gaussian in the standard-normal base; its density over the range is that of ``Φ(base)``.
    """
    flat, unravel = ravel_pytree(marginal.mean)
    where = np.asarray(unravel(jnp.arange(flat.size, dtype=flat.dtype))[SPEC_SITE], int)
    mean, std = np.asarray(flat)[where], np.sqrt(np.diag(np.asarray(marginal.covariance)))[where]
    marginals = {}
    for i, name in enumerate(SPEC_NAMES):
        low, high = ranges.as_dict()[name]
        # Cells over the whole range and finer ones where the posterior is, each with its exact mass; the base reaches
        # the ends of the range only at infinity.
        fine = scipy.stats.norm.cdf(mean[i] + std[i] * np.linspace(-6.0, 6.0, points))
        edges = np.unique(np.concatenate([np.linspace(0.0, 1.0, points), fine]))
        mass = np.diff(scipy.stats.norm.cdf((scipy.stats.norm.ppf(edges) - mean[i]) / std[i]))
        density = np.log(mass / np.diff(edges) + 1e-300)
        middles = low + (high - low) * 0.5 * (edges[1:] + edges[:-1])
        grid = np.concatenate([[low], middles, [high]])
        marginals[name] = Marginal.from_log(grid, np.concatenate([density[:1], density, density[-1:]]))
    return SpecPosterior(marginals)


def laplace_marginal(
    model: SceneModel,
    data: SceneData,
    key: Array,
    *,
    outer: tuple[str, ...] | None = None,
    fixed: Mapping[str, Array] | None = None,
    start: Mapping[str, Array] | None = None,
    probes: int | None = None,
) -> LaplaceMarginal:
    """Posterior of the latents named ``outer``, by default the chain and the model's hyperparameters.

    **Arguments:** ``fixed`` latents held at given values; ``start`` latents to begin from, e.g. the mode (missing ones
    begin at the prior mean); ``probes`` as in :func:`laplace_evidence`. Pure and traceable; batch with ``vmap``. The
    latents of ``outer`` and ``fixed`` together must leave some for the scene.
    """
    shapes = model.latent_shapes(data)
    fixed = dict(fixed or {})
    names = (SPEC_SITE, *model.hyperparameters) if outer is None else outer
    dtype = jnp.result_type(data.counts)
    begin = {n: (start or {}).get(n, jnp.zeros(s, dtype)) for n, s in shapes.items() if n not in fixed}
    flat, unravel = ravel_pytree({name: begin[name] for name in names if name in begin})
    scene = {name: value for name, value in begin.items() if name not in names}
    scale_key, probe_key = jax.random.split(key)
    scale = diagonal_scale(posterior(model, data, {**fixed, **unravel(flat)}), scene, scale_key)

    def evidence(flat: Array, start: Latents) -> Evidence:
        return laplace_evidence(model, data, unravel(flat), start, scale, fixed=fixed, probes=probes, key=probe_key)

    found = _search(evidence, flat, scene)
    value = found.evidence.value
    if probes is not None:
        at = posterior(model, data, {**fixed, **unravel(found.position)})
        linear = metric(at, found.evidence.scene, scale)
        value += 0.5 * stochastic_log_determinant(linear, probe_key, probes=probes)
    return LaplaceMarginal(
        mean=unravel(found.position),
        root=found.root,
        scene=found.evidence.scene,
        scale=scale,
        log_evidence=jnp.linalg.slogdet(found.root)[1] - value,
        step=found.left,
        hessians=found.hessians,
        converged=found.left <= _STEP * jnp.sqrt(flat.size),
    )


class _Search(NamedTuple):
    position: Array
    last: Array
    root: Array
    evidence: Evidence
    left: Array
    hessians: Array


def _search(evidence: Callable[[Array, Latents], Evidence], start: Array, scene: Latents) -> _Search:
    """Newton's method on V, with Hessians by finite differences over the width of the last Gaussian."""
    size = start.size
    sides = jnp.concatenate([jnp.zeros((1, size)), jnp.eye(size), -jnp.eye(size)]).astype(start.dtype)

    def step(carry: _Search) -> _Search:
        points = carry.position + _WIDTH * sides @ carry.root.T
        all_points = jax.lax.map(lambda point: evidence(point, carry.evidence.scene), points)
        here = jax.tree.map(lambda leaf: leaf[0], all_points)
        finite = jnp.all(jnp.isfinite(here.gradient))
        slopes = all_points.gradient @ carry.root
        hessian = (slopes[1 : size + 1] - slopes[size + 1 :]) / (2 * _WIDTH)
        # Where a difference reached too far for finite energies, the last guess stands, over half the width.
        hessian = jnp.where(jnp.all(jnp.isfinite(hessian)), hessian, 4.0 * jnp.eye(size, dtype=start.dtype))
        values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
        root = carry.root @ (vectors / jnp.sqrt(jnp.maximum(values, _FLAT)))
        by = root.T @ here.gradient
        left = jnp.where(finite, jnp.linalg.norm(by), jnp.inf)
        move = root @ by
        limit = jnp.minimum(_LONGEST / left, _LONGEST_PRIOR / jnp.max(jnp.abs(move)))
        # Full steps that have not converged by now go to and fro over the mode.
        length = jnp.minimum(jnp.where(carry.hessians < _FULL_STEPS, 1.0, 0.5), limit)
        # The last step is not taken: the scene is known where the gradient was.
        moved = jnp.where(left > goal, carry.position - length * move, carry.position)
        # A step to where nothing is finite is taken back by half.
        position = jnp.where(finite, moved, 0.5 * (carry.position + carry.last))
        last = jnp.where(finite, carry.position, carry.last)
        here = here._replace(scene=optax.tree.where(finite, here.scene, carry.evidence.scene))
        return _Search(position, last, jnp.where(finite, root, carry.root), here, left, carry.hessians + 1)

    def unfinished(carry: _Search) -> Array:
        return (carry.left > goal) & (carry.hessians < _HESSIANS)

    goal = _STEP * jnp.sqrt(size)
    zero = jnp.zeros((), start.dtype)
    # The first differences are taken over less than the prior: the marginal may be far narrower.
    root = 0.5 * jnp.eye(size, dtype=start.dtype)
    nowhere = Evidence(zero, jnp.zeros_like(start), scene)
    begin = _Search(start, start, root, nowhere, zero + jnp.inf, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, step, begin)
