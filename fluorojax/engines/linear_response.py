"""Linear response around a point: posterior samples and the image's sensitivity to the spec, by conjugate gradients.

With ξ standard normal and λ(ξ) the rate, the posterior is approximated by a Gaussian of precision ``M = Jᵀ F J + 1``,
J = ∂λ/∂ξ and F the Fisher information about the rate (Knollmüller & Enßlin, arXiv:1901.11033, eq. 28). Energies ½ Σ r²
of the prior add ``RᵀR``, R = ∂r/∂ξ, as further data of unit noise would. Only Jacobian
products are needed; M is never formed. One product costs one forward and one backward pass of the linearised model,
no more than a gradient of the energy.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, ArrayLike, Float, Int

from fluorojax.engines.conjugate_gradients import Solve, conjugate_gradients
from fluorojax.engines.energy import Latents, Posterior

# Relative residual and most iterations of a solve; looser changes a sample by less than its own scatter.
TOLERANCE = 1e-2
MAX_ITERATIONS = 100


class Metric(NamedTuple):
    """The metric ``M = Jᵀ F J + RᵀR + 1`` at one point, in the latents' own coordinates."""

    at: Latents
    scale: Latents
    """Approximate ``1/√diag(M)``: the preconditioner."""
    product: Callable[[Latents], Latents]
    """``v ↦ M v``."""
    push: Callable[[Latents], Float[Array, "*shape"]]
    """``v ↦ J v``."""
    pull: Callable[[Float[Array, "*shape"]], Latents]
    """``r ↦ Jᵀ r``."""
    information: Float[Array, "*shape"]
    """F, per pixel."""
    residuals: Float[Array, " residuals"] | None = None
    """r, where the prior has energies."""
    push_residuals: Callable[[Latents], Float[Array, " residuals"]] | None = None
    """``v ↦ R v``, likewise."""
    pull_residuals: Callable[[Float[Array, " residuals"]], Latents] | None = None
    """``v ↦ Rᵀ v``, likewise."""

    def solve(
        self,
        right: Latents,
        *,
        tolerance: Float[ArrayLike, ""] = TOLERANCE,
        max_iterations: Int[ArrayLike, ""] | int = MAX_ITERATIONS,
    ) -> Solve:
        """``M⁻¹ · right`` to a relative preconditioned residual of ``tolerance``, in at most ``max_iterations``."""
        found = conjugate_gradients(
            self.scaled_product, optax.tree.mul(self.scale, right), tolerance=tolerance, max_iterations=max_iterations
        )
        return eqx.tree_at(lambda s: s.solution, found, optax.tree.mul(self.scale, found.solution))

    def scaled_product(self, step: Latents) -> Latents:
        """``v ↦ D M D v`` with D the diagonal of the preconditioner: the metric in about white coordinates."""
        return optax.tree.mul(self.scale, self.product(optax.tree.mul(self.scale, step)))

    def white(self, key: Array) -> tuple[Float[Array, "*shape"], Latents, Float[Array, " residuals"] | None]:
        """Standard normal draws n₁ of the data, n₂ of the latents and n₃ of the energies; of the key alone, whatever
        the point."""
        data_key, prior_key = jax.random.split(key)
        white = jax.random.normal(data_key, self.information.shape, self.information.dtype)
        prior: Latents = optax.tree.random_like(prior_key, self.at, jax.random.normal)  # pyright: ignore[reportAssignmentType]
        if self.residuals is None:
            return white, prior, None
        return white, prior, jax.random.normal(jax.random.fold_in(key, 3), self.residuals.shape, self.residuals.dtype)

    def noise(self, key: Array) -> Latents:
        """A draw of N(0, M): ``Jᵀ√F·n₁ + n₂ + Rᵀn₃``, n₁, n₂, n₃ standard normal (arXiv:1901.11033, eqs 58–60)."""
        white, prior, energy = self.white(key)
        drawn: Latents = optax.tree.add(self.pull(jnp.sqrt(self.information) * white), prior)
        if self.pull_residuals is None or energy is None:
            return drawn
        return optax.tree.add(drawn, self.pull_residuals(energy))


