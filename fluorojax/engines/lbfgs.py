"""Minimisation by optax L-BFGS with a typed outcome, written for one problem and safe under ``vmap``."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree


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
    """L-BFGS (Nocedal & Wright, ch. 7) with a zoom line search.

    Converged when ``½‖∇E‖² ≤ tolerance · (number of unknowns)/2``: the energy still to be gained is the fraction
    ``tolerance`` of the thermal energy of the posterior, ½ per latent, so the remaining error is about ``√tolerance``
    posterior standard deviations. A line search that finds no lower energy ends the run where it stands: in float32 an
    energy of 10⁵ hides gains below about one. Such an end counts as converged within ten times the goal.

    Diverged means that the energy or its gradient is not finite at the start; the run never leaves finite energies.
    """
    # A quasi-Newton step is tried at full length first; keeping the last length instead starves the iteration.
    line_search = optax.scale_by_zoom_linesearch(max_linesearch_steps=12, initial_guess_strategy="one")
    solver = optax.lbfgs(memory_size=10, linesearch=line_search)
    value_and_grad = optax.value_and_grad_from_state(energy)
    goal = 0.5 * tolerance * sum(leaf.size for leaf in jax.tree.leaves(start))

    def half_square(gradient: PyTree) -> Array:
        return 0.5 * optax.tree.norm(gradient, squared=True)

    def step(carry: _Search) -> _Search:
        value, gradient = value_and_grad(carry.position, state=carry.state)
        update, state = solver.update(
            gradient, carry.state, carry.position, value=value, grad=gradient, value_fn=energy
        )
        moved = optax.apply_updates(carry.position, update)
        # The line search keeps value and gradient of the position it moved to in the state.
        reached, decrement = optax.tree.get(state, "value"), half_square(optax.tree.get(state, "grad"))
        better = (reached < value) & jnp.isfinite(reached) & jnp.isfinite(decrement)
        position = jax.tree.map(lambda new, old: jnp.where(better, new, old), moved, carry.position)
        return _Search(
            position=position,
            state=state,
            energy=jnp.where(better, reached, value),
            decrement=jnp.where(better, decrement, half_square(gradient)),
            iteration=carry.iteration + 1,
            stalled=~better,
        )

    def unfinished(carry: _Search) -> Array:
        return (carry.iteration < max_iterations) & (carry.decrement > goal) & ~carry.stalled

    zero = jnp.zeros(())
    begin = _Search(start, solver.init(start), zero, zero + jnp.inf, jnp.zeros((), int), jnp.zeros((), bool))
    end = jax.lax.while_loop(unfinished, step, begin)
    diverged = ~(jnp.isfinite(end.energy) & jnp.isfinite(end.decrement))
    converged = (end.decrement <= jnp.where(end.stalled, 10 * goal, goal)) & ~diverged
    return Minimum(end.position, end.energy, end.decrement, end.iteration, converged, end.stalled, diverged)


class _Search(NamedTuple):
    position: PyTree
    state: Any
    energy: Array
    decrement: Array
    iteration: Array
    stalled: Array
