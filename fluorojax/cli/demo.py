"""``fluorojax demo``: all steps on two small simulated scenes."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from fluorojax.cli.backend import tell_backend
from fluorojax.cli.options import OverwriteOption, QuietOption, SeedOption, VerboseOption
from fluorojax.cli.printing import say

SCENES, FRAMES, SIZE = 2, 16, 96


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Folder for the files. Default: a new temporary one.", show_default=False)
    ] = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Simulate, reconstruct, score and report two small scenes: under two minutes on two CPU cores."""
    from fluorojax.cli.reconstruct import print_results, tell_diverged
    from fluorojax.cli.score import print_scores
    from fluorojax.cli.simulate import run_simulate
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.metrics import score_files
    from fluorojax.reports import write_report
    from fluorojax.runs.files import reconstruct_file
    from fluorojax.runs.progress import make_progress
    from fluorojax.simulation import SimulationOptions

    directory = _directory(out)
    scenes, result, page = directory / "scenes.h5", directory / "reconstruction.h5", directory / "report.html"
    notify = tell_backend(quiet)

    notify(f"simulating {SCENES} scenes of {FRAMES}×{SIZE}×{SIZE} into {scenes}")
    options = SimulationOptions(frames=FRAMES, size=SIZE)
    with make_progress("simulate", quiet=quiet, verbose=verbose) as progress:
        run_simulate(scenes, options, count=SCENES, seed=seed, overwrite=overwrite, progress=progress)

    notify(f"reconstructing them, the three spec parameters unknown, into {result}")
    with make_progress("reconstruct", quiet=quiet, verbose=verbose) as progress:
        outcome = reconstruct_file(
            scenes, result, ReconstructOptions(seed=seed), overwrite=overwrite, progress=progress, notify=notify
        )

    notify("scoring against the truth")
    scores = score_files(result, scenes)
    if not quiet:
        print_results(result)
        print_scores(scores, str(result))
    write_report(page, result, truth=scenes, source=scenes, overwrite=overwrite)
    tell_diverged(outcome, result)
    say(f"report: {page}")
    return outcome.exit_code


def _directory(out: Path | None) -> Path:
    from fluorojax.io import InputError

    if out is None:
        return Path(tempfile.mkdtemp(prefix="fluorojax-demo-"))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(out, None, None, f"cannot be created: {error.strerror}; expected a directory") from error
    return out
