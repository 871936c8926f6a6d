"""Coverage of the blind pipeline where scatter and veiling glare are unknown, and what the counts say about them.

Simulated scenes whose shares and kernels are drawn from their ranges, reconstructed by ``map`` with an imaging chain
that knows the ranges alone. Prints a Markdown table: share of pixels inside their 50, 80, 90 and 95 % intervals (90 %
with its standard error between scenes), the root mean square of (x̂ − x)/σ, the mean absolute error of x and, for
each parameter, the share of the variance of the prior that the data remove and how many scenes hold the truth in their
90 % interval. Run it from the repository root:
``python -m benchmarks.chain_unknowns --scenes 12 --size 48 --frames 12``.
"""

import argparse
import sys

import numpy as np

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.metrics.interval_coverage import LEVELS, coverage
from fluorojax.physics import PUBLISHED_OPERATOR, extended
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

CASES = {
    "all known": (),
    "scatter, share": ("scatter-share",),
    "scatter, share and kernel": ("scatter",),
    "glare, share and scale": ("glare",),
    "both": ("scatter", "glare"),
}


def row(case: str, chain: tuple[str, ...], arguments: argparse.Namespace) -> str:
    options = SimulationOptions(
        frames=arguments.frames,
        size=arguments.size,
        photons=arguments.photons,
        operator=extended(PUBLISHED_OPERATOR, chain),
    )
    scenes = {scene.name: scene for scene in simulate_scenes(arguments.scenes, arguments.seed, options)}
    inside, squares, errors = [], [], []
    names = [p.name for p in options.operator.parameters if p.name not in SPEC_NAMES]
    contraction, held = {name: [] for name in names}, dict.fromkeys(names, 0)
    for result in reconstruct_scenes(scenes.values(), ReconstructOptions(method="map", seed=arguments.seed)):
        scene = scenes[result.name]
        assert result.x_std is not None
        assert scene.x_true is not None
        assert scene.true_spec is not None
        inside.append([found.overall for found in coverage(result.x_hat, result.x_std, scene.x_true)])
        squares.append(np.mean(((result.x_hat - scene.x_true) / result.x_std) ** 2))
        errors.append(np.mean(np.abs(result.x_hat - scene.x_true)))
        for name in names:
            contraction[name].append(result.diagnostics["contraction"][name])
            low, high = result.spec_interval[name]
            held[name] += low <= scene.true_spec.as_dict()[name] <= high
        print(f"{case} {result.name}: {inside[-1]}", file=sys.stderr, flush=True)
    covered = [f"{100 * level:.0f}" for level in np.mean(inside, axis=0)]
    spread = np.std(np.array(inside)[:, LEVELS.index(0.9)], ddof=1) / len(inside) ** 0.5
    covered[LEVELS.index(0.9)] += f" ± {100 * spread:.0f}"
    told = "; ".join(f"{name} {100 * np.mean(contraction[name]):.0f} %, {held[name]}" for name in names) or "–"
    figures = [f"{np.mean(squares) ** 0.5:.2f}", f"{np.mean(errors):.4f}"]
    return f"| {' | '.join([case, *covered, *figures, told])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12, help="scenes per case, at least 2")
    parser.add_argument("--size", type=int, default=48, help="pixels per side")
    parser.add_argument("--frames", type=int, default=12, help="frames per scene")
    parser.add_argument("--photons", type=float, default=1500.0, help="quanta per pixel and frame in the open beam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="+", default=list(CASES), help="only cases of these names")
    arguments = parser.parse_args()
    levels = " | ".join(f"{100 * level:g} %" for level in LEVELS)
    print(
        f"| unknown | {levels} | x z rms | error of x | variance removed, inside 90 % |\n|{'---|' * (len(LEVELS) + 4)}"
    )
    for case in arguments.cases:
        print(row(case, CASES[case], arguments), flush=True)


if __name__ == "__main__":
    main()
