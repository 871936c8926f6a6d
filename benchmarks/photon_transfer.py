"""Gain of a detector from simulated runs whose gain and offset are unknown, at several doses.

``python benchmarks/photon_transfer.py [--seeds 3]`` prints the table of ``RESULTS.md``. Runs of 24 frames of 192 × 192
pixels of the simulator, with all its motion, drift and lag, become stored values of 16 bits. With ``--truth FILE.h5``
the true sequences of a file of scenes take the place of the simulator.
"""

import argparse
from collections.abc import Iterator

import numpy as np

from fluorojax import open_scenes, simulate
from fluorojax.calibration.photon_transfer import photon_transfer

GAIN, OFFSET = 13.7, 120.0
DRIFT = 1.003  # of the gain from frame to frame, for sequences that are not simulated


def rates(seeds: int, truth: str | None) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, seed and noise-free counts of every run."""
    if truth is None:
        for seed in range(seeds):
            for motion in ("slow", "fast"):
                # simulated once at a dose that leaves no noise to speak of, and scaled to each dose
                (scene,) = simulate(1, seed=seed, frames=24, size=192, photons=1e8, motion=motion)
                yield f"{motion}, seed {seed}", seed, np.asarray(scene.y)
        return
    for index, scene in enumerate(open_scenes(truth)):
        assert scene.x_true is not None
        depth = float(np.asarray(scene.acquisition.attenuation_scale)) * scene.x_true.astype(np.float64)
        yield scene.name, index, np.exp(-depth) * DRIFT ** np.arange(len(depth))[:, None, None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--truth", help="file of scenes with their truth")
    options = parser.parse_args()
    print("| run | mean counts | gain, % off | its stated sd, % | offset, quanta off | its sd | blocks used |")
    print("|---|---|---|---|---|---|---|")
    for name, seed, rate in rates(options.seeds, options.truth):
        rng = np.random.default_rng(seed)
        for mean in (3, 10, 30, 100, 300):
            counts = rng.poisson(rate * (mean / rate.mean()))
            values = np.clip(np.rint(GAIN * counts + OFFSET), 0, 65535).astype(np.uint16)
            found = photon_transfer(values, saturation=65535)
            cells = (
                name,
                f"{mean}",
                f"{100 * (found.gain / GAIN - 1):+.2f}",
                f"{100 * found.gain_std / GAIN:.2f}",
                f"{(found.offset - OFFSET) / GAIN:+.2f}",
                f"{found.offset_std / GAIN:.2f}",
                f"{found.used.mean():.2f}",
            )
            print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
