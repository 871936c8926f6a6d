"""Metric Gaussian variational inference of a scene, with the uncertainty of the chain carried through.

MGVI (Knollmüller & Enßlin, arXiv:1901.11033): around a mean, linear response gives mirrored residuals; the mean is
moved to where the energy averaged over them is least; repeat. Over scene and chain together it creeps along the valley
between gain drift and slow change and ends confidently wrong. Here the chain, and the hyperparameters if wanted, are
*outer* latents whose posterior comes from elsewhere: the calibration's marginals (:func:`chain_draws`) or the model's
own Laplace marginal (:func:`marginal_draws`). Each residual belongs to one outer draw, and holds the response of the
scene to it besides the noise. All other latents are inferred here.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jax.flatten_util import ravel_pytree
from jax.scipy.stats import norm
from jaxtyping import Array, ArrayLike, Bool, Float, Int
from numpyro.infer.hmc import HMCState, hmc

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.spec import SPEC_NAMES, Spec, SpecRanges
from fluorojax.engines.energy import Latents, Posterior, diagonal_scale, posterior
from fluorojax.engines.linear_response import (
    MAX_ITERATIONS,
    NEWTON_STEPS,
    TOLERANCE,
    conditional_mode,
    metric,
)
from fluorojax.engines.marginal import LaplaceMarginal
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_to_base

# Newton steps per round: the metric changes with the mean, so a round need not be solved to the end.
_STEPS = 4
# A solve at its iteration limit within this factor of the tolerance still serves.
_CG_SLACK = 3.0
# Error of the quadratic expansion of the energy per latent, whose thermal energy is one half, above which a draw is no
# longer the linear response.
_TRUST = 0.1
# Energy per latent that Newton's method may leave in such a draw: where it asks for fewer counts than none, the last
# steps creep.
_LEFT_OVER = 1e-3
# Hamiltonian trajectories of such a draw: of a quarter to half a period, which forgets most of where it began, in small
# scenes; shorter in larger ones, where they have to cost no more than two or three solves.
_TRAJECTORIES = 16
_LENGTH = np.pi
_MOST_STEPS = 12


class OuterDraws(eqx.Module):
    """Posterior of the outer latents of one scene as mirrored pairs of draws; a pytree, batched by ``vmap``."""

    centre: Latents
    draws: Latents
    """Leading axes (2, samples): the two members of each pair."""
    scores: Float[Array, "2 samples 3"]
    """The draws' independent, standardised coordinates of the three spec parameters."""
    up: Latents
    """Outer latents with one coordinate raised, the others at the centre; leading axis 3."""
    down: Latents
    reach: Float[Array, "3"]
    """Difference of the scores of ``up`` and ``down``."""
    loading: Float[Array, "3 3"]
    """Correlation of each spec parameter (row) with each coordinate (column)."""


def outer_draws(posterior: SpecPosterior, ranges: SpecRanges, samples: int, seed: int) -> OuterDraws:
    """Draws of the spec parameters from independent marginals; other latents stay with MGVI.

    Stratified in each parameter; the mirror image of a quantile u is 1 − u. On the host, for one scene.
    """
    rng = np.random.default_rng(seed)
    strata = np.stack([rng.permutation(samples) for _ in SPEC_NAMES], axis=-1)
    # Strata of [0, 1/2]; the mirror fills the other half, and a coin says which half belongs to which member.
    lower = (strata + rng.random(strata.shape)) / (2 * samples)
    first = np.where(rng.random(strata.shape) < 0.5, lower, 1 - lower)
    marginals = [posterior.marginals[name] for name in SPEC_NAMES]
    values = np.array(
        [[[m.quantile(u[i]) for i, m in enumerate(marginals)] for u in side] for side in (first, 1 - first)]
    )
    mean, std = (np.array([getattr(m, what) for m in marginals]) for what in ("mean", "std"))
    safe = np.where(std > 0, std, 1.0)
    up, down = (np.clip(mean + side * std, ranges.low, ranges.high) for side in (1.0, -1.0))

    def to_base(values: np.ndarray) -> Latents:
        return {SPEC_SITE: spec_to_base(Spec.from_array(jnp.asarray(values, jnp.result_type(float))), ranges)}

    return OuterDraws(
        centre=to_base(mean),
        draws=to_base(values),
        scores=jnp.asarray((values - mean) / safe, jnp.result_type(float)),
        up=to_base(np.where(np.eye(3, dtype=bool), up, mean)),
        down=to_base(np.where(np.eye(3, dtype=bool), down, mean)),
        reach=jnp.asarray(np.where(std > 0, (up - down) / safe, 2.0), jnp.result_type(float)),
        loading=jnp.eye(3),
    )


