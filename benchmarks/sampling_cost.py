#!/usr/bin/env python3
"""What posterior draws cost: linear response and NUTS, against frames, pixels and dose.

    python -m benchmarks.sampling_cost [--quick] [--no-nuts]

A gradient is one of the energy; a linear-response draw is one solve of conjugate gradients, and its mirror image is
free. Times are CPU seconds of compiled calls, over all cores: other work on the machine hardly changes them. Prints
Markdown and the exponents of the fits.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from fluorojax.calibration.posterior import calibrate
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.engines.energy import posterior
from fluorojax.engines.linear_response import metric, sample_residuals
from fluorojax.engines.map import find_mode
from fluorojax.methods.nuts import NutsMethod
from fluorojax.models.loading import load_model
from fluorojax.runs.batches import scene_data
from fluorojax.simulation import SimulationOptions, simulate_scene

PHOTONS = {3: 90.0, 30: 900.0, 300: 9000.0}
"""Photons per pixel that leave about so many counts behind the patient."""
# frames, side, counts: one thing varies at a time around 16 × 64 × 64 at 30 counts
CASES = [(16, 64, 30), (8, 64, 30), (32, 64, 30), (64, 64, 30), (16, 32, 30), (16, 128, 30), (16, 64, 3), (16, 64, 300)]
PAIRS = 16


def seconds(call, *arguments, repeats=3):
    """Median CPU time of a compiled call."""
    jax.block_until_ready(call(*arguments))
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        jax.block_until_ready(call(*arguments))
        times.append(time.process_time() - begin)
    return float(np.median(times))


def measure(frames, side, counts, with_nuts):
    """CPU seconds of a MAP solve, a gradient and a draw, conjugate-gradient steps, and gradients per NUTS iteration."""
    scene = simulate_scene(7, SimulationOptions(frames=frames, size=side, photons=PHOTONS[counts]))
    model, known = load_model("sequence"), calibrate(scene)
    data, key = scene_data(scene, known.spec), jax.random.key(0)
    spec = jax.tree.map(jnp.float32, known.spec)
    solve = jax.jit(lambda data, spec: find_mode(model, data, spec, key))
    mode = solve(data, spec)
    gradient = jax.jit(lambda data, fixed, at: jax.grad(posterior(model, data, fixed).energy)(at))

    @jax.jit
    def draws(data, fixed, at, scale):
        linear = metric(posterior(model, data, fixed), at, scale)
        found = sample_residuals(linear, key, PAIRS)
        return found.iterations, found.residual, jax.tree.map(lambda leaf: leaf[0], found.solution)

    inputs = (mode.data, mode.fixed, mode.latents)
    row = {
        "map": seconds(solve, data, spec, repeats=1),
        "gradient": seconds(gradient, *inputs, repeats=9),
        "draw": seconds(draws, *inputs, mode.scale, repeats=1) / PAIRS,
        "iterations": float(np.mean(draws(*inputs, mode.scale)[0])),
    }
    if with_nuts:
        options = ReconstructOptions(method="nuts", chains=1, warmup=150, draws=20)
        begin = time.process_time()
        result, _ = NutsMethod.from_options(options).sample(model, data, known, options.seed)
        steps = result.leapfrog_steps + result.warmup_steps
        row |= {"steps": result.leapfrog_steps / 20, "nuts": time.process_time() - begin, "per_step": 0.0}
        begin = time.process_time()
        again, _ = NutsMethod.from_options(options).sample(model, data, known, options.seed)
        row["nuts"] = (time.process_time() - begin - row["map"]) / steps * row["steps"]
        assert again.leapfrog_steps == result.leapfrog_steps
    return row


def exponent(sizes, values):
    """Slope of a power law through the points."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main():
    parser = argparse.ArgumentParser(description="Cost of posterior draws.")
    parser.add_argument("--quick", action="store_true", help="only the three smallest cases")
    parser.add_argument("--no-nuts", action="store_true")
    arguments = parser.parse_args()
    cases = sorted(CASES, key=lambda case: case[0] * case[1] ** 2)[:3] if arguments.quick else CASES
    print("| frames × side² | counts | MAP, s | gradient, ms | draw, s | CG steps | draw, gradients | NUTS |")
    print("|---|---|---|---|---|---|---|---|")
    rows = {}
    for case in cases:
        frames, side, counts = case
        row = rows[case] = measure(*case, with_nuts=not arguments.no_nuts)
        sampled = f"{row['steps']:.0f} gradients, {row['nuts']:.2f} s per iteration" if "nuts" in row else "–"
        print(
            f"| {frames}×{side}² | {counts} | {row['map']:.1f} | {1e3 * row['gradient']:.1f} | {row['draw']:.3f} | "
            f"{row['iterations']:.0f} | {row['draw'] / row['gradient']:.0f} | {sampled} |",
            flush=True,
        )
    if arguments.quick:
        return
    by_frames = sorted(case for case in rows if case[1:] == (64, 30))
    by_pixels = sorted((case for case in rows if case[0] == 16 and case[2] == 30), key=lambda case: case[1])
    by_dose = sorted((case for case in rows if case[:2] == (16, 64)), key=lambda case: case[2])
    for what in ("map", "gradient", "draw", *(("nuts",) if not arguments.no_nuts else ())):
        exponents = [
            exponent([case[0] for case in by_frames], [rows[case][what] for case in by_frames]),
            exponent([case[1] ** 2 for case in by_pixels], [rows[case][what] for case in by_pixels]),
            exponent([case[2] for case in by_dose], [rows[case][what] for case in by_dose]),
        ]
        print(f"\n{what}: time ∝ frames^{exponents[0]:.2f}, pixels^{exponents[1]:.2f}, counts^{exponents[2]:.2f}")


if __name__ == "__main__":
    main()
