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
    allow_other_truth: AllowOtherTruthOption = False,
    overwrite: OverwriteOption = False,
) -> int:
    """Write an interactive page: cine player, uncertainty, parameters, scores, diagnostics, provenance.

    One file that opens without a network; its images take 4 MB at most, and it says what was thinned out for that. Exit
    code 1 when a scene of the file diverged, has not converged, was skipped or cannot be read, or when the truth that
    --truth should give is missing; the page shows the rest and says which.
    """
    from fluorojax.cli.reconstruct import tell_diverged, tell_unconverged
    from fluorojax.reports import write_report

    check_suffix("--output", output, (".html", ".htm"))
    use_cache(quiet=False)
    written = write_report(
        output, result, truth=truth, source=source, overwrite=overwrite, allow_other=allow_other_truth
    )
    say(f"wrote {output}")
    tell_diverged(written.outcome, result)
    tell_unconverged(written.outcome, result)
    for name, reason in written.outcome.skipped.items():
        tell(f"{result}: {name}: skipped: {reason}")
    for note in written.notes:
        tell(note)
    return 1 if written.notes else written.outcome.exit_code
