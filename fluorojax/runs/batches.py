"""Scenes of any shapes through calibration and inference, with progress.

One pipeline serves every method: the spec posterior of a scene, then its method. Scenes of one shape and imaging chain
run in chunks where the method is batched (:mod:`fluorojax.runs.devices`), and one after the other where it is not.
"""

import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from fluorojax.between.images import at_times
from fluorojax.between.times import times_of
from fluorojax.calibration.identifiability import describe
from fluorojax.calibration.posterior import SpecPosterior, calibrate, recognise
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status, facts_of
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.marginal import as_spec_posterior
from fluorojax.io.checks import check_scene
from fluorojax.io.errors import RunError
from fluorojax.io.provenance import asset_digests
from fluorojax.methods.protocol import BatchedMethod, Block, Job, Method, NotServed, SceneMethod, silent, to_device
from fluorojax.methods.registry import make_method
from fluorojax.methods.summary import Summary, scalar_facts
from fluorojax.metrics.agreement import judged
from fluorojax.metrics.held_out import held_out, thinned
from fluorojax.models.loading import load_model, model_for
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.physics.extensions import RECOGNITION
from fluorojax.runs.devices import chunk_size, solve_chunk
from fluorojax.runs.inputs import refuse_times
from fluorojax.runs.notes import spec_note, standing
from fluorojax.runs.progress import Progress, ProgressDisplay

# Of the progress of a scene: what its calibration counts, and what a method reports before the result is summarised.
_CALIBRATION_SHARE, _METHOD_SHARE = 0.2, 0.99
# Keeps the draws that thin the counts apart from other draws of the same seed.
_THINNING = 1


def reconstruct_scenes(
    scenes: Iterable[Scene],
    options: ReconstructOptions,
    *,
    state_file: Callable[[str], Path] | None = None,
    on_foreign_state: Callable[[Path, str], None] | None = None,
    progress: Progress | None = None,
) -> Iterator[Reconstruction]:
    """Reconstruct scenes of any shapes; results come as chunks finish, grouped by shape and imaging chain.

    The spec parameters have their marginal posteriors (``options.spec`` "calibrated"), are inferred with the scene
    ("joint"), are nominal ("nominal"), or the file's truth ("true"). Where ``state_file`` maps the name of a scene to a
    path, a method that can be interrupted, such as NUTS, keeps its state in that file and continues from it. A state of
    another run in that file is refused, unless ``on_foreign_state`` is given: then it is called with the path and a
    description of the state, and the state is deleted. A two-dimensional scene under the default model is served by
    ``single_frame``. ``progress`` is told how far each scene is and how well it agrees with its counts. A scene whose
    counts hold no information about it ends as ``Status.PRIOR_ONLY``, and one whose computation ends in an error of
    arithmetic or of the method as ``Status.DIVERGED``, with the error in its diagnostics; the others go on.

    Raises :class:`~fluorojax.io.InputError` for a scene that cannot be used (``fluorojax.io.checks.check_scene``), and
    ``ValueError`` for unknown options, a model file outside the protocol, or ``spec="true"`` without a truth,
    before the first result.
    """
    method = make_method(options)
    progress = ProgressDisplay() if progress is None else progress
    groups: dict[Hashable, list[Scene]] = {}
    for scene in scenes:
        check_scene(scene)
        refuse_times(scene, options)
        if options.spec == "true" and scene.true_spec is None:
            raise ValueError(f"spec is 'true', but {scene.name} has no true_spec")
        if options.recognise and options.spec in ("calibrated", "joint"):
            scene, _ = recognise(scene)
        groups.setdefault((scene.y.shape, jax.tree.structure((scene.operator, scene.ranges))), []).append(scene)
    run = _Run(options, state_file, on_foreign_state, progress)
    return run.results([_group(group, method, options) for group in groups.values()])


@dataclass(frozen=True)
class _Group:
    """Scenes of one shape and imaging chain."""

    scenes: list[Scene]
    model: SceneModel
    method: Method
    facts: dict[str, Any]
    """Diagnostics of all its scenes: why the method is not the one that was asked for, where it is not."""


def _group(scenes: list[Scene], method: Method, options: ReconstructOptions) -> _Group:
    """Scenes that the method does not serve go to its fallback together."""
    facts = {}
    if options.fallback and method.fallback is not None and (reasons := method.unserved(scenes[0])):
        facts = _fallback_facts(method.fallback, options, reasons)
        method = make_method(replace(options, method=method.fallback))
    return _Group(scenes, _model_for(scenes[0], method, options), method, facts)


