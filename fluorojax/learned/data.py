"""Training examples: clean sequences through random acquisitions of random imaging chains, drawn anew at every step.

Sequences are augmented in ways that cost no computing time. Line integrals add, so the moving part of another sequence
can be added to a scene. Crops, mirror images, transposition, reversal and thinning in time, and changes of contrast
increase the variety further.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from fluorojax.learned.features import BLOCK, SPAN, SpecState
from fluorojax.learned.scenes import WINDOW_MS, CleanSequence, read_shard

# Middle and sd of what a calibration knows before it sees data, and the range of the sd its data alone would give.
_WINDOW = (10.5, 4.3, (0.15, 20.0))
_TAU = (11.5, 2.6, (0.2, 20.0))
_DRIFT = (0.25, 0.43, (0.0005, 0.4))


class Batch(eqx.Module):
    """Simulated counts of B patches with K blocks each, and the truth; arrays on the host or a device."""

    counts: Float[Array, "B T H W"]
    """Counts, padded to :data:`~fluorojax.learned.features.SPAN` frames."""
    frames: Int[Array, " B"]
    """Number of valid frames of each run."""
    starts: Int[Array, "B K"]
    """First frame of every block."""
    depth: Float[Array, "B K H W block"]
    """True optical depth in the frames of the blocks."""
    weight: Float[Array, "B K block"]
    """0 for frames of a block after the end of the run."""
    photons: Float[Array, " B"]
    """Quanta with nothing in the beam."""
    spec: SpecState
    """Spec posteriors of the runs, arrays (B,)."""
    drift: Float[Array, " B"]
    """True gain drift, %/frame, for networks that find it by themselves in use."""


@dataclass(frozen=True)
class Acquired:
    """One run of counts with its truth, on the host."""

    counts: Float[np.ndarray, "T H W"]
    depth: Float[np.ndarray, "T H W"]
    photons: float
    spec: SpecState
    drift: float
    """True gain drift, %/frame."""


class Library:
    """The sequences of a folder of shards, in memory; new shards are found as they appear."""

    def __init__(self, folder: Path):
        self._folder, self._seen = folder, set[Path]()
        self.sequences: list[CleanSequence] = []
        self.refresh()

    def refresh(self) -> None:
        """Read the shards that appeared since the last time."""
        for file in sorted(self._folder.glob("shard_*.npz")):
            if file not in self._seen:
                self._seen.add(file)
                self.sequences += [_compact(s) for s in read_shard(file)]


def _compact(sequence: CleanSequence) -> CleanSequence:
    """Depth as float16 of the sequence and of its smear, which keeps 3e-4 of it in half the memory."""
    smear = (sequence.smeared - sequence.depth).astype(np.float16)
    return CleanSequence(sequence.depth.astype(np.float16), smear, sequence.fps, sequence.kind)


def draw_run(rng: np.random.Generator, library: list[CleanSequence], crop: int) -> Acquired:
    """Draw one augmented run from compacted sequences; up to SPAN frames of ``crop`` × ``crop`` pixels."""
    base = library[rng.integers(len(library))]
    stride = 2 if rng.random() < 0.15 else 1
    frames = _frames(rng, min(-(-len(base.depth) // stride), SPAN))
    flips = rng.random(4) < 0.5
    depth, smear, level = _cut(rng, base, frames, stride, crop, flips)
    if rng.random() < 0.3:
        factor = np.float32(rng.uniform(0.6, 1.2))
        depth, smear, level = depth * factor, smear * factor, level * factor
    if rng.random() < 0.35:
        other = library[rng.integers(len(library))]
        more, more_smear, _ = _cut(rng, other, frames, stride, crop, rng.random(4) < 0.5)
        part = np.float32(rng.uniform(0.3, 1.0))
        depth += part * (more - (more.min(0) if rng.random() < 0.7 else more.mean()))
        smear += part * more_smear
        np.clip(depth, 0.0, 9.0, out=depth)
    if rng.random() < 0.03:
        depth[:], smear[:] = depth[:1], 0.0
    counts = np.exp(rng.uniform(np.log(3.0), np.log(300.0)))
    return acquire(rng, depth, smear, photons=counts / np.exp(-level).mean(), frame_time_ms=1000.0 * stride / base.fps)


def acquire(
    rng: np.random.Generator,
    depth: Float[np.ndarray, "T H W"],
    smear: Float[np.ndarray, "T H W"],
    *,
    photons: float,
    frame_time_ms: float,
) -> Acquired:
    """Draw a spec, simulate counts of a sequence with it, and draw the spec posterior that a calibration would have.

    ``smear`` is the difference that an exposure of WINDOW_MS makes to ``depth``.
    """
    window, tau, drift = rng.uniform(2.5, 19.5), rng.uniform(6.0, 17.0), rng.uniform(-0.6, 1.15)
    signal = np.exp(-np.clip(depth + np.float32((window / WINDOW_MS) ** 2) * smear, 0.0, None))
    delay = frame_time_ms if rng.random() < 0.3 else 1000.0 / 30.0
    kept, held = np.float32(np.exp(-frame_time_ms / tau)), np.float32(np.exp(-delay / tau))
    trapped = held / (1 - kept) * signal[0]
    rate = np.empty_like(signal)
    for t, s in enumerate(signal):
        rate[t] = (1 - held) * s + (1 - kept) * trapped
        trapped = kept * trapped + held * s
    rate *= np.float32(photons) * ((1 + drift / 100) ** np.arange(len(rate), dtype=np.float32))[:, None, None]
    known = [_posterior(rng, *v) for v in ((window, *_WINDOW), (tau, *_TAU), (drift, *_DRIFT))]
    (window_mean, window_std), (tau_mean, tau_std), (drift_mean, drift_std) = known
    spec = SpecState(
        max(window_mean, 1.0), max(tau_mean, 3.0), drift_mean, window_std, tau_std, drift_std, frame_time_ms, delay
    )
    return Acquired(rng.poisson(rate).astype(np.float32), depth, photons, spec, drift)


def batches(
    rng: np.random.Generator, library: Library, *, patches: int = 4, blocks: int = 2, crop: int = 64
) -> Iterator[Batch]:
    """Endless batches of drawn runs."""
    while True:
        yield collate(rng, [draw_run(rng, library.sequences, crop) for _ in range(patches)], blocks)


def collate(rng: np.random.Generator | None, runs: list[Acquired], blocks: int) -> Batch:
    """One batch of runs of equal size; ``rng`` draws the blocks, None spreads them over the run."""
    counts, starts, depths, weights = [], [], [], []
    for run in runs:
        frames = len(run.counts)
        last = max(frames - BLOCK, 0)
        if rng is None:
            first = np.minimum(np.arange(blocks) * BLOCK, last)
        else:
            first = rng.choice(last + 1, blocks, replace=last + 1 < blocks)
        index = first[:, None] + np.arange(BLOCK)
        weights.append((index < frames).astype(np.float32))
        depths.append(np.moveaxis(run.depth[np.minimum(index, frames - 1)], 1, -1))
        starts.append(first)
        counts.append(np.pad(run.counts, ((0, SPAN - frames), (0, 0), (0, 0))))
    spec = jax.tree.map(lambda *v: np.array(v, np.float32), *(run.spec for run in runs))
    return Batch(
        np.stack(counts),  # pyright: ignore[reportArgumentType]
        np.array([len(run.counts) for run in runs], np.int32),  # pyright: ignore[reportArgumentType]
        np.stack(starts).astype(np.int32),  # pyright: ignore[reportArgumentType]
        np.stack(depths).astype(np.float32),  # pyright: ignore[reportArgumentType]
        np.stack(weights),  # pyright: ignore[reportArgumentType]
        np.array([run.photons for run in runs], np.float32),  # pyright: ignore[reportArgumentType]
        spec,
        np.array([run.drift for run in runs], np.float32),  # pyright: ignore[reportArgumentType]
    )


_Item = TypeVar("_Item")


def prefetch(source: Iterator[_Item], depth: int = 4) -> tuple[Iterator[_Item], Event]:
    """Draw batches in a thread; set the event to stop it. An error of the source is raised where batches are taken."""
    queue: Queue[_Item | BaseException] = Queue(depth)
    stop = Event()

    def work() -> None:
        try:
            for batch in source:
                queue.put(batch)
                if stop.is_set():
                    return
        except BaseException as error:  # handed over to the consumer, whatever it is
            queue.put(error)

    def take() -> Iterator[_Item]:
        while True:
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    Thread(target=work, daemon=True).start()
    return take(), stop


def _frames(rng: np.random.Generator, most: int) -> int:
    draw = rng.random()
    if draw < 0.55:
        return min(16, most)
    return int(rng.integers(min(8, most), most + 1)) if draw < 0.85 else int(rng.integers(3, min(8, most) + 1))


def _cut(
    rng: np.random.Generator, sequence: CleanSequence, frames: int, stride: int, crop: int, flips: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A crop in space and time of depth and smear, float32, and a thinned first frame of the whole scene."""
    length, height, width = sequence.depth.shape
    frames_here = min(frames, -(-length // stride))
    first = rng.integers(0, length - (frames_here - 1) * stride)
    top, left = rng.integers(0, height - crop + 1), rng.integers(0, width - crop + 1)
    index = first + stride * np.minimum(np.arange(frames), frames_here - 1)
    if flips[0]:
        index = index[::-1]
    parts = []
    for values in (sequence.depth, sequence.smeared):
        x = values[index, top : top + crop, left : left + crop].astype(np.float32)
        x = x[:, ::-1] if flips[1] else x
        x = x[:, :, ::-1] if flips[2] else x
        parts.append(np.ascontiguousarray(x.transpose(0, 2, 1) if flips[3] else x))
    return parts[0], parts[1], sequence.depth[0, ::4, ::4].astype(np.float32)


def _posterior(
    rng: np.random.Generator, truth: float, middle: float, prior_std: float, span: tuple[float, float]
) -> tuple[float, float]:
    """Mean and sd of a Gaussian posterior whose data alone would give an sd drawn from ``span`` on a log scale.

    One in ten posteriors is nearly the prior.
    """
    data_std = np.exp(rng.uniform(*np.log(span))) if rng.random() < 0.9 else 4.0 * prior_std
    seen = truth + data_std * rng.standard_normal()
    variance = 1.0 / (data_std**-2 + prior_std**-2)
    return float(variance * (seen / data_std**2 + middle / prior_std**2)), float(np.sqrt(variance))
