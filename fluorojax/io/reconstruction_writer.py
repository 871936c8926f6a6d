"""Writing reconstruction files: scene by scene into parts that survive everything, then into one file."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from os import PathLike
from pathlib import Path
from types import TracebackType

import h5py

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.io.atomic import check_output, refuse_input, writing
from fluorojax.io.disk import publish, sync_folder
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import open_hdf5, scene_group
from fluorojax.io.json_fields import read_object
from fluorojax.io.lock import FileLock
from fluorojax.io.parts import (
    CHECKSUMS,
    COMPLETE,
    CONTINUED,
    discard_parts,
    discard_unfinished,
    gather,
    make_folder,
    part_name,
    parts_folder,
    publish_scene,
    read_parts,
    remove_empty,
)
from fluorojax.io.provenance import Provenance
from fluorojax.io.reconstruction_reader import (
    list_reconstructions,
    read_provenance,
    read_reconstruction,
)
from fluorojax.io.shutdown import at_stop, undisturbed


class ReconstructionWriter:
    """Context manager that keeps each scene of ``path`` in a file of its own and gathers them at the end.

    The files of the finished scenes stand in :attr:`folder` (``path.parts``). A folder with finished scenes of the same
    run (:meth:`Provenance.differences` is empty) is continued: :attr:`finished` names them. A clean exit makes ``path``
    of them and removes the folder; leaving through an exception (an interrupt included) keeps the folder if it holds
    finished scenes and removes it otherwise. A run that was killed after ``path`` had its name and before the folder
    was gone is taken as finished.

    A lock (``path.parts.lock``) keeps other processes from running the whole for as long as the writer is entered;
    other processes may publish scenes of the run (:func:`fluorojax.io.publish_scene`), which :meth:`add` takes in.
    ``on_damaged`` is called with the file of a finished scene that is not as it was written, and with what is wrong:
    the scene is not finished then.

    Raises :class:`InputError` on entry where the output cannot be written, another process is writing it, it already
    exists, or there are finished scenes of another run. ``overwrite`` replaces an existing output and discards the
    finished scenes of another run, and what earlier versions left in ``path.partial``; finished scenes of the same run
    are continued all the same, so that a command that carries it can be repeated after an interruption.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        provenance: Provenance,
        *,
        source: str | PathLike[str],
        overwrite: bool = False,
        on_damaged: Callable[[Path, str], None] | None = None,
    ):
        self.path = Path(path)
        self.provenance = provenance
        self._source = source
        self._overwrite = overwrite
        self._on_damaged = on_damaged
        self._folder = parts_folder(path)
        self._earlier = self.path.with_name(self.path.name + ".partial")
        self._lock = FileLock(self._folder.with_name(self._folder.name + ".lock"))
        self._parts: dict[str, Path] = {}
        self._gathered: list[str] = []
        self._skipped: dict[str, str] = {}
        self._registered = ExitStack()

    @property
    def finished(self) -> frozenset[str]:
        """Names of the scenes that are safe on disk."""
        return frozenset([*self._parts, *self._gathered])

    @property
    def kept(self) -> frozenset[str]:
        """Names of the finished scenes that are not in the output yet."""
        return frozenset(self._parts)

    @property
    def folder(self) -> Path:
        """Where scenes stand until all are finished."""
        return self._folder

    def __enter__(self) -> "ReconstructionWriter":
        check_output(self.path, inputs=[self._source], overwrite=self._overwrite or self._folder.is_dir())
        refuse_input(self.path, self._earlier, [self._source])
        with writing(self.path, advice=CONTINUED):
            self._lock.acquire(self._folder)
        try:
            with writing(self.path, advice=CONTINUED):
                self._open()
        except BaseException:
            self._lock.release()
            raise
        self._registered.enter_context(at_stop(self._leave))
        return self

    def _open(self) -> None:
        if self._folder.exists() and not self._folder.is_dir():
            problem = "stands where the folder of the finished scenes is to be; move it or choose another output"
            raise InputError(self._folder, None, None, problem)
        discard_unfinished(self._folder)
        parts: dict[str, Path] = {}
        try:
            parts = read_parts(self._folder, self.provenance, on_damaged=self._on_damaged)
        except InputError:
            if not self._overwrite:
                raise
            discard_parts(self._folder)
        if self._is_gathered(parts):
            self._gathered = list_reconstructions(self.path)
            discard_parts(self._folder)
            return
        check_output(self.path, inputs=[self._source], overwrite=self._overwrite)
        made = not self._folder.is_dir()
        try:
            make_folder(self._folder)
            self._parts = parts
            if self._earlier.is_file():
                self._take_up()
        except BaseException:
            if made:
                remove_empty(self._folder)
            raise

    def _is_gathered(self, parts: dict[str, Path]) -> bool:
        """Whether the output is there, and the parts are what a killed run could not remove any more."""
        if not self.path.exists() or not self._folder.is_dir() or (self._overwrite and not parts):
            return False
        try:
            if self.provenance.differences(read_provenance(self.path)):
                return False
            return all(_sums(part, name) == _sums(self.path, name) != {} for name, part in parts.items())
        except InputError:  # an output that cannot be read is not the one
            return False

    def _take_up(self) -> None:
        """Move the finished scenes of ``path.partial``, the one file that earlier versions wrote into."""
        try:
            if differences := self.provenance.differences(read_provenance(self._earlier)):
                raise InputError(
                    self._earlier,
                    None,
                    None,
                    f"was left by a run with other settings (now, then): {'; '.join(differences)}; repeat that "
                    "command to continue it or add --overwrite to start afresh",
                )
            for name in _finished_before(self._earlier):
                self.write(read_reconstruction(self._earlier, name))
        except InputError as error:
            if Path(error.file) != self._earlier:  # a part that could not be written
                raise
            if not self._overwrite:
                if "--overwrite" in error.problem:
                    raise
                problem = f"cannot be continued ({error.problem}); add --overwrite to start afresh"
                raise InputError(self._earlier, error.scene, error.field, problem) from error
        self._earlier.unlink()
        sync_folder(self._earlier.parent)

    def write(self, result: Reconstruction) -> None:
        """Keep one finished scene; it counts as finished once all of it is on disk."""
        self.add(result.name, publish_scene(self._folder, self.provenance, result))

    def add(self, name: str, part: Path | None = None) -> None:
        """Count a scene as finished that another process has published into :attr:`folder`."""
        self._parts[name] = self._folder / part_name(name) if part is None else part

    def note_skipped(self, skipped: dict[str, str]) -> None:
        """Record the scenes left out and why, as the root attribute ``skipped``."""
        self._skipped = dict(skipped)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with at_stop(self._lock.release):  # the process may end while the scenes are being gathered
            self._registered.close()
            self._leave(complete=error is None)

    def _leave(self, complete: bool = False) -> None:
        """Gather a complete run, keep one with finished scenes, remove an empty one; give the lock back."""
        try:
            if complete and self._parts:
                self._gather()
            with suppress(OSError):  # what is left beside a complete output, the next run of the command removes
                if complete:
                    # a time limit leaves the blocks of a scene that the same command goes on with
                    discard_parts(self._folder, keep_blocks=self._skipped)
            remove_empty(self._folder)
        finally:
            self._lock.release()

    def _gather(self) -> None:
        """Make the output in the folder of the parts, where an interrupted run leaves nothing for ever."""
        check_output(self.path, inputs=[self._source], overwrite=self._overwrite)
        temporary = self._folder / "output.tmp"

        def discard() -> None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

        try:
            with at_stop(discard), writing(self.path, advice=CONTINUED):
                gather(self._parts, temporary, self.provenance, skipped=self._skipped)
                with undisturbed():
                    publish(temporary, self.path)
                    self._gathered, self._parts = [*self._gathered, *self._parts], {}
        finally:
            discard()


def _sums(path: Path, name: str) -> dict[str, str]:
    with open_hdf5(path) as handle:
        return read_object(scene_group(handle, name), CHECKSUMS, str(path), name) or {}


def _finished_before(path: Path) -> list[str]:
    """The scenes that stand complete in a file of earlier versions."""
    try:
        with open_hdf5(path) as handle:
            names = [str(name) for name in handle if isinstance(handle[name], h5py.Group)]
            return [name for name in names if handle[name].attrs.get(COMPLETE, False)]
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(path, None, None, str(error)) from error
