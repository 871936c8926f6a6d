"""Streams measured: quality against causal filters, latency, dropped frames and memory.

    python benchmarks/streaming.py quality [--seed 7100] [--scenes 2] [--frames 24]
    python benchmarks/streaming.py latency [--sizes 256 512] [--frames 1000]
    python benchmarks/streaming.py dropped [--sizes 256 512] [--frames 150]
    python benchmarks/streaming.py memory  [--frames 10000]
    python benchmarks/streaming.py file FILE.h5
    python benchmarks/streaming.py contrast

``quality`` simulates slow and fast scenes at 3, 30 and 300 quanta per pixel and frame; ``file`` takes the scenes of a
challenge file with truth. Both print the PSNR of the moving pixels and of all, and the coverage of 90 % intervals. The
classical filters get the true gain drift, the stream finds it (a second row gives it the true one). Every filter counts
as shown when its frame has come: the delay of averaging is part of its error. ``latency`` is the time from a frame in
memory to its estimate in memory, ``dropped`` runs a paced source. ``memory`` is the peak resident memory after the
first hundred frames and after the last. ``contrast`` lets a thin line fill within four frames in anatomy at
rest: the share of its contrast that the stream shows when it is full, and four and twelve frames later.
``--filter-alone`` leaves out the network; ``quality`` and ``file`` have rows for both.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from fluorojax.classical import CLASSICAL
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.io import open_scenes
from fluorojax.metrics import coverage
from fluorojax.metrics.contrast import moving_psnr
from fluorojax.metrics.image import psnr
from fluorojax.simulation import SimulationOptions, simulate_scenes
from fluorojax.streaming import Stream, paced, scene_frames, stream

CLASSICAL_NAMES = ("raw", "hold", "recursive", "gated", "kalman")
Estimator = Callable[[Scene], tuple[np.ndarray, np.ndarray]]


def classical(name: str) -> Estimator:
    """A causal filter with the true spec."""
    method = CLASSICAL[name].method

    def estimate(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        found = method(scene.y, scene.acquisition, scene.true_spec, scene.operator)
        assert found.x_std is not None
        return found.x_hat, found.x_std

    return estimate


def streamed(*, delay: int = 0, known: bool = False, **options: Any) -> Estimator:
    """A stream, blind or with the true drift."""

    def estimate(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        more: dict = {"delay": delay} | options
        if known and scene.true_spec is not None:
            drift = scene.true_spec.as_dict()["gain_drift"]
            more["drift_range"] = (drift - 1e-4, drift + 1e-4)
        results = list(stream(scene_frames(scene), scene.acquisition, **more))
        return np.stack([one.x for one in results]), np.stack([one.sd for one in results])

    return estimate


def score(scenes: Iterable[Scene], estimate: Estimator) -> np.ndarray:
    """PSNR of moving and all pixels and coverage of all and moving ones, means over scenes."""
    rows = []
    for scene in scenes:
        assert scene.x_true is not None
        x, sd = estimate(scene)
        (nine,) = (one for one in coverage(x, sd, scene.x_true) if abs(one.level - 0.9) < 1e-6)
        rows.append([moving_psnr(x, scene.x_true), psnr(x, scene.x_true), nine.overall, nine.moving])
    return np.mean(rows, axis=0)


def table(groups: dict[str, list[Scene]]) -> None:
    """One row for each method and one column for each group."""
    rows = {f"{CLASSICAL[name].label}, true drift": classical(name) for name in CLASSICAL_NAMES}
    rows |= {"stream, true drift": streamed(known=True), "stream, blind": streamed()}
    rows |= {f"stream, blind, {delay} late": streamed(delay=delay) for delay in (1, 2)}
    rows |= {f"the filter alone, blind, {delay} late": streamed(delay=delay, network=None) for delay in (0, 1, 2)}
    print("| method | " + " | ".join(groups) + " |")
    print("|---" * (len(groups) + 1) + "|")
    for name, estimate in rows.items():
        cells = ["{:.2f}, {:.2f} ({:.2f}, {:.2f})".format(*score(scenes, estimate)) for scenes in groups.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def simulated(seed: int, scenes: int, frames: int) -> dict[str, list[Scene]]:
    """Slow and fast scenes at three doses."""
    groups = {}
    for motion in ("slow", "fast"):
        probe = SimulationOptions(frames=1, photons=1000.0, motion=motion)
        mean = np.mean([scene.y.mean() for scene in simulate_scenes(scenes, seed, probe)])
        for counts in (3, 30, 300):
            options = SimulationOptions(frames=frames, photons=float(1000 * counts / mean), motion=motion)
            groups[f"{motion}, {counts}"] = list(simulate_scenes(scenes, seed, options))
    return groups


def moving_counts(size: int, frames: int) -> np.ndarray:
    """Counts of 30 quanta with a moving bar, for times that depend on nothing else."""
    rng = np.random.default_rng(0)
    run = np.full((frames, size, size), 30.0)
    for index in range(frames):
        run[index, :, (index * 5) % size : (index * 5) % size + 12] = 10.0
    return rng.poisson(run).astype(np.float32)


def latency(size: int, frames: int, options: dict[str, Any]) -> None:
    """Median, 99 % and worst latency, and processor time per frame."""
    counts = moving_counts(size, 32)
    running = Stream(Acquisition(photons_per_pixel=1500.0), (size, size), **options)
    for index in range(20):
        running.push(counts[index % 32])
    begin = time.process_time()
    for index in range(frames):
        running.push(counts[index % 32])
    used = 1000 * (time.process_time() - begin) / frames
    found = running.summary.latency()
    print(
        f"{size}²: median {found['median']:.1f} ms, 99 % {found['p99']:.1f} ms, worst {found['worst']:.1f} ms of "
        f"{len(running.summary.latencies)}; {used:.1f} processor ms per frame",
        flush=True,
    )


def dropped(size: int, frames: int, options: dict[str, Any]) -> None:
    """Dropped frames of a source at 15 and 30 frames/s."""
    counts = moving_counts(size, 32)
    for fps in (15.0, 30.0):
        acquisition = Acquisition(photons_per_pixel=1500.0, frame_time_ms=1000 / fps)
        scene = Scene("run", np.concatenate([counts] * (frames // 32 + 1))[:frames], acquisition, ranges())
        running = Stream(acquisition, (size, size), **options)
        for _ in stream(paced(scene_frames(scene), fps), acquisition, run=running):
            pass
        summary, found = running.summary, running.summary.latency()
        print(
            f"{size}² at {fps:.0f}/s: {summary.dropped} of {frames} dropped, median {found['median']:.1f} ms, "
            f"99 % {found['p99']:.1f} ms",
            flush=True,
        )


def ranges():
    """Spec ranges of the public tier."""
    from fluorojax.data.spec import SpecRanges

    return SpecRanges.for_tier("public")


def memory(frames: int, options: dict[str, Any]) -> None:
    """Peak resident memory early and at the end of a long run."""
    counts = moving_counts(64, 32)
    running = Stream(Acquisition(photons_per_pixel=1500.0), (64, 64), **options)
    for index in range(frames):
        running.push(counts[index % 32])
        if index in (100, 1000, frames - 1):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"after {index + 1} frames of 64²: peak {peak:.1f} MiB", flush=True)


def contrast(seed: int, options: dict[str, Any]) -> None:
    """Recovered over true contrast of a faint line, from the difference of two streams, with it and without."""
    rows, columns = np.mgrid[:128, :128]
    line = np.abs((columns - rows) / np.sqrt(2) + 8 * np.sin(rows / 20)) < 1.5
    shape = gaussian_filter(line.astype(float), 0.7)
    template = shape - gaussian_filter(shape, 6)
    filling = np.clip((np.arange(24) - 7) / 4, 0, 1)
    for photons in (1000.0, 10_000.0):
        (scene,) = simulate_scenes(1, seed, SimulationOptions(frames=1, photons=photons))
        assert scene.x_true is not None
        acquisition, protocol = scene.acquisition, scene.acquisition.as_dict()
        for full in (0.01, 0.02, 0.04):
            runs = []
            for number, size in enumerate((full, 0.0)):
                x = scene.x_true + size * filling[:, None, None] * shape
                rate = photons * np.exp(-protocol["attenuation_scale"] * x)
                counts = np.random.default_rng(number).poisson(rate).astype(np.float32)
                results = stream(counts, acquisition, drift_range=(-1e-3, 1e-3), **options)
                runs.append(np.stack([one.x for one in results]))
            shown = np.sum((runs[0] - runs[1]) * template, axis=(1, 2)) / np.sum(template * shape) / full
            print(
                f"{scene.y.mean():.0f} counts, contrast {full}: {shown[11]:.2f}, {shown[15]:.2f}, {shown[23]:.2f}",
                flush=True,
            )


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description="Measure streams.")
    parser.add_argument("what", choices=["quality", "file", "latency", "dropped", "memory", "contrast"])
    parser.add_argument("file", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=7100)
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--filter-alone", action="store_true", help="without the network")
    arguments = parser.parse_args()
    options: dict[str, Any] = {"network": None} if arguments.filter_alone else {}
    if arguments.what == "quality":
        table(simulated(arguments.seed, arguments.scenes, arguments.frames or 24))
    elif arguments.what == "file":
        table({name: list(open_scenes(name)) for name in arguments.file})
    elif arguments.what == "contrast":
        contrast(arguments.seed, options)
    elif arguments.what == "memory":
        memory(arguments.frames or 10_000, options)
    else:
        for size in arguments.sizes:
            if arguments.what == "latency":
                latency(size, arguments.frames or 1000, options)
            else:
                dropped(size, arguments.frames or 150, options)


if __name__ == "__main__":
    main()