def marginal_draws(marginal: LaplaceMarginal, key: Array, samples: int) -> OuterDraws:
    """Draws of chain and hyperparameters from the model's own Laplace marginal. Pure and traceable.

    The coordinates are those of the symmetric root of the spec's covariance: of all uncorrelated ones the closest to
    the parameters. The hyperparameters follow a raised coordinate by their regression on it.
    """
    flat, unravel = ravel_pytree(marginal.mean)
    where = unravel(jnp.arange(flat.size, dtype=flat.dtype))[SPEC_SITE].astype(int)
    covariance = marginal.covariance
    spec = covariance[where][:, where]
    values, vectors = jnp.linalg.eigh(spec)
    half, inverse = ((vectors * jnp.sqrt(values) ** power) @ vectors.T for power in (1, -1))
    offsets = jax.random.normal(key, (samples, flat.size), flat.dtype) @ marginal.root.T
    offsets = jnp.stack([offsets, -offsets])
    # The base is Gaussian but the parameter is a squashed base: its scores are those of the parameter.
    centre, spread = flat[where], jnp.diag(half)
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    squashed = norm.cdf(centre[:, None] + spread[:, None] * jnp.asarray(nodes, flat.dtype))
    weights = jnp.asarray(weights / weights.sum(), flat.dtype)
    mean = squashed @ weights
    std = jnp.sqrt((squashed - mean[:, None]) ** 2 @ weights)

    def score(coordinates: Array) -> Array:
        return (norm.cdf(centre + spread * coordinates) - mean) / std

    steps = (covariance[:, where] @ inverse).T
    return OuterDraws(
        centre=marginal.mean,
        draws=jax.vmap(jax.vmap(unravel))(flat + offsets),
        scores=score(offsets[..., where] @ inverse),
        up=jax.vmap(unravel)(flat + steps),
        down=jax.vmap(unravel)(flat - steps),
        reach=score(jnp.ones(3)) - score(-jnp.ones(3)),
        loading=half / jnp.sqrt(jnp.diag(spec))[:, None],
    )


class MgviResult(eqx.Module):
    """Posterior of one scene; every field gains a leading axis under ``vmap``."""

    x: Float[Array, "*shape"]
    """Posterior mean of the normalised attenuation."""
    noise_variance: Float[Array, "*shape"]
    """Variance of x at fixed chain: photon noise, prior, hyperparameters."""
    spec_variance: Float[Array, "3 *shape"]
    """Variance of x from each spec parameter; correlated ones share by the symmetric root of their covariance."""
    correlation: Float[Array, "3 *shape"]
    """Correlation of each spec parameter with x."""
    mean: Latents
    """Mean of the latents inferred here."""
    residuals: Latents
    """Draws minus ``mean``, leading axes (2, samples): mirrored pairs, but for draws that were followed."""
    outer: OuterDraws
    x_residuals: Float[Array, "2 samples *shape"]
    """Draws of x minus ``x``."""
    cg_iterations: Int[Array, "2 samples"]
    cg_residual: Float[Array, "2 samples"]
    """Relative preconditioned residual that each solve of the last round reached. Of draws that were followed the
    tolerance, or infinite where Newton's method did not reach its end."""
    followed: Int[Array, ""]
    """Draws of the last round at which the linear response did not hold and Newton's method went on."""
    energy: Float[Array, ""]
    """Energy averaged over the draws."""
    rounds: Int[Array, ""]
    change: Float[Array, ""]
    """Change of x in the last round, root mean square, relative to its posterior standard deviation."""
    converged: Bool[Array, ""]
    diverged: Bool[Array, ""]

    def sentence(self) -> str:
        """How the run ended, in words (unbatched results only)."""
        if self.diverged:
            return "diverged: the energy became non-finite; the result must not be used"
        state = "converged" if self.converged else "stopped before converging"
        followed = f"; {int(self.followed)} draws were not linear" if int(self.followed) else ""
        return (
            f"{state} after {int(self.rounds)} rounds: the last moved the mean by {float(self.change):.2g} posterior "
            f"standard deviations; conjugate gradients reached {float(self.cg_residual.max()):.1g} in at most "
            f"{int(self.cg_iterations.max())} iterations{followed}"
        )


class _Draw(NamedTuple):
    residual: Latents
    iterations: Array
    reached: Array
    """Relative residual of the solve."""
    followed: Array
    """Whether the linear response did not hold."""


class _Round(NamedTuple):
    mean: Latents
    draws: _Draw
    """Leading axis 2 · samples, as ``x``."""
    x: Array
    energy: Array
    change: Array
    rounds: Array


