"""The rounds of MGVI: draws around the mean, and a mean at which the energy averaged over the draws is least."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, ArrayLike, Float, Int, Key

from fluorojax.engines.energy import Latents, Posterior, diagonal_scale, posterior
from fluorojax.engines.iteration import Outcome, Step, iterate
from fluorojax.engines.linear_response import MAX_ITERATIONS, TOLERANCE
from fluorojax.engines.mgvi.draw import Draw, Surroundings, draw_residual
from fluorojax.engines.mgvi.outer import OuterDraws
from fluorojax.engines.mgvi.result import MgviResult, paired, split_variance
from fluorojax.engines.newton import conditional_mode
from fluorojax.models.protocol import SceneData, SceneModel

# Newton steps per round: the metric changes with the mean, so a round need not be solved to the end.
_STEPS = 4
# A solve at its iteration limit within this factor of the tolerance still serves.
_CG_SLACK = 3.0


class _Pairs(NamedTuple):
    """What distinguishes the draws; leading axis 2 · samples, first members before second ones."""

    outer: Latents
    noise_keys: Array
    signs: Array


class _Round(NamedTuple):
    """State after a round."""

    mean: Latents
    draws: Draw
    """Leading axis 2 · samples, as ``x``."""
    x: Array
    energy: Array


def solve_mgvi(
    model: SceneModel,
    data: SceneData,
    outer: OuterDraws,
    key: Key[Array, ""],
    *,
    start: Latents | None = None,
    fixed: Mapping[str, Array] | None = None,
    max_rounds: Int[ArrayLike, ""] | int = 6,
    tolerance: float = 0.05,
    cg_tolerance: float = TOLERANCE,
    cg_iterations: int = MAX_ITERATIONS,
) -> MgviResult:
    """Posterior of one scene given the posterior of its outer latents.

    **Arguments:** ``data`` with the model's ``aux`` in place; ``start`` latents to begin from, e.g. the mode (missing
    ones begin at zero); ``fixed`` latents held at given values. The noise of the draws is the same in every round, so
    the rounds converge: when the mean of x moves by less than ``tolerance`` posterior standard deviations (rms over
    pixels). Pure and traceable; batch with ``vmap``.
    """
    held = dict(fixed or {})
    dtype = jnp.result_type(data.counts)
    shapes = model.latent_shapes(data)
    free = {n: jnp.zeros(s, dtype) for n, s in shapes.items() if n not in outer.centre and n not in held}
    begin = {name: (start or {}).get(name, zero) for name, zero in free.items()}
    scale_key, noise_key = jax.random.split(key)

    def target_at(values: Latents) -> Posterior:
        return posterior(model, data, {**held, **values})

    central = target_at(outer.centre)
    mode = conditional_mode(central, begin, diagonal_scale(central, begin, scale_key)).position
    # Where the start was far from the mode, its preconditioner is none.
    scale = diagonal_scale(central, mode, scale_key)
    around = Surroundings(target_at, central, scale, cg_tolerance, cg_iterations)
    pairs = _pairs(outer, noise_key, dtype)

    def round_(state: _Round, rounds: Array) -> Step[_Round]:
        return _next_round(around, pairs, state, rounds)

    draws = pairs.signs.size
    x = jnp.zeros((draws, *data.counts.shape), dtype)
    first = _Round(mode, Draw.none(mode, draws, dtype), x, jnp.zeros((), dtype))
    unknown = jnp.full((), jnp.inf, dtype)
    end = iterate(round_, first, goal=tolerance, max_steps=max_rounds, left=unknown)
    response, reached = _response_of_spec(around, outer, end.state.mean, noise_key)
    return _result(end, outer, response, reached, _CG_SLACK * cg_tolerance)


def _pairs(outer: OuterDraws, noise_key: Array, dtype: jnp.dtype) -> _Pairs:
    """Both members of a pair have the same noise with opposite signs."""
    samples = outer.scores.shape[1]
    draws = jax.tree.map(lambda leaf: leaf.reshape(2 * samples, *leaf.shape[2:]), outer.draws)
    keys = jnp.tile(jax.random.split(noise_key, samples), 2)
    return _Pairs(draws, keys, jnp.repeat(jnp.array([1.0, -1.0], dtype), samples))


def _next_round(around: Surroundings, pairs: _Pairs, state: _Round, rounds: Array) -> Step[_Round]:
    """New draws around the mean, a new mean under them, and by how many posterior sd the mean of x moved."""
    draws = jax.lax.map(lambda pair: draw_residual(around, state.mean, *pair), pairs)
    residuals = draws.residual

    def average(mean: Latents) -> Array:
        def one(args: tuple[Latents, Latents]) -> Array:
            return around.target_at(args[1]).energy(optax.tree.add(mean, args[0]))

        return jnp.mean(jax.lax.map(jax.checkpoint(one), (residuals, pairs.outer)))

    moved = conditional_mode(around.central._replace(energy=average), state.mean, around.scale, max_steps=_STEPS)
    x = jax.lax.map(
        lambda args: around.target_at(args[1]).x(optax.tree.add(moved.position, args[0])), (residuals, pairs.outer)
    )
    change = jnp.mean(x, axis=0) - jnp.mean(state.x, axis=0)
    # The first round has no draws to compare with.
    relative = jnp.where(rounds > 0, jnp.sqrt(jnp.mean(change**2) / jnp.mean(jnp.var(x, axis=0))), jnp.inf)
    return Step(_Round(moved.position, draws, x, moved.energy), relative)


def _response_of_spec(
    around: Surroundings, outer: OuterDraws, mean: Latents, noise_key: Array
) -> tuple[Float[Array, "coordinates *shape"], Float[Array, "sides"]]:
    """Change of x per score of each coordinate of the spec, and the residuals that the solves for it reached."""
    coordinates = outer.reach.size
    without_noise = jnp.zeros((), jnp.result_type(*jax.tree.leaves(mean)))

    def x_at(values: Latents) -> tuple[Array, Array]:
        side = draw_residual(around, mean, values, noise_key, without_noise)
        return around.target_at(values).x(optax.tree.add(mean, side.residual)), side.reached

    sides = jax.tree.map(lambda up, down: jnp.concatenate([up, down]), outer.up, outer.down)
    x, reached = jax.lax.map(x_at, sides)
    difference = x[:coordinates] - x[coordinates:]
    return difference / outer.reach.reshape(coordinates, *[1] * (x.ndim - 1)), reached


def _result(
    end: Outcome[_Round], outer: OuterDraws, response: Array, reached: Array, worst_residual: float
) -> MgviResult:
    last = end.state
    moments = split_variance(last.x, response, outer)
    worst = jnp.maximum(jnp.max(last.draws.reached), jnp.max(reached))
    solved = (worst <= worst_residual) & jnp.all(jnp.isfinite(response))
    diverged = ~jnp.isfinite(last.energy)
    return MgviResult(
        x=moments.x,
        noise_variance=moments.noise_variance,
        spec_variance=moments.spec_variance,
        correlation=moments.correlation,
        mean=last.mean,
        residuals=jax.tree.map(paired, last.draws.residual),
        outer=outer,
        x_residuals=moments.x_residuals,
        cg_iterations=paired(last.draws.iterations),
        cg_residual=paired(last.draws.reached),
        followed=jnp.sum(last.draws.followed),
        energy=last.energy,
        rounds=end.steps,
        change=end.left,
        converged=solved & end.converged & ~diverged,
        diverged=diverged,
    )
