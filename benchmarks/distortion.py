"""The map of a distorting detector from simulated grids of beads: its error in pixels.

Prints a Markdown table: pincushion and swirl of the image intensifier, the turn of the grid, the largest shift of the
map, how many beads were found, and root mean square and largest error of the map inside of the circular field. Run it
from the repository root: ``python -m benchmarks.distortion``.
"""

import argparse

import numpy as np

from fluorojax.detectors.grid import fit_grid
from fluorojax.physics import Distortion


def simulated(distortion: Distortion, arguments: argparse.Namespace, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts behind a turned grid of beads that is off the centre, and those of the open beam."""
    shape = (arguments.size, arguments.size)
    places = zip(distortion.places(shape), (1.3, -2.1), strict=True)
    down, across = (place - 0.5 * (arguments.size - 1) + shift for place, shift in places)
    first, second = np.cos(turn) * down + np.sin(turn) * across, np.cos(turn) * across - np.sin(turn) * down
    squared = np.zeros(shape)
    for axis in (first, second):
        squared += (axis - arguments.pitch * np.round(axis / arguments.pitch)) ** 2
    rng = np.random.default_rng(arguments.seed)
    behind = arguments.photons * np.exp(-1.2 * np.exp(-0.5 * squared / 1.6**2))
    return rng.poisson(behind, (8, *shape)), rng.poisson(arguments.photons, (8, *shape))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="pixels per side")
    parser.add_argument("--pitch", type=float, default=14.0, help="distance of the beads, pixels")
    parser.add_argument("--photons", type=float, default=200.0, help="quanta per pixel and frame in the open beam")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shape = (arguments.size, arguments.size)
    field = np.hypot(*(np.indices(shape) - 0.5 * (arguments.size - 1))) < 0.46 * arguments.size
    print("| pincushion | swirl | turn | largest shift (px) | beads | rms error (px) | largest error (px) |")
    print(f"|{'---|' * 7}")
    for pincushion, swirl in ((0.0, 0.0), (0.06, 0.0), (0.06, 0.05), (0.1, -0.08)):
        for turn in (0.0, 0.1):
            distortion = Distortion.of_intensifier(pincushion, swirl)
            found = fit_grid(*simulated(distortion, arguments, turn))
            errors = np.hypot(*(np.array(found.distortion.places(shape)) - np.array(distortion.places(shape))))[field]
            print(
                f"| {pincushion:g} | {swirl:g} | {turn:g} | {distortion.largest_shift(shape):.1f} | {found.beads} | "
                f"{np.sqrt(np.mean(errors**2)):.3f} | {errors.max():.3f} |"
            )


if __name__ == "__main__":
    main()
