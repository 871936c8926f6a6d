"""Newton's method for the evidence of the outer latents, with Hessians from finite differences of its gradient.

Some twenty outer latents make a Hessian from differences affordable. The differences are taken over the width of the
last Gaussian, because the Gaussian has to describe the posterior over this width and not only at a point.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int

from fluorojax.engines.energy import Latents
from fluorojax.engines.evidence import Evidence
from fluorojax.engines.iteration import Step, iterate

# Half-width of the finite differences in posterior standard deviations: wide, also because float32 energies have no
# finer structure.
_WIDTH = 0.7
# Most Newton steps, and the longest: in posterior standard deviations, and in prior ones.
_MOST_STEPS = 20
_LONGEST = 8.0
_LONGEST_PRIOR = 1.5
# Least curvature relative to the last guess: keeps a step finite where the marginal is not yet convex.
_FLAT = 0.2
# Newton steps before half steps.
_FULL_STEPS = 10
# Newton step, in posterior standard deviations per dimension, below which the mode counts as found.
_STEP = 0.05
# Standard deviations of the first guess, in prior ones: less than one, because the marginal may be far narrower.
_FIRST_WIDTH = 0.5


class EvidenceMode(NamedTuple):
    """Where the search ended."""

    position: Float[Array, "d"]
    root: Float[Array, "d d"]
    """R with R·Rᵀ the inverse Hessian."""
    evidence: Evidence
    """At the position."""
    left: Float[Array, ""]
    """Length of the Newton step that is left, in posterior standard deviations."""
    steps: Int[Array, ""]
    """Hessians that were evaluated."""
    converged: Bool[Array, ""]


class _Search(NamedTuple):
    position: Array
    last: Array
    """The last position at which the evidence was finite."""
    root: Array
    evidence: Evidence


def evidence_mode(
    evidence: Callable[[Float[Array, "d"], Latents], Evidence], start: Float[Array, "d"], scene: Latents
) -> EvidenceMode:
    """Minimise V from ``start``, in coordinates in which the prior is standard normal.

    **Arguments:** ``evidence`` gives V and its gradient at outer latents, where its search for the scene begins at the
    given latents; ``scene`` the latents that the first search begins from. The search has converged when the Newton
    step is shorter than 0.05·√d posterior standard deviations; this last step is not taken. Pure and traceable.
    """
    size = start.size
    goal = _STEP * jnp.sqrt(size)

    def step(search: _Search, steps: Array) -> Step[_Search]:
        here, slopes = _differences(evidence, search)
        finite = jnp.all(jnp.isfinite(here.gradient))
        root = _new_root(search.root, slopes)
        by = root.T @ here.gradient
        left = jnp.where(finite, jnp.linalg.norm(by), jnp.inf)
        move = root @ by
        length = _step_length(left, move, steps)
        # The last step is not taken: the scene is known where the gradient was.
        moved = jnp.where(left > goal, search.position - length * move, search.position)
        # A step to where nothing is finite is taken back by half, and the Gaussian before it stands.
        position = jnp.where(finite, moved, 0.5 * (search.position + search.last))
        last = jnp.where(finite, search.position, search.last)
        here = here._replace(scene=optax.tree.where(finite, here.scene, search.evidence.scene))
        return Step(_Search(position, last, jnp.where(finite, root, search.root), here), left)

    zero = jnp.zeros((), start.dtype)
    root = _FIRST_WIDTH * jnp.eye(size, dtype=start.dtype)
    begin = _Search(start, start, root, Evidence(zero, jnp.zeros_like(start), scene))
    end = iterate(step, begin, goal=goal, max_steps=_MOST_STEPS, left=zero + jnp.inf)
    found = end.state
    return EvidenceMode(found.position, found.root, found.evidence, end.left, end.steps, end.converged)


def _differences(
    evidence: Callable[[Array, Latents], Evidence], search: _Search
) -> tuple[Evidence, Float[Array, "d d"]]:
    """The evidence at the position, and the Hessian in the coordinates of the last Gaussian by central differences."""
    size = search.position.size
    sides = jnp.concatenate([jnp.zeros((1, size)), jnp.eye(size), -jnp.eye(size)]).astype(search.position.dtype)
    points = search.position + _WIDTH * sides @ search.root.T
    all_points = jax.lax.map(lambda point: evidence(point, search.evidence.scene), points)
    slopes = all_points.gradient @ search.root
    hessian = (slopes[1 : size + 1] - slopes[size + 1 :]) / (2 * _WIDTH)
    return jax.tree.map(lambda leaf: leaf[0], all_points), hessian


def _new_root(root: Float[Array, "d d"], hessian: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """The root of the inverse Hessian, which is given in the coordinates of the last ``root``."""
    # Where a difference reached too far for finite energies, the last guess stands, over half the width.
    half_width = 4.0 * jnp.eye(root.shape[0], dtype=root.dtype)
    hessian = jnp.where(jnp.all(jnp.isfinite(hessian)), hessian, half_width)
    values, vectors = jnp.linalg.eigh(0.5 * (hessian + hessian.T))
    return root @ (vectors / jnp.sqrt(jnp.maximum(values, _FLAT)))


def _step_length(left: Float[Array, ""], move: Float[Array, "d"], steps: Int[Array, ""]) -> Float[Array, ""]:
    """Fraction of the Newton step ``move`` to take, where ``left`` is its length in posterior standard deviations."""
    limit = jnp.minimum(_LONGEST / left, _LONGEST_PRIOR / jnp.max(jnp.abs(move)))
    # Full steps that have not converged by now go to and fro over the mode.
    return jnp.minimum(jnp.where(steps < _FULL_STEPS, 1.0, 0.5), limit)
