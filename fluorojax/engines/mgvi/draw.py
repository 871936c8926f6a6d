"""One draw of MGVI: the residual of the scene at other outer latents.

The steps are a linear draw, a test whether the quadratic expansion of the energy holds there, and where it does not, a
conditional mode and a few Hamiltonian trajectories.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Bool, Float, Int, Key

from fluorojax.engines.conjugate_gradients import Solve
from fluorojax.engines.energy import Latents, Posterior
from fluorojax.engines.linear_response import Metric, metric
from fluorojax.engines.mgvi.trajectory import hamiltonian_moves
from fluorojax.engines.newton import NEWTON_STEPS, conditional_mode

# Error of the quadratic expansion of the energy per latent, whose thermal energy is one half, above which a draw is no
# longer the linear response.
_TRUST = 0.1
# Energy per latent that Newton's method may leave in such a draw: where it asks for fewer counts than none, the last
# steps creep.
_LEFT_OVER = 1e-3
# Hamiltonian trajectories of such a draw.
_TRAJECTORIES = 16


class Surroundings(NamedTuple):
    """What all draws of one scene share."""

    target_at: Callable[[Latents], Posterior]
    """The posterior of the scene at given outer latents."""
    central: Posterior
    """The same at the centre of the outer draws."""
    scale: Latents
    """The preconditioner of the metric."""
    cg_tolerance: float
    cg_iterations: int


class Draw(NamedTuple):
    """One draw, or with a leading axis all draws of a round."""

    residual: Latents
    """The draw minus the mean."""
    iterations: Int[Array, ""]
    reached: Float[Array, ""]
    """Relative residual of the solve; see ``cg_residual`` of :class:`fluorojax.engines.mgvi.MgviResult`."""
    followed: Bool[Array, ""]
    """Whether the linear response did not hold."""

    @classmethod
    def none(cls, mean: Latents, draws: int, dtype: jnp.dtype) -> "Draw":
        """As many draws of nothing, before the first round."""
        zeros = jax.tree.map(lambda leaf: jnp.zeros((draws, *leaf.shape), leaf.dtype), mean)
        return cls(zeros, jnp.zeros((draws,), int), jnp.zeros((draws,), dtype), jnp.zeros((draws,), bool))


def draw_residual(
    around: Surroundings, mean: Latents, outer: Latents, noise_key: Key[Array, ""], sign: Float[Array, ""]
) -> Draw:
    """Residual of the scene at ``outer`` latents: the response to the gradient of the energy there, plus noise.

    One linear solve is enough if the energy at its end agrees with the quadratic expansion. Rates are exponential in
    x, so that a far draw at few counts may overshoot to any rate. There :func:`_perturbed_mode` and a few Hamiltonian
    trajectories follow the posterior instead.

    **Arguments:** ``sign`` of the noise: 1 and −1 for the members of a pair, 0 for the response without noise.
    """
    target = around.target_at(outer)
    linear = _linear_draw(around, target, mean, noise_key, sign)
    trusted = _is_trusted(target, mean, linear)
    most = jnp.where(trusted, 0, NEWTON_STEPS)
    tilted = target._replace(energy=lambda scene: target.energy(scene) - optax.tree.vdot(linear.left, scene))
    found = _perturbed_mode(around, target, tilted, mean, linear, noise_key, sign, most)
    # Without noise the response of the mode is wanted, no draw.
    moves = jnp.where(trusted | (sign == 0), 0, _TRAJECTORIES)
    moved_key = jax.random.fold_in(noise_key, sign > 0)
    drawn = hamiltonian_moves(tilted.energy, found.scene, around.scale, moved_key, moves)
    reached = jnp.where(found.left_over <= _LEFT_OVER * _size(mean), around.cg_tolerance, jnp.inf)
    step, solve = linear.solve.solution, linear.solve
    return Draw(
        optax.tree.where(trusted, step, optax.tree.sub(drawn, mean)),
        solve.iterations,
        jnp.where(trusted, solve.residual, reached),
        ~trusted,
    )


class _LinearDraw(NamedTuple):
    metric: Metric
    solve: Solve
    energy: Array
    """At the mean, as ``gradient``."""
    gradient: Latents
    left: Latents
    """The gradient at the mean and the centre of the outer latents. The mean is not the mode, and what it leaves of
    this gradient belongs to no draw."""


def _linear_draw(around: Surroundings, target: Posterior, mean: Latents, noise_key: Array, sign: Array) -> _LinearDraw:
    """The linear response to the outer latents plus ``sign`` times a draw of N(0, M⁻¹), by one solve."""
    linear = metric(target, mean, around.scale)
    energy, gradient = jax.value_and_grad(target.energy)(mean)
    left = jax.grad(around.central.energy)(mean)
    moved = optax.tree.sub(gradient, left)
    right = optax.tree.add_scale(optax.tree.scale(-1.0, moved), sign, linear.noise(noise_key))
    solve = linear.solve(right, tolerance=around.cg_tolerance, max_iterations=around.cg_iterations)
    return _LinearDraw(linear, solve, energy, gradient, left)


def _is_trusted(target: Posterior, mean: Latents, linear: _LinearDraw) -> Bool[Array, ""]:
    """Whether the energy at the end of the linear draw is what the quadratic expansion says."""
    step = linear.solve.solution
    curvature = optax.tree.vdot(step, linear.metric.product(step))
    expected = optax.tree.vdot(linear.gradient, step) + 0.5 * curvature
    error = target.energy(optax.tree.add(mean, step)) - linear.energy - expected
    # Also false where the energy is not finite.
    return jnp.abs(error) <= _TRUST * _size(mean)


class _PerturbedMode(NamedTuple):
    scene: Latents
    left_over: Array
    """Energy that Newton's method leaves to be gained."""


