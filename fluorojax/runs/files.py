"""Reconstruction of whole files: checked beforehand, resumable, and complete or not written at all.

:func:`reconstruct_files` takes any number of files through one pipeline, wherever their scenes are computed
(:mod:`fluorojax.runs.places`); :func:`reconstruct_file` is the same for one.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions
from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    Selection,
    check_output,
    open_scenes,
    parts_folder,
    read_provenance,
    read_reconstruction,
    read_summaries,
)
from fluorojax.io.parts import blocks_folder, part_name
from fluorojax.io.selection import NO_SELECTION
from fluorojax.io.shutdown import at_stop
from fluorojax.runs.inputs import FilePair, check_pairs, check_scenes
from fluorojax.runs.notes import notices
from fluorojax.runs.outcomes import NOT_COMPUTED, Outcome, ended_early, finished_earlier, is_unfinished, read_outcome
from fluorojax.runs.places import Place, Tally, ThisProcess, until
from fluorojax.runs.progress import Progress, ProgressDisplay
from fluorojax.runs.shares import Event, Failed, Share, finished_before, sampler_state


def reconstruct_file(
    source: str | PathLike[str],
    output: str | PathLike[str],
    options: ReconstructOptions,
    *,
    selection: Selection = NO_SELECTION,
    overwrite: bool = False,
    place: Place | None = None,
    time_limit: float | None = None,
    on_start: Callable[[Mapping[str, tuple[int, ...]]], None] | None = None,
    on_error: Callable[[InputError], None] | None = None,
    on_result: Callable[[Reconstruction], None] | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Reconstruct a file into ``output``, continuing what an interrupted run of the same settings finished.

    ``selection`` says which scenes, frames and pixels are meant, and protocol values that stand in place of the file's;
    it is recorded with the settings. ``on_start`` is called with the shapes of the scenes that are left to compute, by
    name, once all is checked; it may raise ``ValueError`` to refuse the run. ``place`` says where scenes are computed,
    by default in this process (:class:`~fluorojax.runs.places.ThisProcess`).

    All scenes are checked before the first is computed. A bad one raises :class:`fluorojax.io.InputError`, unless
    ``on_error`` is given: then it is called with the error, and the scene is left out and recorded as skipped. A scene
    whose computation ends in an error has the status diverged; one that kills its workers counts as a bad one, and the
    same call computes it. ``on_result`` is called with each result once it is on disk; ``notify`` receives remarks for
    the user.

    NUTS keeps the state of a scene beside ``output`` until the scene is written, and beyond where it has not converged:
    the same command with more draws and ``overwrite`` goes on from there. A state of another run is refused, and with
    ``overwrite`` discarded. Also raises ``ValueError`` for settings or a model that cannot be used.

    After ``time_limit`` seconds the run ends by itself: the output holds the finished scenes and names the others as
    skipped, and the same call computes those. Nothing is written where no scene is finished.
    """
    (outcome,) = reconstruct_files(
        [FilePair(Path(source), Path(output))],
        options,
        selection=selection,
        overwrite=overwrite,
        place=place,
        time_limit=time_limit,
        on_start=on_start,
        leave_complete=False,
        on_error=on_error,
        on_result=on_result,
        progress=progress,
        notify=notify,
    )
    assert outcome is not None
    return outcome


