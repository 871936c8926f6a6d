"""``fluorojax scenarios``: what a mismatched chain costs and what calibrating it wins back."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluorojax.cli.options import (
    BatchOption,
    InputArgument,
    MethodOption,
    ModelOption,
    OverwriteOption,
    QuietOption,
    SeedOption,
    VerboseOption,
)

if TYPE_CHECKING:
    from fluorojax.metrics import FileScore
    from fluorojax.progress import Progress, ProgressDisplay
    from fluorojax.scene import Scene

SCENARIOS = {
    "I": "no mismatch, nominal chain",
    "II": "mismatch, nominal chain",
    "III": "mismatch, calibrated chain",
}


def scenarios(
    input_file: InputArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="TABLE.json", help="Also write the scores as JSON.")
    ] = None,
    model: ModelOption = "sequence",
    method: MethodOption = "map",
    batch: BatchOption = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Run Scenarios I, II and III on a file with truth.

    I: fresh Poisson counts of the truth through the nominal chain, reconstructed with it. II: the file's counts,
    reconstructed with the nominal chain. III: the file's counts, spec parameters inferred. A scene that diverged in one
    of them enters no mean; exit code 1 then.
    """
    from fluorojax.cli.reconstruct import tell_diverged
    from fluorojax.io import check_output, dumps, write_text
    from fluorojax.progress import make_progress
    from fluorojax.reconstruct_file import Outcome

    if output is not None:
        check_output(output, inputs=[input_file], overwrite=overwrite)
    settings = {"model": model, "method": method, "batch": batch, "seed": seed}
    scores = run_scenarios(
        input_file,
        settings,
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
        print(dumps(document, indent=2))
    elif not quiet:
        _print_scenarios(scores, str(input_file))
    outcomes = {name: Outcome(score.diverged, {}) for name, score in scores.items()}
    for name, outcome in outcomes.items():
        tell_diverged(outcome, f"{input_file}: scenario {name}")
    return max(outcome.exit_code for outcome in outcomes.values())


def run_scenarios(
    source: Path, settings: dict[str, Any], *, make_display: "Callable[[str], ProgressDisplay]"
) -> "dict[str, FileScore]":
    """Scores of the three scenarios; ``make_display(name)`` gives a progress display as a context manager.

    The means of all three are over the same scenes: those that diverged in none. Raises
    :class:`fluorojax.io.InputError` where a scene is bad or has no truth.
    """
    from fluorojax.io import InputError, iter_scenes

    measured = list(iter_scenes(source))
    for scene in measured:
        if scene.x_true is None:
            raise InputError(source, scene.name, "x_true", "missing; expected the truth, which the scenarios need")
    matched = [without_mismatch(scene, settings["seed"]) for scene in measured]

    scores = {}
    for scenario, chain, scenes in (
        ("I", "nominal", matched),
        ("II", "nominal", measured),
        ("III", "calibrated", measured),
    ):
        with make_display(scenario) as progress:
            scores[scenario] = _run_one(scenes, source, {**settings, "chain": chain}, progress)
    return _paired(scores)


def _run_one(scenes: "list[Scene]", source: Path, settings: dict[str, Any], progress: "Progress") -> "FileScore":
    from fluorojax.metrics import FileScore, score_scene
    from fluorojax.reconstruct import reconstruct_scenes
    from fluorojax.reconstruction import ReconstructOptions

    truth = {scene.name: scene for scene in scenes}
    results = reconstruct_scenes(scenes, ReconstructOptions(**settings), progress=progress)
    scores = {result.name: score_scene(result, truth[result.name], file=source) for result in results}
    return FileScore(tuple(scores[name] for name in truth), {})


def _paired(scores: "dict[str, FileScore]") -> "dict[str, FileScore]":
    """The scores with means over the scenes that diverged in none of them."""
    diverged = frozenset(name for score in scores.values() for name in score.diverged)
    return {scenario: replace(score, unpaired=diverged) for scenario, score in scores.items()}


def without_mismatch(scene: "Scene", seed: int) -> "Scene":
    """The scene as a perfectly known chain would have measured it: Poisson counts at zero offsets.

    The draw depends on ``seed`` and the name of the scene only. Raises ``ValueError`` for a scene without truth.
    """
    import numpy as np

    from fluorojax.metrics import expected_counts
    from fluorojax.spec import Spec

    if scene.x_true is None:
        raise ValueError(f"{scene.name} has no truth; expected x_true")
    nominal = Spec()
    rate = expected_counts(scene.x_true, nominal, scene.acquisition).astype(np.float64)
    counts = np.random.default_rng([seed, *scene.name.encode()]).poisson(rate)
    return replace(scene, y=counts.astype(np.float32), true_spec=nominal)


def verdict(scores: "dict[str, FileScore]") -> str:
    """One sentence: what the mismatch costs in PSNR and what calibration wins back."""
    psnr = {name: score.means()["psnr"] for name, score in scores.items()}
    cost, gain = psnr["I"] - psnr["II"], psnr["III"] - psnr["II"]
    if math.isnan(cost):
        return "Nothing to compare: every scene diverged in one of the scenarios."
    if not cost > 0.05:
        return f"Mismatch costs no measurable PSNR here ({cost:+.2f} dB); calibration changes it by {gain:+.2f} dB."
    if gain < 0:
        return f"Mismatch costs {cost:.2f} dB of PSNR; calibration loses another {-gain:.2f} dB."
    return (
        f"Mismatch costs {cost:.2f} dB of PSNR; calibration wins back {gain:.2f} dB of it ({100 * gain / cost:.0f} %)."
    )


def _print_scenarios(scores: "dict[str, FileScore]", title: str) -> None:
    from fluorojax.cli.tables import print_table
    from fluorojax.report.numbers import number

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