def _fallback_facts(instead: str, options: ReconstructOptions, reasons: Sequence[str]) -> dict[str, Any]:
    return {"fallback": {"method": instead, "instead_of": options.method, "reasons": list(reasons)}}


def _model_for(scene: Scene, method: Method, options: ReconstructOptions) -> SceneModel:
    """The model of the scenes like this one, checked where the method uses it."""
    model = load_model(model_for(options.model, scene.y.ndim))
    if method.uses_model:
        data = scene_data(scene)
        model.latent_shapes(data)
        model.check_hooks(data)
    return model


def scene_data(scene: Scene, spec: Spec | None = None) -> SceneData:
    """What a model sees of a scene. A spec taken as known may lie outside the ranges: they then stretch to it."""
    ranges = scene.ranges
    if spec is not None:
        # On the host: every operation on a device would be a small program of its own to compile.
        known = np.array([float(np.asarray(getattr(spec, name))) for name in ranges.names])
        ranges = SpecRanges(np.minimum(ranges.low, known), np.maximum(ranges.high, known), ranges.names)
    return SceneData(to_device(scene.y), to_device(scene.acquisition), to_device(ranges), to_device(scene.operator))


@dataclass
class _Run:
    """One call of :func:`reconstruct_scenes`."""

    options: ReconstructOptions
    state_file: Callable[[str], Path] | None
    on_foreign_state: Callable[[Path, str], None] | None
    progress: Progress
    done: int = 0

    def results(self, groups: Sequence[_Group]) -> Iterator[Reconstruction]:
        self.progress.start(sum(len(group.scenes) for group in groups))
        for group in groups:
            assets, scenes, size = asset_digests(group.method), group.scenes, 1
            if isinstance(group.method, BatchedMethod):
                size = chunk_size(scenes[0].y.shape, len(scenes), self.options.batch)
            for first in range(0, len(scenes), size):
                yield from self._chunk(group, scenes[first : first + size], size, assets)

    def _chunk(self, group: _Group, chunk: list[Scene], size: int, assets: dict[str, str]) -> Iterator[Reconstruction]:
        begin = time.perf_counter()
        jobs: list[Job] = []
        failed: list[Reconstruction] = []
        batched = isinstance(group.method, BatchedMethod)
        for i, scene in enumerate(chunk, 1):
            job = _guarded(scene, partial(self._job, group.model, scene, assets))
            if isinstance(job, Reconstruction):
                failed.append(job)
                continue
            jobs.append(job)
            share = _CALIBRATION_SHARE * i if batched else 0.0
            self.progress.update(self.done + share, f"{scene.name}: {spec_note(scene, job.posterior, self.options)}")
        for result in chain(failed, self._served(group.method, jobs, size)):
            self.done += 1
            result = replace(result, diagnostics={**group.facts, **result.diagnostics})
            if self.options.between:
                result = self._at_times(result)
            self.progress.update(self.done, f"{result.name}: {standing(result)}")
            yield replace(result, seconds=(time.perf_counter() - begin) / len(chunk))

    def _at_times(self, result: Reconstruction) -> Reconstruction:
        """The result at the times that the options ask for, once all that concerns the frames is known."""
        period = result.frame_time_ms
        assert period is not None  # every scene has it
        times = times_of(self.options, result.x_hat.shape, period)
        note = f"{result.name}: {len(times)} images at and between the frames"
        self.progress.update(self.done - 1 + _METHOD_SHARE, note)
        return at_times(result, times)

    def _served(self, method: Method, jobs: list[Job], size: int) -> Iterator[Reconstruction]:
        """Checked results; a scene that the method refuses, or whose check it fails, goes to its fallback."""
        other = method.fallback if self.options.fallback else None
        if other is None:
            yield from self._checked(method, jobs, size)
            return
        for job in jobs:
            try:
                (found,) = self._checked(method, [job], 1, refusals=True)
                told = found.diagnostics.get("held_out", {})
                if told.get("level") == "bad":
                    raise NotServed(
                        job.scene.name, self.options.method, [f"held-out quanta speak against it: {told['verdict']}"]
                    )
            except NotServed as refusal:
                self.progress.update(self.done, f"{job.scene.name}: {other} instead: {'; '.join(refusal.reasons)}")
                instead = make_method(replace(self.options, method=other))
                (found,) = self._checked(instead, [job], 1)
                facts = _fallback_facts(other, self.options, refusal.reasons)
                found = replace(found, diagnostics={**facts, **found.diagnostics})
            yield found

    def _checked(
        self, method: Method, jobs: list[Job], size: int, *, refusals: bool = False
    ) -> Iterator[Reconstruction]:
        """Results with what held-out quanta say about them, where the check is wanted.

        With ``refusals`` a method may raise :class:`~fluorojax.methods.protocol.NotServed`; else the scene diverged.
        """
        share = method.held_out if self.options.held_out is None else self.options.held_out
        if share == 0:
            yield from _solve(method, jobs, size, refusals=refusals)
            return
        groups = [jobs] if isinstance(method, BatchedMethod) else [[job] for job in jobs]
        for group in groups:
            results = list(_solve(method, group, size, refusals=refusals))
            yield from self._held_out(method, group, results, size, share)

    def _held_out(
        self, method: Method, jobs: list[Job], results: list[Reconstruction], size: int, share: float
    ) -> Iterator[Reconstruction]:
        parts: list[tuple[Job, np.ndarray] | str] = []
        for job, result in zip(jobs, results, strict=True):
            try:
                if result.status is Status.DIVERGED or not np.isfinite(result.x_hat).all():
                    raise ValueError(f"{result.name}: there is no usable result to check")
                scene, held = thinned(job.scene, share, np.random.default_rng([self.options.seed, _THINNING]))
                parts.append((self._kept(job, scene), held))
            except Exception as error:
                if not _is_of_a_scene(error):
                    raise
                parts.append(str(error) if isinstance(error, ValueError) else _reason(error))
        found = iter(list(_solve(method.checking(), [part[0] for part in parts if not isinstance(part, str)], size)))
        for result, part in zip(results, parts, strict=True):
            facts: dict[str, Any]
            if isinstance(part, str):
                facts = {"level": "unknown", "verdict": f"not checked: {part}"}
            else:
                kept, held = part
                again = next(found)
                try:
                    if again.status is Status.DIVERGED:
                        raise ValueError(f"{again.name}: the reconstruction from the kept quanta diverged")
                    facts = held_out(again, kept.scene, held, result, share, mean=method.states_mean).facts()
                except ValueError as error:
                    facts = {"level": "unknown", "verdict": f"not checked: {error}"}
            yield replace(result, diagnostics={**result.diagnostics, "held_out": facts})

    def _kept(self, job: Job, scene: Scene) -> Job:
        """The job of the kept quanta: calibrated anew, so that nothing knows the others."""
        posterior = _spec_posterior(scene, self.options)
        return replace(
            job,
            scene=scene,
            data=scene_data(scene, posterior.spec),
            posterior=posterior,
            state_file=None,
            report=silent,
        )

    def _job(self, model: SceneModel, scene: Scene, assets: dict[str, str]) -> Job:
        posterior = _spec_posterior(scene, self.options)
        return Job(
            scene=scene,
            data=scene_data(scene, posterior.spec),
            model=model,
            posterior=posterior,
            seed=self.options.seed,
            assets=assets,
            state_file=None if self.state_file is None else self.state_file(scene.name),
            on_foreign_state=self.on_foreign_state,
            report=self._reporter(scene),
        )

    def _reporter(self, scene: Scene) -> Callable[[float, str], None]:
        begun = False

        def report(fraction: float, note: str) -> None:
            nonlocal begun
            share = _METHOD_SHARE * fraction
            if not begun:  # the first report is of what a state on disk holds
                self.progress.skip(share)
            begun = True
            self.progress.update(self.done + share, f"{scene.name}: {note}")

        return report


