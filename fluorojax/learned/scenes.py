"""Clean training sequences from seeds, and the shard files that store them.

A sequence holds optical depth, which adds over layers: two sequences can be superposed at training time. Next to the
depth at the frame times it holds the depth that an exposure of :data:`WINDOW_MS` would see, from instants between the
frames; the smear of a window w follows as its (w/WINDOW_MS)² share, which is exact to second order in the motion.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fluorojax.io.atomic import atomic_stream
from fluorojax.learned.body import draw_body, draw_extras
from fluorojax.simulation import SimulationOptions, build_phantom, frame_times

WINDOW_MS = 18.0
"""Exposure window of the smeared sequence, ms: the longest of the published ranges."""
VERSION = 1
"""Version of the generator; it enters every seed, so that a changed generator never repeats old scenes."""
# Gauss–Legendre nodes and weights on the window: exact for smooth motion to high order.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(4)
_DEEPEST = 9.0
_KEPT = "the finished shards are kept, and the same command continues once the disk can be written"


@dataclass(frozen=True)
class CleanSequence:
    """Optical depth of one run without noise, on the host."""

    depth: Float[np.ndarray, "T H W"]
    """Optical depth at the frame times, float32, ≥ 0."""
    smeared: Float[np.ndarray, "T H W"]
    """−log of the mean transmission over :data:`WINDOW_MS` around each frame time, float32."""
    fps: float
    """Frames per second."""
    kind: str
    """``chest`` or ``body``."""


def draw_sequence(seed: int, index: int) -> CleanSequence:
    """Draw one clean sequence; ``(seed, index)`` fixes everything.

    A little more than half are chests of :mod:`fluorojax.simulation`, at times with further devices; the others are
    the body parts of :mod:`fluorojax.learned.body`. 7.5–30 frames/s, 16–24 frames, 96–136 pixels.
    """
    rng = np.random.default_rng([VERSION, seed, index])
    fps, frames, size = (
        float(rng.choice([7.5, 10.0, 15.0, 25.0, 30.0, 30.0])),
        int(rng.integers(16, 25)),
        8 * int(rng.integers(12, 18)),
    )
    shape, duration = (size, size), frames * 1000.0 / fps
    if rng.random() < 0.55:
        kind, motion = "chest", "fast" if rng.random() < 0.5 else "slow"
        options = SimulationOptions(frames=frames, size=size, fps=fps, motion=motion)
        phantom = build_phantom(int(rng.integers(2**31)), options)
        layers = [phantom.attenuation, *(draw_extras(rng, shape, duration) if rng.random() < 0.4 else [])]
        times, offset = frame_times(options), 0.0
    else:
        kind, layers, times = "body", draw_body(rng, shape, duration), np.arange(frames) * 1000.0 / fps
        first = sum(layer(times[0]) for layer in layers)
        transmission = np.exp(rng.uniform(np.log(0.01), np.log(0.12)))
        offset = float(np.log(np.exp(-first).mean() / transmission))

    def depth(time_ms: float) -> Float[np.ndarray, "H W"]:
        return np.clip(sum(layer(time_ms) for layer in layers) + offset, 0.0, _DEEPEST)

    still = np.stack([depth(t) for t in times])
    exposed = [
        sum(w * np.exp(-depth(t + 0.5 * WINDOW_MS * u)) for u, w in zip(_NODES, 0.5 * _WEIGHTS, strict=True))
        for t in times
    ]
    return CleanSequence(still.astype(np.float32), -np.log(np.stack(exposed)).astype(np.float32), fps, kind)


def write_shard(file: Path, sequences: list[CleanSequence], *, seed: int, first: int) -> None:
    """Write sequences as one uncompressed ``.npz`` of uint16 arrays, atomically; 7e-5 of the deepest pixel is kept."""
    arrays: dict[str, np.ndarray] = {}
    facts = []
    for number, sequence in enumerate(sequences):
        scale = float(max(sequence.depth.max(), sequence.smeared.max()))
        for name in ("depth", "smeared"):
            arrays[f"{name}_{number}"] = np.rint(getattr(sequence, name) * (65535.0 / scale)).astype(np.uint16)
        facts.append({"scale": scale, "fps": sequence.fps, "kind": sequence.kind, "index": first + number})
    text = json.dumps({"version": VERSION, "seed": seed, "sequences": facts}).encode()
    with atomic_stream(file, overwrite=True, advice=_KEPT) as stream:
        np.savez(stream, facts=np.frombuffer(text, np.uint8), **arrays)  # pyright: ignore[reportArgumentType]


def read_shard(file: Path) -> list[CleanSequence]:
    """Read what :func:`write_shard` wrote.

    **Raises:** ``ValueError`` naming the file where it is no shard of this version.
    """
    try:
        with np.load(file, allow_pickle=False) as store:
            facts = json.loads(store["facts"].tobytes())
            if facts["version"] != VERSION:
                raise ValueError(f"version {facts['version']}, expected {VERSION}")
            return [
                CleanSequence(
                    store[f"depth_{number}"].astype(np.float32) * np.float32(fact["scale"] / 65535.0),
                    store[f"smeared_{number}"].astype(np.float32) * np.float32(fact["scale"] / 65535.0),
                    fact["fps"],
                    fact["kind"],
                )
                for number, fact in enumerate(facts["sequences"])
            ]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{file}: not a shard of training sequences ({error})") from error


def write_shards(
    folder: Path, *, seed: int, count: int, per_shard: int = 8, report: Callable[[int], None] | None = None
) -> None:
    """Draw ``count`` sequences into shard files of a folder; shards that are there already are kept.

    Shard ``k`` holds the sequences ``k·per_shard …`` of the seed, so that a run which was stopped continues. ``report``
    is told how many sequences there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(0, count, per_shard):
        file = folder / f"shard_{seed:06d}_{first:07d}.npz"
        last = min(first + per_shard, count)
        if not file.exists():
            write_shard(file, [draw_sequence(seed, i) for i in range(first, last)], seed=seed, first=first)
        if report is not None:
            report(last)
