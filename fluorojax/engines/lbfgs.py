"""Minimisation by L-BFGS with a typed outcome, written for one problem and safe under ``vmap``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from fluorojax.engines.line_search import wolfe_step


class Minimum(NamedTuple):
    """Where a minimisation ended."""

    position: PyTree
    energy: Float[Array, ""]
    decrement: Float[Array, ""]
    """Half the squared gradient norm: the energy still to be gained, were the preconditioned curvature one."""
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    stalled: Bool[Array, ""]
    """The last line search found no lower energy."""
    diverged: Bool[Array, ""]


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
    posterior standard deviations. A line search that finds no lower energy ends the run where it stands: in float32 an
    energy of 10⁵ hides gains below about one. Such an end counts as converged within ten times the goal.

    Diverged means that the energy or its gradient is not finite at the start; the run never leaves finite energies.
    """
    precondition = optax.scale_by_lbfgs(memory_size=10)
    value_and_grad = jax.value_and_grad(energy)
    goal = 0.5 * tolerance * sum(leaf.size for leaf in jax.tree.leaves(start))

    def step(carry: _Search) -> _Search:
        # A quasi-Newton step is tried at full length first; keeping the last length instead starves the iteration.
        found = wolfe_step(value_and_grad, carry.position, carry.direction, carry.energy, carry.gradient)
        decrement = 0.5 * optax.tree.norm(found.gradient, squared=True)
        better = (found.value < carry.energy) & jnp.isfinite(found.value) & jnp.isfinite(decrement)
        moved = optax.tree.add_scale(carry.position, found.length, carry.direction)
        position = optax.tree.where(better, moved, carry.position)
        gradient = optax.tree.where(better, found.gradient, carry.gradient)
        uphill, memory = precondition.update(gradient, carry.memory, position)
        return _Search(
            position=position,
            energy=jnp.where(better, found.value, carry.energy),
            gradient=gradient,
            decrement=jnp.where(better, decrement, carry.decrement),
            direction=optax.tree.scale(-1.0, uphill),
            memory=memory,
            iteration=carry.iteration + 1,
            stalled=~better,
        )

    def unfinished(carry: _Search) -> Array:
        return (carry.iteration < max_iterations) & (carry.decrement > goal) & ~carry.stalled

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
        iteration=jnp.full((), -1),
        stalled=jnp.zeros((), bool),
    )
    end = jax.lax.while_loop(unfinished, step, begin)
    diverged = ~(jnp.isfinite(end.energy) & jnp.isfinite(end.decrement))
    converged = (end.decrement <= jnp.where(end.stalled, 10 * goal, goal)) & ~diverged
    return Minimum(end.position, end.energy, end.decrement, end.iteration, converged, end.stalled, diverged)


class _Search(NamedTuple):
    position: PyTree
    energy: Array
    gradient: PyTree
    decrement: Array
    direction: PyTree
    """Where the next line search goes."""
    memory: Any
    iteration: Array
    stalled: Array
