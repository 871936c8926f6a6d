"""Minimisation by L-BFGS with a typed outcome, written for one problem and safe under ``vmap``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array, ArrayLike, Float, Int, PyTree

from fluorojax.engines.iteration import Minimum, Step, iterate
from fluorojax.engines.line_search import wolfe_step


class _Search(NamedTuple):
    position: PyTree
    energy: Array
    gradient: PyTree
    decrement: Array
    direction: PyTree
    """Where the next line search goes."""
    memory: Any


def minimise(
    energy: Callable[[PyTree], Float[Array, ""]],
    start: PyTree,
    *,
    max_iterations: Int[ArrayLike, ""] | int,
    tolerance: Float[ArrayLike, ""] | float,
) -> Minimum:
    """L-BFGS (Nocedal & Wright, ch. 7; optax) with the line search of :func:`wolfe_step`.

    Converged when ``½‖∇E‖² ≤ tolerance · (number of unknowns)/2``: the energy still to be gained is the fraction
    ``tolerance`` of the thermal energy of the posterior, ½ per latent, so the remaining error is about ``√tolerance``
    posterior standard deviations. A line search that finds no lower energy ends the run: in float32, rounding hides
    gains below about one in an energy of 10⁵. Such an end counts as converged within ten times the goal.

    Diverged means that the energy or its gradient is not finite at the start; the run never leaves finite energies. The
    decrement of the result is ``½‖∇E‖²``: the energy still to be gained, were the preconditioned curvature one.
    """
    precondition = optax.scale_by_lbfgs(memory_size=10)
    value_and_grad = jax.value_and_grad(energy)
    goal = 0.5 * tolerance * sum(leaf.size for leaf in jax.tree.leaves(start))

    def step(search: _Search, _: Array) -> Step[_Search]:
        # A quasi-Newton step is tried at full length first; keeping the last length instead starves the iteration.
        found = wolfe_step(value_and_grad, search.position, search.direction, search.energy, search.gradient)
        decrement = 0.5 * optax.tree.norm(found.gradient, squared=True)
        better = (found.value < search.energy) & jnp.isfinite(found.value) & jnp.isfinite(decrement)
        there = optax.tree.add_scale(search.position, found.length, search.direction)
        position = optax.tree.where(better, there, search.position)
        gradient = optax.tree.where(better, found.gradient, search.gradient)
        uphill, memory = precondition.update(gradient, search.memory, position)
        moved = _Search(
            position=position,
            energy=jnp.where(better, found.value, search.energy),
            gradient=gradient,
            decrement=jnp.where(better, decrement, search.decrement),
            direction=optax.tree.scale(-1.0, uphill),
            memory=memory,
        )
        return Step(moved, moved.decrement, ~better)

    # The first search, from an infinite energy along no direction, evaluates the start: the energy is compiled once.
    infinite = jnp.full((), jnp.inf, jnp.result_type(*jax.tree.leaves(start)))
    nothing = optax.tree.zeros_like(start)
    begin = _Search(
        position=start,
        energy=infinite,
        gradient=nothing,
        decrement=infinite,
        direction=nothing,
        memory=precondition.init(start),
    )
    end = iterate(step, begin, goal=goal, max_steps=max_iterations + 1, left=infinite)
    found = end.state
    diverged = ~(jnp.isfinite(found.energy) & jnp.isfinite(found.decrement))
    converged = (found.decrement <= jnp.where(end.stalled, 10 * goal, goal)) & ~diverged
    return Minimum(found.position, found.energy, found.decrement, end.steps - 1, converged, end.stalled, diverged)
