"""Sequences that are read part by part, because the whole of one may not fit into memory."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from fluorojax.data.scene import Scene
from fluorojax.io.challenge import Box
from fluorojax.io.errors import InputError
from fluorojax.io.reader import SceneReader
from fluorojax.io.selection import Selection

_PIXELS = 1 << 23


class LongRun:
    """A sequence of a file (made by :meth:`fluorojax.io.Scenes.run`), of which one part is in memory at a time.

    An HDF5 file is read chunk by chunk. Formats that can only be read as a whole are kept in memory.
    """

    def __init__(self, reader: SceneReader, selection: Selection, name: str):
        where = (str(reader.path), name)
        stored = reader.shape(name)
        if stored is None or len(stored) != 3:
            raise InputError(*where, "y", f"has shape {stored}; expected a sequence (T, H, W)")
        self.name = name
        self._reader, self._selection, self._where = reader, selection, where
        self._bounds = selection.bounds(stored, where)
        self.shape: tuple[int, int, int] = tuple(stop - start for start, stop in self._bounds)  # pyright: ignore[reportAttributeAccessIssue]
        """Frames, rows and columns, as they are selected."""

    def with_stages(self, names: Iterable[str]) -> "LongRun":
        """The run with extensions of its imaging chain (:data:`fluorojax.physics.EXTENSIONS`)."""
        selection = replace(self._selection, chain=(*self._selection.chain, *names))
        return LongRun(self._reader, selection, self.name)

    def part(self, frames: slice, rows: slice = slice(None), columns: slice = slice(None)) -> Scene:
        """The scene of some frames, rows and columns (steps of one), at least two frames; its truth is left out.

        Protocol and spec ranges are those of the whole. The gain drift of the whole counts from its first frame, that
        of the part as a scene of its own from the first frame of the part. Raises :class:`InputError` where the counts
        cannot be read or are not fit for use.
        """
        wanted = [
            slice(*which.indices(size)[:2]) for which, size in zip((frames, rows, columns), self.shape, strict=True)
        ]
        if wanted[0].stop - wanted[0].start < 2:
            raise ValueError(f"frames {wanted[0].start}:{wanted[0].stop} are asked for; expected two or more")
        box: Box = tuple(  # pyright: ignore[reportAssignmentType]
            slice(low + which.start, low + which.stop) for which, (low, _) in zip(wanted, self._bounds, strict=True)
        )
        scene = self._reader.read_box(self.name, self._selection, box)
        if scene is None:
            whole = self._whole
            y = np.ascontiguousarray(whole.y[tuple(wanted)])
            operator = whole.operator.of_frames(wanted[0].start, wanted[0].stop)
            return replace(whole, y=y, operator=operator, x_true=None)
        scene = self._selection.behind_detector(scene, self._where[0])
        if self._selection.frames is not None or self._selection.crop is not None:
            scene = replace(scene, metadata={**scene.metadata, "selection": self._selection.as_settings()})
        return replace(scene, operator=scene.operator.of_frames(box[0].start, box[0].stop))

    @cached_property
    def _whole(self) -> Scene:
        return self._selection.apply(self._reader.read(self.name, self._selection), self._where[0])

    @cached_property
    def head(self) -> Scene:
        """The first two frames: what is known of the whole beside its counts."""
        return self.part(slice(0, 2))

    def slabs(self, frames: int | None = None) -> Iterator[slice]:
        """Ranges of frames that cover the run in order, ``frames`` each (by default some 32 MB), two at least."""
        total, height, width = self.shape
        step = max(2, _PIXELS // (height * width)) if frames is None else max(2, frames)
        starts = list(range(0, total, step))
        if total - starts[-1] < 2 and len(starts) > 1:
            starts.pop()
        for start, stop in zip(starts, [*starts[1:], total], strict=True):
            yield slice(start, stop)

    def check(self) -> str:
        """Read and check all counts once; returns their digest (:func:`fluorojax.data.digest.counts_digest`).

        Raises :class:`InputError` where a part is not fit for use.
        """
        digest = hashlib.sha256(str(self.shape).encode())
        for frames in self.slabs():
            digest.update(np.ascontiguousarray(self.part(frames).y, "<f4").data)
        return digest.hexdigest()
