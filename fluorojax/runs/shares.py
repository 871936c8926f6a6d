"""What one process computes of a file, and what comes back of it: the same wherever the process runs.

A :class:`Share` is small: paths, names and options. Whoever computes it reads the scenes from their file, runs the
pipeline of :mod:`fluorojax.runs.batches`, publishes each finished scene beside the output (``fluorojax.io.parts``),
and gives back a :class:`Finished` or :class:`Failed` of one line. Results never travel from process to process, and
the process that gathers them need not be the one that computed them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.io import (
    Provenance,
    Scenes,
    Selection,
    open_scenes,
    parts_folder,
    publish_scene,
    read_provenance,
    read_summaries,
)
from fluorojax.io.blocks import BlockStore
from fluorojax.io.parts import part_name, seal_problem
from fluorojax.methods.registry import make_method
from fluorojax.runs.estimate import in_blocks
from fluorojax.runs.progress import Progress, ProgressDisplay


@dataclass(frozen=True)
class Share:
    """Scenes of one file, to be computed in one process."""

    file: int
    """Which file of the run."""
    source: Path
    output: Path
    """The file that the scenes will end up in."""
    names: tuple[str, ...]
    options: ReconstructOptions
    selection: Selection
    provenance: Provenance = field(repr=False)
    discard_states: bool = False
    """Whether the state of a sampler that another run left is discarded rather than refused."""

    @property
    def key(self) -> tuple[int, tuple[str, ...]]:
        """What tells the share from the others of a run."""
        return self.file, self.names

    @property
    def folder(self) -> Path:
        """Where the finished scenes go."""
        return parts_folder(self.output)

    def only(self, *names: str) -> "Share":
        """The part of the share that is about these scenes."""
        return replace(self, names=names)

    def absolute(self) -> "Share":
        """The same share for a process in another working folder."""
        options = self.options
        if options.model.endswith(".py"):
            options = replace(options, model=str(Path(options.model).absolute()))
        if options.weights is not None and options.weights.endswith(".npz"):
            options = replace(options, weights=str(Path(options.weights).absolute()))
        return replace(self, source=self.source.absolute(), output=self.output.absolute(), options=options)


@dataclass(frozen=True)
class Finished:
    """A scene that is safe on disk."""

    file: int
    name: str
    standing: str
    """How its computation ended, in words."""


@dataclass(frozen=True)
class Failed:
    """A scene that could not be computed: every process that tried has died."""

    file: int
    name: str
    reason: str


Event = Finished | Failed


def sampler_state(output: Path, scene: str) -> Path:
    """Where a sampling run of a scene keeps its state, to be continued: ``OUT.SCENE.state`` next to ``OUT``.

    A name of a scene that is long, or of characters that not every file system takes, is cut and told by its digest.
    """
    name = scene if re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", scene) else part_name(scene).removesuffix(".h5")
    return output.with_name(f"{output.name}.{name}.state")


def compute(
    share: Share,
    *,
    notify: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> Iterator[Finished]:
    """Compute the scenes of a share in this process; each is on disk when its event comes.

    Raises what :func:`fluorojax.runs.batches.reconstruct_scenes` raises, and :class:`~fluorojax.io.InputError` where a
    scene cannot be read or written.
    """
    from fluorojax.runs.batches import reconstruct_scenes  # slow to import: bad input is reported before
    from fluorojax.runs.notes import standing

    def discard(state: Path, what: str) -> None:
        notify(f"discarding {state}: {what}")

    missing = dict.fromkeys(share.names)
    scenes = open_scenes(share.source, selection=share.selection).only(share.names)
    method, shapes = make_method(share.options), scenes.shapes()
    long = [name for name in share.names if name in shapes and in_blocks(method, shapes[name], share.options)]
    for done, name in enumerate(long):
        missing.pop(name)
        yield _long(share, scenes, name, notify, partial(_update, progress, done))
    if not missing:
        return
    results = reconstruct_scenes(
        scenes.only(missing),
        share.options,
        state_file=partial(sampler_state, share.output),
        on_foreign_state=discard if share.discard_states else None,
        progress=progress if progress is None or not long else _After(progress, len(long)),
    )
    for result in results:
        publish_scene(share.folder, share.provenance, result)
        if result.status is not Status.NOT_CONVERGED:
            sampler_state(share.output, result.name).unlink(missing_ok=True)
        missing.pop(result.name, None)
        yield Finished(share.file, result.name, standing(result))
    if missing:
        raise RuntimeError(f"the engine returned no result for {', '.join(sorted(missing))}")


def _long(
    share: Share, scenes: Scenes, name: str, notify: Callable[[str], None], tell: Callable[[float, str], None]
) -> Finished:
    """Compute a run that is longer than memory; its blocks are safe on disk one by one."""
    from fluorojax.runs.long_runs import LongReconstruction
    from fluorojax.runs.notes import standing

    run = scenes.run(name)
    counts_sha256 = run.check()
    store = BlockStore(share.folder, share.provenance, name, counts_sha256)
    store.open(discard=share.discard_states)
    result = LongReconstruction(
        run, share.options, store, counts_sha256, lambda part, note: tell(part, f"{name}: {note}"), notify
    ).finish()
    tell(1.0, f"{name}: {standing(result)}")
    return Finished(share.file, name, standing(result))


def _update(progress: Progress | None, done: int, part: float, note: str) -> None:
    if progress is not None:
        progress.update(done + part, note)


class _After(ProgressDisplay):
    """The progress of the scenes that come after some others."""

    def __init__(self, progress: Progress, before: int):
        self._progress, self._before = progress, before

    def skip(self, amount: float) -> None:
        """See :class:`~fluorojax.runs.progress.Progress`."""
        self._progress.skip(amount)

    def update(self, done: float, note: str) -> None:
        """See :class:`~fluorojax.runs.progress.Progress`."""
        self._progress.update(self._before + done, note)


def finished_before(share: Share) -> Iterator[Finished]:
    """The scenes of a share that stand on disk as they were written, by this run or an earlier part of it."""
    for name in share.names:
        part = share.folder / part_name(name)
        if not part.is_file() or seal_problem(part) is not None:
            continue
        if not share.provenance.differences(read_provenance(part)):
            (summary,) = read_summaries(part)
            yield Finished(share.file, name, f"{summary.status.name.lower().replace('_', ' ')}, by another worker")
