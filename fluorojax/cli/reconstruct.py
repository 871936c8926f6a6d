"""``fluorojax reconstruct``: posterior summaries of every scene of a challenge file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.backend import SETTINGS, tell_backend, use_cache
from fluorojax.cli.options import (
    HDF5_SUFFIXES,
    BatchOption,
    MethodOption,
    ModelOption,
    OverwriteOption,
    QuietOption,
    SeedOption,
    SpecSource,
    VerboseOption,
    check_suffix,
    make_notify,
    takes_selection,
)
from fluorojax.cli.printing import tell

if TYPE_CHECKING:
    from fluorojax.io import InputError, Selection
    from fluorojax.runs.inputs import FilePair
    from fluorojax.runs.outcomes import Outcome
    from fluorojax.runs.places import Place


class Scheduler(StrEnum):
    """Who hands the scenes to the processes that compute them."""

    DASK = "dask"
    JAX = "jax"


@takes_selection
def reconstruct(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IN.h5]...", help="Files of scenes, or quoted patterns of names.", show_default=False),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT.h5", help="File to write; a folder for several inputs.", show_default=False
        ),
    ] = None,
    model: ModelOption = "sequence",
    method: MethodOption = "",
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
    held_out: Annotated[
        float | None,
        typer.Option(
            "--held-out",
            metavar="SHARE",
            help="Share of the quanta held out to check the result, at the cost of one more reconstruction; 0 for no "
            "check. Default: 0.1 with learned, else 0.",
            show_default=False,
        ),
    ] = None,
    fallback: Annotated[
        bool,
        typer.Option(
            "--fallback/--no-fallback",
            help="Let map take the scenes that the network does not serve, with a notice (learned).",
        ),
    ] = True,
    recognise: Annotated[
        bool,
        typer.Option(
            "--recognise/--no-recognise",
            help="Look for a start from dark in the first frames, and take it into account, with a notice.",
        ),
    ] = True,
    block_frames: Annotated[
        int | None,
        typer.Option(
            "--block-frames",
            min=1,
            metavar="FRAMES",
            help="Read, solve and write longer runs in blocks of as many counts as so many frames hold, overlap "
            "included (map, learned). Default: blocks where the whole run would take too much memory.",
            show_default=False,
        ),
    ] = None,
    times: Annotated[
        str | None,
        typer.Option(
            metavar="MS,MS,…|FILE",
            help="Images at these times, in ms from the first frame and within the run, in place of the frames; a "
            "list, or a file of numbers.",
            show_default=False,
        ),
    ] = None,
    to_fps: Annotated[
        float | None,
        typer.Option(
            "--to-fps",
            metavar="RATE",
            help="So many images per second, in place of the frames, e.g. 30 for a run of 7.5 frames per second.",
            show_default=False,
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
    *,
    selection: "Selection",
    manifest: Annotated[
        Path | None,
        typer.Option(help="List of inputs, one on each line, with or without its output.", show_default=False),
    ] = None,
    scheduler: Annotated[
        Scheduler | None,
        typer.Option(help="Compute on the workers of a Dask cluster, or in all processes of a JAX cluster."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of the scheduler (dask: or its scheduler file), or HOST:PORT of the first process (jax)."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Longest time without any worker (dask) or process (jax).")
    ] = 120.0,
    time_limit: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="End by itself after this time with what is finished.", show_default=False
        ),
    ] = None,
    ignore_memory: Annotated[
        bool, typer.Option("--ignore-memory", help="Start the run even if the memory may be too small for it.")
    ] = False,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Skip bad scenes instead of stopping.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Reconstruct every scene with its uncertainty and a corrected specification.

    IN.h5 is a challenge file, a DICOM run, a NumPy array (.npy) or a TIFF stack. An array has no protocol: give
    --photons, and also --fps and --protocol if the defaults do not fit. The output records the selection of scenes,
    frames and pixels, and `score` and `report` use the same selection.

    Several inputs, a quoted pattern such as 'study/*.h5', or a --manifest need a folder for their outputs: run1.h5
    becomes FOLDER/run1.h5. Outputs that are complete are left alone, so that the same command goes on after an
    interruption. With --keep-going, a file that cannot be read is told and the others go on.

    With --scheduler, scenes are computed in other processes, which read the inputs and write beside the outputs
    themselves: all machines must see both under the same names (see "Clusters" in the documentation).

    Finished scenes are kept in the folder OUT.h5.parts and survive an interrupt, a crash and a full disk. The same
    command continues the run, also with --overwrite, and gathers all scenes into OUT.h5 at the end. The exit code is 1
    if a scene diverged, has not converged or was skipped.

    --held-out 0.1 sets a tenth of the quanta aside, reconstructs from the rest, and tests whether the result predicts
    the quanta that were set aside. The verdict on bias and on the size of the stated errors needs no truth; `report`
    shows it.

    With --method learned, map reconstructs the scenes that are unlike the scenes of the training, and those that fail
    this test; a notice names them. With --no-fallback the network takes every scene that it can.

    --times and --to-fps give the scene between the frames: a run of 7.5 frames/s as 30 images/s, for example, with the
    uncertainty at each time. (--fps is the frame rate of a run whose file does not state it.)

    Markov chains keep their state in OUT.h5.SCENE.state until they have converged. Repeat the command with more --draws
    and --overwrite to continue from that state. A state of other settings is refused, or discarded with --overwrite.
    """
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.io import InputError
    from fluorojax.runs.files import reconstruct_files
    from fluorojax.runs.inputs import find_pairs, read_times
    from fluorojax.runs.progress import make_progress

    if scheduler is None and address is not None:
        raise ValueError(f"--address is {address!r} without --scheduler; expected --scheduler dask or jax")
    pairs = find_pairs(inputs or [], output, manifest)
    for pair in pairs:
        check_suffix("--output", pair.output, HDF5_SUFFIXES)
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
        held_out=held_out,
        fallback=fallback,
        recognise=recognise,
        block_frames=block_frames,
        times=None if times is None else read_times(times),
        to_fps=to_fps,
    )
    notify = make_notify(quiet)
    place = _place(scheduler, address, wait, quiet)

    def begin(shapes: Mapping[str, tuple[int, ...]]) -> None:
        from fluorojax.runs.estimate import check_memory, estimate

        if scheduler is Scheduler.DASK:
            return
        tell_backend(quiet)
        if not shapes:
            return
        needs = estimate(shapes, options)
        if not ignore_memory:
            check_memory(needs)
        notify(needs.sentence())

    codes: list[int] = []
    told_before: set[Path] = set()

    def note(pair: "FilePair", outcome: "Outcome", before: bool) -> None:
        if not before:  # this run has told of every scene that it skipped
            told_before.add(pair.output)

    def end(pair: "FilePair", outcome: "Outcome") -> None:
        if place is None or place.leading:
            if not quiet and pair.output.exists():
                print_results(pair.output)
            if pair.output not in told_before:
                tell_skipped(outcome, pair.output)
            tell_diverged(outcome, pair.output)
            tell_unconverged(outcome, pair.output)
        codes.append((replace(outcome, unconverged=()) if allow_unconverged else outcome).exit_code)

    several = len(pairs) > 1
    with _folder(output, pairs), make_progress("reconstruct", quiet=quiet, verbose=verbose) as progress:
        outcomes = reconstruct_files(
            pairs,
            options,
            selection=selection,
            overwrite=overwrite,
            leave_complete=several or pairs[0].output != Path(output or ""),
            place=place,
            time_limit=time_limit,
            on_start=begin,
            on_error=_tell_skipped if keep_going else None,
            on_bad_file=_tell_skipped if keep_going and several else None,
            on_file=note,
            progress=progress,
            notify=notify,
        )
    for pair, outcome in zip(pairs, outcomes, strict=True):
        if outcome is not None:
            end(pair, outcome)
    if not codes:
        raise InputError(pairs[0].source.parent, None, None, f"none of the {len(pairs)} inputs could be reconstructed")
    return max(1 if len(codes) < len(pairs) else 0, *codes)