def _solve(method: Method, jobs: list[Job], size: int, *, refusals: bool = False) -> Iterator[Reconstruction]:
    """The results of the jobs in their order; ``refusals`` lets a method refuse a scene, else the scene diverged."""
    if isinstance(method, BatchedMethod):
        yield from _solve_together(method, jobs, size)
        return
    assert isinstance(method, SceneMethod)
    for job in jobs:
        try:
            yield _guarded(job.scene, lambda job=job: _finished(job, method.run(job)))
        except NotServed as refusal:
            if refusals:
                raise
            yield diverged(job.scene, refusal)


def block_of(method: Method, job: Job, block: Block) -> Reconstruction:
    """The result of a block of a long run: images of its kept part; as diverged where the computation fails."""
    if isinstance(method, SceneMethod):
        found = _guarded(job.scene, lambda: method.run_block(job, block))
        if found.status is not Status.DIVERGED:
            return found
        inner = block.inner
    else:
        (found,) = _solve(method, [job], 1)
        inner = block.inner
    correlation = found.spec_correlation
    if correlation is None:
        correlation = np.zeros((len(job.scene.operator.parameters), *found.x_hat.shape), np.float32)
    assert found.x_std is not None
    return replace(
        found, x_hat=found.x_hat[inner], x_std=found.x_std[inner], spec_correlation=correlation[(slice(None), *inner)]
    )