def metric(target: Posterior, at: Latents, scale: Latents) -> Metric:
    """Linearise the rate of ``target`` at ``at``; ``scale`` is the preconditioner ``1/√diag(M)``, of any accuracy."""
    _, push = jax.linearize(target.rate, at)
    transpose = jax.linear_transpose(push, at)
    information = target.information(at)

    def pull(rate: Float[Array, "*shape"]) -> Latents:
        return transpose(rate)[0]

    def product(step: Latents) -> Latents:
        return optax.tree.add(step, pull(information * push(step)))

    if target.residuals is None:
        return Metric(at, scale, product, push, pull, information)
    residuals, push_residuals = jax.linearize(target.residuals, at)
    transpose_residuals = jax.linear_transpose(push_residuals, at)

    def pull_residuals(values: Float[Array, " residuals"]) -> Latents:
        return transpose_residuals(values)[0]

    def full_product(step: Latents) -> Latents:
        return optax.tree.add(product(step), pull_residuals(push_residuals(step)))

    return Metric(at, scale, full_product, push, pull, information, residuals, push_residuals, pull_residuals)


def sample_residuals(
    linear: Metric,
    key: Array,
    samples: int,
    *,
    tolerance: Float[ArrayLike, ""] = TOLERANCE,
    max_iterations: Int[ArrayLike, ""] | int = MAX_ITERATIONS,
    batch: int = 1,
) -> Solve:
    """``samples`` draws of N(0, M⁻¹), one solve each: ``M⁻¹(Jᵀ√F·n₁ + n₂)``; every field leads with the sample axis.

    A draw and its negative are a mirrored pair: both are posterior samples, and their mean is exact. ``batch`` draws
    are solved side by side; more takes more memory, and pays on accelerators only.
    """

    def draw(key: Array) -> Solve:
        return linear.solve(linear.noise(key), tolerance=tolerance, max_iterations=max_iterations)

    return jax.lax.map(draw, jax.random.split(key, samples), batch_size=batch)


def sample_variance(target: Posterior, at: Latents, scale: Latents, key: Array, samples: int) -> Float[Array, "*shape"]:
    """Variance of x at fixed spec from ``samples`` mirrored pairs of linear-response draws.

    The mirrored partner adds the same square, so the variance is the mean square over draws, with relative error
    √(2/samples) per pixel.
    """
    linear = metric(target, at, scale)
    _, push_x = jax.linearize(target.x, at)

    def square(key: Array) -> Float[Array, "*shape"]:
        return push_x(linear.solve(linear.noise(key)).solution) ** 2

    return jnp.mean(jax.lax.map(square, jax.random.split(key, samples)), axis=0)


class SpecResponse(NamedTuple):
    """Response of the mode to changes of the spec, and the information of the data about these changes."""

    x: Float[Array, "parameters *shape"]
    """Change of the mode of x."""
    information: Float[Array, "parameters parameters"]
    """Fisher information about the changes with the scene integrated out (the Schur complement of the metric)."""


def spec_response(
    target: Posterior, at: Latents, scale: Latents, rate_change: Float[Array, "parameters *shape"]
) -> SpecResponse:
    """Response of the scene when the spec changes the rate by ``rate_change`` at fixed latents.

    ``δξ = −M⁻¹ Jᵀ F δλ``: the latents change so as to compensate the change of the rate, as far as their prior allows.
    The remaining change of the rate, ``r = δλ + J δξ``, and the cost of the move under the prior carry the information
    about the spec: ``I = rᵀFr + δξᵀδξ``, with an error of second order in that of the solves.
    """
    linear = metric(target, at, scale)
    _, push_x = jax.linearize(target.x, at)

    def respond(change: Float[Array, "*shape"]) -> tuple[Latents, Array, Array]:
        move = linear.solve(linear.pull(-linear.information * change)).solution
        return move, push_x(move), change + linear.push(move)

    moves, x, remains = jax.lax.map(respond, rate_change)
    return SpecResponse(x, spec_information(linear, remains, moves))


def spec_information(
    linear: Metric, remains: Float[Array, "parameters *shape"], moves: Latents
) -> Float[Array, "parameters parameters"]:
    """``rᵀFr + δξᵀ(1 + RᵀR)δξ`` from what remains of the rate and the moves of the latents, leading axis first."""
    weighted = [jnp.sqrt(linear.information) * remains, *jax.tree.leaves(moves)]
    if linear.push_residuals is not None:
        weighted.append(jax.lax.map(linear.push_residuals, moves))
    rows = [leaf.reshape(leaf.shape[0], -1) for leaf in weighted]
    return sum((row @ row.T for row in rows), jnp.zeros((remains.shape[0],) * 2, remains.dtype))
