"""Batches of scenes through calibration and inference: grouping, chunking, devices, progress.

Engines are written for one scene. Here they are batched in chunks of scenes of one shape, one compilation per chunk
shape, and the chunk is laid out over all local devices along its scene axis. Each device runs its share of a chunk
under ``vmap``, as many scenes side by side as its lanes hold and the rest after them. The lanes depend on the machine
and the shape alone, not on the chunk: rounding differs with the width of a batched product, an iteration amplifies it,
and a scene's answer must not depend on how many others share its chunk.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from fluorojax.calibration.identifiability import describe
from fluorojax.calibration.posterior import Marginal, SpecPosterior, calibrate
from fluorojax.data.choices import METHODS, SPEC_SOURCES
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status, facts_of
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES, Spec, SpecRanges
from fluorojax.engines.marginal import as_spec_posterior
from fluorojax.methods.batch import BatchMethod, Summary, batch_method, scalar_facts
from fluorojax.methods.nuts import ModeDivergedError, nuts_options, sample_scene, summarise_scene
from fluorojax.metrics.agreement import judged
from fluorojax.models.loading import load_model, model_for
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.runs.notes import spec_note, standing
from fluorojax.runs.progress import Progress, ProgressDisplay

# Working set of one scene in units of its float32 counts: optimiser history, scaled bands, linear-response vectors.
_ARRAYS_PER_SCENE = 160
_LANE_BYTES = 2 * 1024**3
# Of the progress of a scene: what its calibration counts, and the chains before the result is summarised.
_CALIBRATION_SHARE, _SAMPLING_SHARE = 0.2, 0.99


def reconstruct_scenes(
    scenes: Iterable[Scene],
    options: ReconstructOptions,
    *,
    state_file: Callable[[str], Path] | None = None,
    on_foreign_state: Callable[[Path, str], None] | None = None,
    progress: Progress | None = None,
) -> Iterator[Reconstruction]:
    """Reconstruct scenes of any shapes; results come as chunks finish, grouped by shape.

    The chain is the scene's marginal posterior (``options.chain`` "calibrated"), part of what is sampled ("joint"), all
    offsets zero ("nominal"), or the file's truth ("true"). NUTS takes the scenes one by one. Where ``state_file``
    maps the name of a scene to a path, NUTS keeps its state in that file and continues from it. A state of another run
    in that file is refused, unless ``on_foreign_state`` is given: then it is called with the path and a description of
    the state, and the state is deleted. A two-dimensional
    scene under the default model is served by ``single_frame``. ``progress`` is told how well each scene agrees with
    its counts, or how well its chains agree so far. A scene whose counts hold no information about it ends as
    ``Status.PRIOR_ONLY``.

    Raises ``ValueError`` for unknown options, a model file outside the protocol, or ``chain="true"`` without a truth,
    before the first result.
    """
    _check(options)
    progress = ProgressDisplay() if progress is None else progress
    scenes = list(scenes)
    if options.spec == "true" and (unknown := [s.name for s in scenes if s.true_spec is None]):
        raise ValueError(f"spec is 'true', but {', '.join(unknown)} has no true_spec")
    groups: dict[tuple[int, ...], list[Scene]] = {}
    for scene in scenes:
        groups.setdefault(scene.y.shape, []).append(scene)
    models = {shape: _model_for(shape, options) for shape in groups}
    for shape, group in groups.items():
        models[shape].latent_shapes(scene_data(group[0]))
        models[shape].check_hooks(scene_data(group[0]))
    return _run(groups, models, options, _Keeping(state_file, on_foreign_state), progress)


@dataclass(frozen=True)
class _Keeping:
    """Where the states of chains are kept; see :func:`reconstruct_scenes`."""

    file: Callable[[str], Path] | None
    on_foreign: Callable[[Path, str], None] | None


def _run(
    groups: dict[tuple[int, ...], list[Scene]],
    models: dict[tuple[int, ...], SceneModel],
    options: ReconstructOptions,
    states: _Keeping,
    progress: Progress,
) -> Iterator[Reconstruction]:
    done = 0
    progress.start(sum(len(group) for group in groups.values()))
    for shape, group in groups.items():
        if options.method == "nuts":
            for scene in group:
                yield _sample(scene, models[shape], options, states, progress, done)
                done += 1
            continue
        size = chunk_size(shape, len(group), options.batch)
        for first in range(0, len(group), size):
            chunk = group[first : first + size]
            begin = time.perf_counter()
            posteriors = []
            for i, scene in enumerate(chunk, 1):
                posteriors.append(_spec_posterior(scene, options))
                note = f"{scene.name}: {spec_note(scene, posteriors[-1], options)}"
                progress.update(done + _CALIBRATION_SHARE * i, note)
            results = _solve_chunk(models[shape], chunk, posteriors, size, options)
            seconds = (time.perf_counter() - begin) / len(chunk)
            for i, (scene, posterior) in enumerate(zip(chunk, posteriors, strict=True)):
                one = jax.tree.map(lambda leaf, i=i: leaf[i], results)
                done += 1
                result = _reconstruction(scene, posterior, models[shape], one, seconds)
                progress.update(done, f"{scene.name}: {standing(result)}")
                yield result


def _sample(
    scene: Scene,
    model: SceneModel,
    options: ReconstructOptions,
    states: _Keeping,
    progress: Progress,
    done: int,
) -> Reconstruction:
    """One scene by NUTS, which is not batched: its chains fill the devices, and its state goes to disk."""
    begin = time.perf_counter()
    posterior = _spec_posterior(scene, options)
    progress.update(done, f"{scene.name}: {spec_note(scene, posterior, options)}")
    begun = False

    def report(fraction: float, note: str) -> None:
        nonlocal begun
        share = _SAMPLING_SHARE * fraction
        if not begun:  # the first report is of what the state on disk holds
            progress.skip(share)
        begun = True
        progress.update(done + share, f"{scene.name}: {note}")

    try:
        result, information = sample_scene(
            model,
            scene_data(scene, posterior.spec),
            posterior,
            options,
            state_file=None if states.file is None else states.file(scene.name),
            on_foreign_state=states.on_foreign,
            progress=report,
        )
    except ModeDivergedError as error:
        seconds, nothing = time.perf_counter() - begin, np.zeros(scene.y.shape, np.float32)
        facts = {"model": model.name, "verdict": f"diverged: {error}", "identifiability": posterior.sentences()}
        where = (scene.name, nothing, nothing, posterior.spec, posterior.std, posterior.interval)
        progress.update(done + 1, f"{scene.name}: {facts['verdict']}")
        return Reconstruction(*where, Status.DIVERGED, seconds, facts, **facts_of(scene))
    found = summarise_scene(scene, model, posterior, result, information, options, time.perf_counter() - begin)
    found = judged(replace(found, **facts_of(scene)), scene)
    progress.update(done + 1, f"{scene.name}: {result.verdict}")
    return found


def lanes(shape: tuple[int, ...]) -> int:
    """Scenes that one device solves side by side: one on a CPU, whose caches hold no more, else 2 GiB worth."""
    if jax.default_backend() == "cpu":
        return 1
    return max(1, _LANE_BYTES // (4 * _ARRAYS_PER_SCENE * int(np.prod(shape))))


def chunk_size(shape: tuple[int, ...], scenes: int, batch: int | None) -> int:
    """Scenes per chunk: ``batch`` at most, by default what fills the lanes of all devices.

    The scenes are spread evenly over as few chunks as that takes, so that little is computed twice: with several
    devices the size is a multiple of their number, and the last chunk is filled up with repeats.
    """
    devices = jax.local_device_count()
    most = min(scenes, devices * lanes(shape) if batch is None else batch)
    even = -(-scenes // -(-scenes // most))
    return -(-even // devices) * devices


def _check(options: ReconstructOptions) -> None:
    if options.method not in METHODS:
        raise ValueError(f"method is {options.method!r}; expected one of {', '.join(METHODS)}")
    if options.spec not in SPEC_SOURCES:
        raise ValueError(f"spec is {options.spec!r}; expected one of {', '.join(SPEC_SOURCES)}")
    if options.samples < 1:
        raise ValueError(f"samples is {options.samples}; expected a positive number of mirrored pairs")
    if options.spec == "joint" and options.method == "map":
        raise ValueError("spec is 'joint' with method 'map'; expected method 'mgvi' or 'nuts': a joint mode is biased")
    if options.method == "nuts":
        nuts_options(options, 1)  # refuses what it cannot use
    if options.batch is not None and options.batch < 1:
        raise ValueError(f"batch is {options.batch}; expected a positive number of scenes")


def _model_for(shape: tuple[int, ...], options: ReconstructOptions) -> SceneModel:
    return load_model(model_for(options.model, len(shape)))


def scene_data(scene: Scene, spec: Spec | None = None) -> SceneData:
    """What a model sees of a scene. A chain taken as known may lie outside the spec ranges: they then stretch to it."""

    def to_array(value: object) -> Array:
        return jnp.asarray(value, jnp.result_type(float))

    ranges = jax.tree.map(to_array, scene.ranges)
    if spec is not None:
        known = to_array(spec.as_array())
        ranges = SpecRanges(jnp.minimum(ranges.low, known), jnp.maximum(ranges.high, known))
    return SceneData(to_array(scene.y), jax.tree.map(to_array, scene.acquisition), ranges)


def _spec_posterior(scene: Scene, options: ReconstructOptions) -> SpecPosterior:
    if options.spec in ("calibrated", "joint"):
        return calibrate(scene)
    if options.spec == "true":
        assert scene.true_spec is not None  # checked before the run
        known = scene.true_spec.as_dict()
    else:
        known = dict.fromkeys(SPEC_NAMES, 0.0)
    return SpecPosterior({name: Marginal.point(value) for name, value in known.items()})


def _stack(trees: Sequence) -> Any:
    return jax.tree.map(
        lambda *leaves: jnp.stack([jnp.asarray(leaf, jnp.result_type(float)) for leaf in leaves]), *trees
    )


def _solve_chunk(
    model: SceneModel,
    chunk: Sequence[Scene],
    posteriors: Sequence[SpecPosterior],
    size: int,
    options: ReconstructOptions,
) -> Summary:
    method = batch_method(options)
    scenes = [scene_data(scene, posterior.spec) for scene, posterior in zip(chunk, posteriors, strict=True)]
    inputs = [
        method.inputs(posterior, data.ranges, options) for posterior, data in zip(posteriors, scenes, strict=True)
    ]
    order = [*range(len(chunk)), *[0] * (size - len(chunk))]
    mesh = Mesh(np.array(jax.local_devices()), ("scene",))
    layout = NamedSharding(mesh, PartitionSpec("scene"))
    batch = jax.device_put((_stack([scenes[i] for i in order]), _stack([inputs[i] for i in order])), layout)
    # One key for all: it only drives the probes of preconditioner and variance, and a scene's answer must not depend
    # on its place in a batch.
    key = jax.device_put(jax.random.key(options.seed), NamedSharding(mesh, PartitionSpec()))
    return jax.device_get(_batched(model, method, mesh)(*batch, key))


_COMPILED: dict[tuple[SceneModel, BatchMethod, Mesh], Callable[..., Summary]] = {}


def _batched(model: SceneModel, method: BatchMethod, mesh: Mesh) -> Callable[..., Summary]:
    """The compiled batch solver of a model; jit keeps one executable per chunk shape."""
    if (model, method, mesh) not in _COMPILED:

        def batched(data: SceneData, inputs: Any, key: Array) -> Summary:
            def solve(scene: tuple[SceneData, Any]) -> Summary:
                return method.solve(model, *scene, key)

            # A single lane is no batch at all: vmap would copy the whole state of a finished loop at every step.
            width = lanes(data.counts.shape[1:])
            return jax.lax.map(solve, (data, inputs), batch_size=width if width > 1 else None)

        scenes, everywhere = PartitionSpec("scene"), PartitionSpec()
        # shard_map rather than automatic partitioning: each device runs its own scenes to their own convergence.
        sharded = jax.shard_map(
            batched, mesh=mesh, in_specs=(scenes, scenes, everywhere), out_specs=scenes, check_vma=False
        )
        _COMPILED[model, method, mesh] = jax.jit(sharded)
    return _COMPILED[model, method, mesh]


def _reconstruction(
    scene: Scene, posterior: SpecPosterior, model: SceneModel, result: Summary, seconds: float
) -> Reconstruction:
    variance = result.noise_variance + np.sum(result.spec_variance, axis=0)
    shares = {name: float(np.mean(result.spec_variance[i]) / np.mean(variance)) for i, name in enumerate(SPEC_NAMES)}
    facts = scalar_facts(result.facts)
    joint = None if result.spec_posterior is None else as_spec_posterior(result.spec_posterior, scene.ranges)
    stated = posterior if joint is None else joint
    found = Reconstruction(
        name=scene.name,
        x_hat=np.asarray(result.x, np.float32),
        x_std=np.asarray(np.sqrt(variance), np.float32),
        spec_correlation=np.asarray(result.correlation, np.float32),
        spec=stated.spec,
        spec_std=stated.std,
        spec_interval=stated.interval,
        status=result.status,
        seconds=seconds,
        diagnostics={
            "model": model.name,
            **facts,
            "energy_per_pixel": facts["energy"] / scene.y.size,
            "variance_share_of_chain": shares,
            **describe(posterior, np.asarray(result.spec_information), scene.ranges, joint=joint),
        },
        **facts_of(scene),
    )
    return judged(found, scene)
