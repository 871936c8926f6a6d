#!/usr/bin/env python3
"""False alarms and power of the check by held-out quanta.

    python -m benchmarks.held_out_power [--method learned] [--scenes 40] [--frames 12] [--size 64]
        [--photons 1500] [--share 0.1] [--seed 7000] [--image-only]

Simulated scenes, half of them fast. Every scene is reconstructed from all quanta and from the kept ones. The verdict
is then asked about the result as it is, about results with a known defect (x shifted by a part of its standard
deviation, standard deviations halved or doubled), and about reconstructions with a wrong gain drift, lag or exposure
window. Prints Markdown: how often the verdict found a bias, too narrow and too wide intervals.
"""

import argparse
from dataclasses import replace

import numpy as np

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import Spec
from fluorojax.methods.registry import method_class
from fluorojax.metrics.held_out import held_out, thinned
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scene

WRONG = {"gain drift +0.5 %/frame": (0.0, 0.0, 0.5), "lag +8 ms": (0.0, 8.0, 0.0), "window +10 ms": (10.0, 0.0, 0.0)}
"""Errors of (motion_blur, lag, gain_drift)."""


def shifted(result, part):
    """The result with x moved by a part of its standard deviation."""
    return replace(result, x_hat=result.x_hat + np.float32(part) * result.noise_std)


def spread(result, factor):
    """The result with another standard deviation."""
    return replace(result, x_std=np.float32(factor) * result.x_std)


DEFECTS = {
    "none": lambda r: r,
    "x + 0.25 sd": lambda r: shifted(r, 0.25),
    "x + 0.5 sd": lambda r: shifted(r, 0.5),
    "x + 1 sd": lambda r: shifted(r, 1.0),
    "sd halved": lambda r: spread(r, 0.5),
    "sd doubled": lambda r: spread(r, 2.0),
}


def main():
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="learned")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--photons", type=float, default=1500.0)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=7000)
    parser.add_argument("--image-only", action="store_true", help="leave out the wrong imaging chains")
    arguments = parser.parse_args()
    mean = method_class(arguments.method).states_mean
    found = {}

    def check(name, scene, kept, held, spec, defects):
        options = ReconstructOptions(method=arguments.method, spec=spec, held_out=0.0, fallback=False)
        (whole,) = reconstruct_scenes([scene], options)
        (result,) = reconstruct_scenes([kept], options)
        for defect, change in defects.items():
            case = name if defect == "none" else defect
            tested = held_out(change(result), kept, held, whole, arguments.share, mean=mean)
            found.setdefault(case, []).append(tested)

    for number in range(arguments.scenes):
        options = SimulationOptions(
            size=arguments.size,
            frames=arguments.frames,
            photons=arguments.photons,
            motion=("slow", "fast")[number % 2],
            fps=(30.0, 15.0, 10.0)[number % 3],
        )
        scene = simulate_scene(arguments.seed + number, options)
        kept, held = thinned(scene, arguments.share, np.random.default_rng([arguments.seed, number]))
        check("as it is", scene, kept, held, "calibrated", DEFECTS)
        if arguments.image_only:
            continue
        true = scene.true_spec.as_array()
        for name, error in {"true chain": (0.0, 0.0, 0.0), **WRONG}.items():
            spec = Spec.from_array(true + np.asarray(error))
            check(
                name, replace(scene, true_spec=spec), replace(kept, true_spec=spec), held, "true", {"none": lambda r: r}
            )

    size = f"{arguments.frames}×{arguments.size}²"
    print(f"{arguments.method}, {arguments.scenes} scenes of {size}, share {arguments.share}\n")
    print("| defect | bias found | too narrow | too wide | ratio (medians) | largest z (median) |")
    print("|---|---|---|---|---|---|")
    for name, tests in found.items():
        ratio, error = (np.median([getattr(t.sizes[0], field) for t in tests]) for field in ("ratio", "std"))
        largest = np.median([max(abs(b.z) for b in t.biases) for t in tests])
        counts = [sum(bool(getattr(t, kind)) for t in tests) for kind in ("biased", "narrow", "wide")]
        print(f"| {name} | {' | '.join(map(str, counts))} | {ratio:.2f} ± {error:.2f} | {largest:.1f} |")
    print()
    for name in ("as it is", "true chain"):
        for test in found.get(name, ()):
            told = [f"{b.name} {b.amount:+.2g} {b.unit}, z {b.z:+.1f}, {b.in_std:+.2f} sd" for b in test.biased]
            told += [f"{s.group} {s.sentence()}" for s in (*test.narrow, *test.wide)]
            if told:
                print(f"{name}: {'; '.join(told)}")


if __name__ == "__main__":
    main()