def _place(scheduler: Scheduler | None, address: str | None, wait: float, quiet: bool) -> "Place | None":
    """Where the scenes are computed; None for this process."""
    if scheduler is None:
        return None
    if scheduler is Scheduler.JAX:
        from fluorojax.runs.hosts import JaxProcesses

        # every process compiles; `begin` is called in the one that leads
        return JaxProcesses(address, wait=wait, notify=use_cache(quiet))
    if address is None:
        raise ValueError("--scheduler is 'dask' without --address; expected what `dask scheduler` prints")
    from fluorojax.runs.dask import DaskCluster

    return DaskCluster(address, wait=wait, cache=not SETTINGS.no_cache, notify=make_notify(quiet))


@contextmanager
def _folder(output: str | None, pairs: "Sequence[FilePair]") -> Iterator[None]:
    """Make the folder of the outputs where it is missing, and take it away where it stays empty."""
    from fluorojax.io import InputError

    folder = None if output is None else Path(output)
    made = folder is not None and not folder.exists() and any(pair.output.parent == folder for pair in pairs)
    if folder is None or not made:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)  # another process of a cluster may have been faster
    except OSError as error:
        raise InputError(folder, None, None, f"cannot be created: {error.strerror}; expected a folder") from error
    try:
        yield
    finally:
        with suppress(OSError):  # it holds outputs
            folder.rmdir()


def _tell_skipped(error: "InputError") -> None:
    tell(f"skipped: {error}")


def tell_skipped(outcome: "Outcome", where: Path) -> None:
    """A line on standard error for every reason why scenes of the file ``where`` were skipped, with their names."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in outcome.skipped.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        tell(f"{where}: skipped: {', '.join(names)}: {reason}")


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
    """Print the corrected specification ± posterior sd, the status and the time of every scene of a file.

    The scenes that were skipped come last.
    """
    from fluorojax.cli.tables import print_table
    from fluorojax.io import read_skipped, read_summaries
    from fluorojax.reports.numbers import number, parameter_cell, status_words

    rows, units = [], {}
    for result in read_summaries(output):
        units |= {parameter.name: parameter.unit for parameter in result.parameters}
    for result in read_summaries(output):
        cells = [parameter_cell(result, name) for name in units]
        rows.append([result.name, *cells, number(result.seconds, 1), status_words(result.status.name)])
    rows += [[name, *("–" for _ in units), "–", "skipped"] for name in read_skipped(output)]
    columns = ["scene", *(f"{name} ({unit})" if unit else name for name, unit in units.items()), "seconds", "status"]
    print_table(f"{output}: corrected specification ± posterior sd", columns, rows)
