"""``fluorojax validate``: a validation report of a model and a method, as one page for a technical file."""

from pathlib import Path
from typing import Annotated

import typer

from fluorojax.cli.backend import tell_backend
from fluorojax.cli.options import OverwriteOption, QuietOption, SeedOption, VerboseOption, check_suffix, numbers_of
from fluorojax.cli.printing import print_json, say
from fluorojax.methods.registry import method_names


def validate(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PAGE.html", help="Page to write.")],
    model: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="Shipped model, or your own .py file, whose code is run.")
    ] = "sequence",
    method: Annotated[str, typer.Option(help=f"Method to validate: {', '.join(method_names())}.")] = "map",
    photons: Annotated[
        str, typer.Option(help="Doses in the open beam, quanta per pixel and frame, separated by commas.")
    ] = "300,1500,6000",
    scenes: Annotated[int, typer.Option(help="Simulated patients for each dose and motion, and for each limit.")] = 3,
    frames: Annotated[int, typer.Option(help="Frames of each simulated patient.")] = 12,
    size: Annotated[int, typer.Option(help="Detector side length of each simulated patient, pixels.")] = 64,
    replicates: Annotated[
        int, typer.Option(help="Draws from the prior for each dose, at least 20; 0 leaves this part out.")
    ] = 40,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Also print all results as JSON.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Write a validation report: calibration, interval coverage by dose and motion, limits, provenance.

    The first part draws truth and data from the prior of the model and tests the stated posterior
    (`fluorojax calibrate-check` does the same with more choices). The second part reconstructs simulated patients at
    several doses with slow and fast motion. The third part does so for detectors with effects that the model does not
    know, such as scatter that the protocol does not state. The exit code is 1 if the stated uncertainties are wrong on
    data that follow the assumptions of the model.
    """
    from fluorojax.io import check_output
    from fluorojax.reports.validation_page import write_validation
    from fluorojax.runs.progress import make_progress
    from fluorojax.validation.dossier import DossierOptions
    from fluorojax.validation.dossier import validate as compute

    check_suffix("--output", output, (".html",))
    check_output(output, overwrite=overwrite)
    options = DossierOptions(
        model=model,
        method=method,
        photons=numbers_of("--photons", photons),
        scenes=scenes,
        frames=frames,
        size=size,
        replicates=replicates,
        seed=seed,
    )
    tell_backend(quiet or as_json)
    found = compute(options, make_display=lambda name: make_progress(name, quiet=quiet, verbose=verbose))
    write_validation(output, found, overwrite=overwrite)
    if as_json:
        print_json(found.as_dict())
    elif not quiet:
        for finding in found.findings():
            say(f"{finding.level}: {finding.topic}: {finding.text}")
        say(f"report: {output}")
    return 0 if found.passed else 1
