"""Runs that start from dark: how many are recognised, and what that does to the gain drift and the lag.

Simulated scenes from dark and from a steady state, calibrated as the file says (a steady state) and as recognised.
Prints a Markdown table: scenes that are taken to start from dark; of the drift the mean absolute error, the root mean
square of error over standard deviation, and how many scenes hold the truth in their 90 % interval; of the lag the mean
absolute error and the mean standard deviation. Run it from the repository root:
``python -m benchmarks.start_from_dark --scenes 12 --size 64 --frames 16``.
"""

import argparse
from dataclasses import replace

import numpy as np

from fluorojax.calibration.posterior import calibrate, recognise
from fluorojax.data.scene import Scene
from fluorojax.simulation import SimulationOptions, simulate_scenes


def figures(scenes: list[Scene]) -> list[str]:
    drift, drift_std, inside, lag, lag_std = [], [], 0, [], []
    for scene in scenes:
        assert scene.true_spec is not None
        found, truth = calibrate(scene), scene.true_spec.as_dict()
        drift.append(found.spec.gain_drift - truth["gain_drift"])
        drift_std.append(found.std.gain_drift)
        low, high = found.interval["gain_drift"]
        inside += low <= truth["gain_drift"] <= high
        lag.append(found.spec.lag - truth["lag"])
        lag_std.append(found.std.lag)
    z = np.array(drift) / np.array(drift_std)
    return [
        f"{np.mean(np.abs(drift)):.3f}",
        f"{np.sqrt(np.mean(z**2)):.1f}",
        f"{inside}/{len(scenes)}",
        f"{np.mean(np.abs(lag)):.1f}",
        f"{np.mean(lag_std):.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12, help="scenes per case")
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--frames", type=int, default=16, help="frames per scene")
    parser.add_argument("--photons", type=float, default=1500.0, help="quanta per pixel and frame in the open beam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="+", help="only cases whose name contains one of these words")
    arguments = parser.parse_args()
    base = SimulationOptions(frames=arguments.frames, size=arguments.size, photons=arguments.photons)
    cases = {
        "dark, slow motion": replace(base, from_dark=True),
        "dark, slow lag too": replace(base, from_dark=True, slow_tails=True),
        "dark, fast devices": replace(base, from_dark=True, motion="fast"),
        "steady, slow motion": base,
        "steady, fast devices": replace(base, motion="fast"),
    }
    names = ["drift error (%/frame)", "z rms", "inside 90 %", "lag error (ms)", "lag sd (ms)"]
    print(f"| start | taken as | from dark | {' | '.join(names)} |\n|{'---|' * (3 + len(names))}")
    for case, options in cases.items():
        if arguments.cases and not any(word in case for word in arguments.cases):
            continue
        scenes = list(simulate_scenes(arguments.scenes, arguments.seed, options))
        recognised = [recognise(scene) for scene in scenes]
        dark = f"{sum(told is not None for _, told in recognised)}/{len(scenes)}"
        print(f"| {case} | steady | – | {' | '.join(figures(scenes))} |", flush=True)
        print(f"| | recognised | {dark} | {' | '.join(figures([one for one, _ in recognised]))} |", flush=True)


if __name__ == "__main__":
    main()
