#!/usr/bin/env python3
"""NUTS on the scenes of a challenge file from Python: draws for ArviZ beside the reconstruction.

    python inference/nuts.py IN.h5 -o OUT.h5 [--spec calibrated|joint] [--chains 4] [--warmup 150] [--draws 200]
                             [--netcdf FOLDER] [--model sequence|PATH.py] [--seed 0] [--allow-unconverged] [--overwrite]

``calibrated`` draws the spec parameters from their calibration and lets the image follow; ``joint`` samples them with
image and hyperparameters under the model alone. OUT.h5.SCENE.state keeps the Markov chains of a scene that was
interrupted or has not converged. The same command continues from there, with more draws and --overwrite if OUT.h5
exists. A state of other settings is refused, or discarded with --overwrite. ``--netcdf`` writes FOLDER/SCENE.nc with
the stored draws and their diagnostics (needs fluorojax[arviz]). Exit codes: 0 every scene is usable, 1 a scene has not
converged or diverged, 2 the input cannot be used, 130 interrupted.
"""

import argparse
import importlib
import sys
from dataclasses import replace
from pathlib import Path

from fluorojax.cli.renamed import with_new_names
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions
from fluorojax.engines.nuts import write_netcdf
from fluorojax.io import InputError, check_output, iter_reconstructions
from fluorojax.runs.cache import enable_compilation_cache
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.interrupts import run_interruptible
from fluorojax.runs.progress import make_progress


def tell(line: object) -> None:
    """A line on standard error."""
    print(f"nuts: {line}", file=sys.stderr)


def show(result: Reconstruction) -> None:
    """What is known about a scene once it is written."""
    print(f"{result.name}: {result.diagnostics['verdict']}, {result.seconds:.0f} s")
    print(f"    {result.diagnostics['leapfrog_steps']} gradients, {result.diagnostics['divergences']} divergences")
    for sentence in result.diagnostics["identifiability"].values():
        print(f"    {sentence}")


def main() -> int:
    parser = argparse.ArgumentParser(description="NUTS on the scenes of a challenge file.")
    parser.add_argument("source", metavar="IN.h5", type=Path, help="challenge file")
    parser.add_argument("-o", "--output", metavar="OUT.h5", type=Path, required=True, help="file to write")
    parser.add_argument("--spec", default="calibrated", help="calibrated, joint, nominal or true")
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=150, help="warm-up iterations of each Markov chain")
    parser.add_argument("--draws", type=int, default=200, help="posterior draws of each Markov chain")
    parser.add_argument("--netcdf", metavar="FOLDER", type=Path, help="write the kept draws for ArviZ here")
    parser.add_argument("--model", default="sequence", help="shipped model or path of a .py file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--allow-unconverged", action="store_true", help="exit code 0 even if not converged")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    arguments = parser.parse_args(with_new_names(sys.argv[1:], tell))

    enable_compilation_cache(notify=tell)
    settings = ("model", "seed", "spec", "chains", "warmup", "draws")
    try:
        options = ReconstructOptions(method="nuts", **{name: getattr(arguments, name) for name in settings})
        if arguments.netcdf is not None:
            for package in ("xarray", "h5netcdf"):
                importlib.import_module(package)  # before hours of sampling rather than after
            arguments.netcdf.mkdir(parents=True, exist_ok=True)
            check_output(arguments.netcdf / "scene.nc", inputs=[arguments.source], overwrite=True)
        with make_progress("nuts") as progress:
            outcome = reconstruct_file(
                arguments.source,
                arguments.output,
                options,
                overwrite=arguments.overwrite,
                on_result=show,
                progress=progress,
                notify=tell,
            )
        if arguments.netcdf is not None:
            for result in iter_reconstructions(arguments.output):
                if result.draws:
                    write_netcdf(arguments.netcdf / f"{result.name}.nc", result, overwrite=True)
    except (InputError, ValueError, ImportError) as error:
        tell(error)
        return 2
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    for name in (*outcome.diverged, *outcome.unconverged):
        tell(f"{name} has no result to rely on")
    return (replace(outcome, unconverged=()) if arguments.allow_unconverged else outcome).exit_code


if __name__ == "__main__":
    sys.exit(run_interruptible(main, "nuts"))
