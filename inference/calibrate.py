#!/usr/bin/env python3
"""What the counts say about the imaging chain: marginal posteriors of the three spec parameters of every scene.

    python inference/calibrate.py IN.h5 [--plot FILE.png]

Nothing is reconstructed. Each row gives the posterior median, its standard deviation, the central 90 % interval, and
how much of the prior variance the data remove; about 0 % means that the posterior is the prior. Where the file holds
the true parameters they stand in the last column.
"""

import argparse
import sys
from pathlib import Path

from fluorojax.calibration.posterior import SpecPosterior, calibrate
from fluorojax.cli.tables import print_table
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Parameter
from fluorojax.io import InputError, atomic_stream, check_output, open_scenes
from fluorojax.runs.cache import enable_compilation_cache
from fluorojax.runs.interrupts import run_interruptible
from fluorojax.runs.progress import make_progress

COLUMNS = ("scene", "parameter", "median", "sd", "90 % interval", "removed", "truth")


def rows(scene: Scene, posterior: SpecPosterior) -> list[list[str]]:
    """Table rows of one scene, one a parameter."""
    median, std, interval = posterior.spec.as_dict(), posterior.std.as_dict(), posterior.interval
    truth = {} if scene.true_spec is None else scene.true_spec.as_dict()
    return [
        [
            scene.name,
            _titled(parameter),
            f"{median[name]:+.3f}",
            f"{std[name]:.3f}",
            f"{interval[name][0]:+.3f} … {interval[name][1]:+.3f}",
            f"{100 * max(posterior.marginals[name].contraction, 0.0):.0f} %",
            f"{truth[name]:+.3f}" if name in truth else "–",
        ]
        for parameter, name in ((p, p.name) for p in posterior.parameters)
    ]


def summary(posterior: SpecPosterior) -> str:
    """Median and standard deviation of every parameter in a line."""
    median, std = posterior.spec.as_dict(), posterior.std.as_dict()
    return ", ".join(f"{p.name} {median[p.name]:+.2g} ± {std[p.name]:.2g} {p.unit}" for p in posterior.parameters)


def _titled(parameter: Parameter) -> str:
    return f"{parameter.name} ({parameter.unit})" if parameter.unit else parameter.name


def plot(path: Path, found: list[tuple[Scene, SpecPosterior]], *, overwrite: bool) -> None:
    """One row a scene, one column a parameter: posterior, flat prior and, where known, the truth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.2 * len(found)), layout="constrained")
    most = max(len(posterior.parameters) for _, posterior in found)
    axes = figure.subplots(len(found), most, squeeze=False)
    for line, (scene, posterior) in zip(axes, found, strict=True):
        line[0].set_ylabel(scene.name)
        for axis, parameter in zip(line, posterior.parameters, strict=False):
            name = parameter.name
            marginal, (low, high) = posterior.marginals[name], scene.ranges.as_dict()[name]
            axis.plot(marginal.grid, marginal.density, label="posterior")
            axis.hlines(1 / (high - low), low, high, colors="0.6", linestyles="dashed", label="prior")
            if scene.true_spec is not None:
                axis.axvline(scene.true_spec.as_dict()[name], color="k", linewidth=1, label="truth")
            axis.set(xlabel=_titled(parameter), yticks=[], ylim=(0, None))
    axes[0, 0].legend(fontsize="small")
    with atomic_stream(path, overwrite=overwrite) as stream:
        figure.savefig(stream, format="png", dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description="Marginal posteriors of the imaging chain of every scene.")
    parser.add_argument("source", metavar="IN.h5", type=Path, help="challenge file")
    parser.add_argument("--plot", metavar="FILE.png", type=Path, help="also draw the posteriors")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing plot")
    arguments = parser.parse_args()
    enable_compilation_cache(notify=lambda line: print(f"calibrate: {line}", file=sys.stderr))
    try:
        if arguments.plot is not None:
            check_output(arguments.plot, inputs=[arguments.source], overwrite=arguments.overwrite)
        found = []
        with make_progress("calibrate") as progress:
            scenes = open_scenes(arguments.source)
            progress.start(len(scenes))
            for done, scene in enumerate(scenes, 1):
                found.append((scene, calibrate(scene)))
                progress.update(done, f"{scene.name}: {summary(found[-1][1])}")
        if arguments.plot is not None:
            plot(arguments.plot, found, overwrite=arguments.overwrite)
    except (InputError, ValueError) as error:
        print(f"calibrate: {error}", file=sys.stderr)
        return 2
    print_table(str(arguments.source), COLUMNS, [row for pair in found for row in rows(*pair)])
    return 0


if __name__ == "__main__":
    sys.exit(run_interruptible(main, "calibrate"))
