"""Dose planning on simulated scenes: the exponent of the variance in the dose, and predicted beside reached.

For each seed a scene is reconstructed at the doses of `--photons`; the exponent between neighbouring doses is printed.
Then plans are made from the middle dose for other seeds, and checked by simulation from x_hat (more dose), by thinning
(less dose), and by simulating the scene itself at the planned dose, which only a simulation can.

    python benchmarks/dose_planning.py --method map --size 32 --frames 8
"""

import argparse
from dataclasses import replace

import numpy as np

import fluorojax
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.dose.planning import Region, check_plan, plan_dose, root_mean_square


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="map")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--photons", type=float, nargs="+", default=[375.0, 1500.0, 6000.0])
    parser.add_argument("--law-seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--plan-seeds", type=int, nargs="*", default=[2, 3])
    chosen = parser.parse_args()

    def scene(seed: int, photons: float):
        made = fluorojax.simulate(1, seed=seed, frames=chosen.frames, size=chosen.size, photons=photons)[0]
        return replace(made, name=f"seed {seed}, {photons:.0f} quanta")

    def reconstructed(one):
        return fluorojax.reconstruct(one, method=chosen.method)

    for seed in chosen.law_seeds:
        before = None
        for photons in chosen.photons:
            noise = root_mean_square(reconstructed(scene(seed, photons)).noise_std)
            if before is not None:
                exponent = -2 * np.log(noise / before[1]) / np.log(photons / before[0])
                print(f"seed {seed}: exponent {exponent:.2f} from {before[0]:.0f} to {photons:.0f} quanta", flush=True)
            before = photons, noise
    middle = chosen.photons[len(chosen.photons) // 2]
    region = Region((0, chosen.size), (0, chosen.size))
    options = ReconstructOptions(method=chosen.method)
    for seed in chosen.plan_seeds:
        one = scene(seed, middle)
        result = reconstructed(one)
        for share in (0.7, 1.4):
            plan = plan_dose(
                result,
                region,
                float(np.hypot(share * root_mean_square(result.noise_std), _chain(result))),
                method=chosen.method,
            )
            found = check_plan(plan, result, options, scene=one)
            other = reconstructed(scene(seed, middle * plan.factor))
            low, high = plan.factor_range
            print(
                f"seed {seed}: sd {plan.sd:.4f}, wanted {plan.target:.4f}, dose × {plan.factor:.2f} "
                f"({low:.2f} to {high:.2f}); check ({found.kind}) {found.reached:.4f}, exponent {found.exponent:.2f}, "
                f"dose × {found.factor:.2f}; scene at that dose: sd {root_mean_square(other.x_std):.4f}, error "
                f"{root_mean_square(other.x_hat - one.x_true):.4f}",
                flush=True,
            )


def _chain(result) -> float:
    return float(np.sqrt(root_mean_square(result.x_std) ** 2 - root_mean_square(result.noise_std) ** 2))


if __name__ == "__main__":
    main()
