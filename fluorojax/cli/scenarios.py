"""``fluorojax scenarios``: what a mismatched spec costs and what calibrating it wins back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.backend import tell_backend
from fluorojax.cli.options import (
    BatchOption,
    InputArgument,
    MethodOption,
    ModelOption,
    OverwriteOption,
    QuietOption,
    SeedOption,
    VerboseOption,
    check_suffix,
)
from fluorojax.cli.printing import print_json

if TYPE_CHECKING:
    from fluorojax.metrics import FileScore


def scenarios(
    input_file: InputArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="TABLE.json", help="Also write the scores as JSON.")
    ] = None,
    model: ModelOption = "sequence",
    method: MethodOption = "",
    batch: BatchOption = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Run Scenarios I, II and III on a file with truth.

    Scenario I takes new Poisson counts of the truth behind the nominal imaging chain, and reconstructs them with the
    nominal spec. Scenario II reconstructs the counts of the file with the nominal spec, and scenario III with the
    calibrated spec. A scene that diverged in one of them enters no mean, and the exit code is then 1.
    """
    from fluorojax.cli.reconstruct import tell_diverged
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.io import check_output, dumps, write_text
    from fluorojax.runs.outcomes import Outcome
    from fluorojax.runs.progress import make_progress
    from fluorojax.runs.scenarios import SCENARIOS, run_scenarios, verdict

    if output is not None:
        check_suffix("--output", output, (".json",))
        check_output(output, inputs=[input_file], overwrite=overwrite)
    settings = {"model": model, "method": ReconstructOptions(model=model, method=method).method}
    settings |= {"batch": batch, "seed": seed}
    scores = run_scenarios(
        input_file,
        settings,
        on_start=lambda: tell_backend(quiet),
        make_display=lambda name: make_progress(f"scenario {name}", quiet=quiet, verbose=verbose),
    )
    document = {
        "input": input_file.name,
        "settings": settings,
        "scenarios": {name: {"description": SCENARIOS[name], **score.as_dict()} for name, score in scores.items()},
        "summary": verdict(scores),
    }
    if output is not None:
        write_text(output, dumps(document, indent=2) + "\n", inputs=[input_file], overwrite=overwrite)
    if as_json:
        print_json(document)
    elif not quiet:
        _print_scenarios(scores, str(input_file))
    outcomes = {name: Outcome(score.diverged, {}) for name, score in scores.items()}
    for name, outcome in outcomes.items():
        tell_diverged(outcome, f"{input_file}: scenario {name}")
    return max(outcome.exit_code for outcome in outcomes.values())


def _print_scenarios(scores: "dict[str, FileScore]", title: str) -> None:
    from fluorojax.cli.tables import print_table
    from fluorojax.reports.numbers import number
    from fluorojax.runs.scenarios import SCENARIOS, verdict

    rows = []
    for name, score in scores.items():
        mean = score.means()
        quality = (number(mean[key], 4) for key in ("ssim", "standard", "blind"))
        rows.append([f"{name:<3}  {SCENARIOS[name]}", number(mean["psnr"]), *quality])
    columns = ["scenario", "PSNR (dB)", "SSIM", "standard", "blind"]
    count = len(scores["I"].averaged)
    notes = [verdict(scores)]
    if left_out := sorted(scores["I"].unpaired):
        notes.append(f"left out of the means, diverged in a scenario: {', '.join(left_out)}")
    print_table(f"{title}: mean of {count} scene{'' if count == 1 else 's'}", columns, rows, notes=notes)
