"""The inference methods that run on batches of scenes, behind one interface.

A method turns a scene's calibrated chain into arrays on the host (:attr:`BatchMethod.inputs`), and a scene with those
into a :class:`Summary` on the device (:attr:`BatchMethod.solve`), which is pure and traceable and batched elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.energy import Latents, posterior
from fluorojax.engines.map import Mode, find_mode, respond_to_spec, solve_map
from fluorojax.engines.marginal import LaplaceMarginal, laplace_marginal
from fluorojax.engines.mgvi import OuterDraws, marginal_draws, outer_draws, solve_mgvi
from fluorojax.engines.variance_factor import variance_factor
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel


class Summary(eqx.Module):
    """Posterior of one scene as every method reports it; every field gains a leading axis under ``vmap``."""

    x: Float[Array, "*shape"]
    """Point estimate of the normalised attenuation: the mode (map) or the posterior mean."""
    noise_variance: Float[Array, "*shape"]
    """Posterior variance of x at fixed chain, photon noise and prior, as the residuals correct it."""
    spec_variance: Float[Array, "3 *shape"]
    """Variance of x from the uncertainty of each spec parameter, in the order of ``SPEC_NAMES``."""
    correlation: Float[Array, "3 *shape"]
    """Posterior correlation of each spec parameter with x."""
    spec_information: Float[Array, "3 3"]
    """Fisher information about the spec parameters at the mode, per posterior standard deviation."""
    converged: Bool[Array, ""]
    stalled: Bool[Array, ""]
    diverged: Bool[Array, ""]
    facts: dict[str, Array]
    """Scalars for the diagnostics of the result."""
    spec_posterior: LaplaceMarginal | None = None
    """Of the spec parameters alone, where the method infers them itself; None where the chain was given."""

    @property
    def status(self) -> Status:
        """How the run ended (unbatched results only)."""
        if self.diverged:
            return Status.DIVERGED
        if self.converged:
            return Status.CONVERGED
        return Status.STALLED if self.stalled else Status.ITERATION_LIMIT


@dataclass(frozen=True)
class BatchMethod:
    """One method; see the module docstring."""

    inputs: Callable[[SpecPosterior, SpecRanges, ReconstructOptions], PyTree]
    solve: Callable[[SceneModel, SceneData, Any, Array], Summary]


def _moments(posterior: SpecPosterior, ranges: SpecRanges, options: ReconstructOptions) -> PyTree:
    return posterior.spec, posterior.std.as_array()


def _solve_map(model: SceneModel, data: SceneData, inputs: tuple[Spec, Array], key: Array) -> Summary:
    spec, std = inputs
    found = solve_map(model, data, spec, std, key)
    minimum, response = found.minimum, found.spec_response
    spec_variance = response**2
    total = found.noise_variance + jnp.sum(spec_variance, axis=0)
    return Summary(
        x=found.x,
        noise_variance=found.noise_variance,
        spec_variance=spec_variance,
        correlation=response / jnp.sqrt(jnp.maximum(total, jnp.finfo(total.dtype).tiny)),
        spec_information=found.spec_information,
        converged=minimum.converged,
        stalled=minimum.stalled,
        diverged=minimum.diverged,
        facts={
            "energy": minimum.energy,
            "half_squared_gradient": minimum.decrement,
            "iterations": minimum.iterations,
            **found.factor.facts(),
        },
    )


def _mgvi_inputs(posterior: SpecPosterior, ranges: SpecRanges, options: ReconstructOptions) -> PyTree:
    return posterior.spec, posterior.std.as_array(), outer_draws(posterior, ranges, options.samples, options.seed)


def _solve_mgvi(model: SceneModel, data: SceneData, inputs: tuple[Spec, Array, OuterDraws], key: Array) -> Summary:
    spec, std, outer = inputs
    mode = find_mode(model, data, spec, key)
    return _mgvi_around(model, mode, spec, std, outer, key)


def _solve_joint_mgvi(
    samples: int, model: SceneModel, data: SceneData, inputs: tuple[Spec, Array], key: Array
) -> Summary:
    """The chain from the model's own Laplace marginal, which begins where the calibration ended."""
    spec, std = inputs
    mode = find_mode(model, data, spec, key)
    marginal_key, outer_key, noise_key = jax.random.split(key, 3)
    marginal = laplace_marginal(
        model,
        mode.data,
        marginal_key,
        outer=(SPEC_SITE,),
        fixed=_hyperparameters(mode),
        start={**mode.fixed, **mode.latents},
        probes=samples,
    )
    outer = marginal_draws(marginal, outer_key, samples)
    found = _mgvi_around(model, mode, spec, std, outer, noise_key)
    facts = {**found.facts, "newton_steps": marginal.hessians, "newton_step_left": marginal.step}
    # The scene at the marginal's mode and its preconditioner are as large as an image and in ``found`` already.
    small = eqx.tree_at(lambda m: (m.scene, m.scale), marginal, (None, None))
    return replace(found, facts=facts, converged=found.converged & marginal.converged, spec_posterior=small)


def _hyperparameters(mode: Mode) -> Latents:
    """Those of the prior stay where the local scales were estimated."""
    return {name: value for name, value in mode.fixed.items() if name != SPEC_SITE}


def _mgvi_around(
    model: SceneModel, mode: Mode, spec: Spec, std: Float[Array, "3"], outer: OuterDraws, key: Array
) -> Summary:
    found = solve_mgvi(model, mode.data, outer, key, start=mode.latents, fixed=_hyperparameters(mode))
    factor = variance_factor(posterior(model, mode.data, mode.fixed), mode.latents, mode.scale, key)
    noise, of_spec = factor.applied * found.noise_variance, jnp.sum(found.spec_variance, axis=0)
    tiny = jnp.finfo(noise.dtype).tiny
    # The correlation is with the x of the corrected variance, so that its square remains the chain's share.
    corrected = jnp.sqrt((found.noise_variance + of_spec) / jnp.maximum(noise + of_spec, tiny))
    return Summary(
        x=found.x,
        noise_variance=noise,
        spec_variance=found.spec_variance,
        correlation=found.correlation * corrected,
        spec_information=respond_to_spec(model, mode, spec, std).information,
        converged=found.converged & mode.minimum.converged,
        stalled=mode.minimum.stalled,
        diverged=found.diverged | mode.minimum.diverged,
        facts={
            "energy": found.energy,
            "iterations": mode.minimum.iterations,
            "rounds": found.rounds,
            "change_of_mean": found.change,
            "cg_iterations": jnp.max(found.cg_iterations),
            "cg_residual": jnp.max(found.cg_residual),
            "draws_followed": found.followed,
            **factor.facts(),
        },
    )


BATCH_METHODS = {"map": BatchMethod(_moments, _solve_map), "mgvi": BatchMethod(_mgvi_inputs, _solve_mgvi)}
"""By name, for a chain that is given."""


def batch_method(options: ReconstructOptions) -> BatchMethod:
    """The method that the options ask for; equal options give the same object, so that it compiles once."""
    if options.method == "mgvi" and options.spec == "joint":
        return _joint_mgvi(options.samples)
    return BATCH_METHODS[options.method]


@cache
def _joint_mgvi(samples: int) -> BatchMethod:
    return BatchMethod(_moments, partial(_solve_joint_mgvi, samples))


def scalar_facts(facts: Mapping[str, ArrayLike]) -> dict[str, float | int]:
    """Facts of one scene as plain numbers, for JSON."""
    return {name: value.item() for name, value in ((n, np.asarray(v)) for n, v in facts.items())}