def _perturbed_mode(
    around: Surroundings,
    target: Posterior,
    tilted: Posterior,
    mean: Latents,
    linear: _LinearDraw,
    noise_key: Array,
    sign: Array,
    max_steps: Array,
) -> _PerturbedMode:
    """The minimum of ``½|s(ξ) − s(ξ̂) − n₁|² + ½|ξ − ξ̂ − n₂|²`` around the conditional mode ξ̂ of ``tilted``, and of
    ``½|r(ξ) − r(ξ̂) − n₃|²`` where the prior has energies ½ Σ r².

    s is the rate in the coordinate in which counts have unit variance (randomise, then optimise: Bardsley et al., SIAM
    J. Sci. Comput. 36:A1895, 2014). The linear response is the first Newton step towards this minimum. Where the noise
    asks for fewer counts than none, x comes out too high; trajectories, which leave the posterior as it is, bring such
    pixels back afterwards.
    """
    # From rates far above the counts Newton's method only comes down by a factor e at a step: the prior mean may be the
    # better place to begin.
    prior = optax.tree.zeros_like(mean)
    begin = optax.tree.where(target.energy(prior) < linear.energy, prior, mean)
    mode = conditional_mode(tilted, begin, around.scale, max_steps=max_steps)
    white, shift, bent = jax.tree.map(lambda leaf: sign * leaf, linear.metric.white(noise_key))
    goal, centre = target.standardised(mode.position) + white, optax.tree.add(mode.position, shift)

    def distance(scene: Latents) -> Array:
        data = jnp.sum((target.standardised(scene) - goal) ** 2)
        if target.residuals is not None and bent is not None:
            data += jnp.sum((target.residuals(scene) - target.residuals(mode.position) - bent) ** 2)
        return 0.5 * (data + optax.tree.norm(optax.tree.sub(scene, centre), squared=True))

    end = conditional_mode(target._replace(energy=distance), mode.position, around.scale, max_steps=max_steps)
    return _PerturbedMode(end.position, jnp.maximum(mode.decrement, end.decrement))


def _size(latents: Latents) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(latents))
