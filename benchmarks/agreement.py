#!/usr/bin/env python3
"""Linear response, MGVI and the Laplace marginal against NUTS on the same scenes.

    python -m benchmarks.agreement [--scenes 4] [--frames 6] [--size 20] [--draws 400] [--joint-size 16]
        [--doses 3 30 300] [--seed 100]

Two comparisons, because they answer two questions:

* the uncertainty map: spec drawn from its calibration, hyperparameters and local scales as MAP has them. NUTS samples
  that distribution; the map of ``--method map``, linear-response draws and MGVI approximate it;
* the spec under the model alone: NUTS over everything against the Laplace marginal, on smaller scenes.

Prints Markdown. Ratios are of standard deviations, method over NUTS, pooled over all pixels: median (5 %–95 %). NUTS's
own error is about 1/√(2·draws) per pixel, which widens the 5 %–95 % range of every row but not its median.
"""

import argparse
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from fluorojax.calibration.posterior import calibrate
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.engines.energy import posterior
from fluorojax.engines.linear_response import sample_variance
from fluorojax.engines.map import find_mode, respond_to_spec
from fluorojax.engines.marginal import as_spec_posterior, laplace_marginal
from fluorojax.methods.nuts import NutsMethod
from fluorojax.methods.registry import make_method
from fluorojax.models.loading import load_model
from fluorojax.runs.batches import scene_data
from fluorojax.simulation import SimulationOptions, simulate_scene

DOSES = {"3": 90.0, "30": 900.0, "300": 9000.0}
"""Photons per pixel that leave about so many counts behind the patient."""


def to_floats(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def uncertainty_maps(scene, options):
    """Standard deviations of x by every method, NUTS's verdict, and seconds of each."""
    model, known = load_model("sequence"), calibrate(scene)
    data, key = scene_data(scene, known.spec), jax.random.key(0)
    spec, std = to_floats(known.spec), to_floats(known.std.as_array())
    deviations, means, seconds = {}, {}, {}
    begin = time.perf_counter()
    for name in ("map", "mgvi"):
        method = make_method(replace(options, method=name))
        inputs = to_floats(method.inputs(known, data.ranges, options.seed))
        found = jax.device_get(jax.jit(method.solve, static_argnums=0)(model, data, inputs, key))
        # NUTS has no residuals' correction of the prior; as the model states it:
        noise = found.noise_variance / found.facts["variance_factor"]
        deviations[name] = np.sqrt(noise + found.spec_variance.sum(0))
        means[name] = np.asarray(found.x)
        seconds[name] = time.perf_counter() - begin
        begin = time.perf_counter()

    def linear(data, spec, std):
        mode = find_mode(model, data, spec, key)
        noise = sample_variance(posterior(model, mode.data, mode.fixed), mode.latents, mode.scale, key, 256)
        return noise + jnp.sum(respond_to_spec(model, mode, spec, std).x ** 2, axis=0)

    deviations["linear response"] = np.sqrt(jax.device_get(jax.jit(linear)(data, spec, std)))
    means["linear response"] = means["map"]
    result, _ = NutsMethod.from_options(options).sample(model, data, known, options.seed)
    seconds["nuts"] = time.perf_counter() - begin
    deviations["nuts"], means["nuts"] = np.sqrt(result.x_variance), result.x_mean
    return deviations, means, result


def joint_spec(scene, options):
    """Spec means and standard deviations under the model alone, by NUTS and by the Laplace marginal."""
    model, known = load_model("sequence"), calibrate(scene)
    data = scene_data(scene, known.spec)
    result, _ = NutsMethod.from_options(options).sample(model, data, known, options.seed)

    def laplace(data, spec):
        mode = find_mode(model, data, spec, jax.random.key(0))
        return laplace_marginal(model, mode.data, jax.random.key(1))

    marginal = jax.jit(laplace)(data, to_floats(known.spec))
    approximate = as_spec_posterior(jax.device_get(marginal), scene.ranges)
    draws = result.spec_draws.reshape(-1, 3)
    rows = []
    for i, name in enumerate(SPEC_NAMES):
        marginal_of = approximate.marginals[name]
        rows.append((name, draws[:, i].mean(), draws[:, i].std(), marginal_of.mean, marginal_of.std))
    return rows, result


def ratio_text(ratios):
    low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])
    return f"{middle:.3f} ({low:.2f}–{high:.2f})"


def main():
    parser = argparse.ArgumentParser(description="Uncertainties against NUTS.")
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--size", type=int, default=20)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--joint-size", type=int, default=16)
    parser.add_argument("--joint-scenes", type=int, default=2)
    parser.add_argument("--doses", nargs="+", choices=DOSES, default=list(DOSES))
    parser.add_argument("--seed", type=int, default=100)
    arguments = parser.parse_args()
    doses = {name: DOSES[name] for name in arguments.doses}
    settings = {"chains": 2, "warmup": 200, "draws": arguments.draws, "samples": 32}

    print("| counts | method | sd / NUTS sd | moving pixels | mean − NUTS mean, rms in sd | NUTS |")
    print("|---|---|---|---|---|---|")
    for dose, photons in doses.items():
        ratios, moving_ratios, offsets, verdicts = {}, {}, {}, []
        for i in range(arguments.scenes):
            motion = "fast" if i % 2 else "slow"
            kind = SimulationOptions(frames=arguments.frames, size=arguments.size, photons=photons, motion=motion)
            scene = simulate_scene(arguments.seed + i, kind)
            deviations, means, result = uncertainty_maps(scene, ReconstructOptions(method="nuts", **settings))
            reference, middle = deviations.pop("nuts"), means.pop("nuts")
            spread = middle.std(axis=0)
            moving = np.broadcast_to(spread > np.quantile(spread, 0.8), middle.shape)
            verdicts.append(result.converged)
            for name, deviation in deviations.items():
                ratio = deviation / reference
                ratios.setdefault(name, []).append(ratio.ravel())
                moving_ratios.setdefault(name, []).append(ratio[moving])
                offset = np.sqrt(np.mean(((means[name] - middle) / reference) ** 2))
                offsets.setdefault(name, []).append(offset)
        state = f"{sum(verdicts)} of {len(verdicts)} converged"
        for name in ratios:
            cells = [ratio_text(np.concatenate(ratios[name])), ratio_text(np.concatenate(moving_ratios[name]))]
            print(f"| {dose} | {name} | {' | '.join(cells)} | {np.mean(offsets[name]):.2f} | {state} |", flush=True)

    print("\n| counts, scene | parameter | NUTS | Laplace marginal | mean off, NUTS sd | sd ratio | NUTS |")
    print("|---|---|---|---|---|---|---|")
    for dose, photons in doses.items():
        for i in range(arguments.joint_scenes):
            kind = SimulationOptions(frames=5, size=arguments.joint_size, photons=photons, motion="slow")
            scene = simulate_scene(arguments.seed + 50 + i, kind)
            options = ReconstructOptions(method="nuts", spec="joint", **(settings | {"draws": 2 * arguments.draws}))
            rows, result = joint_spec(scene, options)
            state = "converged" if result.converged else "not converged"
            for name, mean, std, approximate, width in rows:
                print(
                    f"| {dose}, {i} | {name} | {mean:+.2f} ± {std:.2f} | {approximate:+.2f} ± {width:.2f} | "
                    f"{(approximate - mean) / std:+.2f} | {width / std:.2f} | {state} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
