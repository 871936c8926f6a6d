"""What fast devices tell about lag and window: posterior against truth on simulated scenes, fast and slow.

Prints a Markdown table. Gain drift is the true one. Run it from the repository root:
``python -m benchmarks.transients [--scenes N] [--frames T] [--size N] [--photons I0] [--seed S]``.
"""

import argparse
import time

import numpy as np

from fluorojax.calibration.transients import TransientLikelihood, transient_log_likelihood
from fluorojax.data.spec import TIERS
from fluorojax.simulation import SimulationOptions, simulate_scenes

NAMES = ("motion_blur", "lag")


def posterior(result: TransientLikelihood, name: str, truth: float) -> tuple[float, float, float]:
    """Mean, standard deviation and cumulative probability of the truth, under the uniform prior."""
    grid, log_likelihood = getattr(result, f"{name}_grid"), getattr(result, f"{name}_log_likelihood")
    weight = np.exp(log_likelihood - log_likelihood.max())
    weight /= weight.sum()
    mean = weight @ grid
    rank = np.interp(truth, grid, np.cumsum(weight) - 0.5 * weight)
    return float(mean), float(np.sqrt(weight @ (grid - mean) ** 2)), float(rank)


def measure(motion: str, tier: str, arguments: argparse.Namespace) -> list[tuple[str, float, float, bool, float]]:
    """Print the rows of one tier; return name, error, sd, coverage and the prior's error of every estimate."""
    options = SimulationOptions(
        frames=arguments.frames, size=arguments.size, photons=arguments.photons, motion=motion, tier=tier
    )
    rows = []
    for scene in simulate_scenes(arguments.scenes, arguments.seed, options):
        assert scene.true_spec is not None
        truth = scene.true_spec.as_dict()
        start = time.perf_counter()
        result = transient_log_likelihood(scene.y, scene.acquisition, scene.ranges, truth["gain_drift"])
        seconds = time.perf_counter() - start
        ranges = scene.ranges.as_dict()
        for name in NAMES:
            mean, sd, rank = posterior(result, name, truth[name])
            prior_sd = np.ptp(ranges[name]) / np.sqrt(12)
            inside = 0.05 <= rank <= 0.95
            print(
                f"| {motion} | {tier} {scene.name} | {name} | {truth[name]:.2f} | {mean:.2f} | {sd:.2f} "
                f"| {prior_sd:.2f} | {'yes' if inside else 'no'} | {getattr(result, f'{name}_cells'):.1f} "
                f"| {seconds:.2f} |"
            )
            rows.append((name, mean - truth[name], sd, inside, 0.5 * sum(ranges[name]) - truth[name]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("scenes", 2), ("frames", 32), ("size", 128), ("photons", 3000.0), ("seed", 0)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    arguments = parser.parse_args()
    print("| motion | scene | parameter | truth | mean | sd | prior sd | in 90 % | cells | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    rows = {motion: [row for tier in TIERS for row in measure(motion, tier, arguments)] for motion in ("fast", "slow")}
    print("\n| motion | parameter | rms error | rms error of the prior | mean sd | rms z | in 90 % |")
    print("|---|---|---|---|---|---|---|")
    for motion, all_rows in rows.items():
        for name in NAMES:
            error, sd, inside, prior = np.array([row[1:] for row in all_rows if row[0] == name], float).T
            print(
                f"| {motion} | {name} | {np.sqrt(np.mean(error**2)):.2f} | {np.sqrt(np.mean(prior**2)):.2f} "
                f"| {sd.mean():.2f} | {np.sqrt(np.mean((error / sd) ** 2)):.2f} | {inside.mean():.2f} |"
            )


if __name__ == "__main__":
    main()
