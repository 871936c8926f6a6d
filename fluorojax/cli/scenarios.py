"""``fluorojax scenarios``: what a mismatched chain costs and what calibrating it wins back."""

from collections.abc import Callable, Iterator
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
    reconstructed with the nominal chain. III: the file's counts, spec parameters inferred.
    """
    from fluorojax.io import check_output, dumps, write_text
    from fluorojax.progress import make_progress

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
    return 0


def run_scenarios(
    source: Path, settings: dict[str, Any], *, make_display: "Callable[[str], ProgressDisplay]"
) -> "dict[str, FileScore]":
    """Scores of the three scenarios; ``make_display(name)`` gives a progress display as a context manager.

    Raises :class:`fluorojax.io.InputError` where a scene is bad or has no truth.
    """
    from fluorojax.io import InputError, list_scenes, read_scene

    names = list_scenes(source)
    for name in names:
        if read_scene(source, name).x_true is None:
            raise InputError(source, name, "x_true", "missing; expected the truth, which the scenarios need")

    def measured(name: str) -> "Scene":
        return read_scene(source, name)

    def matched(name: str) -> "Scene":
        return without_mismatch(read_scene(source, name), settings["seed"])

    scores = {}
    for scenario, chain, read in (
        ("I", "nominal", matched),
        ("II", "nominal", measured),
        ("III", "calibrated", measured),
    ):
        with make_display(scenario) as progress:
            scores[scenario] = _run_one(names, read, {**settings, "chain": chain}, progress)
    return scores


def _run_one(
    names: list[str], read: "Callable[[str], Scene]", settings: dict[str, Any], progress: "Progress"
) -> "FileScore":
    from fluorojax.metrics import FileScore, score_scene
    from fluorojax.reconstruct import reconstruct_scenes
    from fluorojax.reconstruction import ReconstructOptions

    def scenes() -> "Iterator[Scene]":
        yield from map(read, names)

    # a scene is read again to be scored, so that memory holds the scenes of one batch only
    results = reconstruct_scenes(scenes(), ReconstructOptions(**settings), progress=progress)
    scores = [score_scene(result, read(result.name)) for result in results]
    return FileScore(tuple(sorted(scores, key=lambda score: names.index(score.name))), {})


def without_mismatch(scene: "Scene", seed: int) -> "Scene":
    """The scene as a perfectly known chain would have measured it: Poisson counts at zero offsets.

    The draw depends on ``seed`` and the name of the scene only. Raises ``ValueError`` for a scene without truth.
    """
    from dataclasses import replace

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
    count = len(scores["I"].scenes)
    print_table(f"{title}: mean of {count} scene{'s' if count > 1 else ''}", columns, rows, notes=[verdict(scores)])
