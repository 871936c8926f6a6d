"""Opening a file of scenes, whatever its format: the content of the file decides, not its name.

:data:`FORMATS` is the table of the formats. A new one is a module with a subclass of :class:`SceneReader` and one line
in the table.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path

from fluorojax.data.scene import Scene
from fluorojax.io.dicom.reader import DicomReader
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5_scenes import Hdf5Reader
from fluorojax.io.long_runs import LongRun
from fluorojax.io.npy import NpyReader
from fluorojax.io.reader import SceneReader
from fluorojax.io.selection import NO_SELECTION, Selection
from fluorojax.io.tiff import TiffReader

FORMATS: tuple[type[SceneReader], ...] = (DicomReader, Hdf5Reader, NpyReader, TiffReader)
"""Readers of all known formats, in the order in which they are asked whether a file is theirs."""


class Scenes:
    """The scenes of a file, read one at a time when they are iterated over or asked for by name.

    ``names`` are in numeric order; ``len(scenes)`` is their number; ``scenes["sample_00"]`` reads one; iterating reads
    one after the other, from the start each time. Made by :func:`open_scenes`.
    """

    def __init__(self, reader: SceneReader, selection: Selection, on_error: Callable[[InputError], None] | None = None):
        self._reader, self._selection, self._on_error = reader, selection, on_error
        found = reader.names()
        wanted = found if selection.scenes is None else list(selection.scenes)
        if missing := [name for name in wanted if name not in found]:
            known = f"{', '.join(found[:8])}{', …' if len(found) > 8 else ''}"
            raise InputError(reader.path, missing[0], None, f"no such scene in this file; expected one of {known}")
        self.names: tuple[str, ...] = tuple(dict.fromkeys(wanted))

    @property
    def path(self) -> str:
        """The file."""
        return str(self._reader.path)

    @property
    def format(self) -> str:
        """The format of the file, in words."""
        return self._reader.title

    @property
    def tier(self) -> str | None:
        """The published tier that the spec ranges are of, where the file says so."""
        return self._reader.tier()

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Scene:
        """Read one scene; raises :class:`InputError` where it is not there or not fit for use."""
        if name not in self.names:
            raise InputError(self.path, name, None, "no such scene in this file")
        return self._selection.apply(self._reader.read(name, self._selection), self.path)

    def run(self, name: str) -> LongRun:
        """A sequence to be read part by part; raises :class:`InputError` where there is none of that name."""
        if name not in self.names:
            raise InputError(self.path, name, None, "no such scene in this file")
        return LongRun(self._reader, self._selection, name)

    def __iter__(self) -> Iterator[Scene]:
        for name in self.names:
            try:
                scene = self[name]
            except InputError as error:
                if self._on_error is None:
                    raise
                self._on_error(error)
                continue
            yield scene

    def only(self, names: Iterable[str]) -> "Scenes":
        """The scenes ``names`` of these."""
        return Scenes(self._reader, replace(self._selection, scenes=tuple(names)), self._on_error)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of the selected counts, (T, H, W) or (H, W), by scene, without reading them.

        Scenes without counts of such a shape, or without the selected frames and pixels, are left out: reading them
        says what is wrong.
        """
        found = {}
        for name in self.names:
            with suppress(InputError):
                shape = self._reader.shape(name)
                if shape is not None and len(shape) in (2, 3):
                    found[name] = self._selection.shape(shape, (self.path, name))
        return found


def open_scenes(
    path: str | PathLike[str],
    names: Iterable[str] | None = None,
    *,
    selection: Selection = NO_SELECTION,
    on_error: Callable[[InputError], None] | None = None,
) -> Scenes:
    """Open a file of scenes, told by its content: a challenge file (HDF5), DICOM, a NumPy array (.npy) or a TIFF stack.

    A folder is opened where it holds DICOM files.

    **Arguments:** ``names`` selects scenes (default all); ``selection`` also frames, a window of the detector, and
    protocol values, which an .npy array needs because it holds none, and how the stored values of a
    detector become counts. ``on_error`` is called with the error of a scene that is not fit for use, which is then
    left out of the iteration; without it, the error is raised.

    Raises :class:`InputError` for a file that cannot be opened, is of no known format, or lacks a scene of ``names``.
    """
    if not isinstance(path, (str, PathLike)) or not str(path):
        found = "empty" if isinstance(path, str) else f"of type {type(path).__name__}"
        raise InputError("", None, "path", f"is {found}; expected the path of a file")
    path = Path(path)
    if names is not None:
        selection = replace(selection, scenes=tuple(names))
    if not path.exists():
        raise InputError(path, None, None, "no such file; expected a file of scenes (HDF5, DICOM, .npy or TIFF)")
    if path.is_dir():
        if DicomReader.recognises(path):
            return Scenes(DicomReader(path), selection, on_error)
        raise InputError(path, None, None, "is a folder without DICOM files; expected a file of scenes")
    if not path.is_file():
        raise InputError(path, None, None, "not a regular file; expected a file of scenes (HDF5, DICOM, .npy or TIFF)")
    for reader in FORMATS:
        if reader.recognises(path):
            return Scenes(reader(path), selection, on_error)
    titles = ", ".join(reader.title for reader in FORMATS)
    raise InputError(path, None, None, f"not a file of a known format; expected one of: {titles}")
