"""The learned posterior: mean and standard deviation of every pixel from a network trained on simulated scenes.

The network gets the counts and the spec posterior. It is trained on simulated scenes only (``fluorojax.learned``). Its
response to one posterior sd of each spec parameter gives the share of the imaging chain in the uncertainty.
"""

import math
from collections.abc import Callable
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
from fluorojax.learned.features import PARAMETERS, SIDE, SPAN
from fluorojax.learned.inference import (
    MIN_FRAMES,
    LearnedPosterior,
    lead_frames,
    outside_training,
    posterior,
    shifted_counts,
    spans,
)
from fluorojax.learned.spread import CalibratedNetwork
from fluorojax.learned.weights import DEFAULT, Weights, load_weights, shipped_file
from fluorojax.methods.protocol import Block, Job, NotServed, SceneMethod
from fluorojax.metrics.held_out import SHARE
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.operator import PUBLISHED_OPERATOR
from fluorojax.physics.scatter import Scatter

# Counts that a block of a long run reads by default, and frames that lag adds to them where it is not very long.
_BLOCK_PIXELS, _USUAL_LEAD = 1 << 22, 8


@dataclass(frozen=True)
class LearnedMethod(SceneMethod):
    """See the module docstring and :func:`fluorojax.learned.inference.posterior`."""

    label: ClassVar[str] = "fluorojax learned"
    summary: ClassVar[str] = "Mean and standard deviation from a network trained on simulated scenes, in a second."
    states_mean: ClassVar[bool] = True
    held_out: ClassVar[float] = SHARE
    fallback: ClassVar[str | None] = "map"
    uses_model: ClassVar[bool] = False
    exact_blocks: ClassVar[bool] = True
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
        outside = self._outside(job)
        note = "the network works on the tiles"
        job.report(0.0, note)
        return self._solved(job, outside, report=lambda share: job.report(share, note))

    def check_run(self, job: Job) -> dict[str, Any]:
        """See :class:`~fluorojax.methods.protocol.Method`; the frames of ``job`` tell of dose and patterns."""
        return _facts(self._outside(job))

    def block_values(self, shape: tuple[int, int, int], frames: int | None) -> int:
        """See :class:`~fluorojax.methods.protocol.Method`."""
        several = (_frames_at_once(shape, frames) - SPAN) // (SPAN - 2 * SIDE)
        seen = SPAN + several * (SPAN - 2 * SIDE) + _USUAL_LEAD
        return min(shape[0], seen) * shape[1] * shape[2]

    def blocks(self, job: Job, shape: tuple[int, int, int], frames: int | None) -> list[Block]:
        """See :class:`~fluorojax.methods.protocol.Method`: whole runs of the network (:func:`spans`), so that the
        blocks give what the whole gives; by default as many as some 16 MB of counts hold."""
        total, height, width = shape
        size, known = _frames_at_once(shape, frames), job.posterior
        lead = lead_frames(job.scene.acquisition.as_dict(), known.array("mean"), known.array("std"))
        found, several = list[Block](), 1 + (size - SPAN) // (SPAN - 2 * SIDE)
        everything = slice(0, height), slice(0, width)
        runs = spans(total)
        for begin in range(0, len(runs), several):
            group = runs[begin : begin + several]
            seen = slice(max(group[0][0].start - lead, 0), group[-1][0].stop)
            found.append(Block((slice(group[0][1].start, group[-1][1].stop), *everything), (seen, *everything)))
        return found

    def run_block(self, job: Job, block: Block) -> Reconstruction:
        """See :class:`~fluorojax.methods.protocol.SceneMethod`."""
        seen, kept = block.seen[0], block.kept[0]

        def within(part: slice) -> slice:
            return slice(part.start - seen.start, part.stop - seen.start)

        assert job.frames is not None
        inside = [run for run in spans(job.frames) if kept.start <= run[1].start < kept.stop]
        runs = [(within(sees), within(keeps)) for sees, keeps in inside]
        return self._solved(job, [], first=seen.start, runs=runs, part=block.inner)

    def _outside(self, job: Job) -> list[str]:
        """What of a scene lies outside of the training; raises where the scene is refused for it or cannot be taken."""
        scene = job.scene
        if reasons := self.unserved(scene):
            raise NotServed(scene.name, self.name, reasons)
        protocol, mean = scene.acquisition.as_dict(), job.posterior.array("mean")
        drift = float(mean[PARAMETERS.index("gain_drift")])
        seen = shifted_counts(scene.y, protocol["electronic_noise"] ** 2, drift)
        outside = [*outside_training(seen, protocol, mean), *unfamiliar(seen)]
        if outside and self.careful:
            raise NotServed(scene.name, self.name, outside)
        return outside

    def _solved(
        self,
        job: Job,
        outside: list[str],
        *,
        first: int = 0,
        runs: list[tuple[slice, slice]] | None = None,
        part: tuple[slice, ...] = (),
        report: Callable[[float], None] | None = None,
    ) -> Reconstruction:
        """The result of a scene, or of the ``part`` of one that ``runs`` keep."""
        scene, known, weights = job.scene, job.posterior, self._load()
        source = weights.network.std_source
        responds = self.response and source == "head"
        found = posterior(
            weights.network,
            scene.y,
            scene.acquisition.as_dict(),
            known.array("mean"),
            known.array("std"),
            mirrors=self.mirrors,
            response=responds,
            first=first,
            runs=runs,
            report=report,
        )
        found = LearnedPosterior(found.mean[part], found.std[part], found.response[(slice(None), *part)])
        variance = np.maximum(found.std**2, np.finfo(np.float32).tiny)
        shares = found.spec_variance.mean(axis=(1, 2, 3)) / variance.mean()
        finite = bool(np.isfinite(found.mean).all() and np.isfinite(found.std).all())
        return Reconstruction(
            name=scene.name,
            x_hat=found.mean,
            x_std=None if source == "none" else found.std,
            spec=known.spec,
            spec_std=known.std,
            spec_interval=known.interval,
            status=Status.CONVERGED if finite else Status.DIVERGED,
            seconds=math.nan,
            spec_correlation=np.sign(found.response) * np.sqrt(found.spec_variance / variance) if responds else None,
            diagnostics={
                "model": f"{weights.recipe.get('architecture')} {weights.sha256[:12]}",
                "weights": {"file": self.weights.name, "sha256": weights.sha256},
                **(
                    {"variance_share_of_chain": dict(zip(known.marginals, map(float, shares), strict=True))}
                    if responds
                    else {}
                ),
                **_facts(outside),
                **describe(known, None, scene.ranges),
            },
        )


def _facts(outside: list[str]) -> dict[str, Any]:
    if not outside:
        return {}
    return {"outside_training": outside, "verdict": f"outside of the training: {'; '.join(outside)}"}


def _frames_at_once(shape: tuple[int, int, int], frames: int | None) -> int:
    if frames is None:
        return max(SPAN, _BLOCK_PIXELS // (shape[1] * shape[2]))
    if frames < SPAN:
        raise ValueError(
            f"block_frames is {frames}; expected at least {SPAN}, the frames that the network sees at once, of which "
            f"{2 * SIDE} overlap with other blocks"
        )
    return frames


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
    scatter = scene.operator.stage(Scatter)
    if scatter is not None and (scatter.width, scatter.tail) != (Scatter().width, Scatter().tail):
        reasons.append("its scatter has another kernel than that which is taken off the answer of the network")
    lag = scene.operator.stage(ChargeReleaseLag)
    if lag is not None and lag.start != "steady":
        reasons.append("its run starts from dark, and the network knows runs in a steady state")
    return reasons


@lru_cache(maxsize=4)
def _loaded(file: Path, modified: int) -> Weights:
    """The same object for the same file, so that what was compiled for it is found again; ``modified`` is its time."""
    return load_weights(file)
