"""Maximum a posteriori reconstruction of one scene at a given chain, with its uncertainty map.

The spec parameters come from outside (:mod:`fluorojax.calibration`): a joint MAP of image and chain drives them to
the edges of their ranges. The latents that describe the prior stay at their median; the model's hooks adapt its local
scales between solves (empirical Bayes).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from fluorojax.data.spec import Spec
from fluorojax.engines.energy import Latents, diagonal_scale, posterior
from fluorojax.engines.lbfgs import Minimum, minimise
from fluorojax.engines.linear_response import SpecResponse, sample_variance, spec_response
from fluorojax.engines.variance_factor import VarianceFactor, variance_factor
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_to_base

# Solves before the last only feed the local scales, which average over neighbourhoods: a looser end serves them.
_EARLY_ITERATIONS = 150
_EARLY_TOLERANCE = 3e-4


class Mode(eqx.Module):
    """Where MAP ended, for engines that go on from there."""

    data: SceneData
    """The scene with the local scales of the last solve in ``aux``."""
    latents: Latents
    """The mode of the free latents."""
    fixed: Latents
    """The chain and the prior's hyperparameters, held during the solve."""
    scale: Latents
    """Approximate posterior standard deviation of each latent at fixed others: the preconditioner of the solve."""
    minimum: Minimum
    """How the last solve ended; its position is None (``latents`` has it in the latents' own coordinates)."""


class MapResult(eqx.Module):
    """Mode, uncertainty and convergence of one scene; every field gains a leading axis under ``vmap``."""

    x: Float[Array, "*shape"]
    """Normalised attenuation at the mode."""
    noise_variance: Float[Array, "*shape"]
    """Posterior variance of x at fixed chain, photon noise and prior, times ``factor.applied``."""
    factor: VarianceFactor
    """How the residuals judge the variance that the model states."""
    spec_response: Float[Array, "3 *shape"]
    """Change of x per posterior standard deviation of each spec parameter, in the order of ``SPEC_NAMES``."""
    spec_information: Float[Array, "3 3"]
    """Fisher information about the spec parameters with the scene integrated out, per posterior standard deviation."""
    minimum: Minimum


class _Carry(NamedTuple):
    """State between the rounds of one scene."""

    latents: Latents
    scale: Latents
    """The preconditioner of the solve that gave ``latents``."""
    aux: PyTree
    """The local scales of that solve."""
    next_aux: PyTree


def solve_map(
    model: SceneModel,
    data: SceneData,
    spec: Spec,
    spec_std: Float[Array, "3"],
    key: Array,
    *,
    max_iterations: int = 300,
    tolerance: float = 3e-5,
    samples: int = 16,
) -> MapResult:
    """Reconstruct one scene.

    **Arguments:** ``spec`` the chain to assume and ``spec_std`` its standard deviation; ``samples`` linear-response
    draws for models without a ``pixel_variance`` hook. Pure and traceable; batch with ``vmap``.
    """
    mode = find_mode(model, data, spec, key, max_iterations=max_iterations, tolerance=tolerance)
    data, latents, fixed = mode.data, mode.latents, mode.fixed
    target = posterior(model, data, fixed)
    response = respond_to_spec(model, mode, spec, spec_std)
    if model.pixel_variance is not None:
        noise = model.pixel_variance(data, model.sites(data, {**fixed, **latents}))
    else:
        noise = sample_variance(target, latents, mode.scale, key, samples)
    factor = variance_factor(target, latents, mode.scale, key)
    return MapResult(target.x(latents), factor.applied * noise, factor, response.x, response.information, mode.minimum)


def respond_to_spec(model: SceneModel, mode: Mode, spec: Spec, spec_std: Float[Array, "3"]) -> SpecResponse:
    """Response of the mode to one posterior standard deviation of each spec parameter. Pure and traceable."""
    data, latents, fixed = mode.data, mode.latents, mode.fixed

    def rate_of_spec(values: Float[Array, "3"]) -> Float[Array, "*shape"]:
        base = spec_to_base(Spec.from_array(values), data.ranges)
        return model.sites(data, {**fixed, **latents, SPEC_SITE: base})["rate"]

    # Central differences over the posterior width itself: the response is that of the interval, not of a tangent.
    centre = spec.as_array()
    low, high = jnp.asarray(data.ranges.low), jnp.asarray(data.ranges.high)
    steps = jnp.diag(spec_std)
    up = jnp.clip(centre + steps, low, high)
    down = jnp.clip(centre - steps, low, high)
    change = 0.5 * (jax.lax.map(rate_of_spec, up) - jax.lax.map(rate_of_spec, down))
    return spec_response(posterior(model, data, fixed), latents, mode.scale, change)


def find_mode(
    model: SceneModel,
    data: SceneData,
    spec: Spec,
    key: Array,
    *,
    max_iterations: int = 300,
    tolerance: float = 3e-5,
) -> Mode:
    """Mode of the scene latents at a given chain, after the rounds of the model's ``aux`` hooks.

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

    def solve(carry: _Carry, limits: tuple[Int[Array, ""], Float[Array, ""]]) -> tuple[_Carry, Minimum]:
        """One MAP solve, and the hook's local scales for the next; one compilation serves all rounds."""
        now = with_aux(carry.next_aux)
        target = posterior(model, now, fixed)
        # Every round starts from the prior mean: under new local scales the last latents are another, wilder image.
        scale = diagonal_scale(target, start, key)
        minimum = minimise(
            lambda scaled: target.energy(jax.tree.map(jnp.multiply, scale, scaled)),
            start,
            max_iterations=limits[0],
            tolerance=limits[1],
        )
        latents = jax.tree.map(jnp.multiply, scale, minimum.position)
        next_aux = carry.next_aux
        if model.update_aux is not None:
            next_aux = model.update_aux(now, model.sites(now, {**fixed, **latents}))
        return _Carry(latents, scale, carry.next_aux, next_aux), minimum._replace(position=None)

    aux = None if model.initial_aux is None else model.initial_aux(data, spec)
    early = 0 if model.update_aux is None else model.aux_rounds - 1
    limits = (
        jnp.array([_EARLY_ITERATIONS] * early + [max_iterations]),
        jnp.array([_EARLY_TOLERANCE] * early + [tolerance]),
    )
    final, minima = jax.lax.scan(solve, _Carry(start, start, aux, aux), limits)
    last = jax.tree.map(lambda leaf: leaf[-1], minima)
    return Mode(with_aux(final.aux), final.latents, fixed, final.scale, last)
