"""Newton's method for the scene latents: steps of the metric, solved by conjugate gradients and halved as needed."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, ArrayLike, Float, Int

from fluorojax.engines.energy import Latents, Posterior
from fluorojax.engines.iteration import Minimum, Step, iterate
from fluorojax.engines.linear_response import MAX_ITERATIONS, metric

# Most Newton steps of the scene, and where to stop: expected decrease of the energy per latent, whose thermal energy
# is one half.
NEWTON_STEPS = 40
DECREMENT = 1e-5
# Relative residual of the solve of one step: the next step corrects what a looser solve leaves.
TOLERANCE = 0.03
# First and shortest fraction of a step: where counts exceed the rate a thousandfold, the metric overshoots as much.
_LONGEST = 1.0
_SHORTEST = 1e-6


class _Point(NamedTuple):
    scene: Latents
    energy: Array


def conditional_mode(
    target: Posterior,
    start: Latents,
    scale: Latents,
    max_steps: Int[ArrayLike, ""] | int = NEWTON_STEPS,
    *,
    decrement: float = DECREMENT,
    tolerance: float = TOLERANCE,
    cg_iterations: Int[ArrayLike, ""] | int = MAX_ITERATIONS,
) -> Minimum:
    """Minimise ``target.energy`` over the scene latents, at the outer latents that ``target`` holds.

    **Arguments:** ``start`` latents of the scene; ``scale`` the preconditioner of the metric, ``1/√diag(M)``, of any
    accuracy; ``decrement`` the energy per latent that may be left; ``tolerance`` and ``cg_iterations`` of the solve of
    each step. The decrement of the result is the energy that the last Newton step was expected to gain; the run has
    converged when that is at most ``decrement`` per latent. A step that rounding keeps from gaining anything is not
    taken and ends the run, and its expected gain counts as none.
    """
    value_and_grad = jax.value_and_grad(target.energy)

    def step(point: _Point, _: Array) -> Step[_Point]:
        before, gradient = value_and_grad(point.scene)
        linear = metric(target, point.scene, scale)
        move = linear.solve(gradient, tolerance=tolerance, max_iterations=cg_iterations).solution

        def at(length: Array) -> Latents:
            return jax.tree.map(lambda now, by: now - length * by, point.scene, move)

        length, energy = _backtrack(lambda length: target.energy(at(length)), before)
        better = energy <= before
        gain = jnp.where(better, 0.5 * optax.tree.vdot(gradient, move), 0.0)
        moved = _Point(at(jnp.where(better, length, 0.0)), jnp.minimum(energy, before))
        return Step(moved, gain, ~better)

    latents = sum(leaf.size for leaf in jax.tree.leaves(start))
    infinite = jnp.full((), jnp.inf, jnp.result_type(*jax.tree.leaves(start)))
    end = iterate(step, _Point(start, infinite), goal=decrement * latents, max_steps=max_steps, left=infinite)
    diverged = (end.steps > 0) & ~jnp.isfinite(end.state.energy)
    return Minimum(
        position=end.state.scene,
        energy=end.state.energy,
        decrement=end.left,
        iterations=end.steps,
        converged=end.converged & ~diverged,
        stalled=end.stalled,
        diverged=diverged,
    )


def _backtrack(energy: Callable[[Array], Float[Array, ""]], before: Float[Array, ""]) -> tuple[Array, Array]:
    """The first of the lengths 1, ½, ¼, … at which the energy is at most ``before``, and the energy there."""

    def too_long(trial: tuple[Array, Array]) -> Array:
        # Also true where the energy is not finite.
        return ~(trial[1] <= before) & (trial[0] > _SHORTEST)

    def halve(trial: tuple[Array, Array]) -> tuple[Array, Array]:
        length = 0.5 * trial[0]
        return length, energy(length)

    return jax.lax.while_loop(too_long, halve, (jnp.full_like(before, 2.0 * _LONGEST), before + jnp.inf))
