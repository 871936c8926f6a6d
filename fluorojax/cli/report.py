"""``fluorojax report``: one self-contained interactive HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from fluorojax.cli.backend import use_cache
from fluorojax.cli.options import AllowOtherTruthOption, OverwriteOption, ResultArgument, check_suffix
from fluorojax.cli.printing import say, tell


def report(
    result: ResultArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="report.html", help="Page to write.", show_default=False)
    ],
    truth: Annotated[
        Path | None, typer.Option(metavar="IN.h5", help="Challenge file with the truth: adds scores.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--input", metavar="IN.h5", help="Challenge file: shows the measurement.")
    ] = None,
    dose: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Dose report or X-ray image (DICOM) of the patient; repeat the option for several. Default: the "
            "headers of a DICOM --input.",
            show_default=False,
        ),
    ] = None,
    allow_other_truth: AllowOtherTruthOption = False,
    overwrite: OverwriteOption = False,
) -> int:
    """Write an interactive page: player, uncertainty, residuals, parameters, protocol, dose, scores, provenance.

    The page is one file that opens without a network. Its images take 4 MB at most; if pixels or frames are left out
    for that, the page says so. The exit code is 1 if a scene diverged, has not converged, was skipped or cannot be
    read, or if the truth is missing in the file of --truth. The page then shows the rest and says what is missing.
    """
    from fluorojax.cli.reconstruct import tell_diverged, tell_unconverged
    from fluorojax.reports import write_report

    check_suffix("--output", output, (".html", ".htm"))
    use_cache(quiet=False)
    written = write_report(
        output, result, truth=truth, source=source, overwrite=overwrite, allow_other=allow_other_truth, dose=dose or ()
    )
    say(f"wrote {output}")
    tell_diverged(written.outcome, result)
    tell_unconverged(written.outcome, result)
    for name, reason in written.outcome.skipped.items():
        tell(f"{result}: {name}: skipped: {reason}")
    for note in written.notes:
        tell(note)
    return 1 if written.notes else written.outcome.exit_code
