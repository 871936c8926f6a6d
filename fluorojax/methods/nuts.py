"""NUTS as a method of reconstruction: one scene after the other, from its MAP mode, its state kept on disk."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fluorojax.calibration.identifiability import describe
from fluorojax.calibration.posterior import Marginal, SpecPosterior
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.map import find_mode, respond_to_spec
from fluorojax.engines.nuts import NutsOptions, NutsResult, sample_nuts, spec_levels
from fluorojax.methods.protocol import Cost, Job, SceneMethod, to_device
from fluorojax.models.protocol import SceneData, SceneModel, array_to_base

# Settling re-centres the coordinates on hyperparameters far from where MAP holds them; without those it is not needed.
_SETTLE = 60
# The most efficient acceptance in many dimensions is 0.65 (Beskos et al., Bernoulli 19:1501, 2013). In fewer the step
# that gives it is close to the largest stable one, and a smaller step is safer.
_TARGET_ACCEPT, _TARGET_ACCEPT_LARGE, _LARGE = 0.8, 0.65, 50_000
_POINTS = 1025


class ModeDivergedError(ValueError):
    """The mode that the sampler starts from could not be found."""


_find_mode = jax.jit(find_mode, static_argnums=0)
_respond_to_spec = jax.jit(respond_to_spec, static_argnums=0)


@dataclass(frozen=True)
class NutsMethod(SceneMethod):
    """NUTS around the MAP mode; see :func:`fluorojax.engines.nuts.sample_nuts`."""

    label: ClassVar[str] = "fluorojax nuts"
    summary: ClassVar[str] = "Exact posterior draws by Hamiltonian Monte Carlo, in hours per scene."
    states_mean: ClassVar[bool] = True
    cost: ClassVar[Cost] = "hours"
    spec_sources: ClassVar[tuple[str, ...]] = ("calibrated", "joint", "nominal", "true")
    working_arrays: ClassVar[int] = 400
    process_bytes: ClassVar[int] = 1_500_000_000

    chains: int = 4
    """Number of Markov chains."""
    warmup: int = 150
    """Warm-up iterations of each Markov chain."""
    draws: int = 200
    """Draws of each Markov chain."""
    joint: bool = False
    """Whether the spec parameters are sampled under the model instead of drawn from the posterior that is given."""

    def __post_init__(self) -> None:
        self.sampler(1)

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "NutsMethod":
        """Numbers of Markov chains, warm-up iterations and draws; raises ``ValueError`` for what cannot be used."""
        return cls(options.chains, options.warmup, options.draws, options.spec == "joint")

    def seconds(self, frames: int, pixels: int) -> float:
        """See :class:`~fluorojax.methods.protocol.Method`: a mode, and a second for an iteration of a Markov chain."""
        return (4.0 + self.chains * (self.warmup + self.draws)) * (frames / 16) ** 1.1 * pixels / 128**2

    def sampler(self, pixels: int) -> NutsOptions:
        """The settings of the sampler for scenes of so many pixels (T·H·W)."""
        return NutsOptions(
            settle=min(_SETTLE, self.warmup) if self.joint else 0,
            warmup=self.warmup,
            draws=self.draws,
            chains=self.chains,
            target_accept=_TARGET_ACCEPT_LARGE if pixels > _LARGE else _TARGET_ACCEPT,
        )

    def run(self, job: Job) -> Reconstruction:
        """See :class:`~fluorojax.methods.protocol.SceneMethod`."""
        scene, posterior = job.scene, job.posterior
        try:
            result, information = self.sample(
                job.model,
                job.data,
                posterior,
                job.seed,
                state_file=job.state_file,
                on_foreign_state=job.on_foreign_state,
                assets=job.assets,
                progress=job.report,
            )
        except ModeDivergedError as error:
            nothing = np.zeros(scene.y.shape, np.float32)
            facts = {
                "model": job.model.name,
                "verdict": f"diverged: {error}",
                "identifiability": posterior.sentences(),
            }
            where = (scene.name, nothing, nothing, posterior.spec, posterior.std, posterior.interval)
            return Reconstruction(*where, Status.DIVERGED, math.nan, facts, parameters=posterior.parameters)
        return self.summarise(scene, job.model, posterior, result, information)

    def sample(
        self,
        model: SceneModel,
        data: SceneData,
        posterior: SpecPosterior,
        seed: int,
        *,
        state_file: Path | None = None,
        on_foreign_state: Callable[[Path, str], None] | None = None,
        assets: Mapping[str, str] | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> tuple[NutsResult, Float[np.ndarray, "parameters parameters"]]:
        """Posterior draws of one scene around its mode, and the Fisher information about the spec there.

        **Arguments:** ``posterior`` of the spec parameters: the mode is found at its medians, and unless ``joint`` the
        parameters are drawn from it; ``state_file``, ``on_foreign_state``, ``assets`` and ``progress`` as in
        :func:`fluorojax.engines.nuts.sample_nuts`. The information is per posterior sd. Raises ``ValueError`` as that
        does, and :class:`ModeDivergedError` where there is no mode to start from.
        """
        mode_key, key = jax.random.split(jax.random.key(seed))
        spec, std = to_device((posterior.spec, posterior.std.as_array()))
        mode = _find_mode(model, data, spec, mode_key)
        if bool(mode.minimum.diverged):
            raise ModeDivergedError("the energy or its gradient was not finite at the start")
        information = _respond_to_spec(model, mode, spec, std).information
        result = sample_nuts(
            model,
            mode.data,
            {**mode.fixed, **mode.latents},
            key,
            self.sampler(data.counts.size),
            spec_quantiles=None if self.joint else base_quantiles(posterior, data.ranges),
            state_file=state_file,
            on_foreign_state=on_foreign_state,
            assets=assets,
            progress=progress,
        )
        return result, np.asarray(information)

    def summarise(
        self,
        scene: Scene,
        model: SceneModel,
        posterior: SpecPosterior,
        result: NutsResult,
        information: Float[np.ndarray, "parameters parameters"],
    ) -> Reconstruction:
        """The result of one scene as every method reports it, with the draws that were kept."""
        bounds = scene.ranges.as_dict()
        names = tuple(posterior.marginals)
        draws = {name: result.spec_draws[..., i] for i, name in enumerate(names)}
        spec, std, interval, joint = posterior.spec, posterior.std, posterior.interval, None
        if self.joint:
            marginals = {name: Marginal.from_draws(draws[name], *bounds[name]) for name in names}
            joint = SpecPosterior(marginals, posterior.parameters)
            spec = Spec.from_dict({name: float(np.median(draws[name])) for name in names})
            std = Spec.from_dict({name: float(np.std(draws[name])) for name in names})
            interval = {n: (float(np.quantile(d, 0.05)), float(np.quantile(d, 0.95))) for n, d in draws.items()}
        correlation = np.asarray(result.spec_correlation, np.float32)
        finite = bool(np.all(np.isfinite(result.x_mean)) and np.all(np.isfinite(result.x_variance)))
        status = (Status.CONVERGED if result.converged else Status.NOT_CONVERGED) if finite else Status.DIVERGED
        shares = np.mean(correlation**2 * result.x_variance, axis=tuple(range(1, correlation.ndim)))
        diagnostics: dict[str, Any] = {
            "model": model.name,
            "verdict": result.verdict,
            "convergence": {
                name: {"rhat": c.rhat, "ess_bulk": c.ess_bulk, "ess_tail": c.ess_tail}
                for name, c in result.convergence.items()
            },
            "x_rhat_99": _high_quantile(result.x_rhat, 0.99),
            "divergences": result.divergences,
            "leapfrog_steps": result.leapfrog_steps,
            "warmup_steps": result.warmup_steps,
            "acceptance": result.acceptance,
            "step_size": [float(size) for size in result.step_size],
            "share_at_tree_limit": result.at_limit,
            "variance_share_of_chain": {
                name: float(shares[i] / np.mean(result.x_variance)) for i, name in enumerate(names)
            },
            **describe(posterior, information, scene.ranges, joint=joint),
        }
        return Reconstruction(
            name=scene.name,
            x_hat=np.asarray(result.x_mean, np.float32),
            x_std=np.asarray(np.sqrt(result.x_variance), np.float32),
            spec_correlation=correlation,
            spec=spec,
            spec_std=std,
            spec_interval=interval,
            status=status,
            seconds=math.nan,
            diagnostics=diagnostics,
            x_quantiles=np.asarray(result.x_quantiles, np.float32),
            draws={**draws, **result.hyperparameter_draws, **result.watched_draws},
            sample_stats=result.sample_stats,
            parameters=posterior.parameters,
        )


def _high_quantile(values: Float[np.ndarray, "*shape"], probability: float) -> float:
    """The quantile of values that may be infinite: between two infinite ones, NumPy would interpolate to NaN."""
    if np.isfinite(values).all():
        return float(np.quantile(values, probability))
    return float(np.quantile(values, probability, method="higher"))


def base_quantiles(posterior: SpecPosterior, ranges: SpecRanges) -> Float[np.ndarray, "points parameters"]:
    """Quantiles of the latents of the spec parameters, at :func:`fluorojax.engines.nuts.spec_levels`."""
    levels = spec_levels(_POINTS)
    values = [[posterior.marginals[name].quantile(level) for name in ranges.names] for level in levels]
    base = np.asarray(array_to_base(np.asarray(values, jnp.result_type(float)), ranges))
    # Rounding must not make them descend.
    return np.maximum.accumulate(base, axis=0)
