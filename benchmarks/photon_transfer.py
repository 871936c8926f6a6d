"""Gain of a detector from simulated runs whose gain and offset are unknown, at several doses.

``python benchmarks/photon_transfer.py [--seeds 2]`` prints the table of ``RESULTS.md``. Runs of 24 frames of 192 × 192
pixels of the simulator, with all its motion, drift and lag, become stored values of 16 bits.
"""

import argparse

import numpy as np

from fluorojax import simulate
from fluorojax.calibration.photon_transfer import photon_transfer

GAIN, OFFSET = 13.7, 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    seeds = parser.parse_args().seeds
    print("| mean counts | gain, % off | its stated sd, % | offset, quanta off | its sd | blocks used |")
    print("|---|---|---|---|---|---|")
    for seed in range(seeds):
        # the scene is simulated once, and its expected counts are scaled to each dose
        (scene,) = simulate(1, seed=seed, frames=24, size=192, photons=3e5)
        rng = np.random.default_rng(seed)
        for mean in (3, 10, 30, 100, 300):
            counts = rng.poisson(scene.y * (mean / scene.y.mean()))
            values = np.clip(np.rint(GAIN * counts + OFFSET), 0, 65535).astype(np.uint16)
            found = photon_transfer(values, saturation=65535)
            cells = (
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
