"""Reconstruction of a whole challenge file: checked beforehand, resumable, and complete or not written at all."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    Scenes,
    Selection,
    check_output,
    counts_digest,
    open_scenes,
    parts_folder,
    read_skipped,
    read_summaries,
)
from fluorojax.io.parts import part_name
from fluorojax.io.selection import NO_SELECTION
from fluorojax.io.shutdown import at_stop
from fluorojax.runs.progress import Progress


@dataclass(frozen=True)
class Outcome:
    """How the run that made a reconstruction file ended. An interrupted run counts with all its parts."""

    diverged: tuple[str, ...]
    """Names of the scenes whose result must not be used."""
    skipped: dict[str, str]
    """Scenes left out because of bad input, with the reason."""
    unconverged: tuple[str, ...] = ()
    """Names of the scenes whose Markov chains have not mixed."""
    prior_only: tuple[str, ...] = ()
    """Names of the scenes about which the counts hold no information: their result is the model's prior."""

    @property
    def exit_code(self) -> int:
        """0 where every scene has a result that can be used, else 1."""
        return 1 if self.diverged or self.unconverged or self.prior_only or self.skipped else 0


def read_outcome(path: str | PathLike[str]) -> Outcome:
    """The outcome a reconstruction file tells of; raises :class:`fluorojax.io.InputError`."""
    statuses = {summary.name: summary.status for summary in read_summaries(path)}

    def of(status: Status) -> tuple[str, ...]:
        return tuple(name for name, found in statuses.items() if found is status)

    return Outcome(of(Status.DIVERGED), read_skipped(path), of(Status.NOT_CONVERGED), of(Status.PRIOR_ONLY))


def sampler_state(output: str | PathLike[str], scene: str) -> Path:
    """Where a sampling run of a scene keeps its state, to be continued: ``OUT.SCENE.state`` next to ``OUT``.

    A name of a scene that is long, or of characters that not every file system takes, is cut and told by its digest.
    """
    output = Path(output)
    name = scene if re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", scene) else part_name(scene).removesuffix(".h5")
    return output.with_name(f"{output.name}.{name}.state")


