"""``fluorojax reconstruct``: posterior summaries of every scene of a challenge file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.backend import tell_backend
from fluorojax.cli.options import (
    HDF5_SUFFIXES,
    AllowLossyOption,
    BatchOption,
    CropOption,
    FpsOption,
    FramesOption,
    GainOption,
    InputArgument,
    IntensityOption,
    LogScaleOption,
    MethodOption,
    ModelOption,
    OffsetOption,
    OverwriteOption,
    PhotonsOption,
    ProtocolOption,
    QuietOption,
    SceneOption,
    SeedOption,
    SpecSource,
    TierOption,
    VerboseOption,
    check_suffix,
    make_counting,
    make_notify,
    make_selection,
)
from fluorojax.cli.printing import tell

if TYPE_CHECKING:
    from fluorojax.io import InputError
    from fluorojax.runs.files import Outcome


def reconstruct(
    input_file: InputArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.h5", help="File to write.", show_default=False)
    ],
    model: ModelOption = "sequence",
    method: MethodOption = "map",
    batch: BatchOption = None,
    samples: Annotated[int, typer.Option(min=1, help="Number of mirrored pairs of posterior draws (mgvi).")] = 16,
    chains: Annotated[int, typer.Option(min=1, help="Number of Markov chains (nuts).")] = 4,
    warmup: Annotated[int, typer.Option(min=20, help="Warm-up iterations of each Markov chain (nuts).")] = 150,
    draws: Annotated[int, typer.Option(min=4, help="Posterior draws of each Markov chain (nuts).")] = 200,
    allow_unconverged: Annotated[
        bool, typer.Option("--allow-unconverged", help="Exit code 0 even if Markov chains have not mixed (nuts).")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS.npz", help="File with the weights of the network (learned). Default: the shipped weights."
        ),
    ] = None,
    seed: SeedOption = 0,
    spec: Annotated[
        SpecSource,
        typer.Option(
            help="Parameters of the imaging chain: calibrated from the counts before the reconstruction; joint, "
            "inferred with the scene (mgvi, nuts); nominal, all offsets zero; or true, from the file."
        ),
    ] = SpecSource.CALIBRATED,
    scene: SceneOption = None,
    frames: FramesOption = None,
    crop: CropOption = None,
    fps: FpsOption = None,
    photons: PhotonsOption = None,
    protocol: ProtocolOption = None,
    tier: TierOption = None,
    gain: GainOption = None,
    offset: OffsetOption = None,
    intensity: IntensityOption = None,
    log_scale: LogScaleOption = None,
    allow_lossy: AllowLossyOption = False,
    ignore_memory: Annotated[
        bool, typer.Option("--ignore-memory", help="Start the run even if the memory may be too small for it.")
    ] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Skip bad scenes instead of stopping.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Reconstruct every scene with its uncertainty and a corrected specification.

    IN.h5 is a challenge file, a NumPy array (.npy) or a TIFF stack. An array has no protocol: give --photons, and also
    --fps and --protocol if the defaults do not fit. The output records the selection of scenes, frames and pixels, and
    `score` and `report` use the same selection.

    Finished scenes are kept in the folder OUT.h5.parts and survive an interrupt, a crash and a full disk. The same
    command continues the run, also with --overwrite, and gathers all scenes into OUT.h5 at the end. The exit code is 1
    if a scene diverged, has not converged or was skipped.

    Markov chains keep their state in OUT.h5.SCENE.state until they have converged. Repeat the command with more --draws
    and --overwrite to continue from that state. A state of other settings is refused, or discarded with --overwrite.
    """
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.runs.files import reconstruct_file
    from fluorojax.runs.progress import make_progress

    check_suffix("--output", output, HDF5_SUFFIXES)
    counting = make_counting(gain, offset, intensity, log_scale, allow_lossy)
    selection = make_selection(
        scene, frames, crop, fps=fps, photons=photons, protocol=protocol, tier=tier, counting=counting
    )
    options = ReconstructOptions(
        model=model,
        method=method,
        batch=batch,
        seed=seed,
        spec=spec.value,
        samples=samples,
        chains=chains,
        warmup=warmup,
        draws=draws,
        weights=weights,
    )

    def begin(shapes: Mapping[str, tuple[int, ...]]) -> None:
        from fluorojax.runs.estimate import check_memory, estimate

        notify = tell_backend(quiet)
        if not shapes:
            return
        needs = estimate(shapes, options)
        if not ignore_memory:
            check_memory(needs)
        notify(needs.sentence())

    with make_progress("reconstruct", quiet=quiet, verbose=verbose) as progress:
        outcome = reconstruct_file(
            input_file,
            output,
            options,
            selection=selection,
            overwrite=overwrite,
            on_start=begin,
            on_error=_tell_skipped if keep_going else None,
            progress=progress,
            notify=make_notify(quiet),
        )
    if not quiet:
        print_results(output)
    tell_diverged(outcome, output)
    tell_unconverged(outcome, output)
    return (replace(outcome, unconverged=()) if allow_unconverged else outcome).exit_code


def _tell_skipped(error: "InputError") -> None:
    tell(f"skipped: {error}")


def tell_diverged(outcome: "Outcome", where: Path | str) -> None:
    """A line on standard error for every scene that diverged; ``where`` names the file or the run."""
    from fluorojax.io import read_summaries

    verdicts = {}
    if outcome.diverged and Path(where).is_file():
        verdicts = {summary.name: summary.diagnostics.get("verdict") for summary in read_summaries(where)}
    for name in outcome.diverged:
        tell(f"{where}: {name}: {verdicts.get(name) or 'diverged'}; its result must not be used")


def tell_unconverged(outcome: "Outcome", where: Path | str) -> None:
    """A line on standard error for every scene whose Markov chains have not mixed or whose result is only its prior."""
    from fluorojax.data.reconstruction import Status
    from fluorojax.io import read_summaries

    for name in outcome.prior_only:
        tell(f"{where}: {name}: {Status.PRIOR_ONLY.value}")
    if not outcome.unconverged:
        return
    for summary in read_summaries(where):
        if summary.name in outcome.unconverged:
            verdict = summary.diagnostics.get("verdict", "not converged")
            tell(f"{where}: {summary.name}: {verdict}")


def print_results(output: Path) -> None:
    """Print the corrected specification ± posterior sd, the status and the time of every scene of a file."""
    from fluorojax.cli.tables import print_table
    from fluorojax.io import read_summaries
    from fluorojax.reports.numbers import number, parameter_cell, status_words

    rows, units = [], {}
    for result in read_summaries(output):
        units |= {parameter.name: parameter.unit for parameter in result.parameters}
    for result in read_summaries(output):
        cells = [parameter_cell(result, name) for name in units]
        rows.append([result.name, *cells, number(result.seconds, 1), status_words(result.status.name)])
    columns = ["scene", *(f"{name} ({unit})" if unit else name for name, unit in units.items()), "seconds", "status"]
    print_table(f"{output}: corrected specification ± posterior sd", columns, rows)