def solve_mgvi(
    model: SceneModel,
    data: SceneData,
    outer: OuterDraws,
    key: Array,
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
    scale = diagonal_scale(central, begin, scale_key)
    samples = outer.scores.shape[1]
    pairs = jax.tree.map(lambda leaf: leaf.reshape(2 * samples, *leaf.shape[2:]), outer.draws)
    keys = jnp.tile(jax.random.split(noise_key, samples), 2)
    signs = jnp.repeat(jnp.array([1.0, -1.0], dtype), samples)

    latents = sum(leaf.size for leaf in jax.tree.leaves(begin))

    def respond(mean: Latents, values: Latents, noise_key: Array, sign: Array) -> _Draw:
        """Residual of the scene at other outer latents: what the energy's gradient there asks for, plus noise.

        One linear solve where the energy at its end is what the quadratic expansion says. Rates are exponential in x,
        so that a far draw at few counts may overshoot to any rate. There Newton's method goes on to the conditional
        mode ξ̂, and from it to the minimum of ``½|s(ξ) − s(ξ̂) − n₁|² + ½|ξ − ξ̂ − n₂|²``, s the rate in the coordinate in
        which counts have unit variance (randomise, then optimise: Bardsley et al., SIAM J. Sci. Comput. 36:A1895,
        2014). The linear response is its first step. Where it asks for fewer counts than none, x comes out too high;
        a few Hamiltonian trajectories, which leave the posterior as it is, bring such pixels back.
        """
        target = target_at(values)
        linear = metric(target, mean, scale)
        before, gradient = jax.value_and_grad(target.energy)(mean)
        # The mean is not the mode: what it leaves of the gradient at the centre belongs to no draw.
        left = jax.grad(central.energy)(mean)
        moved = optax.tree.sub(gradient, left)
        right = optax.tree.add_scale(optax.tree.scale(-1.0, moved), sign, linear.noise(noise_key))
        solve = linear.solve(right, tolerance=cg_tolerance, max_iterations=cg_iterations)
        step = solve.solution
        expected = optax.tree.vdot(gradient, step) + 0.5 * optax.tree.vdot(step, linear.product(step))
        error = target.energy(optax.tree.add(mean, step)) - before - expected
        # Also false where the energy is not finite.
        trusted = jnp.abs(error) <= _TRUST * latents

        most = jnp.where(trusted, 0, NEWTON_STEPS)
        # From rates far above the counts Newton's method only comes down by a factor e at a step: the prior mean may be
        # the better place to begin.
        prior = optax.tree.zeros_like(mean)
        begin = optax.tree.where(target.energy(prior) < before, prior, mean)
        tilted = target._replace(energy=lambda scene: target.energy(scene) - optax.tree.vdot(left, scene))
        found = conditional_mode(tilted, begin, scale, max_steps=most)
        mode = found.scene
        white, shift = jax.tree.map(lambda leaf: sign * leaf, linear.white(noise_key))
        goal, centre = target.standardised(mode) + white, optax.tree.add(mode, shift)

        def distance(scene: Latents) -> Array:
            data = jnp.sum((target.standardised(scene) - goal) ** 2)
            return 0.5 * (data + optax.tree.norm(optax.tree.sub(scene, centre), squared=True))

        end = conditional_mode(target._replace(energy=distance), mode, scale, max_steps=most)
        # Without noise the response of the mode is wanted, no draw.
        moves = jnp.where(trusted | (sign == 0), 0, _TRAJECTORIES)
        moved_key = jax.random.fold_in(noise_key, sign > 0)
        drawn = _hamiltonian_moves(tilted.energy, end.scene, scale, moved_key, moves)
        left_over = jnp.maximum(found.decrement, end.decrement)
        reached = jnp.where(left_over <= _LEFT_OVER * latents, cg_tolerance, jnp.inf)
        return _Draw(
            optax.tree.where(trusted, step, optax.tree.sub(drawn, mean)),
            solve.iterations,
            jnp.where(trusted, solve.residual, reached),
            ~trusted,
        )

    def round_(carry: _Round) -> _Round:
        draws = jax.lax.map(lambda args: respond(carry.mean, *args), (pairs, keys, signs))
        residuals = draws.residual

        def average(mean: Latents) -> Array:
            def one(args: tuple[Latents, Latents]) -> Array:
                return target_at(args[1]).energy(optax.tree.add(mean, args[0]))

            return jnp.mean(jax.lax.map(jax.checkpoint(one), (residuals, pairs)))

        moved = conditional_mode(central._replace(energy=average), carry.mean, scale, max_steps=_STEPS)
        x = jax.lax.map(lambda a: target_at(a[1]).x(optax.tree.add(moved.scene, a[0])), (residuals, pairs))
        change = jnp.mean(x, axis=0) - jnp.mean(carry.x, axis=0)
        # The first round has no draws to compare with.
        relative = jnp.where(carry.rounds > 0, jnp.sqrt(jnp.mean(change**2) / jnp.mean(jnp.var(x, axis=0))), jnp.inf)
        return _Round(moved.scene, draws, x, moved.energy, relative, carry.rounds + 1)

    def unfinished(carry: _Round) -> Array:
        return (carry.rounds < max_rounds) & (carry.change > tolerance)

    mode = conditional_mode(central, begin, scale).scene
    # Where the start was far from the mode, its preconditioner is none.
    scale = diagonal_scale(central, mode, scale_key)
    zeros = jax.tree.map(lambda leaf: jnp.zeros((2 * samples, *leaf.shape), leaf.dtype), mode)
    none = jnp.zeros((2 * samples,), dtype)
    first = _Round(
        mode,
        _Draw(zeros, jnp.zeros((2 * samples,), int), none, jnp.zeros((2 * samples,), bool)),
        jnp.zeros((2 * samples, *data.counts.shape), dtype),
        jnp.zeros((), dtype),
        jnp.full((), jnp.inf, dtype),
        jnp.zeros((), int),
    )
    end = jax.lax.while_loop(unfinished, round_, first)

    def x_at(values: Latents) -> tuple[Array, Array]:
        side = respond(end.mean, values, noise_key, jnp.zeros((), dtype))
        return target_at(values).x(optax.tree.add(end.mean, side.residual)), side.reached

    sides = jax.tree.map(lambda up, down: jnp.concatenate([up, down]), outer.up, outer.down)
    x_sides, reached = jax.lax.map(x_at, sides)
    response = (x_sides[:3] - x_sides[3:]) / outer.reach.reshape(3, *[1] * data.counts.ndim)
    worst = jnp.maximum(jnp.max(end.draws.reached), jnp.max(reached))
    solved = (worst <= _CG_SLACK * cg_tolerance) & jnp.all(jnp.isfinite(response))
    return _summary(end, outer, response, solved & (end.change <= tolerance))


def _hamiltonian_moves(
    energy: Callable[[Latents], Array], start: Latents, scale: Latents, key: Array, moves: Int[ArrayLike, ""] | int
) -> Latents:
    """``start`` after ``moves`` steps of Hamiltonian Monte Carlo on ``energy``, in coordinates of unit ``scale``."""
    # The step of constant acceptance on a standard normal scales like this (Beskos et al., Bernoulli 19:1501).
    longest = sum(leaf.size for leaf in jax.tree.leaves(start)) ** -0.25
    begin, step = hmc(lambda scaled: energy(optax.tree.mul(scale, scaled)), algo="HMC")
    state = begin(
        jax.tree.map(jnp.divide, start, scale),
        0,
        step_size=longest,
        adapt_step_size=False,
        adapt_mass_matrix=False,
        # Given a length, NumPyro overrides the step.
        trajectory_length=None,  # pyright: ignore[reportArgumentType]
        num_steps=min(int(np.ceil(_LENGTH / longest)), _MOST_STEPS),
        rng_key=key,
    )

    def move(i: Array, state: HMCState) -> HMCState:
        # One length for all would bring a coordinate whose period it is back to where it was, every time.
        share = jax.random.uniform(jax.random.fold_in(key, i), minval=0.5)
        return step(state._replace(adapt_state=state.adapt_state._replace(step_size=share * longest)))

    return optax.tree.mul(scale, jax.lax.fori_loop(0, moves, move, state).z)


def _summary(
    end: _Round, outer: OuterDraws, response: Float[Array, "3 *shape"], settled: Bool[Array, ""]
) -> MgviResult:
    """Moments of the draws, split into what the spec parameters explain and the rest."""
    samples = outer.scores.shape[1]

    def paired(leaf: Array) -> Array:
        return leaf.reshape(2, samples, *leaf.shape[1:])

    x = jnp.mean(end.x, axis=0)
    x_residuals = paired(end.x - x)
    noise = x_residuals - jnp.tensordot(outer.scores, response, axes=1)
    noise_variance = jnp.mean(noise**2, axis=(0, 1))
    spec_variance = response**2
    total = noise_variance + jnp.sum(spec_variance, axis=0)
    return MgviResult(
        x=x,
        noise_variance=noise_variance,
        spec_variance=spec_variance,
        correlation=jnp.tensordot(outer.loading, response, axes=1) / jnp.sqrt(total),
        mean=end.mean,
        residuals=jax.tree.map(paired, end.draws.residual),
        outer=outer,
        x_residuals=x_residuals,
        cg_iterations=paired(end.draws.iterations),
        cg_residual=paired(end.draws.reached),
        followed=jnp.sum(end.draws.followed),
        energy=end.energy,
        rounds=end.rounds,
        change=end.change,
        converged=settled & jnp.isfinite(end.energy),
        diverged=~jnp.isfinite(end.energy),
    )
