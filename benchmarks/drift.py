"""Error and honesty of the gain-drift posterior on simulated scenes, and on challenge files with a public truth.

Prints a Markdown table: truth, posterior mean minus truth, posterior standard deviation (all %/frame) and whether the
truth lies in the central 90 % interval, then their means. Run it from the repository root:
``python -m benchmarks.drift --seeds 2 --photons 250 1500 6000 FILE.h5 …``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from fluorojax.calibration.drift import drift_log_posterior
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.io import open_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

DRIFT = SPEC_NAMES.index("gain_drift")
TIERS_AND_MOTIONS = (("public", "slow"), ("dev", "slow"), ("hidden", "fast"))


def simulated(seeds: int, photons: list[float], size: int, frames: int) -> Iterator[tuple[str, Scene]]:
    """One scene for every seed, dose and pair of tier and motion; no two share their anatomy."""
    number = 0
    for _ in range(seeds):
        for tier, motion in TIERS_AND_MOTIONS:
            for dose in photons:
                options = SimulationOptions(tier=tier, motion=motion, photons=dose, size=size, frames=frames)
                for scene in simulate_scenes(1, number, options):
                    yield f"{tier}, {motion}, {dose:g} photons, seed {number}", scene
                number += 1


def from_files(paths: list[Path]) -> Iterator[tuple[str, Scene]]:
    for path in paths:
        for scene in open_scenes(path):
            yield f"{path.name}: {scene.name}", scene


def measure(scene: Scene) -> tuple[float, float, float, bool]:
    """Truth, error, standard deviation (%/frame), and whether the truth lies in the central 90 % interval."""
    if scene.true_spec is None:
        raise ValueError(f"{scene.name} has no public true_spec; expected a scene with the truth")
    low, high = (float(np.asarray(bound)[DRIFT]) for bound in (scene.ranges.low, scene.ranges.high))
    grid, log_density = drift_log_posterior(jnp.asarray(scene.y, jnp.float32), scene.acquisition, low, high)
    grid, mass = np.asarray(grid, float), np.exp(np.asarray(log_density, float))
    mass[[0, -1]] /= 2
    mass /= mass.sum()
    truth = scene.true_spec.as_dict()["gain_drift"]
    mean = float(mass @ grid)
    below = float(np.interp(truth, grid, np.cumsum(mass) - mass / 2))
    return truth, mean - truth, float(np.sqrt(mass @ (grid - mean) ** 2)), 0.05 <= below <= 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="challenge files with the truth")
    parser.add_argument("--seeds", type=int, default=1, help="rounds of simulated scenes (0: files only)")
    parser.add_argument("--photons", type=float, nargs="+", default=[250.0, 1500.0, 6000.0], help="doses to simulate")
    parser.add_argument("--size", type=int, default=128, help="pixels per side of simulated scenes")
    parser.add_argument("--frames", type=int, default=16, help="frames of simulated scenes")
    arguments = parser.parse_args()
    print("| scene | truth | error | sd | inside 90 % |\n|---|---|---|---|---|")
    for title, scenes in (
        ("simulated", simulated(arguments.seeds, arguments.photons, arguments.size, arguments.frames)),
        ("files", from_files(arguments.files)),
    ):
        rows = []
        for name, scene in scenes:
            rows.append(measure(scene))
            truth, error, sd, inside = rows[-1]
            print(f"| {name} | {truth:+.3f} | {error:+.3f} | {sd:.3f} | {'yes' if inside else 'no'} |", flush=True)
        if rows:
            _, error, sd, inside = np.array(rows, float).T
            z = np.sqrt(np.mean((error / sd) ** 2))
            print(
                f"| **{title}: {len(rows)} scenes** | | {np.abs(error).mean():.3f} (mean abs.) "
                f"| {sd.mean():.3f} (z rms {z:.2f}) | {inside.mean():.0%} |"
            )


if __name__ == "__main__":
    main()
