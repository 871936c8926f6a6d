"""``fluorojax calibrate-check``: are the stated uncertainties right, for data that follow the model?"""

from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.backend import tell_backend
from fluorojax.cli.options import ModelOption, QuietOption, SeedOption, VerboseOption, numbers_of
from fluorojax.cli.printing import print_json, say
from fluorojax.methods.registry import method_names

if TYPE_CHECKING:
    from fluorojax.validation import CalibrationReport


def calibrate_check(
    model: ModelOption = "sequence",
    method: Annotated[
        str,
        typer.Option(help=f"Method to test: {', '.join(method_names())}; for comparison also laplace or laplace-held."),
    ] = "nuts",
    replicates: Annotated[
        int, typer.Option(help="Number of draws of truth and data for each dose, at least 20.")
    ] = 100,
    doses: Annotated[str, typer.Option(help="Counts per pixel and frame behind x = 0.5, separated by commas.")] = (
        "3,30,300"
    ),
    frames: Annotated[int, typer.Option(help="Frames per scene; 1 draws single frames.")] = 5,
    size: Annotated[int, typer.Option(help="Detector side length, pixels.")] = 8,
    draws: Annotated[int, typer.Option(help="Posterior draws per replicate, one less than a multiple of 40.")] = 79,
    tier: Annotated[str, typer.Option(help="Spec ranges: public, dev or hidden.")] = "public",
    alpha: Annotated[float, typer.Option(help="Probability that a correct method fails, over all tests.")] = 0.01,
    margin: Annotated[float, typer.Option(help="Deviation of the interval coverage that is accepted.")] = 0.02,
    batch: Annotated[int, typer.Option(help="Replicates computed together.")] = 20,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Test whether the stated uncertainties are right: simulation-based calibration and interval coverage.

    Truth and data are drawn from the prior of the model. The ranks of the spec parameters and of region means must be
    uniform, and pixel intervals must contain the truth as often as they state. The exit code is 0 if the method passes
    and 1 if it does not.
    """
    from fluorojax.models.loading import load_model
    from fluorojax.runs.progress import make_progress
    from fluorojax.validation import CheckOptions, check_calibration, make_sampler

    options = CheckOptions(
        doses=numbers_of("doses", doses),
        replicates=replicates,
        frames=frames,
        size=size,
        draws=draws,
        seed=seed,
        batch=batch,
        tier=tier,
        alpha=alpha,
        margin=margin,
    )
    chosen, loaded = make_sampler(method), load_model(model)
    tell_backend(quiet or as_json)
    with make_progress("calibrate-check", quiet=quiet, verbose=verbose) as progress:
        report = check_calibration(loaded, chosen, options, name=method, progress=progress)
    if as_json:
        print_json(report.as_dict())
    elif not quiet:
        print_calibration(report)
    return 0 if report.passed else 1


def print_calibration(report: "CalibrationReport") -> None:
    """Print the verdict and two tables: ranks and coverage."""
    from fluorojax.cli.tables import print_table
    from fluorojax.reports.numbers import number

    for line in report.sentences():
        say(line)
    print()
    rows = [
        [
            f"{test.quantity}, {test.dose:g} counts",
            number(test.chi_square_p, 3),
            number(test.ecdf_p, 3),
            number(test.adjusted_p, 3),
            number(test.bias_z, 1, sign=True),
            number(test.spread_z, 1, sign=True),
            number(test.contraction, 2),
        ]
        for test in report.uniformity
    ]
    columns = ["rank of the truth", "χ² p", "ECDF p", "adjusted p", "bias z", "spread z", "contraction"]
    notes = [
        f"adjusted: two tests per quantity, Holm over all {len(rows)}; fails below {report.options.alpha / 2:g}",
        "bias z > 0: posterior too low; spread z > 0: too narrow; contraction: share of the prior variance removed",
    ]
    print_table("Simulation-based calibration", columns, rows, notes=notes)

    levels = sorted({cell.level for cell in report.coverage})
    groups = dict.fromkeys((cell.dose, cell.group) for cell in report.coverage)
    cells = {(cell.dose, cell.group, cell.level): cell for cell in report.coverage}
    rows = []
    for dose, group in groups:
        found = [cells[dose, group, level] for level in levels]
        covered = [f"{100 * c.coverage:.1f} ± {100 * c.standard_error:.1f}" for c in found]
        rows.append([f"{group}, {dose:g} counts", *covered, number(min(c.adjusted_p for c in found), 3)])
    columns = ["pixels", *(f"{100 * level:g} %" for level in levels), "adjusted p"]
    notes = [
        f"share of pixels inside, %, ± standard error between replicates; p: true coverage within "
        f"{100 * report.options.margin:g} points of the level; moving: the fifth whose posterior mean varies most",
    ]
    print_table("Coverage of pixel intervals", columns, rows, notes=notes)
