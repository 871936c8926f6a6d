"""The learned posterior: mean and standard deviation of every pixel from a network trained on simulated scenes.

The network gets the counts and the spec posterior. It is trained on simulated scenes only (``fluorojax.learned``). Its
response to one posterior sd of each spec parameter gives the share of the imaging chain in the uncertainty.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fluorojax.calibration.identifiability import describe
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import PUBLISHED
from fluorojax.learned.familiarity import unfamiliar
from fluorojax.learned.features import PARAMETERS
from fluorojax.learned.inference import MIN_FRAMES, outside_training, posterior, shifted_counts
from fluorojax.learned.spread import CalibratedNetwork
from fluorojax.learned.weights import DEFAULT, Weights, load_weights, shipped_file
from fluorojax.methods.protocol import Job, NotServed, SceneMethod
from fluorojax.metrics.held_out import SHARE
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.operator import PUBLISHED_OPERATOR
from fluorojax.physics.scatter import Scatter


@dataclass(frozen=True)
class LearnedMethod(SceneMethod):
    """See the module docstring and :func:`fluorojax.learned.inference.posterior`."""

    label: ClassVar[str] = "fluorojax learned"
    summary: ClassVar[str] = "Mean and standard deviation from a network trained on simulated scenes, in a second."
    states_mean: ClassVar[bool] = True
    held_out: ClassVar[float] = SHARE
    fallback: ClassVar[str | None] = "map"
    uses_model: ClassVar[bool] = False
    name: ClassVar[str] = "learned"
    """Name of the method."""
    default: ClassVar[str] = DEFAULT
    """Name of the shipped weights that the method uses unless the options name others."""
    process_bytes: ClassVar[int] = 800_000_000

    weights: Path
    """File of the weights."""
    mirrors: int = 2
    """Mirror images whose answers are averaged."""
    careful: bool = True
    """Whether scenes outside of the training are refused; else the result says so."""
    response: bool = True
    """Whether to find the response to each spec parameter, which costs a pass each; without it the result does not
    say which share of the uncertainty each parameter has."""

    @classmethod
    def from_options(cls, options: ReconstructOptions) -> "LearnedMethod":
        """The shipped weights, or the file that ``options.weights`` names; raises ``ValueError`` for bad weights."""
        name = options.weights or cls.default
        method = cls(Path(name) if name.endswith(".npz") else shipped_file(name), careful=options.fallback)
        method._load()  # bad weights are told before any scene is read
        return method

    def seconds(self, frames: int, pixels: int) -> float:
        """See :class:`~fluorojax.methods.protocol.Method`: calibration and network, twice for the check."""
        return 0.5 + 4e-6 * frames * pixels

    def checking(self) -> "LearnedMethod":
        """The network for every scene that it can take, also outside of its training, and without its response."""
        return replace(self, careful=False, response=False)

    def unserved(self, scene: Scene) -> list[str]:
        """See :class:`~fluorojax.methods.protocol.Method`: the network takes three frames or more, through the stages
        of the published imaging chain, with or without scatter."""
        return _unserved(scene)

    def assets(self) -> tuple[Path, ...]:
        """The file of the weights."""
        return (self.weights,)

    def network(self) -> CalibratedNetwork:
        """The network of the weights."""
        return self._load().network

    def _load(self) -> Weights:
        return _loaded(self.weights, self.weights.stat().st_mtime_ns if self.weights.is_file() else 0)

    def run(self, job: Job) -> Reconstruction:
        """See :class:`~fluorojax.methods.protocol.SceneMethod`.

        Raises :class:`~fluorojax.methods.protocol.NotServed` for a scene that the network cannot take
        (:meth:`unserved`) and, where the method is :attr:`careful`, for one outside of its training.
        """
        scene, known = job.scene, job.posterior
        if reasons := self.unserved(scene):
            raise NotServed(scene.name, self.name, reasons)
        weights, protocol = self._load(), scene.acquisition.as_dict()
        source = weights.network.std_source
        responds = self.response and source == "head"
        mean, std = known.array("mean"), known.array("std")
        seen = shifted_counts(scene.y, protocol["electronic_noise"] ** 2, float(mean[PARAMETERS.index("gain_drift")]))
        outside = [*outside_training(seen, protocol, mean), *unfamiliar(seen)]
        if outside and self.careful:
            raise NotServed(scene.name, self.name, outside)
        note = "the network works on the tiles"
        job.report(0.0, note)
        found = posterior(
            weights.network,
            scene.y,
            protocol,
            mean,
            std,
            mirrors=self.mirrors,
            response=responds,
            report=lambda share: job.report(share, note),
        )
        finite = bool(np.isfinite(found.mean).all() and np.isfinite(found.std).all())
        spread: dict[str, Any] = {}
        chain: dict[str, Any] = {}
        if responds:
            variance = found.std**2
            shares = found.spec_variance.mean(axis=(1, 2, 3)) / variance.mean()
            spread = {
                "spec_correlation": np.sign(found.response)
                * np.sqrt(found.spec_variance / np.maximum(variance, np.finfo(np.float32).tiny))
            }
            chain = {"variance_share_of_chain": dict(zip(known.marginals, map(float, shares), strict=True))}
        return Reconstruction(
            name=scene.name,
            x_hat=found.mean,
            x_std=None if source == "none" else found.std,
            spec=known.spec,
            spec_std=known.std,
            spec_interval=known.interval,
            status=Status.CONVERGED if finite else Status.DIVERGED,
            seconds=math.nan,
            **spread,
            diagnostics={
                "model": f"{weights.recipe.get('architecture')} {weights.sha256[:12]}",
                "weights": {"file": self.weights.name, "sha256": weights.sha256},
                **chain,
                **(
                    {"outside_training": outside, "verdict": f"outside of the training: {'; '.join(outside)}"}
                    if outside
                    else {}
                ),
                **describe(known, None, scene.ranges),
            },
        )


def _unserved(scene: Scene) -> list[str]:
    reasons = []
    if scene.y.ndim != 3 or len(scene.y) < MIN_FRAMES:
        frames = len(scene.y) if scene.y.ndim == 3 else 1
        few = f"{frames} frame{'' if frames == 1 else 's'}"
        reasons.append(f"it has {few}, and the network needs at least {MIN_FRAMES}")
    known = {stage.name: stage for stage in PUBLISHED_OPERATOR.stages}
    mine = {stage.name: stage for stage in scene.operator.stages}
    if other := [name for name in mine if name not in known]:
        reasons.append(f"its imaging chain has the stage {', '.join(other)}, which the network does not know")
    if missing := [name for name in known if name not in mine and name != Scatter.name]:
        reasons.append(f"its imaging chain lacks the stage {', '.join(missing)}")
    if scene.operator.parameters != PUBLISHED and not (other or missing):
        names = ", ".join(parameter.name for parameter in scene.operator.parameters)
        reasons.append(f"its imaging chain has the parameters {names}, and the network knows the published ones")
    lag = scene.operator.stage(ChargeReleaseLag)
    if lag is not None and lag.start != "steady":
        reasons.append("its run starts from dark, and the network knows runs in a steady state")
    return reasons


@lru_cache(maxsize=4)
def _loaded(file: Path, modified: int) -> Weights:
    """The same object for the same file, so that what was compiled for it is found again; ``modified`` is its time."""
    return load_weights(file)