def reconstruct_files(
    pairs: Sequence[FilePair],
    options: ReconstructOptions,
    *,
    selection: Selection = NO_SELECTION,
    overwrite: bool = False,
    leave_complete: bool = True,
    place: Place | None = None,
    time_limit: float | None = None,
    on_start: Callable[[Mapping[str, tuple[int, ...]]], None] | None = None,
    on_error: Callable[[InputError], None] | None = None,
    on_bad_file: Callable[[InputError], None] | None = None,
    on_file: Callable[[FilePair, Outcome, bool], None] | None = None,
    on_result: Callable[[Reconstruction], None] | None = None,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda line: None,
) -> list[Outcome | None]:
    """Reconstruct every input into its output; the outcomes stand in the order of ``pairs``.

    All files are checked before the first scene is computed. A file is written as soon as the last of its scenes is
    finished. With ``leave_complete``, an output that is a complete result of the same settings is left alone, so that
    the same call goes on after an interruption; without it, or with other settings, it is refused as existing. With
    ``overwrite`` it is computed again.

    A file that cannot be read or written raises :class:`fluorojax.io.InputError`, unless ``on_bad_file`` is given: then
    it is called with the error, and the file has None for its outcome. ``on_file`` is called with each file that is
    done, its outcome, and whether it was complete before. The other arguments are those of :func:`reconstruct_file`.

    Whatever is given, two inputs with one output and an output that is one of the inputs raise ``InputError``.
    """
    if time_limit is not None and not time_limit >= 0:
        raise ValueError(f"the time limit is {time_limit:g}; expected a number of seconds, at least 0")
    check_pairs(pairs)
    run = _Run(
        options,
        selection,
        overwrite,
        leave_complete and not overwrite,
        ThisProcess(notify) if place is None else place,
        None if time_limit is None else time.monotonic() + time_limit,
        on_error,
        on_bad_file,
        on_file,
        on_result,
        notify,
    )
    words = "" if time_limit is None else f"{NOT_COMPUTED}: the time limit of {time_limit:g} s was reached"
    return run.outcomes(pairs, on_start, ProgressDisplay() if progress is None else progress, words)


@dataclass
class _File:
    """A file of a run, from its check to its end."""

    index: int
    pair: FilePair
    provenance: Provenance
    names: list[str]
    shapes: Mapping[str, tuple[int, ...]]
    skipped: dict[str, str]
    remarks: list[str]
    writer: ReconstructionWriter | None = None
    left: set[str] = field(default_factory=set)
    """Names of the scenes that nothing is known of yet, once the file is open."""
    stack: ExitStack = field(default_factory=ExitStack)


