#!/usr/bin/env python3
"""Cost, memory and seams of runs that are solved in blocks.

    python -m benchmarks.long_runs cost --method learned --frames 64 128 256 --side 128
    python -m benchmarks.long_runs cost --method learned --frames 300 --side 512 --stop-after 2
    python -m benchmarks.long_runs seams --method map --frames 24 --side 96 --block-frames 11

``cost``: each length in a process of its own, so that peak memory is that of the run; CPU seconds of the whole command,
compilation included, and the exponent in the number of frames. ``--stop-after`` ends a run after so many blocks, for
the memory of a size that takes hours. ``seams``: a simulated run as a whole and in blocks; the difference in posterior
standard deviations, over all pixels and next to the borders of the blocks. Prints Markdown.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.io import open_scenes, read_reconstruction, write_challenge
from fluorojax.methods.protocol import Job
from fluorojax.methods.registry import make_method
from fluorojax.models.loading import load_model
from fluorojax.runs.batches import scene_data
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.progress import ProgressDisplay
from fluorojax.simulation import SimulationOptions, simulate_scene

NAME = "sample_00"


def moving_run(frames, side, seed):
    """Counts of smooth anatomy that breathes, with a catheter that moves fast, about 50 quanta per pixel."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side] / side
    counts = np.empty((frames, side, side), np.float32)
    for t in range(frames):
        breath, swing = 0.02 * np.sin(2 * np.pi * t / 100), 0.3 * np.sin(2 * np.pi * t / 25)
        depth = 2.2 + 0.6 * np.cos(9 * (row + breath)) * np.cos(7 * column)
        depth = depth + 1.2 * np.exp(-0.5 * ((column - 0.5 - swing * row) * side / 1.2) ** 2)
        counts[t] = rng.poisson(500.0 * np.exp(-depth) * 1.0002**t)
    acquisition = Acquisition(photons_per_pixel=500.0, attenuation_scale=5.0)
    return Scene(NAME, counts, acquisition, SpecRanges.for_tier("public"))


class Stop(ProgressDisplay):
    """Ends a run once so many blocks are finished."""

    def __init__(self, after):
        self.words = f"block {after + 1} of "

    def update(self, done, note):
        if self.words in note:
            raise KeyboardInterrupt


def one(arguments):
    """Reconstruct one file, and print CPU seconds and peak memory."""
    options = ReconstructOptions(
        method=arguments.method, block_frames=arguments.block_frames, fallback=False, held_out=arguments.held_out
    )
    progress = None if arguments.stop_after is None else Stop(arguments.stop_after)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    try:
        reconstruct_file(arguments.source, Path(arguments.source).with_suffix(".out.h5"), options, progress=progress)
    except KeyboardInterrupt:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(time.process_time() - begin, before / 2**20, peak / 2**20)


def cost(arguments):
    """The table of lengths."""
    print("| run | method | CPU s | peak, GB | before the run, GB |\n|---|---|---|---|---|")
    rows = []
    for frames in arguments.frames:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "run.h5"
            write_challenge(source, [moving_run(frames, arguments.side, arguments.seed)])
            command = [sys.executable, "-m", "benchmarks.long_runs", "one", "--source", str(source)]
            command += ["--method", arguments.method]
            for name in ("block_frames", "stop_after", "held_out"):
                if (value := getattr(arguments, name)) is not None:
                    command += [f"--{name.replace('_', '-')}", str(value)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, before, peak = map(float, out.split()[-3:])
        rows.append((frames, seconds))
        print(
            f"| {frames} × {arguments.side}² | {arguments.method} | {seconds:.1f} | {peak:.2f} | {before:.2f} |",
            flush=True,
        )
    if len(rows) > 1:
        logs = np.log(np.array(rows))
        print(f"\nexponent in frames: {np.polyfit(logs[:, 0], logs[:, 1], 1)[0]:.2f}")


def seams(arguments):
    """Differences of blocks and the whole."""
    for frames in arguments.frames:
        simulation = SimulationOptions(frames=frames, size=arguments.side, photons=1500.0)
        scene = replace(simulate_scene(arguments.seed, simulation), name=NAME)
        whole = ReconstructOptions(method=arguments.method, fallback=False, held_out=0.0)
        options = replace(whole, block_frames=arguments.block_frames)
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "run.h5"
            write_challenge(source, [scene])
            found = []
            for name, each in (("whole", whole), ("blocks", options)):
                reconstruct_file(source, Path(folder) / f"{name}.h5", each)
                found.append(read_reconstruction(Path(folder) / f"{name}.h5", NAME))
            run = open_scenes(source).run(NAME)
            method = make_method(options)
            known = SpecPosterior.known(found[0].spec, scene.operator.parameters)
            job = Job(run.head, scene_data(run.head), load_model("sequence"), known, 0, {}, frames=frames)
            blocks = method.blocks(job, run.shape, arguments.block_frames)
        one, other = found
        apart = np.square((other.x_hat - one.x_hat) / one.x_std)
        near = np.zeros(apart.shape, bool)
        for block in blocks:
            inside = np.zeros(apart.shape, bool)
            inside[block.kept] = True
            for axis, (kept, size) in enumerate(zip(block.kept, apart.shape, strict=True)):
                for edge in (kept.start, kept.stop - 1):
                    if edge not in (0, size - 1):
                        place = [slice(None)] * 3
                        place[axis] = slice(edge, edge + 1)
                        border = np.zeros(apart.shape, bool)
                        border[tuple(place)] = True
                        near |= border & inside
        errors = [-10 * np.log10(np.mean((each.x_hat - scene.x_true) ** 2)) for each in found]
        print(
            f"| {frames} × {arguments.side}² | {arguments.method} | {len(blocks)} | {np.sqrt(apart.mean()):.3f} | "
            f"{np.sqrt(apart[near].mean()):.3f} | {np.quantile(np.sqrt(apart), 0.999):.2f} | "
            f"{np.mean(other.x_std / one.x_std):.3f} | {errors[0]:.2f} | {errors[1]:.2f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description="Runs in blocks.")
    parser.add_argument("what", choices=("cost", "seams", "one"))
    parser.add_argument("--method", default="learned")
    parser.add_argument("--frames", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--block-frames", type=int)
    parser.add_argument("--stop-after", type=int)
    parser.add_argument("--held-out", type=float)
    parser.add_argument("--source")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.what == "seams":
        print(
            "| run | method | blocks | rms, sd | rms at borders, sd | 99.9 %, sd | ratio of sd | PSNR whole | PSNR |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
    {"cost": cost, "seams": seams, "one": one}[arguments.what](arguments)


if __name__ == "__main__":
    main()