def _solve_together(method: BatchedMethod, jobs: list[Job], size: int) -> Iterator[Reconstruction]:
    """Where the scenes of a chunk cannot be solved together, each is solved alone, to find the one it is due to."""
    if not jobs:
        return
    try:
        summaries = solve_chunk(method, jobs, size)
    except Exception as error:
        if not _is_of_a_scene(error):
            raise
        if len(jobs) == 1:
            yield diverged(jobs[0].scene, error)
            return
        for job in jobs:
            yield from _solve_together(method, [job], size)
        return
    for job, summary in zip(jobs, summaries, strict=True):
        yield _guarded(job.scene, lambda job=job, found=summary: _finished(job, _reconstruction(job, found)))


def _finished(job: Job, found: Reconstruction) -> Reconstruction:
    told = {RECOGNITION: job.scene.metadata[RECOGNITION]} if RECOGNITION in job.scene.metadata else {}
    found = replace(found, diagnostics={**found.diagnostics, **told}, **facts_of(job.scene))
    return judged(found, job.scene)


Result = TypeVar("Result")


def _guarded(scene: Scene, work: Callable[[], Result]) -> Result | Reconstruction:
    """What ``work`` returns, or the scene as diverged where its computation ends in an error."""
    try:
        return work()
    except Exception as error:
        if not _is_of_a_scene(error):
            raise
        return diverged(scene, error)


def _is_of_a_scene(error: Exception) -> bool:
    """Whether an error says that a scene cannot be solved, and nothing about the others.

    A failure of arithmetic does. Refusals of a method are dealt with apart. Lack of memory, a setting that no scene can
    be computed with, a disk that cannot be written and mistakes in a program end the run instead.
    """
    if isinstance(error, RunError | NotServed):
        return False
    if isinstance(error, jax.errors.JaxRuntimeError):
        return "RESOURCE_EXHAUSTED" not in str(error)
    return isinstance(error, ValueError | ArithmeticError)  # LinAlgError is a ValueError


def diverged(scene: Scene, error: Exception) -> Reconstruction:
    """The result of a scene whose computation ended in an error: zeros that must not be used, and the reason."""
    parameters = scene.operator.parameters
    unknown = {parameter.name: math.nan for parameter in parameters}
    return Reconstruction(
        name=scene.name,
        x_hat=np.zeros(scene.y.shape, np.float32),
        x_std=np.zeros(scene.y.shape, np.float32),
        spec=Spec.nominal(parameters),
        spec_std=Spec.from_dict(unknown),
        spec_interval={name: (math.nan, math.nan) for name in unknown},
        status=Status.DIVERGED,
        seconds=math.nan,
        diagnostics={"verdict": f"diverged: the computation ended with an error ({_reason(error)})"},
        **facts_of(scene),
    )


def _reason(error: Exception) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _spec_posterior(scene: Scene, options: ReconstructOptions) -> SpecPosterior:
    if options.spec in ("calibrated", "joint"):
        return calibrate(scene)
    parameters = scene.operator.parameters
    known = Spec.nominal(parameters) if options.spec == "nominal" else scene.true_spec
    assert known is not None  # checked before the run
    return SpecPosterior.known(known, parameters)


def _reconstruction(job: Job, result: Summary) -> Reconstruction:
    scene, posterior = job.scene, job.posterior
    names = scene.ranges.names
    variance = result.noise_variance + np.sum(result.spec_variance, axis=0)
    shares = {name: float(np.mean(result.spec_variance[i]) / np.mean(variance)) for i, name in enumerate(names)}
    facts = scalar_facts(result.facts)
    if "energy" in facts:
        facts["energy_per_pixel"] = facts["energy"] / scene.y.size
    joint = None
    if result.spec_posterior is not None:
        joint = as_spec_posterior(result.spec_posterior, scene.ranges, parameters=posterior.parameters)
    stated = posterior if joint is None else joint
    information = None if result.spec_information is None else np.asarray(result.spec_information)
    return Reconstruction(
        name=scene.name,
        x_hat=np.asarray(result.x, np.float32),
        x_std=np.asarray(np.sqrt(variance), np.float32),
        spec_correlation=np.asarray(result.correlation, np.float32),
        spec=stated.spec,
        spec_std=stated.std,
        spec_interval=stated.interval,
        status=result.status,
        seconds=float("nan"),
        diagnostics={
            "model": job.model.name,
            **facts,
            "variance_share_of_chain": shares,
            **describe(posterior, information, scene.ranges, joint=joint),
        },
    )
