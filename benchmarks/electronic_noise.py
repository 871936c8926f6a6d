#!/usr/bin/env python3
"""Interval coverage and bias where the detector adds electronic noise, modelled and not.

    python -m benchmarks.electronic_noise [--method map] [--doses 3 10 30] [--sigmas 1 3] [--scenes 2] [--frames 8]
        [--size 64] [--seed 4000]
    python -m benchmarks.electronic_noise --likelihood

Simulated scenes, other ones for each row, whose open beam gives the wanted mean count per pixel and frame. The same
counts are reconstructed with the noise in the protocol, and without it, with negative counts set to zero as readers do.
Prints Markdown: coverage of 90 % intervals over all, moving and static pixels, the bias of x in its standard deviations
and in percent of the optical depth A·x = 1, and the error of the gain drift.

``--likelihood`` compares the shifted Poisson distribution with the exact convolution of Poisson and Gaussian instead.
"""

import argparse
from dataclasses import replace
from itertools import count

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.metrics.interval_coverage import coverage, spec_errors
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scene

RATES = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)


def unmodelled(scene):
    """The scene as its reader would give it without knowing of the noise."""
    protocol = {**scene.acquisition.as_dict(), "electronic_noise": 0.0}
    return replace(scene, y=np.maximum(scene.y, 0.0), acquisition=Acquisition.from_dict(protocol))


def scene_of(number, dose, sigma, arguments):
    """A scene with a mean count of ``dose`` and electronic noise ``sigma``."""
    options = SimulationOptions(
        size=arguments.size,
        frames=arguments.frames,
        motion=("slow", "fast")[number % 2],
        fps=(30.0, 15.0)[number // 2 % 2],
        photons=1000.0,
    )
    mean = float(simulate_scene(arguments.seed + number, options).y.mean())
    return simulate_scene(
        arguments.seed + number,
        replace(options, photons=1000.0 * dose / mean, read_noise=sigma),
        name=f"sample_{number:02d}",
    )


def facts_of(result, scene):
    """Coverage of 90 % over all, moving and static pixels; bias; spec."""
    found = next(c for c in coverage(result.x_hat, result.x_std, scene.x_true) if c.level == 0.9)
    error = result.x_hat - scene.x_true
    drift = spec_errors(result, scene.true_spec)["gain_drift"]
    return (
        found.overall,
        found.moving,
        found.static,
        float(np.mean(error / result.x_std)),
        float(np.mean(error)) * scene.acquisition.as_dict()["attenuation_scale"] * 100,
        float(np.sqrt(np.mean(error**2))),
        abs(drift.error),
        float(drift.in_interval),
        float(result.diagnostics.get("mean_squared_residual", np.nan)),
        float(result.diagnostics.get("variance_factor", np.nan)),
    )


def likelihood_table():
    """Errors of the shifted Poisson distribution against the exact convolution."""
    quanta = np.arange(200)

    def exact(y, rate, sigma):
        return logsumexp(stats.poisson.logpmf(quanta, rate) + stats.norm.logpdf(y[:, None], quanta, sigma), axis=1)

    print("| σ (quanta) | λ | information, exact × (λ + σ²) | error of the score | error of the log likelihood |")
    print("|---|---|---|---|---|")
    for sigma in (0.5, 1.0, 1.5, 2.0, 3.0):
        for rate in RATES:
            y = np.linspace(-9 * sigma, rate + 9 * np.hypot(sigma, np.sqrt(rate)) + 5, 4001)
            weight = np.exp(exact(y, rate, sigma)) * (y[1] - y[0])
            score = np.exp(exact(y - 1, rate, sigma) - exact(y, rate, sigma)) - 1
            information = np.sum(weight * score**2)
            wrong = np.sqrt(np.sum(weight * ((y - rate) / (rate + sigma**2) - score) ** 2) / information)
            higher = rate + information**-0.5
            shifted = (y + sigma**2) * np.log((higher + sigma**2) / (rate + sigma**2)) - (higher - rate)
            change = exact(y, higher, sigma) - exact(y, rate, sigma)
            off = np.sqrt(np.sum(weight * (shifted - change) ** 2))
            print(f"| {sigma:g} | {rate:g} | {information * (rate + sigma**2):.3f} | {wrong:.2f} | {off:.2f} |")


def main():
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="map")
    parser.add_argument("--doses", type=float, nargs="+", default=[3.0, 10.0, 30.0])
    parser.add_argument("--sigmas", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--scenes", type=int, default=2)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=4000)
    parser.add_argument("--likelihood", action="store_true", help="compare the likelihood with the exact one instead")
    arguments = parser.parse_args()
    if arguments.likelihood:
        likelihood_table()
        return
    options = ReconstructOptions(method=arguments.method, held_out=0.0, fallback=False)
    print(
        "| counts | σ | noise | 90 % hold, all | moving | static | bias / sd | bias of A·x (%) | rms of x |"
        " drift error | drift inside | residual | variance factor |\n" + "|---" * 13 + "|"
    )
    numbers = count()
    for dose in arguments.doses:
        for sigma in arguments.sigmas:
            scenes = [scene_of(next(numbers), dose, sigma, arguments) for _ in range(arguments.scenes)]
            for name, told in (("modelled", scenes), ("unknown", [unmodelled(scene) for scene in scenes])):
                results = reconstruct_scenes(told, options)
                rows = [facts_of(result, scene) for result, scene in zip(results, scenes, strict=True)]
                mean = np.nanmean(rows, axis=0)
                values = " | ".join(f"{value:.3g}" for value in mean)
                print(f"| {dose:g} | {sigma:g} | {name} | {values} |", flush=True)


if __name__ == "__main__":
    main()
