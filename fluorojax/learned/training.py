"""Training: batches of simulated runs, an averaged network, checkpoints that continue where they stopped."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from fluorojax.learned.data import Batch, Library, batches, prefetch
from fluorojax.learned.losses import loss
from fluorojax.learned.networks import AnyNetwork, build_network
from fluorojax.learned.optimisers import optimiser
from fluorojax.learned.validate import Runs, Validation, validation_runs
from fluorojax.learned.weights import named_arrays, read_arrays, save_weights, with_arrays, write_arrays

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class TrainOptions:
    """Settings of a training run; they enter the recipe."""

    architecture: str = "unet"
    steps: int = 20_000
    """Steps of this run, beyond those of the state it continues."""
    minutes: float | None = None
    """Wall time at which the run ends, if it comes first."""
    learning_rate: float = 2e-3
    warmup: int = 200
    """Steps over which the learning rate rises, at the start of training only."""
    decay: float = 0.25
    """Last share of this run over which the learning rate falls to zero; 0 keeps it, for a run to be continued."""
    average: float = 0.998
    """Weight of the past in the averaged network, which is the one that is kept."""
    patches: int = 4
    blocks: int = 2
    crop: int = 64
    seed: int = 0
    every: int = 500
    """Steps between validations and checkpoints."""


class TrainState(eqx.Module):
    """Everything that changes from step to step."""

    network: PyTree
    average: PyTree
    optimiser: PyTree
    step: Array


class NotFiniteError(ValueError):
    """The loss was not finite; the message names the step and where the last good state is."""


def initial_state(options: TrainOptions, start: AnyNetwork | None = None) -> TrainState:
    """A fresh state, from random weights or from those of ``start``."""
    network = build_network(options.architecture, jax.random.key(options.seed)) if start is None else start
    params = eqx.filter(network, eqx.is_inexact_array)
    return TrainState(params, params, optimiser().init(params), jnp.zeros((), jnp.int32))


def train(
    folder: Path | Library,
    output: Path,
    options: TrainOptions,
    *,
    validation: Path | Runs,
    resume: bool = True,
    start: AnyNetwork | None = None,
    report: Report | None = None,
) -> Validation:
    """Train a network and keep its average as weights.

    **Arguments:**

    - `folder`: shards of training sequences (:func:`fluorojax.learned.scenes.write_shards`); shards that appear later
      are picked up at every checkpoint. A library that was read before serves too.
    - `output`: weights to write, ``.npz``; the state from which a run continues is in ``NAME.state.npz`` beside it.
    - `validation`: folder of shards of kept-apart seeds, or prepared runs.
    - `resume`: continue the state beside ``output`` if there is one.
    - `start`: weights to begin with where there is no state.
    - `report`: is told the share of the run that is done and a line about it.

    **Returns:** the last validation of the averaged network.

    **Raises:** ``ValueError`` for a state of another architecture or a folder without shards;
    :class:`NotFiniteError` where the loss is not finite, with the last good state kept on disk.
    """
    say: Report = (lambda share, line: None) if report is None else report
    library = folder if isinstance(folder, Library) else Library(folder)
    if not library.sequences:
        raise ValueError(f"{folder}: no shards of training sequences; expected shard_*.npz")
    runs = validation if isinstance(validation, Runs) else validation_runs(Library(validation).sequences)
    state_file, curve = output.with_suffix(".state.npz"), list[dict[str, Any]]()
    static = eqx.filter(
        build_network(options.architecture, jax.random.key(options.seed)), eqx.is_inexact_array, inverse=True
    )
    state = initial_state(options, start)
    if resume and state_file.exists():
        state, curve = _read_state(state_file, state, options)
    first = int(state.step)
    source, stop = prefetch(
        batches(
            np.random.default_rng([options.seed, first]),
            library,
            patches=options.patches,
            blocks=options.blocks,
            crop=options.crop,
        )
    )
    step = _compiled_step(static, options)
    place = _placement(options.patches)
    begin, errors, progress = time.monotonic(), list[Array](), 0.0
    found: Validation | None = None
    try:
        while progress < 1.0:
            rate = _rate(options, int(state.step), progress)
            new, error = step(state, place(next(source)), jnp.float32(rate))
            errors.append(error)
            count = int(state.step) + 1
            elapsed = (time.monotonic() - begin) / 60.0
            progress = max((count - first) / options.steps, elapsed / options.minutes if options.minutes else 0.0)
            last = progress >= 1.0
            if count % options.every == 0 or last or count % 50 == 0:
                if not np.isfinite(float(error)):
                    raise NotFiniteError(
                        f"the loss was not finite at or before step {count}; the state of step "
                        f"{_saved_step(state_file)} is kept in {state_file}"
                    )
                say(min(progress, 1.0), f"step {count}, error {float(jnp.mean(jnp.stack(errors[-200:]))):.4f}")
            state = new
            if count % options.every == 0 or last:
                network = eqx.combine(state.average, static)
                found = runs.measure(network)
                curve.append({"step": count, "minutes": round(elapsed, 2), "rate": rate, **found.as_dict()})
                _write_state(state_file, state, options, curve)
                save_weights(output, network, recipe(options, count, library, curve))
                library.refresh()
                say(min(progress, 1.0), f"step {count}, {found.sentence()}")
                errors = errors[-200:]
    finally:
        stop.set()
    assert found is not None
    return found


def recipe(options: TrainOptions, steps: int, library: Library, curve: list[dict[str, Any]]) -> dict[str, Any]:
    """The recipe that a file of weights contains."""
    kinds = [s.kind for s in library.sequences]
    return {
        "architecture": options.architecture,
        "steps": steps,
        "options": asdict(options),
        "scenes": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        "validation": curve[-1] if curve else {},
        "versions": {name: version(name) for name in ("fluorojax", "jax", "equinox", "optax", "numpy")},
        "device": jax.devices()[0].device_kind,
    }


def _compiled_step(static: PyTree, options: TrainOptions) -> Callable[[TrainState, Batch, Array], tuple]:
    transform = optimiser()

    @jax.jit
    def step(state: TrainState, batch: Batch, rate: Array) -> tuple[TrainState, Array]:
        key = jax.random.fold_in(jax.random.key(options.seed), state.step)

        def objective(params: PyTree) -> tuple[Array, Array]:
            return loss(eqx.combine(params, static), batch, key)

        (value, error), gradient = jax.value_and_grad(objective, has_aux=True)(state.network)
        updates, inner = transform.update(gradient, state.optimiser, state.network)
        network = jax.tree.map(lambda p, u: p - rate * u, state.network, updates)
        # The average follows quickly at the start, when it would otherwise hold the random weights for long.
        keep = jnp.minimum(options.average, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, p: keep * a + (1.0 - keep) * p, state.average, network)
        return TrainState(network, average, inner, state.step + 1), error + 0.0 * value

    return step


def _rate(options: TrainOptions, step: int, progress: float) -> float:
    rise = min(1.0, (step + 1) / max(options.warmup, 1))
    fall = min(1.0, (1.0 - progress) / options.decay) if options.decay > 0 else 1.0
    return options.learning_rate * rise * fall


def _placement(patches: int) -> Callable[[Batch], Batch]:
    """Lay a batch out over the local devices along its patches, where they divide them."""
    devices = jax.local_devices()
    if len(devices) == 1 or patches % len(devices):
        return lambda batch: batch
    sharding = NamedSharding(Mesh(np.array(devices), ("patch",)), PartitionSpec("patch"))
    return lambda batch: jax.device_put(batch, sharding)


def _write_state(file: Path, state: TrainState, options: TrainOptions, curve: list[dict[str, Any]]) -> None:
    facts = {"architecture": options.architecture, "step": int(state.step), "curve": curve}
    write_arrays(file, named_arrays(state), facts)


def _read_state(file: Path, like: TrainState, options: TrainOptions) -> tuple[TrainState, list[dict[str, Any]]]:
    arrays, facts = read_arrays(file)
    if facts.get("architecture") != options.architecture:
        raise ValueError(
            f"{file}: holds the architecture {facts.get('architecture')!r}; expected {options.architecture!r}"
        )
    try:
        return with_arrays(like, arrays), facts["curve"]
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _saved_step(file: Path) -> Any:
    return read_arrays(file)[1]["step"] if file.exists() else "none"
