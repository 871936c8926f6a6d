#!/usr/bin/env python3
"""The learned peers beside the U-Net: training for the same number of steps, and measurement.

    python -m benchmarks.learned_peers train FOLDER OUT [--names dncnn red-cnn …] [--steps 400] [--until 06:30]
    python -m benchmarks.learned_peers validate FOLDER WEIGHTS.npz …
    python -m benchmarks.learned_peers scenes WEIGHTS.npz … --files IN.h5 …

FOLDER is what ``fluorojax train`` makes: noise-free sequences in ``training``, ``validation`` and ``calibration``.
``train`` writes ``OUT/NAME.npz`` and ``OUT/NAME.json`` (the recipe) for each architecture, one after the other on the
same batches; ``unet`` is the network of ``--method learned``. A run that was stopped goes on. ``validate`` prints
accuracy on simulated runs of seeds kept apart, the size of each network, and for one that draws from the posterior the
share of the truths inside the central 90 % and 50 % intervals of its draws (by rank). ``scenes`` reconstructs files
with the truth in Scenario II (nominal spec) and III (calibrated spec), with two mirror images as ``benchmark`` does;
the calibration is shared and its time not counted. CPU seconds are the median over the calls. Prints Markdown.
"""

import argparse
import json
import time
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from fluorojax.calibration.posterior import SpecPosterior, calibrate
from fluorojax.data.spec import Spec
from fluorojax.io import open_scenes
from fluorojax.learned.data import Library
from fluorojax.learned.inference import posterior
from fluorojax.learned.losses import block_inputs_of
from fluorojax.learned.peers import PEERS
from fluorojax.learned.size import operations, weight_count
from fluorojax.learned.spread import fit_spread
from fluorojax.learned.training import TrainOptions
from fluorojax.learned.training import train as run
from fluorojax.learned.validate import validation_runs
from fluorojax.learned.weights import load_weights, read_arrays, save_weights
from fluorojax.metrics import ssim
from fluorojax.metrics.contrast import moving_psnr

NAMES = (*PEERS, "unet")


def train(folder, out, names, steps, until):
    """Train every architecture that has not been; the library is read once."""
    out.mkdir(parents=True, exist_ok=True)
    library = Library(folder / "training")
    calibration = validation_runs(Library(folder / "calibration").sequences, seed=0)
    validation = validation_runs(Library(folder / "validation").sequences)
    for name in names:
        file = out / f"{name}.npz"
        state = file.with_suffix(".state.npz")
        done = read_arrays(state)[1]["step"] if state.exists() else 0
        if done >= steps or (until and time.strftime("%H:%M") >= until):
            continue
        options = TrainOptions(
            architecture=name, steps=steps - done, warmup=40, decay=1.0, average=0.98, crop=32, seed=5, every=steps
        )
        run(
            library,
            file,
            options,
            validation=validation,
            report=lambda share, line, name=name: print(time.strftime("%H:%M:%S"), name, line, flush=True),
        )
        trained = load_weights(file)
        network = fit_spread(trained.network.network, calibration)
        recipe = {**trained.recipe, "calibrated": validation.measure(network).as_dict()}
        recipe["size"] = {"weights": weight_count(network), "operations_per_pixel": round(operations(network))}
        kept = save_weights(file, network, recipe)
        text = json.dumps({**kept.recipe, "sha256": kept.sha256}, indent=1, sort_keys=True)
        file.with_suffix(".json").write_text(text + "\n")
        jax.clear_caches()


