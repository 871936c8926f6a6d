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
    """Half the squared gradient norm: in whitened, preconditioned coordinates about the energy still to be gained."""
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    diverged: Bool[Array, ""]


def minimise(
    energy: Callable[[PyTree], Float[Array, ""]],
    start: PyTree,
    *,
    max_iterations: Int[ArrayLike, ""] | int,
    tolerance: float,
) -> Minimum:
    """L-BFGS (Nocedal & Wright, ch. 7) with a zoom line search.

    Converged when ``½‖∇E‖² ≤ tolerance · (number of unknowns)/2``: the energy still to be gained is the fraction
    ``tolerance`` of the thermal energy of the posterior, ½ per latent, so the remaining error is about ``√tolerance``
    posterior standard deviations.
    """
    solver = optax.lbfgs(memory_size=10, linesearch=optax.scale_by_zoom_linesearch(max_linesearch_steps=12))
    value_and_grad = optax.value_and_grad_from_state(energy)
    goal = 0.5 * tolerance * sum(leaf.size for leaf in jax.tree.leaves(start))

    def step(carry: tuple[PyTree, Any, Array]) -> tuple[PyTree, Any, Array]:
        position, state, iteration = carry
        value, gradient = value_and_grad(position, state=state)
        update, state = solver.update(gradient, state, position, value=value, grad=gradient, value_fn=energy)
        return optax.apply_updates(position, update), state, iteration + 1

    def unfinished(carry: tuple[PyTree, Any, Array]) -> Array:
        _, state, iteration = carry
        # The line search keeps value and gradient at the current position in the state.
        value, gradient = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
        open_ = 0.5 * optax.tree.norm(gradient, squared=True) > goal
        return (iteration == 0) | ((iteration < max_iterations) & open_ & jnp.isfinite(value))

    position, state, iterations = jax.lax.while_loop(unfinished, step, (start, solver.init(start), jnp.zeros((), int)))
    value, gradient = optax.tree.get(state, "value"), optax.tree.get(state, "grad")
    decrement = 0.5 * optax.tree.norm(gradient, squared=True)
    diverged = ~jnp.isfinite(value)
    return Minimum(position, value, decrement, iterations, (decrement <= goal) & ~diverged, diverged)
