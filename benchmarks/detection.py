#!/usr/bin/env python3
"""Are faint vessels and small calcifications kept, and do any appear where none are?

    python -m benchmarks.detection [--methods learned map] [--images 24 6] [--frames 8] [--size 64] [--seed 31000]

Simulated chests at three doses, the imaging chain known. Four faint objects are laid over every image: beads of two
pixels in diameter, or vessels of two pixels in width and 18 in length. Their contrast is chosen at each place so that
the ideal observer of the counts, who knows object and background, has a given detectability d'. The counts with objects
are the counts without them, thinned: every quantum survives with the transmission of the object. Prints Markdown:

* AUC: chance that a present object gives a larger response than an absent one. The ideal observer compares likelihoods
  of the raw counts, the others the reconstruction (less the true background, mean over frames) with the true object.
* recovered: mean response over that of the true object, with its standard error over the images.
* false: share of images without objects in which the matched filter of the error reaches the response of an object of
  d' = 6 anywhere. Photon noise alone does so once in 1e9 places.
"""

import argparse
from dataclasses import replace

import numpy as np
from scipy.signal import fftconvolve
from scipy.stats import rankdata

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.metrics.detectability import disk, wire
from fluorojax.metrics.scene_score import expected_counts
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scene

DOSES = (150.0, 1000.0, 6000.0)
"""Photons per pixel: some 4, 25 and 150 counts behind the patient."""
LEVELS = (1.5, 6.0)
"""Detectability d' of the ideal observer."""
WINDOW = 24
"""Side of an object's image, pixels."""


def objects(rng):
    """Unit objects by name, (WINDOW, WINDOW)."""
    shape = (WINDOW, WINDOW)
    return {"bead": disk(shape, 1.0), "vessel": wire(shape, 1.0, 18.0, angle_deg=float(rng.uniform(0.0, 180.0)))}


def places(size):
    """Corners of the windows of the four objects."""
    step = size // 2
    first = (step - WINDOW) // 2
    return [(first + step * i, first + step * j) for i in range(2) for j in range(2)]


def auc(present, absent):
    """Area under the ROC and its standard error (Hanley and McNeil, Radiology 143:29, 1982)."""
    n, m = len(present), len(absent)
    ranks = rankdata(np.concatenate([present, absent]))
    a = (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return a, np.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m))


def laid_over(scene, unit, level, rng):
    """The scene with four objects, and their contrasts (optical depth)."""
    acquisition, spec = scene.acquisition, scene.true_spec
    scale = float(acquisition.attenuation_scale)
    rate = expected_counts(scene.x_true, spec, acquisition)
    layer, contrasts = np.zeros(scene.y.shape[1:]), []
    for row, column in places(scene.y.shape[1]):
        part = (slice(row, row + WINDOW), slice(column, column + WINDOW))
        contrasts.append(level / np.sqrt(np.sum(unit**2 * rate[(slice(None), *part)].sum(0))))
        layer[part] += contrasts[-1] * unit
    x = (scene.x_true + layer / scale).astype(np.float32)
    with_objects = expected_counts(x, spec, acquisition)
    counts = rng.binomial(scene.y.astype(np.int64), np.minimum(with_objects / rate, 1.0)).astype(np.float32)
    return replace(scene, y=counts, x_true=x), contrasts, (rate, with_objects)


def responses(image, unit, size):
    """Matched-filter responses at the four places, 1 for a contrast of one."""
    template = unit - unit.mean()
    norm = np.sum(template * unit)
    return [np.sum(template * image[r : r + WINDOW, c : c + WINDOW]) / norm for r, c in places(size)]


def study(method, count, arguments):
    """Rows of the table for one method, dose by dose."""
    options = ReconstructOptions(method=method, spec="true", held_out=0.0, fallback=False)
    for photons in DOSES:
        rng = np.random.default_rng([arguments.seed, int(photons)])
        absent = [
            simulate_scene(
                arguments.seed + i, SimulationOptions(size=arguments.size, frames=arguments.frames, photons=photons)
            )
            for i in range(count)
        ]
        absent = [replace(s, name=f"absent_{i}") for i, s in enumerate(absent)]
        units = [objects(rng) for _ in absent]
        cases = {("absent", 0.0): absent}
        truth = {}
        for name in units[0]:
            for level in LEVELS:
                laid = [laid_over(s, u[name], level, rng) for s, u in zip(absent, units, strict=True)]
                cases[name, level] = [replace(s, name=f"{name}_{level}_{i}") for i, (s, *_) in enumerate(laid)]
                truth[name, level] = [rest for _, *rest in laid]
        every = [scene for group in cases.values() for scene in group]
        found = {result.name: result.x_hat for result in reconstruct_scenes(every, options)}
        for (name, level), info in truth.items():
            here, none, ideal, recovered, false = [], [], ([], []), [], 0
            for i, (scene, without, (contrasts, (low, high))) in enumerate(
                zip(cases[name, level], absent, info, strict=True)
            ):
                unit, scale = units[i][name], float(scene.acquisition.attenuation_scale)
                error = [scale * (found[s.name] - without.x_true).mean(0) for s in (scene, without)]
                yes, no = (np.asarray(responses(e, unit, arguments.size)) / contrasts for e in error)
                here += yes.tolist()
                none += no.tolist()
                recovered.append(np.mean(yes - no))
                gain = np.log(high / low)
                for into, counts in zip(ideal, (scene.y, without.y), strict=True):
                    ratio = counts * gain - (high - low)
                    into += [float(ratio[:, r : r + WINDOW, c : c + WINDOW].sum()) for r, c in places(arguments.size)]
                template = unit - unit.mean()
                filtered = fftconvolve(error[1], template[::-1, ::-1], mode="valid") / np.sum(template * unit)
                false += bool(filtered.max() > np.mean(contrasts) * LEVELS[-1] / level)
            mean = np.mean([s.y.mean() for s in absent])
            (a, a_error), (best, _) = auc(here, none), auc(*ideal)
            slope, error = np.mean(recovered), np.std(recovered, ddof=1) / np.sqrt(count)
            depth = np.mean([c for contrasts, _ in info for c in contrasts])
            yield (
                f"| {mean:.0f} | {name} | {level:g} | {depth:.2f} | {best:.2f} | {method} | {a:.2f} ± {a_error:.2f} | "
                f"{slope:.2f} ± {error:.2f} | {false} of {count} |"
            )


def main():
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["learned", "map"])
    parser.add_argument("--images", nargs="+", type=int, default=[24, 6], help="images for each method")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=31000)
    arguments = parser.parse_args()
    print("| counts | object | d' | contrast | AUC, ideal | method | AUC | recovered | false |")
    print("|---|---|---|---|---|---|---|---|---|")
    for method, count in zip(arguments.methods, arguments.images, strict=True):
        for row in study(method, count, arguments):
            print(row, flush=True)


if __name__ == "__main__":
    main()