@dataclass
class _Run:
    """One call of :func:`reconstruct_files`."""

    options: ReconstructOptions
    selection: Selection
    overwrite: bool
    leave_complete: bool
    place: Place
    end: float | None
    on_error: Callable[[InputError], None] | None
    on_bad_file: Callable[[InputError], None] | None
    on_file: Callable[[FilePair, Outcome, bool], None] | None
    on_result: Callable[[Reconstruction], None] | None
    notify: Callable[[str], None]

    def __post_init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._outcomes: dict[int, Outcome | None] = {}
        self._opening = threading.Lock()
        self._over = False
        self._unopened: list[_File] = []

    def outcomes(
        self,
        pairs: Sequence[FilePair],
        on_start: Callable[[Mapping[str, tuple[int, ...]]], None] | None,
        progress: Progress,
        late: str,
    ) -> list[Outcome | None]:
        """Run all files; ``late`` says why a scene was not computed where the time limit ended the run."""
        with self.place as place:
            if (follow := place.follower(pairs[0].output.parent)) is not None:
                follow(lambda index, names: self._share(index, pairs[index], names), self.end)
                return [read_outcome(pair.output) if pair.output.is_file() else None for pair in pairs]
            several = len(pairs) > 1
            for index, pair in enumerate(pairs):
                with self._of_file(index):
                    if (found := self._complete(pair)) is not None:
                        self._end_file(index, pair, found, before=True)
                    else:
                        self._files[index] = self._check(index, pair)
            self._unopened = list(self._files.values())
            tally = Tally(progress, name_files=several)
            try:
                events = place.run(self._shares(tally, on_start), tally)
                for event in events if self.end is None else until(events, self.end):
                    self._take(event)
                with self._opening:  # a thread that is left behind opens no further file
                    self._over = True
                self._close_rest(late)
            except BaseException as error:
                self._keep_rest(error)
                raise
        return [self._outcomes[index] for index in range(len(pairs))]

    def _share(self, index: int, pair: FilePair, names: tuple[str, ...], provenance: Provenance | None = None) -> Share:
        return Share(
            index,
            pair.source,
            pair.output,
            names,
            self.options,
            self.selection,
            Provenance.of_run(pair.source, self.options, self.selection) if provenance is None else provenance,
            discard_states=self.overwrite,
        )

    def _complete(self, pair: FilePair) -> Outcome | None:
        """The outcome of an output that is a complete result of this run, or None where there is work to do."""
        if not self.leave_complete or not pair.output.is_file() or parts_folder(pair.output).exists():
            return None
        mine = Provenance.of_run(pair.source, self.options, self.selection)
        try:
            if mine.differences(read_provenance(pair.output)):
                return None
            outcome = read_outcome(pair.output)
        except InputError:
            return None
        return None if is_unfinished(outcome) else outcome

    def _check(self, index: int, pair: FilePair) -> _File:
        """Read all scenes of a file; raises :class:`InputError` where file or output cannot be used."""
        continued = self.overwrite or parts_folder(pair.output).is_dir() or ended_early(pair.output)
        check_output(pair.output, inputs=[pair.source], overwrite=continued)
        scenes = open_scenes(pair.source, selection=self.selection)
        names, skipped, remarks = check_scenes(scenes, self.options, self.on_error)
        provenance = Provenance.of_run(pair.source, self.options, self.selection)
        return _File(index, pair, provenance, names, scenes.only(names).shapes(), skipped, remarks)

    def _shares(
        self, tally: Tally, on_start: Callable[[Mapping[str, tuple[int, ...]]], None] | None
    ) -> Iterator[Share]:
        """Open one file after the other, as the place asks for work, and give what is left to compute of each."""
        started = False
        while True:
            with self._opening:
                if self._over or not self._unopened:
                    return
                file = self._unopened.pop(0)
                with self._of_file(file.index):
                    self._open(file)
            if file.writer is None:
                continue
            pending = [name for name in file.names if name in file.left]
            if not started:
                started = True
                self._start(file, pending, tally, on_start)
            elif before := len(file.names) - len(pending):
                tally.before(before)
            for remark in file.remarks:
                self.notify(remark)
            if before := len(file.names) - len(pending):
                where = file.writer.folder if file.writer.folder.is_dir() else file.pair.output
                self.notify(f"continuing {where}: {before} of {len(file.names)} scenes are finished")
            if not pending:
                self._close(file)
                continue
            file.stack.enter_context(at_stop(lambda file=file: self._tell_kept(file)))
            yield self._share(file.index, file.pair, tuple(pending), file.provenance)

    def _start(
        self,
        first: _File,
        pending: list[str],
        tally: Tally,
        on_start: Callable[[Mapping[str, tuple[int, ...]]], None] | None,
    ) -> None:
        """Tell the size of the run once the first file is open; of the others, nothing is known to be finished."""
        if on_start is not None:
            shapes = {name: shape for name, shape in first.shapes.items() if name in pending}
            for file in self._unopened:
                shapes |= {f"{file.pair.source}: {name}": shape for name, shape in file.shapes.items()}
            on_start(shapes)
        tally.start(len(pending) + sum(len(file.names) for file in self._unopened))

    def _open(self, file: _File) -> None:
        """Take the output of a file, and find what earlier parts of the run finished of it."""
        output, damaged = file.pair.output, {part_name(name): name for name in file.names}

        def tell_damaged(part: Path, problem: str) -> None:
            name = damaged.get(part.name, part.name)
            self.notify(f"{name}: computing again, because the finished scene in {part} is damaged: {problem}")

        earlier = [] if self.overwrite else finished_earlier(output, file.provenance)
        writer = ReconstructionWriter(
            output,
            file.provenance,
            source=file.pair.source,
            overwrite=self.overwrite or bool(earlier),
            on_damaged=tell_damaged,
        )
        file.writer = file.stack.enter_context(writer)
        for name in earlier:
            if name not in writer.finished:
                writer.add(name, output)
        file.left = {name for name in file.names if name not in writer.finished}

    def _take(self, event: Event) -> None:
        """Enter what became of a scene, and write the file of the scene where it was the last one."""
        file = self._files[event.file]
        if event.name not in file.left:
            return
        assert file.writer is not None
        with self._of_file(file.index):
            if isinstance(event, Failed):
                self._skip(file, event)
            else:
                file.writer.add(event.name)
                if self.on_result is not None:
                    self.on_result(read_reconstruction(file.writer.folder / part_name(event.name), event.name))
        file.left.discard(event.name)
        if not file.left:
            self._close(file)

    def _skip(self, file: _File, event: Failed) -> None:
        error = InputError(file.pair.source, event.name, None, event.reason)
        if self.on_error is None:
            raise error
        self.on_error(error)
        # what kills a worker, such as want of memory, need not be there the next time
        file.skipped[event.name] = f"{NOT_COMPUTED}: {event.reason}"

    def _close(self, file: _File) -> None:
        """Write the output of a file; raises :class:`InputError` where that fails or no scene has a result."""
        assert file.writer is not None
        with self._of_file(file.index):
            found = bool(file.writer.finished)
            if file.skipped:
                file.writer.note_skipped(file.skipped)
            with at_stop(lambda: self._tell_kept(file)):
                file.stack.close()
            del self._files[file.index]
            if not found:
                raise InputError(file.pair.source, None, None, "none of its scenes could be reconstructed")
            for line in notices(read_summaries(file.pair.output)):
                self.notify(f"{file.pair.source}: {line}")
            self._end_file(file.index, file.pair, read_outcome(file.pair.output))

    def _end_file(self, index: int, pair: FilePair, outcome: Outcome, *, before: bool = False) -> None:
        self._outcomes[index] = outcome
        if self.on_file is not None:
            self.on_file(pair, outcome, before)

    def _close_rest(self, late: str) -> None:
        """At the time limit, write what is finished; the other scenes are named as ``late``."""
        for file in list(self._files.values()):
            if self.end is None:
                raise RuntimeError(f"no result came back for {', '.join(sorted(file.left))}")
            if file.writer is not None:
                # another process may have finished scenes that this one has not heard of yet
                left = tuple(name for name in file.names if name in file.left)
                for event in finished_before(self._share(file.index, file.pair, left, file.provenance)):
                    self._take(event)
            if file.index not in self._files:
                continue
            missing = [name for name in file.names if file.writer is None or name in file.left]
            file.skipped |= dict.fromkeys(missing, late)
            self.notify(f"{file.pair.source}: {late}: {', '.join(missing)}")
            if file.writer is not None and file.writer.finished:
                self._close(file)
                continue
            file.stack.__exit__(TimeoutError, None, None)
            del self._files[file.index]
            self._end_file(file.index, file.pair, Outcome((), dict(file.skipped)))

    def _keep_rest(self, error: BaseException) -> None:
        """Leave the files that are not done in a state that the same call continues."""
        for file in self._files.values():
            if file.writer is not None:
                if isinstance(error, KeyboardInterrupt):
                    self._tell_kept(file)
                file.stack.__exit__(type(error), error, error.__traceback__)

    def _tell_kept(self, file: _File) -> None:
        """What an interrupted run leaves for the next one, and nothing half written beside it."""
        writer, output = file.writer, file.pair.output
        assert writer is not None
        if writer.kept:
            finished = f"{len(writer.kept)} of {len(file.names)} finished scenes are kept in {writer.folder}"
            self.notify(f"{finished}; the same command continues the run")
        for folder in (blocks_folder(writer.folder, name) for name in file.names if name not in writer.finished):
            if blocks := [path for path in folder.glob("*.h5") if path.stem.isdecimal()]:
                self.notify(f"{len(blocks)} finished blocks are kept in {folder}; the same command continues the run")
        for state in (sampler_state(output, name) for name in file.names if name not in writer.finished):
            state.with_name(state.name + ".writing").unlink(missing_ok=True)
            if state.exists():
                self.notify(f"the Markov chains so far are kept in {state}; the same command continues them")

    @contextmanager
    def _of_file(self, index: int) -> Iterator[None]:
        """What the body raises about a file ends that file only, where the caller wants to hear of bad files."""
        try:
            yield
        except InputError as error:
            if self.on_bad_file is None:
                raise
            self.on_bad_file(error)
            self._outcomes[index] = None
            if (file := self._files.pop(index, None)) is not None:
                file.stack.__exit__(InputError, error, error.__traceback__)
                file.writer = None