def reconstruct_file(
    source: str | PathLike[str],
    output: str | PathLike[str],
    options: ReconstructOptions,
    *,
    selection: Selection = NO_SELECTION,
    overwrite: bool = False,
    on_start: Callable[[Mapping[str, tuple[int, ...]]], None] | None = None,
    on_error: Callable[[InputError], None] | None = None,
    on_result: Callable[[Reconstruction], None] | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Reconstruct a file into ``output``, continuing what an interrupted run of the same settings finished.

    ``selection`` says which scenes, frames and pixels are meant, and protocol values that stand in place of the file's;
    it is recorded with the settings. ``on_start`` is called with the shapes of the scenes that are left to compute, by
    name, once all is checked; it may raise ``ValueError`` to refuse the run.

    All scenes are checked before the first is computed. A bad one raises :class:`fluorojax.io.InputError`, unless
    ``on_error`` is given: then it is called with the error, and the scene is left out and recorded as skipped.
    ``on_result`` is called with each result once it is on disk; ``notify`` receives remarks for the user. NUTS keeps
    the state of a scene beside ``output`` until the scene is written, and beyond where it has not converged: the same
    command with more draws and ``overwrite`` goes on from there. A state of another run is refused, and with
    ``overwrite`` discarded. Also raises ``ValueError`` for settings or a model that cannot be used.
    """
    check_output(output, inputs=[source], overwrite=overwrite or parts_folder(output).is_dir())
    scenes = open_scenes(source, selection=selection)
    names, skipped, remarks = _check_scenes(scenes, options, on_error)
    provenance = Provenance.of_run(source, options, selection)

    def discard(state: Path, what: str) -> None:
        notify(f"discarding {state}: {what}")

    files = {part_name(name): name for name in names}

    def tell_damaged(part: Path, problem: str) -> None:
        name = files.get(part.name, part.name)
        notify(f"{name}: computing again, because the finished scene in {part} is damaged: {problem}")

    from fluorojax.runs.batches import reconstruct_scenes  # slow to import: bad input is reported before

    with (
        ReconstructionWriter(output, provenance, source=source, overwrite=overwrite, on_damaged=tell_damaged) as writer,
        ExitStack() as stack,
    ):
        pending = [name for name in names if name not in writer.finished]
        shapes = scenes.only(pending).shapes()
        if on_start is not None:
            on_start(shapes)
        for remark in remarks:
            notify(remark)
        if writer.finished:
            notify(f"continuing {writer.folder}: {len(writer.finished)} of {len(names)} scenes are finished")

        def tell_kept() -> None:
            _tell_kept(writer, output, names, notify)

        digests: dict[str, str] = {}
        try:
            if pending:
                stack.enter_context(at_stop(tell_kept))
                results = reconstruct_scenes(
                    _digested(scenes.only(pending), digests),
                    options,
                    state_file=partial(sampler_state, output),
                    on_foreign_state=discard if overwrite else None,
                    progress=progress,
                )
                for result in results:
                    writer.write(result, counts_sha256=digests.get(result.name))
                    if result.status is not Status.NOT_CONVERGED:
                        sampler_state(output, result.name).unlink(missing_ok=True)
                    if on_result is not None:
                        on_result(result)
        except KeyboardInterrupt:
            tell_kept()
            raise
        if missing := set(names) - writer.finished:
            raise RuntimeError(f"the engine returned no result for {', '.join(sorted(missing))}")
        if skipped:
            writer.note_skipped(skipped)
    return read_outcome(output)


def _digested(scenes: Scenes, digests: dict[str, str]) -> Iterator[Scene]:
    """The scenes, read one by one, with the digests of their counts entered under their names."""
    for scene in scenes:
        digests[scene.name] = counts_digest(scene.y)
        yield scene


def _tell_kept(
    writer: ReconstructionWriter, output: str | PathLike[str], names: list[str], notify: Callable[[str], None]
) -> None:
    """What an interrupted run leaves for the next one, and nothing half written beside it."""
    if writer.finished:
        finished = f"{len(writer.finished)} of {len(names)} finished scenes are kept in {writer.folder}"
        notify(f"{finished}; the same command continues the run")
    for state in (sampler_state(output, name) for name in names if name not in writer.finished):
        state.with_name(state.name + ".writing").unlink(missing_ok=True)
        if state.exists():
            notify(f"the Markov chains so far are kept in {state}; the same command continues them")


def _check_scenes(
    scenes: Scenes, options: ReconstructOptions, on_error: Callable[[InputError], None] | None
) -> tuple[list[str], dict[str, str], list[str]]:
    """Names of the scenes fit to reconstruct, why the others are not, and remarks on what was assumed."""
    names: list[str] = []
    skipped: dict[str, str] = {}
    remarks: list[str] = []
    for name in scenes.names:
        try:
            scene = scenes[name]
            if options.spec == "true" and scene.true_spec is None:
                raise InputError(scenes.path, name, "true_spec", "missing; expected with spec 'true'")
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
            skipped[name] = ": ".join(part for part in (error.field, error.problem) if part)
            continue
        names.append(name)
        remarks += [f"{scenes.path}: {name}: {remark}" for remark in assumptions(scene)]
    if not names:
        raise InputError(scenes.path, None, None, "none of its scenes can be read; nothing to reconstruct")
    return names, skipped, remarks


def assumptions(scene: Scene) -> list[str]:
    """What the reader of a scene assumed because the file does not say it, each in one line."""
    found = []
    if assumed := scene.metadata.get("assumed"):
        values = ", ".join(f"{field} {value:g}" for field, value in assumed.items())
        found.append(f"the file does not give the whole protocol; assumed: {values}")
    for name, low in scene.metadata.get("narrowed", {}).items():
        found.append(f"the range of {name} begins at {low:g}, so that the quantity that it offsets stays positive")
    found += [str(remark) for remark in scene.metadata.get("remarks", ())]
    frames = scene.metadata.get("selection", {}).get("frames")
    if frames is not None and frames[0] > 0:
        found.append(f"the gain drift counts from frame {frames[0]}, whose open-beam counts are photons_per_pixel")
    return found
