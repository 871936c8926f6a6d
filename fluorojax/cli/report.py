"""``fluorojax report``: one self-contained HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from fluorojax.cli.options import OverwriteOption, ResultArgument


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
    overwrite: OverwriteOption = False,
) -> int:
    """Write a page with images, uncertainty, scores and provenance; it opens without a network.

    Exit code 1 when a scene of the file diverged or was skipped; the page says which.
    """
    from fluorojax.cli.reconstruct import tell_diverged
    from fluorojax.reconstruct_file import read_outcome
    from fluorojax.report import write_report

    write_report(output, result, truth=truth, source=source, overwrite=overwrite)
    print(f"wrote {output}")
    outcome = read_outcome(result)
    tell_diverged(outcome, result)
    return outcome.exit_code
