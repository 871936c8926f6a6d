"""Posterior mean and standard deviation of a scene from a trained network.

The functions depend on weights, counts and spec posterior only. Long runs are cut into overlapping runs of at most
:data:`~fluorojax.learned.features.SPAN` frames and large images into overlapping tiles, so that cost is linear in the
number of pixels and the memory of the network is bounded. Tiles overlap by the reach of the network, so that a pixel
inside a tile has the value that the whole image would give it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.learned.features import (
    BLOCK,
    PARAMETERS,
    SIDE,
    SPAN,
    SpecState,
    block_inputs,
    correct_counts,
    depth_of,
    run_level,
)
from fluorojax.learned.losses import LOG_STD_RANGE
from fluorojax.learned.networks import GRAIN, AnyNetwork
from fluorojax.physics.scatter import Scatter

MIN_FRAMES = 3
"""Shortest run of a network."""
TILE = 384
"""Side of the inner part of a tile, pixels."""
# Pixels of block images that go through a network at once.
_PIXELS = 4 * 128**2
# Step of the response to a mismatch parameter, in posterior sd.
_STEP = 0.5
# Ranges of training, in the order of :func:`outside_training`; 7.5 frames/s thinned by two are 267 ms.
_TRAINED = ((2.5, 330.0), (33.0, 267.0), (1.0, 20.0), (3.0, 17.5), (-0.7, 1.2))
# Share of the variance from which on electronic noise is told: how the network does with more has not been measured.
_MOST_ELECTRONIC = 0.05
_MIRRORS = ((), (1,), (2,), (1, 2))


@dataclass(frozen=True)
class LearnedPosterior:
    """Posterior of one scene, on the host, float32."""

    mean: Float[np.ndarray, "T H W"]
    """Posterior mean of the normalised attenuation."""
    std: Float[np.ndarray, "T H W"]
    """Posterior standard deviation, the uncertainty of the spec included."""
    response: Float[np.ndarray, "3 T H W"]
    """Change of the mean for one posterior sd of each parameter of :data:`~fluorojax.learned.features.PARAMETERS`."""

    @property
    def spec_variance(self) -> Float[np.ndarray, "3 T H W"]:
        """Part of the variance that each mismatch parameter is responsible for; together at most the whole."""
        square = self.response**2
        return square * np.minimum(1.0, self.std**2 / np.maximum(square.sum(0), 1e-30))

    @property
    def noise_variance(self) -> Float[np.ndarray, "T H W"]:
        """The rest of the variance: noise and prior."""
        return np.maximum(self.std**2 - self.spec_variance.sum(0), 0.0)


def spec_state(protocol: Mapping[str, float], mean: Float[np.ndarray, " 3"], std: Float[np.ndarray, " 3"]) -> SpecState:
    """The spec as networks see it, from the protocol and posterior means and sd of ``PARAMETERS`` (offsets).

    Windows below 0.5 ms and time constants below 2 ms count as these: networks have seen nothing shorter.
    """
    blur, lag, drift = (float(v) for v in mean)
    values = (
        max(protocol["pulse_width_ms"] + blur, 0.5),
        max(protocol["lag_ms"] + lag, 2.0),
        drift,
        *(float(v) for v in std),
        protocol["frame_time_ms"],
        protocol["readout_delay_ms"],
    )
    return SpecState(*(jnp.float32(v) for v in values))


def posterior(
    network: AnyNetwork,
    counts: Float[np.ndarray, "T H W"],
    protocol: Mapping[str, float],
    mean: Float[np.ndarray, " 3"],
    std: Float[np.ndarray, " 3"],
    *,
    mirrors: int = 2,
    response: bool = True,
    tile: int = TILE,
    first: int = 0,
    runs: Sequence[tuple[slice, slice]] | None = None,
    report: Callable[[float], None] | None = None,
) -> LearnedPosterior:
    """Posterior mean and sd of every pixel of one scene.

    **Arguments:**

    - `network`: a trained network. Where it states no standard deviation, those of the result have no meaning.
    - `counts`: detected quanta, (T, H, W), T ≥ 3, of any size.
    - `protocol`: the nominal protocol, as ``Acquisition.as_dict`` gives it. Scatter by its ``scatter_fraction`` is
      taken off the denoised counts. With ``electronic_noise`` of variance σ², the network sees the counts y + σ², which
      are as good as Poisson (:mod:`fluorojax.engines.energy`), and σ² is taken off the denoised counts.
    - `mean`, `std`: posterior means and standard deviations of ``PARAMETERS``, offsets from the protocol.
    - `mirrors`: number of mirror images, 1 to 4, whose answers are averaged; the cost grows with it. In every other
      one the blocks of frames begin elsewhere. Two gain 0.15 dB on simulated runs, four 0.2 dB.
    - `response`: find the response to each mismatch parameter, at one more pass for each. Without it the whole
      variance counts as noise.
    - `tile`: side of the inner part of a tile, a multiple of 8.
    - `first`: number of the first of these frames in the run that the gain drift counts from.
    - `runs`: what :func:`spans` returns, where it is not to be that for these frames: frames that no run keeps come
      back as zeros. With :func:`lead_frames` frames before the first that a run sees, the counts of a part of a long
      sequence give the answer of the whole.
    - `report`: is told the share of the work that is done.

    **Raises:** ``ValueError`` for counts of another number of axes or fewer than three frames, or other ``mirrors``.
    """
    counts = np.asarray(counts, np.float32)
    if counts.ndim != 3 or counts.shape[0] < MIN_FRAMES:
        raise ValueError(f"counts have shape {counts.shape}; expected (T, H, W) with at least {MIN_FRAMES} frames")
    if not 1 <= mirrors <= len(_MIRRORS):
        raise ValueError(f"mirrors is {mirrors}; expected 1 to {len(_MIRRORS)}")
    spec = spec_state(protocol, mean, std)
    electronic = protocol.get("electronic_noise", 0.0) ** 2
    counts = shifted_counts(counts, electronic, float(mean[PARAMETERS.index("gain_drift")]), first)
    moved = [_moved(spec, name) if response and s > 0 else None for name, s in zip(PARAMETERS, std, strict=True)]
    runs = spans(counts.shape[0]) if runs is None else runs
    tiles = tile_slices(counts.shape[1:], tile, network.reach)
    result = np.zeros((2 + len(PARAMETERS), *counts.shape), np.float32)
    for number, (inner, outer) in enumerate(tiles):
        part = counts[(slice(None), *outer)]
        part = np.pad(part, ((0, 0), *((0, -n % GRAIN) for n in part.shape[1:])), mode="symmetric")
        solve = _Solver(network, part, protocol["photons_per_pixel"], runs, first)
        passes = [partial(solve, spec)]
        passes += [partial(solve, spec, axes, shift=i % 2 == 0) for i, axes in enumerate(_MIRRORS[1:mirrors])]
        passes += [partial(solve, other) for other in moved if other is not None]
        found = _together(passes)
        answers, others = found[:mirrors], iter(found[mirrors:])
        kept = (slice(None), *(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)))
        for row in (0, 1):
            result[(row, slice(None), *inner)] = np.mean([a[row] for a in answers], axis=0)[kept]
        for row, other in enumerate(moved, start=2):
            if other is not None:
                result[(row, slice(None), *inner)] = ((next(others)[0] - answers[0][0]) / _STEP)[kept]
        if report is not None:
            report((number + 1) / len(tiles))
    if electronic > 0:
        primary = np.exp(-result[0]) - np.float32(electronic / protocol["photons_per_pixel"])
        # Where little is left the estimate is as uncertain as itself, and no less.
        primary = np.maximum(primary, np.maximum(0.5 * result[1] * np.exp(-result[0]), 1e-6))
        result[1:] *= np.exp(-result[0]) / primary
        result[0] = -np.log(primary)
    if protocol["scatter_fraction"] > 0:
        for t in (t for _, kept in runs for t in range(kept.start, kept.stop)):
            depth, factor = _without_scatter(jnp.asarray(result[0, t]), jnp.float32(protocol["scatter_fraction"]))
            result[1:, t] *= np.asarray(factor)
            result[0, t] = np.asarray(depth)
    result /= np.float32(protocol["attenuation_scale"])
    return LearnedPosterior(result[0], result[1], result[2:])


def shifted_counts(
    counts: Float[np.ndarray, "T H W"], electronic_variance: float, gain_drift: float, first: int = 0
) -> Float[np.ndarray, "T H W"]:
    """Counts as the network is to see them where readout adds noise: with its variance added, and none below zero.

    The shift follows the gain (``gain_drift`` in %/frame), so that a pixel at rest stays at rest; ``first`` is the
    number of the first of these frames in the run.
    """
    if electronic_variance == 0:
        return counts
    gain = (1.0 + gain_drift / 100.0) ** (first + np.arange(len(counts)))
    return np.maximum(counts + (electronic_variance * gain)[:, None, None], 0.0).astype(np.float32)


def outside_training(
    counts: Float[np.ndarray, "T H W"],
    protocol: Mapping[str, float],
    mean: Float[np.ndarray, " 3"],
) -> list[str]:
    """Sentences on what of a scene lies outside the range that networks were trained on; empty where nothing does.

    Looks at dose, frame period, exposure window, lag, drift and electronic noise, for ``counts`` as
    :func:`shifted_counts` returns them. It does not look at what the images show.
    """
    values = {
        "mean counts per pixel": float(np.mean(counts)),
        "frame_time_ms": protocol["frame_time_ms"],
        "exposure window (ms)": protocol["pulse_width_ms"] + float(mean[0]),
        "lag time constant (ms)": protocol["lag_ms"] + float(mean[1]),
        "gain drift (%/frame)": float(mean[2]),
    }
    sentences = [
        f"{name} is {value:.3g}; the network was trained on {low:g} to {high:g}"
        for (name, value), (low, high) in zip(values.items(), _TRAINED, strict=True)
        if not low <= value <= high
    ]
    share = protocol.get("electronic_noise", 0.0) ** 2 / max(values["mean counts per pixel"], 1e-6)
    if share > _MOST_ELECTRONIC:
        sentences.append(
            f"electronic noise is {100 * share:.2g} % of the variance of the counts; the network was trained without it"
        )
    return sentences


def spans(frames: int) -> list[tuple[slice, slice]]:
    """Overlapping runs that cover ``frames``: pairs of what a run sees and which of its frames are kept.

    Every kept frame has :data:`~fluorojax.learned.features.SIDE` neighbours or more on either side, ends excepted.
    """
    if frames <= SPAN:
        return [(slice(0, frames), slice(0, frames))]
    found, kept = list[tuple[slice, slice]](), 0
    while kept < frames:
        start = min(max(kept - SIDE, 0), frames - SPAN)
        stop = frames if start == frames - SPAN else start + SPAN - SIDE
        found.append((slice(start, start + SPAN), slice(kept, stop)))
        kept = stop
    return found


def lead_frames(protocol: Mapping[str, float], mean: Float[np.ndarray, " 3"], std: Float[np.ndarray, " 3"]) -> int:
    """Frames before a part of a run from which on the lag of the part no longer depends on what came before them.

    The recursion of :func:`~fluorojax.learned.features.correct_counts` multiplies an error of the trapped charge by the
    same factor in each frame. So many frames leave one in ten million of it, with the time constant a posterior
    standard deviation longer than its mean; at most 64.
    """
    lag = PARAMETERS.index("lag")
    tau = max(protocol["lag_ms"] + float(mean[lag]), 2.0) + float(std[lag])
    kept, held = (math.exp(-protocol[name] / tau) for name in ("frame_time_ms", "readout_delay_ms"))
    factor = min(abs(kept - held * (1.0 - kept) / (1.0 - held)), 0.99)
    return int(min(64, 2 + math.ceil(math.log(1e-7) / math.log(max(factor, 1e-7)))))


def tile_slices(shape: tuple[int, ...], tile: int, reach: int) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Inner parts that partition an image, and what a network must see for each; starts are multiples of 8."""
    margin = -(-reach // GRAIN) * GRAIN

    def along(size: int) -> list[tuple[slice, slice]]:
        if size <= tile + margin:
            return [(slice(0, size), slice(0, size))]
        starts = range(0, size, tile)
        return [
            (slice(a, min(a + tile, size)), slice(max(a - margin, 0), min(a + tile + margin, size))) for a in starts
        ]

    rows, columns = along(shape[0]), along(shape[1])
    return [((r[0], c[0]), (r[1], c[1])) for r in rows for c in columns]


def _together(passes: Sequence[Callable[[], tuple[np.ndarray, np.ndarray]]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The results of all passes in their order.

    On a CPU a convolution of XLA keeps one core busy, whatever their number: two passes at a time take half as long.
    The first pass runs alone, so that the others find its program.
    """
    if jax.default_backend() != "cpu" or len(passes) < 3:
        return [one() for one in passes]
    with ThreadPoolExecutor(2) as threads:
        return [passes[0](), *threads.map(lambda one: one(), passes[1:])]


class _Solver:
    """Optical depth and sd of one tile for any spec; float32, (T, H, W) each."""

    def __init__(
        self,
        network: AnyNetwork,
        counts: Float[np.ndarray, "T H W"],
        photons: float,
        runs: Sequence[tuple[slice, slice]],
        first: int,
    ):
        self._network, self._runs, self._photons, self._first = network, runs, jnp.float32(photons), jnp.float32(first)
        self._counts = jnp.asarray(counts)

    def __call__(
        self, spec: SpecState, mirror: tuple[int, ...] = (), *, shift: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """For the mirror image along the axes ``mirror``; ``shift`` moves the blocks by half of their length."""
        if getattr(self._network, "solve", None) is not None:
            return self._whole(spec, mirror)
        corrected = _correct(jnp.flip(self._counts, mirror) if mirror else self._counts, spec, self._first)
        depth, std = (np.zeros(corrected.shape, np.float32) for _ in range(2))
        for seen, kept in self._runs:
            run = corrected[seen]
            frames = run.shape[0]
            last = max(frames - BLOCK, 0)
            first = kept.start - seen.start
            starts = np.arange(first, kept.stop - seen.start, BLOCK)
            if shift and len(starts) > 1:
                starts = np.append(starts[:1], np.arange(first + BLOCK // 2, kept.stop - seen.start, BLOCK))
            starts = np.minimum(starts, last)
            group = max(1, _PIXELS // run[0].size)
            for some in np.split(starts, range(group, len(starts), group)):
                got = _blocks(self._network, run, spec, self._photons, jnp.asarray(some, jnp.int32))
                for start, d, s in zip(some.tolist(), *(np.asarray(g) for g in got), strict=True):
                    # A run answers for the frames that it keeps alone, whatever the runs beside it are.
                    low, high = max(start, first), min(start + BLOCK, kept.stop - seen.start)
                    depth[seen.start + low : seen.start + high] = d[low - start : high - start]
                    std[seen.start + low : seen.start + high] = s[low - start : high - start]
        return np.flip(depth, mirror), np.flip(std, mirror)

    def _whole(self, spec: SpecState, mirror: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The same from a network that takes whole runs; the sd are zero."""
        counts = jnp.flip(self._counts, mirror) if mirror else self._counts
        depth = np.zeros(counts.shape, np.float32)
        for seen, kept in self._runs:
            # The network counts the gain from the first frame that it gets.
            photons = self._photons * (1.0 + spec.drift / 100.0) ** (self._first + seen.start)
            found = np.asarray(_run(self._network, counts[seen], spec, photons))
            depth[kept] = found[kept.start - seen.start : kept.stop - seen.start]
        return np.flip(depth, mirror), np.zeros_like(depth)


_correct = jax.jit(correct_counts)


@eqx.filter_jit
def _run(
    network: AnyNetwork, counts: Float[Array, "T H W"], spec: SpecState, photons: Float[Array, ""]
) -> Float[Array, "T H W"]:
    """Depth of a run from a network that takes whole runs."""
    return network.solve(counts, counts.shape[0], spec, photons)  # pyright: ignore[reportAttributeAccessIssue]


@eqx.filter_jit
def _blocks(
    network: AnyNetwork,
    corrected: Float[Array, "T H W"],
    spec: SpecState,
    photons: Float[Array, ""],
    starts: Array,
) -> tuple[Float[Array, "K block H W"], Float[Array, "K block H W"]]:
    """Depth and its sd in the blocks that begin at ``starts``."""
    frames = corrected.shape[0]
    level = run_level(corrected, frames)
    inputs = [block_inputs(corrected, level, frames, start, spec) for start in starts]
    images, conditions = (jnp.stack(part) for part in zip(*inputs, strict=True))
    mean, log_std = network(images, conditions)  # pyright: ignore[reportCallIssue]
    depth = jax.vmap(depth_of, (None, 0, None))(level.mean, mean, photons)
    std = jnp.exp(jnp.clip(log_std, *LOG_STD_RANGE)) * jax.lax.rsqrt(level.mean)[..., None]
    return jnp.moveaxis(depth, -1, 1), jnp.moveaxis(std, -1, 1)


def _moved(spec: SpecState, name: str) -> SpecState:
    """The spec with one parameter moved by a part of its posterior sd."""
    step = jnp.float32(_STEP)
    if name == "motion_blur":
        return eqx.tree_at(lambda s: s.window_ms, spec, spec.window_ms + step * spec.window_std)
    if name == "lag":
        return eqx.tree_at(lambda s: s.tau_ms, spec, spec.tau_ms + step * spec.tau_std)
    return eqx.tree_at(lambda s: s.drift, spec, spec.drift + step * spec.drift_std)


@jax.jit
def _without_scatter(
    depth: Float[Array, "H W"], fraction: Float[Array, ""]
) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """Optical depth of the primary beam from that of all quanta, and the factor by which its errors grow.

    Solves ``P + f/(1−f)·B P = λ`` for the primary P by damped iteration; B is the blur of the operator's scatter stage.
    Primary is kept above a tenth of its share of the counts.
    """
    rate, ratio, scatter = jnp.exp(-depth), fraction / (1.0 - fraction), Scatter()
    primary = jax.lax.fori_loop(
        0, 60, lambda _, p: p + 2.0 / (2.0 + ratio) * (rate - p - ratio * scatter.blur(p)), (1.0 - fraction) * rate
    )
    primary = jnp.maximum(primary, 0.1 * (1.0 - fraction) * rate)
    return -jnp.log(primary), rate / primary
