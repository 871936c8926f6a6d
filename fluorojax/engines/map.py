"""Maximum a posteriori reconstruction of one scene at a given spec, with its uncertainty map.

The spec parameters come from outside (:mod:`fluorojax.calibration`): a joint MAP of image and spec drives them to
the edges of their ranges. The latents that describe the prior stay at their median; the model's hooks adapt its local
scales between solves (empirical Bayes).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from fluorojax.data.spec import Spec
from fluorojax.engines.energy import Latents, Posterior, diagonal_scale, posterior
from fluorojax.engines.iteration import Minimum
from fluorojax.engines.linear_response import (
    SpecResponse,
    metric,
    sample_variance,
    spec_information,
    spec_response,
)
from fluorojax.engines.newton import conditional_mode
from fluorojax.engines.variance_factor import (
    ADAPTED_PRIOR,
    FIXED_PRIOR,
    VarianceFactor,
    factor_of,
    motion_shares,
    noise_probes,
)
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_to_base

# Rounds before the last only feed the local scales, which average over neighbourhoods: one unfinished Newton step each.
_EARLY_ITERATIONS = 12
_ITERATIONS = 60
# Relative residual of the solve of a Newton step: the next step, if one is needed, corrects what a looser solve leaves.
_TOLERANCE = 0.05


class Mode(eqx.Module):
    """The result of MAP, from which other engines start."""

    data: SceneData
    """The scene with the local scales of the last solve in ``aux``."""
    latents: Latents
    """The mode of the free latents."""
    fixed: Latents
    """The spec and the prior's hyperparameters, held during the solve."""
    scale: Latents
    """Approximate posterior standard deviation of each latent at fixed others: the preconditioner of the solve."""
    minimum: Minimum
    """How the last solve ended; its position is None (``latents`` has it in the latents' own coordinates)."""


class MapResult(eqx.Module):
    """Mode, uncertainty and convergence of one scene; every field gains a leading axis under ``vmap``."""

    x: Float[Array, "*shape"]
    """Normalised attenuation at the mode."""
    noise_variance: Float[Array, "*shape"]
    """Posterior variance of x at fixed spec, photon noise and prior, times ``factor.applied``."""
    factor: VarianceFactor
    """Ratio of the errors that the residuals show to the variance that the model states."""
    spec_response: Float[Array, "parameters *shape"]
    """Change of x per posterior standard deviation of each spec parameter, in the order of the scene's ranges."""
    spec_information: Float[Array, "parameters parameters"]
    """Fisher information about the spec parameters with the scene integrated out, per posterior standard deviation."""
    minimum: Minimum


class _Carry(NamedTuple):
    """State between the rounds of one scene."""

    latents: Latents
    scale: Latents
    """The preconditioner of the solve that gave ``latents``."""
    aux: PyTree
    """The local scales of that solve."""
    start: Latents
    """Where the next solve begins."""
    next_aux: PyTree


def solve_map(
    model: SceneModel,
    data: SceneData,
    spec: Spec,
    spec_std: Float[Array, "parameters"],
    key: Array,
    *,
    max_steps: int = 30,
    tolerance: float = 1e-3,
    samples: int = 16,
) -> MapResult:
    """Reconstruct one scene.

    The mode is found when the energy still to be gained is at most ``tolerance`` per latent, that is, ``x`` is within a
    few hundredths of a posterior standard deviation of it; ``max_steps`` Newton steps are taken at most.

    **Arguments:** ``spec`` to assume and ``spec_std``, its standard deviations; ``samples`` linear-response
    draws for models without a ``pixel_variance`` hook. Pure and traceable; batch with ``vmap``.
    """
    mode = find_mode(model, data, spec, key, max_steps=max_steps, tolerance=tolerance)
    data, latents, fixed = mode.data, mode.latents, mode.fixed
    target = posterior(model, data, fixed)
    if model.pixel_variance is not None:
        noise = model.pixel_variance(data, model.sites(data, {**fixed, **latents}))
    else:
        noise = sample_variance(target, latents, mode.scale, key, samples)
    response, factor = judge_mode(model, mode, spec, spec_std, noise, key)
    return MapResult(target.x(latents), factor.applied * noise, factor, response.x, response.information, mode.minimum)


def judge_mode(
    model: SceneModel,
    mode: Mode,
    spec: Spec,
    spec_std: Float[Array, "parameters"],
    variance: Float[Array, "*shape"],
    key: Array,
) -> tuple[SpecResponse, VarianceFactor]:
    """:func:`respond_to_spec` and :func:`~fluorojax.engines.variance_factor.variance_factor` of a mode, in one program.

    ``variance`` is the posterior variance of x that the factor is for; it tells which pixels move. Both solve with the
    same metric; one loop over all right-hand sides compiles it once. Pure and traceable.
    """
    target = posterior(model, mode.data, mode.fixed)
    linear = metric(target, mode.latents, mode.scale)
    _, push_x = jax.linearize(target.x, mode.latents)

    def solve(rate: Float[Array, "*shape"]) -> tuple[Latents, Array, Array]:
        move = linear.solve(linear.pull(rate)).solution
        return move, push_x(move), linear.push(move)

    probes, change = noise_probes(linear, key), _rate_change(model, mode, spec, spec_std)
    moves, x, pushed = jax.lax.map(solve, jnp.concatenate([-linear.information * change, probes]))
    count = len(change)
    moves = jax.tree.map(lambda leaf: leaf[:count], moves)
    response = SpecResponse(x[:count], spec_information(linear, change + pushed[:count], moves))
    excess, divergence = target.excess(mode.latents), probes * pushed[count:]
    if model.update_aux is None:
        return response, factor_of(excess, divergence)
    if excess.ndim != 3 or len(excess) == 1:  # a single frame has no motion
        return response, factor_of(excess, divergence, FIXED_PRIOR._replace(adaptation=ADAPTED_PRIOR.adaptation))
    return response, factor_of(excess, divergence, ADAPTED_PRIOR, motion_shares(target.x(mode.latents), variance))


