"""What the model ``learned``, whose prior is a learned energy, gains over ``sequence``, and whether intervals cover.

Prints a Markdown table: PSNR, coverage of 90 % intervals over all and over moving pixels, of simulated scenes whose
imaging chain is known. Run it from the repository root:
``python -m benchmarks.learned_energy --method map --size 64 --frames 12``, and
``python -m benchmarks.learned_energy --method nuts --size 16 --frames 5 --models learned``.
"""

import argparse
import time

import numpy as np

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.metrics import coverage, psnr
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes


def measure(model: str, arguments: argparse.Namespace, photons: float, motion: str) -> list[float]:
    """PSNR, coverage, coverage of moving pixels and CPU seconds, means over the scenes."""
    options = SimulationOptions(frames=arguments.frames, size=arguments.size, photons=photons, motion=motion)
    scenes = {scene.name: scene for scene in simulate_scenes(arguments.scenes, arguments.seed, options)}
    run = ReconstructOptions(
        model=model, method=arguments.method, spec="true", batch=1, chains=2, warmup=arguments.warmup, draws=100
    )
    rows, begin = [], time.process_time()
    for result in reconstruct_scenes(scenes.values(), run):
        truth = scenes[result.name].x_true
        assert truth is not None
        assert result.x_std is not None
        (inside,) = (c for c in coverage(result.x_hat, result.x_std, truth) if c.level == 0.9)
        rows.append([psnr(result.x_hat, truth), inside.overall, inside.moving])
    return [*np.mean(rows, axis=0), (time.process_time() - begin) / len(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="map", help="map, mgvi or nuts")
    parser.add_argument("--models", nargs="+", default=["sequence", "learned"])
    parser.add_argument("--photons", nargs="+", type=float, default=[300.0, 1500.0, 6000.0])
    parser.add_argument("--motions", nargs="+", default=["slow", "fast"])
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--warmup", type=int, default=150)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    print("| model | photons | motion | PSNR (dB) | coverage 90 % | moving | CPU s a scene |\n|" + "---|" * 7)
    for photons in arguments.photons:
        for motion in arguments.motions:
            for model in arguments.models:
                level, inside, moving, seconds = measure(model, arguments, photons, motion)
                print(
                    f"| {model} | {photons:g} | {motion} | {level:.2f} | {inside:.3f} | {moving:.3f} | {seconds:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
