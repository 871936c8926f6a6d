#!/usr/bin/env python3
"""The variance factor against the truth, on simulated scenes at the true spec.

    python -m benchmarks.variance_factor [--scenes 4] [--size 64] [--frames 16] [--seed 300]

"True ratio": squared error of x over its posterior variance, by regression on the shares of rest and motion, and the
factors that the package finds for both. Coverage of 90 % intervals of all and of moving pixels, as the model states
them and with the factor. Prints Markdown.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from fluorojax.engines.energy import posterior
from fluorojax.engines.map import find_mode
from fluorojax.engines.variance_factor import ADAPTED_PRIOR, motion_shares, variance_factor
from fluorojax.metrics import coverage
from fluorojax.models.loading import load_model
from fluorojax.runs.batches import scene_data
from fluorojax.simulation import SimulationOptions, simulate_scene

PHOTONS = (90.0, 250.0, 900.0, 1500.0, 9000.0)
MODEL = load_model("sequence")


@jax.jit
def solve(data, spec, truth):
    """Mode, its variance, the factor, and the squared error of the rate in units of the noise variance."""
    key = jax.random.key(0)
    mode = find_mode(MODEL, data, spec, key)
    target = posterior(MODEL, mode.data, mode.fixed)
    sites = MODEL.sites(mode.data, {**mode.fixed, **mode.latents})
    variance = MODEL.pixel_variance(mode.data, sites)
    shares = motion_shares(sites["x"], variance)
    factor = variance_factor(target, mode.latents, mode.scale, key, expected=ADAPTED_PRIOR, shares=shares)
    information = data.operator.pixel_information(sites["x"], sites["rate"], spec, data.acquisition)
    return (
        sites["x"],
        variance,
        factor,
        regression(shares, information * (sites["x"] - truth) ** 2, information * variance),
    )


def regression(shares, error, stated):
    """Ratios f of rest and motion for which the sums over pixels of s·error and of s·(f·s)·stated agree."""
    error, stated = error.mean(axis=0), stated.mean(axis=0)
    slope = jnp.einsum("iyx,jyx,yx->ij", shares, shares, stated)
    return jnp.linalg.solve(slope, jnp.einsum("iyx,yx->i", shares, error))


def main():
    parser = argparse.ArgumentParser(description="The variance factor against the truth.")
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--seed", type=int, default=300)
    arguments = parser.parse_args()
    print("| photons, motion | true, rest | true, motion | measured (sd) | applied, mean | coverage without | with |")
    print("|---|---|---|---|---|---|---|")
    for photons in PHOTONS:
        for motion in ("slow", "fast"):
            rows = []
            for i in range(arguments.scenes):
                kind = SimulationOptions(frames=arguments.frames, size=arguments.size, photons=photons, motion=motion)
                scene = simulate_scene(arguments.seed + i, kind)
                data = scene_data(scene, scene.true_spec)
                spec = jax.tree.map(jnp.float32, scene.true_spec)
                x, variance, factor, error = jax.device_get(solve(data, spec, jnp.asarray(scene.x_true, jnp.float32)))
                covered = [coverage(x, np.sqrt(scale * variance), scene.x_true)[2] for scale in (1.0, factor.applied)]
                parts = [part for level in covered for part in (level.overall, level.moving)]
                rows.append([*error, factor.measured, factor.std, np.mean(factor.applied), *parts])
            rest, motion_ratio, measured, std, applied, *parts = np.mean(rows, axis=0)
            before, after = (f"{100 * a:.1f} ({100 * b:.1f})" for a, b in (parts[:2], parts[2:]))
            ratios = f"{rest:.2f} | {motion_ratio:.2f} | {measured:.2f} ({std:.2f}) | {applied:.2f}"
            print(f"| {photons:.0f}, {motion} | {ratios} | {before} | {after} |", flush=True)


if __name__ == "__main__":
    main()
