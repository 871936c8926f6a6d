"""``fluorojax score``: compare a reconstruction file with the truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.backend import use_cache
from fluorojax.cli.options import AllowOtherTruthOption, ResultArgument
from fluorojax.cli.printing import print_json

if TYPE_CHECKING:
    from fluorojax.metrics import FileScore, SceneScore

TruthOption = Annotated[Path, typer.Option(metavar="IN.h5", help="Challenge file with the truth.", show_default=False)]


def score(
    result: ResultArgument,
    truth: TruthOption,
    allow_other_truth: AllowOtherTruthOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> int:
    """Score a reconstruction: PSNR, SSIM, standard and blind score, interval coverage, errors of the spec.

    The truth has to belong to the counts that were reconstructed, which the SHA-256 in OUT.h5 shows. Another file is
    refused unless --allow-other-truth is given. The scores use the frames and pixels that were reconstructed.

    The JSON is strict: unknown values are null, an infinite PSNR is the string "Infinity". Scenes that diverged have no
    scores and enter no mean. The exit code is 1 if a scene diverged or was skipped.
    """
    from fluorojax.cli.reconstruct import tell_diverged
    from fluorojax.metrics import score_files
    from fluorojax.runs.outcomes import Outcome

    scores = score_files(result, truth, allow_other=allow_other_truth, notify=use_cache(quiet=False))
    if as_json:
        print_json(scores.as_dict())
    else:
        print_scores(scores, str(result))
    outcome = Outcome(scores.diverged, scores.skipped)
    tell_diverged(outcome, result)
    return outcome.exit_code


def print_scores(scores: "FileScore", title: str) -> None:
    """Print the scores of a file as two tables: image quality and specification."""
    from fluorojax.cli.tables import print_table
    from fluorojax.reports.numbers import number
    from fluorojax.reports.score_rows import QUALITY_COLUMNS, mean_row, quality_row

    rows = [*(quality_row(scene) for scene in scores.scenes), mean_row(scores)]
    notes = [f"skipped {name}: {reason}" for name, reason in scores.skipped.items()]
    print_table(f"{title}: scores", QUALITY_COLUMNS, rows, notes=notes)

    if not any(scene.spec for scene in scores.scenes):
        return
    error = scores.means()["abs_spec_error"]
    units = {name: entry.unit for scene in scores.scenes for name, entry in scene.spec.items()}
    rows = [[scene.name, *(_spec_cell(scene, name) for name in units)] for scene in scores.scenes]
    rows.append(["mean |error|", *(number(error[name], 3) for name in units)])
    columns = ["scene", *(f"{name} ({unit})" if unit else name for name, unit in units.items())]
    legend = "error ± posterior sd; ✓ the truth lies in the 90 % interval, ✗ it does not"
    print_table(f"{title}: specification", columns, rows, notes=[legend])


def _spec_cell(scene: "SceneScore", name: str) -> str:
    from fluorojax.reports.numbers import number

    if name not in scene.spec:
        return "–"
    entry = scene.spec[name]
    mark = {True: " ✓", False: " ✗", None: ""}[entry.in_interval]
    return f"{number(entry.error, 3, sign=True)} ± {number(entry.std, 3)}{mark}"
