"""Coverage and spec errors of the blind pipeline where the world is not the model.

Prints a Markdown table: share of pixels inside their 50, 80, 90 and 95 % intervals, and for each spec parameter the
root mean square of (estimate − truth)/sd, the mean absolute error and how many scenes hold the truth in their 90 %
interval. Run it from the repository root: ``python -m benchmarks.misspecification --scenes 4 --size 64 --frames 16``.
"""

import argparse
import sys

import numpy as np

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import SPEC_NAMES, SPEC_UNITS
from fluorojax.metrics.interval_coverage import LEVELS
from fluorojax.simulation import SimulationOptions
from fluorojax.validation import CaseResult, misspecified_cases, run_case


def row(result: CaseResult) -> str:
    covered = [f"{100 * result.coverage['all'][level]:.0f}" for level in LEVELS]
    covered[LEVELS.index(0.9)] += f" ± {100 * result.coverage_error:.0f}" if result.scenes > 1 else ""
    split = [f"{100 * result.coverage[group][0.9]:.0f}" for group in ("moving", "static")]
    spec = []
    for name in SPEC_NAMES:
        z = np.sqrt(np.mean(np.square(result.spec_z[name])))
        spec.append(f"{z:.1f} / {result.spec_error[name]:.2g} / {result.spec_inside[name]}")
    return f"| {' | '.join([result.case, *covered, *split, f'{result.x_z_rms:.2f}', *spec])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=4, help="scenes per case")
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--frames", type=int, default=16, help="frames per scene")
    parser.add_argument("--photons", type=float, default=1500.0, help="quanta per pixel and frame in the open beam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="sequence")
    parser.add_argument("--method", default="map")
    parser.add_argument("--cases", nargs="+", help="only cases whose name contains one of these words")
    arguments = parser.parse_args()
    base = SimulationOptions(frames=arguments.frames, size=arguments.size, photons=arguments.photons)
    options = ReconstructOptions(model=arguments.model, method=arguments.method, seed=arguments.seed)
    units = [f"{name} z rms / error ({SPEC_UNITS[name]}) / inside" for name in SPEC_NAMES]
    head = ["case", *(f"{100 * level:g} %" for level in LEVELS), "moving 90 %", "static 90 %", "x z rms", *units]
    print(
        f"{arguments.scenes} scenes of {arguments.frames}×{arguments.size}×{arguments.size} per case, "
        f"{arguments.photons:g} photons, seed {arguments.seed}, model {arguments.model}, method {arguments.method}\n"
    )
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for case in misspecified_cases(base):
        if arguments.cases and not any(word in case.name for word in arguments.cases):
            continue
        print(f"{case.name} …", file=sys.stderr, flush=True)
        print(row(run_case(case, arguments.scenes, arguments.seed, options)), flush=True)


if __name__ == "__main__":
    main()
