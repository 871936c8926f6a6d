"""Training of the network between frames, and the calibration of its standard deviation.

The loss of an image is the logarithm of its mean squared error in units of the variance of its frames, so that slow and
fast scenes count alike, and a Gaussian likelihood of the standard deviation that sees the error as a constant.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from fluorojax.between.examples import Example, SlowRun, collate, draw_example, example
from fluorojax.between.network import LARGEST, TERMS, BetweenNetwork, Neighbours, spread_terms
from fluorojax.between.weights import save_between
from fluorojax.learned.data import prefetch
from fluorojax.learned.optimisers import optimiser
from fluorojax.learned.weights import named_arrays, read_arrays, with_arrays, write_arrays

Report = Callable[[float, str], None]
_FLOOR, _LIKELIHOOD = 0.1, 0.05
_TWO_SIDED, _QUANTILE = 1.6449, 0.9
# A quarter of the pixels of an image change most from frame to frame.
_MOVING = 0.75
_AVERAGE = 0.998
_POINTS, _FIT_STEPS = 4000, 1500


@dataclass(frozen=True)
class BetweenOptions:
    """Settings of a training run; they enter the recipe."""

    steps: int = 6000
    """Steps of this run, beyond those of the state that it continues."""
    minutes: float | None = None
    """Wall time at which the run ends, if it comes first."""
    learning_rate: float = 2e-3
    warmup: int = 100
    """Steps over which the learning rate rises."""
    decay: float = 0.7
    """Last share of the run over which the learning rate falls to zero."""
    batch: int = 8
    crop: int = 64
    every: int = 300
    """Steps between checkpoints."""
    seed: int = 0


@dataclass(frozen=True)
class Figures:
    """Means over images between frames. PSNR in dB at a range of optical depth of 7; coverage of 90 % intervals."""

    psnr: float
    psnr_linear: float
    """PSNR of the linear interpolation of the same frames."""
    psnr_moving: float
    psnr_moving_linear: float
    coverage: float
    coverage_moving: float

    def sentence(self) -> str:
        """The figures in words."""
        return (
            f"validation {self.psnr:.2f} dB (linear {self.psnr_linear:.2f}), moving {self.psnr_moving:.2f} dB (linear "
            f"{self.psnr_moving_linear:.2f}), coverage {100 * self.coverage:.1f} %, moving "
            f"{100 * self.coverage_moving:.1f} %"
        )


class State(eqx.Module):
    """Everything that changes from step to step."""

    network: PyTree
    average: PyTree
    optimiser: PyTree
    step: Array


def train_between(
    runs: list[SlowRun],
    output: Path,
    options: BetweenOptions,
    *,
    validation: list[SlowRun],
    calibration: list[SlowRun],
    resume: bool = True,
    report: Report = lambda share, line: None,
) -> Figures:
    """Train a network, calibrate it, and write its average as weights with their recipe.

    The state from which a run continues is in ``NAME.state.npz`` beside ``output``. ``report`` is told the share of the
    run that is done and a line about it.

    **Raises:** ``ValueError`` for the state of another network, and where the loss is not finite.
    """
    static = eqx.filter(BetweenNetwork(jax.random.key(options.seed)), eqx.is_inexact_array, inverse=True)
    state, file = _initial(options), output.with_suffix(".state.npz")
    if resume and file.exists():
        try:
            state = with_arrays(state, read_arrays(file)[0])
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
    first, step = int(state.step), _compiled_step(static)
    source, stop = prefetch(_batches(np.random.default_rng([options.seed, first]), runs, options))
    recent, begin, progress = list[Array](), time.monotonic(), 0.0
    try:
        while progress < 1.0:
            near, truth = next(source)
            rise = min(1.0, (int(state.step) + 1) / max(options.warmup, 1))
            fall = min(1.0, (1.0 - progress) / max(options.decay, 1e-9))
            state, loss = step(state, near, jnp.asarray(truth), jnp.float32(options.learning_rate * rise * fall))
            recent, count = [*recent[-199:], loss], int(state.step) - first
            elapsed = (time.monotonic() - begin) / 60.0
            progress = max(count / options.steps, elapsed / options.minutes if options.minutes else 0.0)
            if count % 50 == 0 or progress >= 1.0:
                mean = float(jnp.mean(jnp.stack(recent)))
                if not np.isfinite(mean):
                    raise ValueError(f"the loss was not finite at or before step {first + count}; {file} is kept")
                report(min(progress, 1.0), f"step {first + count}, loss {mean:.4f}")
            if count % options.every == 0 or progress >= 1.0:
                write_arrays(file, named_arrays(state), {"step": int(state.step)})
    finally:
        stop.set()
    network = fit_between(eqx.combine(state.average, static), calibration, seed=options.seed)
    found = measure(network, validation)
    save_between(output, network, recipe(options, int(state.step), len(runs), found))
    return found


def recipe(options: BetweenOptions, steps: int, runs: int, found: Figures) -> dict[str, Any]:
    """The recipe that a file of weights contains."""
    return {
        "steps": steps,
        "options": asdict(options),
        "runs": runs,
        "validation": {name: round(value, 4) for name, value in asdict(found).items()},
        "versions": {name: version(name) for name in ("fluorojax", "jax", "equinox", "optax", "numpy")},
        "device": jax.devices()[0].device_kind,
    }


def measure(network: BetweenNetwork, runs: list[SlowRun]) -> Figures:
    """Figures of a network on every image between the frames of runs."""
    rows = [np.asarray(_figures(network, near, jnp.asarray(truth))) for near, truth in _all_images(runs)]
    return Figures(*np.concatenate(rows, axis=1).mean(axis=1).tolist())


def fit_between(network: BetweenNetwork, runs: list[SlowRun], *, seed: int = 0) -> BetweenNetwork:
    """The network with log s corrected so that central 90 % intervals cover 90 %, on runs that it has not seen.

    Linear quantile regression (Koenker and Bassett, Econometrica 46:33, 1978) on :func:`spread_terms`, which vanish at
    the frames. Half of the pixels that it sees are those that move most.
    """
    bare = eqx.tree_at(lambda n: n.coefficients, network, jnp.zeros(TERMS))
    rng, parts = np.random.default_rng(seed), []
    for near, truth in _all_images(runs):
        mean, std, base = (np.asarray(v) for v in _raw(bare, near))
        for i in range(len(truth)):
            change = np.abs(np.asarray(near.frames)[i, 2] - np.asarray(near.frames)[i, 1]).ravel()
            moving = np.flatnonzero(change > np.quantile(change, _MOVING))
            some = np.concatenate([rng.integers(0, change.size, _POINTS // 2), rng.choice(moving, _POINTS // 2)])
            error = np.abs(truth[i] - mean[i]).ravel()[some]
            share = np.full(some.size, np.asarray(near.share)[i])
            parts.append(np.stack([error, std[i].ravel()[some], base[i].ravel()[some], share]))
    error, std, base, share = jnp.asarray(np.concatenate(parts, axis=1), jnp.float32)
    size = jnp.log(error + 1e-9) - jnp.log(std) - np.log(_TWO_SIDED)
    terms = spread_terms(std, base, share)
    scale = jnp.sqrt(jnp.mean(terms**2, axis=1)) + 1e-6
    transform = optax.adam(optax.cosine_decay_schedule(0.03, _FIT_STEPS))

    def pinball(scaled: Array) -> Array:
        rest = size - jnp.clip((scaled / scale) @ terms, -LARGEST, LARGEST)
        return jnp.mean(jnp.maximum(_QUANTILE * rest, (_QUANTILE - 1.0) * rest))

    def step(state: tuple, _: None) -> tuple[tuple, None]:
        scaled, inner = state
        updates, inner = transform.update(jax.grad(pinball)(scaled), inner)
        return (optax.apply_updates(scaled, updates), inner), None

    start = jnp.zeros(TERMS)
    (scaled, _), _ = jax.jit(partial(jax.lax.scan, step, length=_FIT_STEPS))((start, transform.init(start)), None)
    return eqx.tree_at(lambda n: n.coefficients, network, scaled / scale)


def loss(network: BetweenNetwork, near: Neighbours, truth: Float[Array, "N H W"]) -> Float[Array, ""]:
    """See the module docstring."""
    mean, std, base = network.raw(near)
    error = mean - truth
    squares = jnp.mean(error**2, (1, 2)) / jnp.mean(base**2, (1, 2))
    fixed, log_std = jax.lax.stop_gradient(error) / base, jnp.log(std / base)
    likelihood = jnp.mean(0.5 * fixed**2 * jnp.exp(-2.0 * log_std) + log_std)
    return jnp.mean(jnp.log(squares + _FLOOR)) + _LIKELIHOOD * likelihood


def _initial(options: BetweenOptions) -> State:
    params = eqx.filter(BetweenNetwork(jax.random.key(options.seed)), eqx.is_inexact_array)
    return State(params, params, optimiser().init(params), jnp.zeros((), jnp.int32))


def _compiled_step(static: PyTree) -> Callable[[State, Neighbours, Array, Array], tuple[State, Array]]:
    transform = optimiser()

    @jax.jit
    def step(state: State, near: Neighbours, truth: Array, rate: Array) -> tuple[State, Array]:
        value, gradient = jax.value_and_grad(lambda p: loss(eqx.combine(p, static), near, truth))(state.network)
        updates, inner = transform.update(gradient, state.optimiser, state.network)
        network = jax.tree.map(lambda p, u: p - rate * u, state.network, updates)
        keep = jnp.minimum(_AVERAGE, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, p: keep * a + (1.0 - keep) * p, state.average, network)
        return State(network, average, inner, state.step + 1), value

    return step


def _batches(
    rng: np.random.Generator, runs: list[SlowRun], options: BetweenOptions
) -> Iterator[tuple[Neighbours, Float[np.ndarray, "N H W"]]]:
    while True:
        yield collate([draw_example(rng, runs, options.crop) for _ in range(options.batch)])


def _all_images(runs: list[SlowRun], size: int = 4) -> Iterator[tuple[Neighbours, Float[np.ndarray, "N H W"]]]:
    """Every image between frames, in batches of one size; the last images that fill none are left out."""
    waiting: list[Example] = []
    for run in runs:
        for gap in range(len(run.flow)):
            for step in range(1, run.stride):
                waiting.append(example(run, gap, step))
                if len(waiting) == size:
                    yield collate(waiting)
                    waiting = []


@eqx.filter_jit
def _raw(network: BetweenNetwork, near: Neighbours) -> tuple[Array, Array, Array]:
    return network.raw(near)


@eqx.filter_jit
def _figures(network: BetweenNetwork, near: Neighbours, truth: Array) -> Float[Array, "6 N"]:
    mean, std = network(near)
    first, second, share = near.frames[:, 1], near.frames[:, 2], jnp.asarray(near.share)[:, None, None]
    linear, change = (1.0 - share) * first + share * second, jnp.abs(second - first)
    moving = change > jnp.quantile(change, _MOVING, axis=(1, 2), keepdims=True)
    inside = jnp.abs(mean - truth) <= _TWO_SIDED * std

    def over_moving(values: Array) -> Array:
        return jnp.sum(moving * values, (1, 2)) / jnp.maximum(jnp.sum(moving, (1, 2)), 1)

    def decibel(square: Array) -> Array:
        return -10.0 * jnp.log10(square / 49.0)

    errors = [(x - truth) ** 2 for x in (mean, linear)]
    rows = [decibel(jnp.mean(e, (1, 2))) for e in errors] + [decibel(over_moving(e)) for e in errors]
    return jnp.stack([*rows, jnp.mean(inside, (1, 2)), over_moving(inside)])
