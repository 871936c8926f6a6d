#!/usr/bin/env python3
"""How the cost of ``map`` grows with pixels and frames.

    python -m benchmarks.growth [--sides 64 128 256 512] [--frames 8 16 32 64 128] [--seed 0]

Sides are timed at 8 frames, frame counts at 64 × 64 pixels, on simulated scenes. CPU seconds, which a busy machine
changes less than the clock: of the calibration and of the reconstruction (mode, responses, variance), compilation
apart. Peak memory is that of the process, so sizes rise. The exponents are fitted to logarithms over all sizes; that of
a cost in proportion is one. Prints Markdown.
"""

import argparse
import resource
import time

import jax
import numpy as np

from fluorojax.calibration.posterior import calibrate
from fluorojax.methods.map import MapMethod
from fluorojax.models.loading import load_model
from fluorojax.runs.batches import scene_data
from fluorojax.simulation import SimulationOptions, simulate_scene


def measure(frames, side, seed):
    """CPU seconds of calibration, compilation and reconstruction; Newton steps; whether the mode was found; GB."""
    model = load_model("sequence")
    scene = simulate_scene(seed, SimulationOptions(frames=frames, size=side, photons=1500.0))
    calibrate(scene)
    begin = time.process_time()
    known = calibrate(scene)
    calibration = time.process_time() - begin
    method, data = MapMethod(), scene_data(scene, known.spec)
    inputs = jax.tree.map(np.float32, method.inputs(known, data.ranges, seed))
    begin = time.process_time()
    program = jax.jit(method.solve, static_argnums=0).lower(model, data, inputs, jax.random.key(seed)).compile()
    compilation = time.process_time() - begin
    begin = time.process_time()
    found = jax.block_until_ready(program(data, inputs, jax.random.key(seed)))
    seconds = time.process_time() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    error = np.mean((np.asarray(found.x) - scene.x_true) ** 2)
    steps, converged = int(found.facts["iterations"]), bool(found.converged)
    return calibration, compilation, seconds, steps, converged, memory, -10 * np.log10(error)


def table(sizes, seed):
    """Rows of the table, and the exponents of calibration and reconstruction in the number of values."""
    rows = []
    for frames, side in sizes:
        found = measure(frames, side, seed)
        rows.append((frames * side**2, found[0], found[2]))
        calibration, compilation, seconds, steps, converged, memory, psnr = found
        end = "yes" if converged else "no"
        print(
            f"| {frames} × {side}² | {calibration:.2f} | {seconds:.2f} | {compilation:.0f} | {steps} | {end} | "
            f"{memory:.2f} | {psnr:.2f} |",
            flush=True,
        )
    logs = np.log(np.array(rows))
    return [np.polyfit(logs[:, 0], logs[:, column], 1)[0] for column in (1, 2)] if len(rows) > 1 else [np.nan] * 2


def main():
    parser = argparse.ArgumentParser(description="Growth of the cost of map.")
    parser.add_argument("--sides", type=int, nargs="*", default=[64, 128, 256, 512])
    parser.add_argument("--frames", type=int, nargs="*", default=[8, 16, 32, 64, 128])
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print("| scene | calibration s | map s | compile s | steps | converged | peak GB | PSNR dB |")
    print("|---|---|---|---|---|---|---|---|")
    for what, sizes in (
        ("pixels", [(8, side) for side in arguments.sides]),
        ("frames", [(frames, 64) for frames in arguments.frames]),
    ):
        calibration, reconstruction = table(sizes, arguments.seed) if sizes else (np.nan, np.nan)
        print(f"\nexponent in {what}: calibration {calibration:.2f}, map {reconstruction:.2f}\n", flush=True)


if __name__ == "__main__":
    main()
