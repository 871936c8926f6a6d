"""``fluorojax score``: compare a reconstruction file with the truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import ResultArgument

if TYPE_CHECKING:
    from fluorojax.metrics import FileScore, SceneScore

TruthOption = Annotated[Path, typer.Option(metavar="IN.h5", help="Challenge file with the truth.", show_default=False)]


def score(
    result: ResultArgument,
    truth: TruthOption,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> int:
    """Score a reconstruction: PSNR, SSIM, standard and blind score, coverage, spec errors.

    The JSON is strict: unknown values are null, an infinite PSNR is the string "Infinity".
    """
    from fluorojax.io import dumps
    from fluorojax.metrics import score_files

    scores = score_files(result, truth)
    if as_json:
        print(dumps(scores.as_dict(), indent=2))
    else:
        print_scores(scores, str(result))
    return 0


def print_scores(scores: "FileScore", title: str) -> None:
    """Print the scores of a file as two tables: image quality and specification."""
    from fluorojax.cli.tables import print_table
    from fluorojax.report.numbers import number
    from fluorojax.spec import SPEC_UNITS

    mean = scores.means()
    rows = [_quality_row(scene) for scene in scores.scenes]
    covered = mean["coverage"].get("0.90", {})
    rows.append(
        [
            "mean",
            number(mean["psnr"]),
            *(number(mean[name], 4) for name in ("ssim", "standard", "blind")),
            *(number(covered.get(part), 3) for part in ("overall", "moving", "static")),
        ]
    )
    columns = ["scene", "PSNR (dB)", "SSIM", "standard", "blind", "cover 90 %", "moving", "static"]
    notes = [f"skipped {name}: {reason}" for name, reason in scores.skipped.items()]
    print_table(f"{title}: scores", columns, rows, notes=notes)

    if not any(scene.spec for scene in scores.scenes):
        return
    rows = [[scene.name, *(_spec_cell(scene, name) for name in SPEC_UNITS)] for scene in scores.scenes]
    rows.append(["mean |error|", *(number(mean["abs_spec_error"][name], 3) for name in SPEC_UNITS)])
    columns = ["scene", *(f"{name} ({unit})" for name, unit in SPEC_UNITS.items())]
    legend = "error ± posterior sd; ✓ the truth lies in the 90 % interval, ✗ it does not"
    print_table(f"{title}: specification", columns, rows, notes=[legend])


def _quality_row(scene: "SceneScore") -> list[str]:
    from fluorojax.report.numbers import number

    at_90 = scene.coverage_at(0.9)
    covered = (at_90.overall, at_90.moving, at_90.static)
    quality = (number(value, 4) for value in (scene.ssim, scene.standard, scene.blind))
    return [scene.name, number(scene.psnr), *quality, *(number(value, 3) for value in covered)]


def _spec_cell(scene: "SceneScore", name: str) -> str:
    from fluorojax.report.numbers import number

    if name not in scene.spec:
        return "–"
    entry = scene.spec[name]
    mark = {True: " ✓", False: " ✗", None: ""}[entry.in_interval]
    return f"{number(entry.error, 3, sign=True)} ± {number(entry.std, 3)}{mark}"
