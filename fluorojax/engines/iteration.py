"""One driver for every iterative solver of the engines, and the result that minimisers share.

The solvers (conjugate gradients, Newton's method for the scene and for the outer latents, L-BFGS, the rounds of MGVI)
differ in what one step does. The stopping rule and the report of how a run ended are the same for all of them and are
defined here. Library loops were considered: ``jax.scipy.sparse.linalg.cg`` reports neither the iterations nor the
residual that it reached, and ``optax`` offers steps without a stopping rule.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

State = TypeVar("State")


class Step(NamedTuple, Generic[State]):
    """What one step of an iteration returns."""

    state: State
    left: Float[Array, ""]
    """The quantity that the iteration drives down to its goal, such as a residual or an expected decrease. Infinite
    where the step cannot tell it yet; not-a-number ends the iteration."""
    stalled: Bool[ArrayLike, ""] = False
    """Whether the step gained nothing, so that another one would gain nothing either."""


class Outcome(NamedTuple, Generic[State]):
    """Where an iteration ended, and why; exactly one of the four flags is true unless a stalled run had converged."""

    state: State
    left: Float[Array, ""]
    """The quantity of the last step, in the units of the goal."""
    steps: Int[Array, ""]
    converged: Bool[Array, ""]
    """The quantity fell to the goal."""
    stalled: Bool[Array, ""]
    """The last step gained nothing."""
    limit: Bool[Array, ""]
    """The number of steps ran out before the goal was reached."""
    diverged: Bool[Array, ""]
    """The quantity became not-a-number."""


class _Carry(NamedTuple):
    state: Any
    left: Array
    steps: Array
    stalled: Array


def iterate(
    step: Callable[[State, Int[Array, ""]], Step[State]],
    start: State,
    *,
    goal: Float[ArrayLike, ""] | float,
    max_steps: Int[ArrayLike, ""] | int,
    left: Float[ArrayLike, ""] | None = None,
) -> Outcome[State]:
    """Repeat ``step`` until what is left falls to ``goal``, a step stalls, or ``max_steps`` steps are done.

    **Arguments:** ``step`` maps a state and the number of steps done before to a :class:`Step`; ``start`` a pytree of
    arrays; ``left`` what is left at the start, in the units of ``goal``, by default infinite, so that at least one step
    is taken. Pure and traceable; under ``vmap`` every problem of a batch ends by itself.
    """
    if left is None:
        left = jnp.full((), jnp.inf, _float_type(start))

    def unfinished(carry: _Carry) -> Array:
        # False where what is left is not a number.
        return (carry.steps < max_steps) & (carry.left > goal) & ~carry.stalled

    def advance(carry: _Carry) -> _Carry:
        taken = step(carry.state, carry.steps)
        return _Carry(taken.state, taken.left, carry.steps + 1, jnp.asarray(taken.stalled))

    begin = _Carry(start, jnp.asarray(left), jnp.zeros((), int), jnp.zeros((), bool))
    end = jax.lax.while_loop(unfinished, advance, begin)
    converged, diverged = end.left <= goal, jnp.isnan(end.left)
    return Outcome(
        state=end.state,
        left=end.left,
        steps=end.steps,
        converged=converged,
        stalled=end.stalled,
        limit=~(converged | end.stalled | diverged),
        diverged=diverged,
    )


def _float_type(tree: PyTree) -> Any:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    return jnp.result_type(*leaves)


class Minimum(NamedTuple):
    """Where the minimisation of an energy ended."""

    position: PyTree
    energy: Float[Array, ""]
    decrement: Float[Array, ""]
    """The energy that is still to be gained, as the minimiser estimates it from the last gradient."""
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    stalled: Bool[Array, ""]
    """The last line search found no lower energy."""
    diverged: Bool[Array, ""]
    """The energy or its gradient was not finite at the start; a minimiser never leaves finite energies."""