def rank_coverage(network, runs, draws=19, most=12):
    """Share of the truths inside the central 90 % and 50 % intervals of draws: ranks 1…19 of 20 and 5…15 of 20."""
    inside = []

    @eqx.filter_jit
    def drawn(network, batch, keys):
        images, conditions, level = block_inputs_of(batch)
        rest = batch.depth[0] + jnp.log(level[0] / batch.photons[0])[..., None]
        return jnp.stack([network.draw(images, conditions, k) for k in keys]), -rest * jnp.sqrt(level[0])[..., None]

    for number, batch in enumerate(runs.groups[:most]):
        found, truth = drawn(network, batch, jax.random.split(jax.random.key(number), draws))
        rank = np.sum(np.asarray(found) < np.asarray(truth), axis=0)
        inside.append([np.mean((rank >= 1) & (rank <= draws - 1)), np.mean((rank >= 5) & (rank <= draws - 5))])
    return np.mean(inside, axis=0)


def validate(folder, files):
    """Accuracy on simulated runs and size."""
    runs = validation_runs(Library(folder / "validation").sequences)
    print("| network | PSNR | moving | coverage 90 % (moving) | weights | operations per pixel |")
    print("|---|---|---|---|---|---|")
    for file in files:
        weights = load_weights(file)
        found, network = runs.measure(weights.network), weights.network
        covered = "–" if found.coverage is None else f"{found.coverage:.3f} ({found.coverage_moving:.3f})"
        print(
            f"| {weights.recipe['architecture']}, {weights.recipe['steps']} steps | {found.psnr:.2f} | "
            f"{found.psnr_moving:.2f} | {covered} | {weight_count(network):,} | {operations(network):,.0f} |",
            flush=True,
        )
        if network.std_source == "draws":
            wide, half = rank_coverage(network.network, runs)
            print(
                f"\nranks among 19 draws: {wide:.3f} in the central 90 %, {half:.3f} in the central 50 %\n", flush=True
            )


def scenes(files, challenges):
    """Development scenes in Scenarios II and III."""
    known = []
    for path in challenges:
        for scene in open_scenes(path):
            known.append(
                (
                    path.stem,
                    scene,
                    SpecPosterior.known(Spec.nominal(scene.operator.parameters), scene.operator.parameters),
                )
            )
            known[-1] += (calibrate(scene),)
    print("| network | file | PSNR II | III | moving II | III | SSIM II | III | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for file in files:
        weights = load_weights(file)
        source = weights.network.std_source
        rows, seconds = {}, []
        for stem, scene, *specs in known:
            for spec in specs:
                arguments = (weights.network, scene.y, scene.acquisition.as_dict(), spec.array("mean"))
                begin = time.process_time()
                found = posterior(*arguments, spec.array("std"), response=source == "head").mean
                seconds.append(time.process_time() - begin)
                psnr = -10.0 * np.log10(np.mean((found - scene.x_true) ** 2))
                similar = ssim(found, scene.x_true)
                rows.setdefault(stem, []).append((psnr, moving_psnr(found, scene.x_true), similar))
        for stem, values in rows.items():
            (p2, m2, s2), (p3, m3, s3) = np.mean(values[::2], axis=0), np.mean(values[1::2], axis=0)
            print(
                f"| {weights.recipe['architecture']} | {stem} | {p2:.2f} | {p3:.2f} | {m2:.2f} | {m3:.2f} | {s2:.4f} | "
                f"{s3:.4f} | {np.median(seconds):.2f} |",
                flush=True,
            )
        jax.clear_caches()


def main():
    parser = argparse.ArgumentParser(description="The learned peers.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("train")
    one.add_argument("folder", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--names", nargs="+", default=NAMES, choices=NAMES)
    one.add_argument("--steps", type=int, default=400)
    one.add_argument("--until", default="", help="time of day after which no training begins")
    two = commands.add_parser("validate")
    two.add_argument("folder", type=Path)
    two.add_argument("weights", type=Path, nargs="+")
    three = commands.add_parser("scenes")
    three.add_argument("weights", type=Path, nargs="+")
    three.add_argument("--files", type=Path, nargs="+", required=True)
    a = parser.parse_args()
    if a.command == "train":
        train(a.folder, a.out, a.names, a.steps, a.until)
    elif a.command == "validate":
        validate(a.folder, a.weights)
    else:
        scenes(a.weights, a.files)


if __name__ == "__main__":
    main()
