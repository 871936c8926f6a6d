"""Reconstruction of a whole challenge file: checked beforehand, resumable, and complete or not written at all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path

from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    check_output,
    iter_scenes,
    list_scenes,
    read_scene,
    read_skipped,
    read_summaries,
)
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
    """Where a sampling run of a scene keeps its state, to be continued: ``OUT.SCENE.state`` next to ``OUT``."""
    output = Path(output)
    return output.with_name(f"{output.name}.{scene}.state")


def reconstruct_file(
    source: str | PathLike[str],
    output: str | PathLike[str],
    options: ReconstructOptions,
    *,
    overwrite: bool = False,
    on_error: Callable[[InputError], None] | None = None,
    on_result: Callable[[Reconstruction], None] | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Reconstruct a file into ``output``, continuing what an interrupted run of the same settings finished.

    All scenes are checked before the first is computed. A bad one raises :class:`fluorojax.io.InputError`, unless
    ``on_error`` is given: then it is called with the error, and the scene is left out and recorded as skipped.
    ``on_result`` is called with each result once it is on disk; ``notify`` receives remarks for the user. NUTS keeps
    the state of a scene beside ``output`` until the scene is written, and beyond where it has not converged: the same
    command with more draws and ``overwrite`` goes on from there. A state of another run is refused, and with
    ``overwrite`` discarded. Also raises ``ValueError`` for settings or a model that cannot be used.
    """
    check_output(output, inputs=[source], overwrite=overwrite)
    names, skipped = _check_scenes(source, options, on_error, notify)
    provenance = Provenance.of_run(source, options)

    def discard(state: Path, what: str) -> None:
        notify(f"discarding {state}: {what}")

    from fluorojax.runs.batches import reconstruct_scenes  # slow to import: bad input is reported before

    with ReconstructionWriter(output, provenance, source=source, overwrite=overwrite) as writer:
        pending = [name for name in names if name not in writer.finished]
        if writer.finished:
            notify(f"continuing {writer.partial}: {len(writer.finished)} of {len(names)} scenes are finished")
        try:
            if pending:
                scenes = iter_scenes(source, pending)
                results = reconstruct_scenes(
                    scenes,
                    options,
                    state_file=partial(sampler_state, output),
                    on_foreign_state=discard if overwrite else None,
                    progress=progress,
                )
                for result in results:
                    writer.write(result)
                    if result.status is not Status.NOT_CONVERGED:
                        sampler_state(output, result.name).unlink(missing_ok=True)
                    if on_result is not None:
                        on_result(result)
        except KeyboardInterrupt:
            if writer.finished:
                finished = f"{len(writer.finished)} of {len(names)} finished scenes are kept in {writer.partial}"
                notify(f"{finished}; the same command continues the run")
            for state in (sampler_state(output, name) for name in pending if name not in writer.finished):
                if state.exists():
                    notify(f"the chains so far are kept in {state}; the same command continues them")
            raise
        if missing := set(names) - writer.finished:
            raise RuntimeError(f"the engine returned no result for {', '.join(sorted(missing))}")
        if skipped:
            writer.note_skipped(skipped)
    return read_outcome(output)


def _check_scenes(
    source: str | PathLike[str],
    options: ReconstructOptions,
    on_error: Callable[[InputError], None] | None,
    notify: Callable[[str], None],
) -> tuple[list[str], dict[str, str]]:
    """Names of the scenes fit to reconstruct, and why the others are not."""
    names: list[str] = []
    skipped: dict[str, str] = {}
    for name in list_scenes(source):
        try:
            scene = read_scene(source, name)
            if options.spec == "true" and scene.true_spec is None:
                raise InputError(source, name, "true_spec", "missing; expected with spec 'true'")
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
            skipped[name] = ": ".join(part for part in (error.field, error.problem) if part)
            continue
        names.append(name)
        for field, value in scene.metadata.get("assumed", {}).items():
            notify(f"{source}: {name}: acquisition lacks {field}; assumed {value:g}")
    if not names:
        raise InputError(source, None, None, "none of its scenes can be read; nothing to reconstruct")
    return names, skipped
