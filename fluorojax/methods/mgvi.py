"""MGVI: posterior draws of the image around its mean, at draws of the spec parameters.

The spec parameters are drawn from the posterior that is given, or (``joint``) from the model's own Laplace marginal.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.energy import Latents
from fluorojax.engines.map import Mode, find_mode, judge_mode
from fluorojax.engines.marginal import laplace_marginal
from fluorojax.engines.mgvi import OuterDraws, marginal_draws, outer_draws, solve_mgvi
from fluorojax.methods.protocol import BatchedMethod, Cost, LatentDraws
from fluorojax.methods.summary import Summary
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel

# Small scenes of any dynamic range, as coverage checks draw them: more than an image needs, and cheap.
_CG_ITERATIONS = 400


@dataclass(frozen=True)
class MgviMethod(BatchedMethod):
    """See the module docstring and :func:`fluorojax.engines.mgvi.solve_mgvi`."""

    label: ClassVar[str] = "fluorojax mgvi"
    summary: ClassVar[str] = "Posterior mean from mirrored pairs of draws, with full uncertainty, in minutes per scene."
    states_mean: ClassVar[bool] = True
    cost: ClassVar[Cost] = "minutes"
    joint_draws: ClassVar[bool] = True
    working_arrays: ClassVar[int] = 400
    process_bytes: ClassVar[int] = 1_500_000_000
    # A draw that the linear response cannot reach is followed by Newton steps and Hamiltonian trajectories. Side by
    # side one such draw would make every scene pay for them, and the solves of a scene that has ended run to their
    # limit.
    side_by_side: ClassVar[bool] = False
    spec_sources: ClassVar[tuple[str, ...]] = ("calibrated", "joint", "nominal", "true")

    samples: int = 16
    """Mirrored pairs of posterior draws, and probes of the Laplace marginal where ``joint``."""
    joint: bool = False
    """Whether the spec parameters come from the model itself instead of the posterior that is given."""

    def seconds(self, frames: int, pixels: int) -> float:
        """See :class:`~fluorojax.methods.protocol.Method`: a mode, and a share for every pair of draws."""
        return (4.0 + 28.0 / 16 * self.samples) * (frames / 16) ** 1.1 * pixels / 128**2

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "MgviMethod":
        """The number of pairs, and whether the spec is inferred jointly."""
        return cls(options.samples, options.spec == "joint")

    def inputs(self, posterior: SpecPosterior, ranges: SpecRanges, seed: int) -> PyTree:
        """Medians and sd of the spec parameters, and unless ``joint`` their draws."""
        moments = posterior.spec, posterior.std.as_array()
        return moments if self.joint else (*moments, outer_draws(posterior, ranges, self.samples, seed))

    def solve(self, model: SceneModel, data: SceneData, inputs: Any, key: Array) -> Summary:
        """See :class:`~fluorojax.methods.protocol.BatchedMethod`."""
        if self.joint:
            return _solve_joint(self.samples, model, data, inputs, key)
        spec, std, outer = inputs
        mode = find_mode(model, data, spec, key)
        return _around(model, mode, spec, std, outer, key)

    def latent_draws(self, model: SceneModel, data: SceneData, key: PRNGKeyArray, draws: int) -> LatentDraws:
        """MGVI of the scene, spec and hyperparameters from the Laplace marginal; NaN where it did not converge."""
        marginal_key, outer_key, noise_key, pick_key = jax.random.split(key, 4)
        marginal = laplace_marginal(model, data, marginal_key)
        outer = marginal_draws(marginal, outer_key, draws)
        found = solve_mgvi(model, data, outer, noise_key, start=marginal.scene, cg_iterations=_CG_ITERATIONS)
        good = marginal.converged & found.converged
        # One member of each mirrored pair: the two are not independent, and ranks want draws that are.
        side = jax.random.bernoulli(pick_key, shape=(draws,)).astype(int)

        def pick(pairs: jax.Array) -> jax.Array:
            return jnp.where(good, pairs[side, jnp.arange(draws)], jnp.nan)

        scene = jax.tree.map(lambda mean, residual: pick(mean + residual), found.mean, found.residuals)
        return {**jax.tree.map(pick, outer.draws), **scene}


def _solve_joint(samples: int, model: SceneModel, data: SceneData, inputs: tuple[Spec, Array], key: Array) -> Summary:
    """The spec from the model's own Laplace marginal, which begins where the calibration ended."""
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
    found = _around(model, mode, spec, std, outer, noise_key)
    facts = {**found.facts, "newton_steps": marginal.hessians, "newton_step_left": marginal.step}
    # The scene at the marginal's mode and its preconditioner are as large as an image and in ``found`` already.
    small = eqx.tree_at(lambda m: (m.scene, m.scale), marginal, (None, None))
    return replace(found, facts=facts, converged=found.converged & marginal.converged, spec_posterior=small)


def _hyperparameters(mode: Mode) -> Latents:
    """Those of the prior stay where the local scales were estimated."""
    return {name: value for name, value in mode.fixed.items() if name != SPEC_SITE}


def _around(
    model: SceneModel, mode: Mode, spec: Spec, std: Float[Array, "parameters"], outer: OuterDraws, key: Array
) -> Summary:
    found = solve_mgvi(model, mode.data, outer, key, start=mode.latents, fixed=_hyperparameters(mode))
    response, factor = judge_mode(model, mode, spec, std, found.noise_variance, key)
    noise, of_spec = factor.applied * found.noise_variance, jnp.sum(found.spec_variance, axis=0)
    tiny = jnp.finfo(noise.dtype).tiny
    # The correlation is with the x of the corrected variance, so that its square remains the share of the spec.
    corrected = jnp.sqrt((found.noise_variance + of_spec) / jnp.maximum(noise + of_spec, tiny))
    return Summary(
        x=found.x,
        noise_variance=noise,
        spec_variance=found.spec_variance,
        correlation=found.correlation * corrected,
        spec_information=response.information,
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