def respond_to_spec(model: SceneModel, mode: Mode, spec: Spec, spec_std: Float[Array, "parameters"]) -> SpecResponse:
    """Response of the mode to one posterior standard deviation of each spec parameter. Pure and traceable."""
    target = posterior(model, mode.data, mode.fixed)
    return spec_response(target, mode.latents, mode.scale, _rate_change(model, mode, spec, spec_std))


def _rate_change(
    model: SceneModel, mode: Mode, spec: Spec, spec_std: Float[Array, "parameters"]
) -> Float[Array, "parameters *shape"]:
    """Change of the rate at fixed latents per posterior standard deviation of each spec parameter."""
    data, latents, fixed = mode.data, mode.latents, mode.fixed

    def rate_of_spec(values: Float[Array, "parameters"]) -> Float[Array, "*shape"]:
        base = spec_to_base(Spec.from_array(values, data.ranges.names), data.ranges)
        return model.sites(data, {**fixed, **latents, SPEC_SITE: base})["rate"]

    # Central differences over the posterior width itself: the response is that of the interval, not of a tangent.
    centre = spec.as_array()
    low, high = jnp.asarray(data.ranges.low), jnp.asarray(data.ranges.high)
    steps = jnp.diag(spec_std)
    sides = jnp.concatenate([jnp.clip(centre + steps, low, high), jnp.clip(centre - steps, low, high)])
    up, down = jnp.split(jax.lax.map(rate_of_spec, sides), 2)
    return 0.5 * (up - down)


def find_mode(
    model: SceneModel,
    data: SceneData,
    spec: Spec,
    key: Array,
    *,
    max_steps: int = 30,
    tolerance: float = 1e-3,
) -> Mode:
    """Mode of the scene latents at a given spec, after the rounds of the model's ``aux`` hooks.

    Pure and traceable; batch with ``vmap``.
    """
    fixed: Latents = {SPEC_SITE: spec_to_base(spec, data.ranges)}
    shapes = model.latent_shapes(data)
    fixed |= {name: jnp.zeros(shapes[name]) for name in model.hyperparameters}
    start = {name: jnp.zeros(shape) for name, shape in shapes.items() if name not in fixed}
    # Zeros are constants, and XLA would evaluate all of the model that depends on nothing else at compile time.
    fixed, start = jax.lax.optimization_barrier((fixed, start))

    def with_aux(aux: PyTree) -> SceneData:
        return eqx.tree_at(lambda d: d.aux, data, aux, is_leaf=lambda leaf: leaf is None)

    def preconditioner(now: SceneData, target: Posterior, latents: Latents) -> Latents:
        if model.latent_curvature is None:
            return diagonal_scale(target, latents, key)
        curvature = model.latent_curvature(now, model.sites(now, {**fixed, **latents}))
        return {name: 1.0 / jnp.sqrt(curvature[name]) for name in latents}

    def solve(carry: _Carry, limits: tuple[Int[Array, ""], Int[Array, ""]]) -> tuple[_Carry, Minimum]:
        """Newton steps, and the hook's local scales for the next round; one compilation serves all rounds."""
        now = with_aux(carry.next_aux)
        target = posterior(model, now, fixed)
        scale = preconditioner(now, target, carry.start)
        minimum = conditional_mode(
            target,
            carry.start,
            scale,
            limits[0],
            decrement=tolerance,
            tolerance=_TOLERANCE,
            cg_iterations=limits[1],
        )
        latents = minimum.position
        begin, next_aux = latents, carry.next_aux
        if model.update_aux is not None:
            sites = model.sites(now, {**fixed, **latents})
            next_aux = model.update_aux(now, sites)
            if model.carry_latents is not None:
                begin = {**latents, **model.carry_latents(now, next_aux, sites)}
        return _Carry(latents, scale, carry.next_aux, begin, next_aux), minimum._replace(position=None)

    aux = None if model.initial_aux is None else model.initial_aux(data, spec)
    early = 0 if model.update_aux is None else model.aux_rounds - 1
    limits = (
        jnp.array([1] * early + [max_steps]),
        jnp.array([_EARLY_ITERATIONS] * early + [_ITERATIONS]),
    )
    final, minima = jax.lax.scan(solve, _Carry(start, start, aux, start, aux), limits)
    last = jax.tree.map(lambda leaf: leaf[-1], minima)
    return Mode(with_aux(final.aux), final.latents, fixed, final.scale, last)
