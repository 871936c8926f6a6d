"""Choose the parameters of the classical methods on simulated scenes that no benchmark uses.

``python -m benchmarks.tune_classical [METHOD …]`` prints, for every method, the mean PSNR over 3, 30 and 300 counts and
slow and fast motion (two patients each, no mismatch) along each parameter in turn, the others at their best so far.
The best values become the defaults in ``fluorojax/classical``. Seed 9000; the benchmark's own seed must differ.
"""

import argparse
from dataclasses import replace
from itertools import product

import numpy as np

from fluorojax.classical import CLASSICAL, ClassicalMethod
from fluorojax.data.scene import Scene
from fluorojax.metrics import psnr
from fluorojax.simulation import SimulationOptions, simulate_scene

SEED = 9000
COUNTS = (3, 30, 300)
PHOTONS_PER_COUNT = 30

GRIDS: dict[str, dict[str, tuple]] = {
    "hold": {"frames": (2, 3, 4, 6, 8, 12)},
    "recursive": {"alpha": (0.15, 0.2, 0.25, 0.3, 0.4, 0.5)},
    "gated": {
        "alpha": (0.1, 0.15, 0.2, 0.25, 0.3),
        "low": (1.0, 1.5, 2.0, 2.5, 3.0, 4.0),
        "high": (3.0, 4.0, 5.0, 6.0, 8.0),
    },
    "kalman": {
        "step_variance": (0.0003, 0.001, 0.002, 0.003, 0.005, 0.01),
        "start_variance": (0.3, 1.0, 3.0, 10.0),
    },
    "tv2d": {"weight": (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)},
    "tv3d": {"weight": (0.4, 0.5, 0.6, 0.7, 0.85, 1.0)},
    "nlm": {"strength": (0.4, 0.5, 0.6, 0.8, 1.0, 1.2), "patch": (3, 5, 7), "reach": (6, 9)},
    "tnlm": {
        "strength": (0.6, 0.7, 0.8, 1.0, 1.2, 1.5),
        "frames": (3, 5, 7, 9),
        "patch": (3, 5, 7),
        "search": (7, 9, 13, 17),
    },
    "wavelet": {
        "levels": (1, 2, 3, 4),
        "wavelet": ("haar", "db2", "sym4", "bior4.4"),
        "noise": (0.4, 0.5, 0.6, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0),
    },
    "poisson-tv": {
        "weight": (0.4, 0.5, 0.6, 0.7, 0.85, 1.0),
        "temporal": (0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
        "edge": (0.05, 0.1, 0.2, 0.4, 0.7),
        "level_pixels": (1.5, 2.0, 3.0, 6.0, 12.0),
    },
    "rpca": {
        "smooth": (0.0, 0.5, 0.7, 1.0, 1.5),
        "rank": (0.7, 1.0, 1.3, 1.7),
        "sparse": (1.5, 2.0, 2.5, 3.0, 4.0, 5.0),
    },
    "mctf": {
        "weight": (0.0, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7),
        "radius": (2, 3, 4, 5, 7),
        "flow_pixels": (0.7, 1.0, 1.5, 2.0, 3.0),
        "flow_frames": (0.0, 0.7, 1.2),
        "closure": (0.5, 0.7, 1.0, 2.0, 100.0),
        "gate": (1.0, 1.5, 2.0, 2.5, 3.0),
        "gate_pixels": (0.7, 1.0, 1.5, 2.0),
    },
}


def training_scenes(size: int = 96, frames: int = 12) -> list[Scene]:
    """Two patients at every dose and motion, measured by the nominal imaging chain."""
    scenes = []
    for counts, motion, index in product(COUNTS, ("slow", "fast"), range(2)):
        options = SimulationOptions(
            motion=motion, size=size, frames=frames, photons=PHOTONS_PER_COUNT * counts, mismatch=False
        )
        scenes.append(simulate_scene(SEED, options, index=index))
    return scenes


def quality(method: ClassicalMethod, scenes: list[Scene]) -> list[float]:
    """PSNR of every scene, dB."""
    return [psnr(method(scene.y, scene.acquisition).x_hat, scene.x_true) for scene in scenes]


def tune(name: str, scenes: list[Scene]) -> None:
    """Print a coordinate search from the present defaults."""
    best = CLASSICAL[name].method
    reached = float(np.mean(quality(best, scenes)))
    print(f"{name}: {best}: {reached:.2f} dB", flush=True)
    for parameter, values in GRIDS[name].items():
        for value in values:
            if value == getattr(best, parameter):
                continue
            candidate = replace(best, **{parameter: value})
            by_scene = quality(candidate, scenes)
            mean = float(np.mean(by_scene))
            by_dose = " ".join(f"{np.mean(part):.2f}" for part in np.split(np.array(by_scene), len(COUNTS)))
            better = mean > reached
            print(f"  {parameter} = {value}: {mean:.2f} dB (by dose {by_dose}){' *' if better else ''}", flush=True)
            if better:
                best, reached = candidate, mean
    print(f"  -> {best}: {reached:.2f} dB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"default all: {', '.join(GRIDS)}")
    chosen = parser.parse_args().methods or list(GRIDS)
    if unknown := [name for name in chosen if name not in GRIDS]:
        parser.error(f"no grid for {', '.join(unknown)}; expected {', '.join(GRIDS)}")
    scenes = training_scenes()
    for name in chosen:
        tune(name, scenes)


if __name__ == "__main__":
    main()
