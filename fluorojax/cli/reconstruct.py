"""``fluorojax reconstruct``: posterior summaries of every scene of a challenge file."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import (
    BatchOption,
    Chain,
    InputArgument,
    MethodOption,
    ModelOption,
    OverwriteOption,
    QuietOption,
    SeedOption,
    VerboseOption,
    make_notify,
)

if TYPE_CHECKING:
    from fluorojax.progress import Progress
    from fluorojax.reconstruction import ReconstructOptions


@dataclass(frozen=True)
class Outcome:
    """How a run over a file ended."""

    diverged: tuple[str, ...]
    """Names of the scenes whose result must not be used."""
    skipped: dict[str, str]
    """Scenes left out because of bad input, with the reason."""

    @property
    def exit_code(self) -> int:
        """0 where every scene has a result to use, else 1."""
        return 1 if self.diverged or self.skipped else 0


def reconstruct(
    input_file: InputArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.h5", help="File to write.", show_default=False)
    ],
    model: ModelOption = "sequence",
    method: MethodOption = "map",
    batch: BatchOption = None,
    seed: SeedOption = 0,
    chain: Annotated[
        Chain, typer.Option(help="Spec parameters: inferred, all offsets zero, or taken from the file.")
    ] = Chain.CALIBRATED,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Skip bad scenes instead of stopping.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Reconstruct every scene with its uncertainty and a corrected specification.

    An interrupted run leaves OUT.h5.partial with the finished scenes; the same command continues it. Exit code 1 when a
    scene diverged or was skipped.
    """
    from fluorojax.progress import make_progress
    from fluorojax.reconstruction import ReconstructOptions

    options = ReconstructOptions(model=model, method=method, batch=batch, seed=seed, chain=chain.value)
    with make_progress("reconstruct", quiet=quiet, verbose=verbose) as progress:
        outcome = run_reconstruct(
            input_file,
            output,
            options,
            keep_going=keep_going,
            overwrite=overwrite,
            progress=progress,
            notify=make_notify(quiet),
        )
    if not quiet:
        print_results(output)
    for name in outcome.diverged:
        print(f"fluorojax: {output}: {name}: diverged; its result must not be used", file=sys.stderr)
    return outcome.exit_code


def run_reconstruct(
    source: Path,
    output: Path,
    options: "ReconstructOptions",
    *,
    keep_going: bool = False,
    overwrite: bool = False,
    progress: "Progress | None" = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Reconstruct a file into ``output``, continuing what an interrupted run of the same settings finished.

    All scenes are checked before the first is computed; with ``keep_going`` the bad ones are reported on standard error
    and left out. ``notify`` receives remarks for the user. Raises :class:`fluorojax.io.InputError`.
    """
    from fluorojax.io import Provenance, ReconstructionWriter, check_output, iter_scenes

    check_output(output, inputs=[source], overwrite=overwrite)
    names, skipped = _check_scenes(source, options, keep_going, notify)
    provenance = Provenance.of_run(source, options)
    from fluorojax.reconstruct import reconstruct_scenes  # slow to import: bad input is reported before

    with ReconstructionWriter(output, provenance, source=source, overwrite=overwrite) as writer:
        pending = [name for name in names if name not in writer.finished]
        if writer.finished:
            notify(f"continuing {writer.partial}: {len(writer.finished)} of {len(names)} scenes are finished")
        try:
            if pending:
                for result in reconstruct_scenes(iter_scenes(source, pending), options, progress=progress):
                    writer.write(result)
        except KeyboardInterrupt:
            if writer.finished:
                finished = f"{len(writer.finished)} of {len(names)} finished scenes are kept in {writer.partial}"
                notify(f"{finished}; the same command continues the run")
            raise
        if missing := set(names) - writer.finished:
            raise RuntimeError(f"the engine returned no result for {', '.join(sorted(missing))}")
        if skipped:
            writer.note_skipped(skipped)
    return Outcome(_diverged(output), skipped)


def _check_scenes(
    source: Path, options: "ReconstructOptions", keep_going: bool, notify: Callable[[str], None]
) -> tuple[list[str], dict[str, str]]:
    """Names of the scenes fit to reconstruct, and why the others are not."""
    from fluorojax.io import InputError, list_scenes, read_scene

    names: list[str] = []
    skipped: dict[str, str] = {}
    for name in list_scenes(source):
        try:
            scene = read_scene(source, name)
            if options.chain == Chain.TRUE and scene.true_spec is None:
                raise InputError(source, name, "true_spec", "missing; expected with --chain true")
        except InputError as error:
            if not keep_going:
                raise
            print(f"fluorojax: skipped: {error}", file=sys.stderr)
            skipped[name] = ": ".join(part for part in (error.field, error.problem) if part)
            continue
        names.append(name)
        for field, value in scene.metadata.get("assumed", {}).items():
            notify(f"{source}: {name}: acquisition lacks {field}; assumed {value:g}")
    if not names:
        raise InputError(source, None, None, "none of its scenes can be read; nothing to reconstruct")
    return names, skipped


def _diverged(output: Path) -> tuple[str, ...]:
    from fluorojax.io import iter_reconstructions
    from fluorojax.reconstruction import Status

    return tuple(result.name for result in iter_reconstructions(output) if result.status is Status.DIVERGED)


def print_results(output: Path) -> None:
    """Print the corrected specification ± posterior sd, the status and the time of every scene of a file."""
    from fluorojax.cli.tables import print_table
    from fluorojax.io import iter_reconstructions
    from fluorojax.report.numbers import number
    from fluorojax.spec import SPEC_UNITS

    rows = []
    for result in iter_reconstructions(output):
        mean, std = result.spec.as_dict(), result.spec_std.as_dict()
        cells = [f"{number(mean[name], 3, sign=True)} ± {number(std[name], 3)}" for name in SPEC_UNITS]
        rows.append([result.name, *cells, number(result.seconds, 1), result.status.name.lower().replace("_", " ")])
    columns = ["scene", *(f"{name} ({unit})" for name, unit in SPEC_UNITS.items()), "seconds", "status"]
    print_table(f"{output}: corrected specification ± posterior sd", columns, rows)
