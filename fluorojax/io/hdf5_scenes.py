"""Challenge files as scenes."""

from pathlib import Path

import h5py

from fluorojax.data.scene import Scene
from fluorojax.io.challenge import Box, list_scenes, read_scene, read_tier
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import has_signature, open_hdf5, scene_group
from fluorojax.io.reader import SceneReader
from fluorojax.io.selection import Selection


class Hdf5Reader(SceneReader):
    """The challenge layout (:mod:`fluorojax.io.challenge`)."""

    title = "HDF5 file in the challenge layout"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See :class:`SceneReader`."""
        return has_signature(path)

    def names(self) -> list[str]:
        """See :class:`SceneReader`."""
        return list_scenes(self.path)

    def read(self, name: str, selection: Selection) -> Scene:
        """See :class:`SceneReader`; a challenge file holds counts, so that a gain or an offset is refused."""
        self._refuse_gain(name, selection)
        return read_scene(self.path, name, protocol=selection.protocol)

    def read_box(self, name: str, selection: Selection, box: Box) -> Scene:
        """See :class:`SceneReader`; reads no more of the file than the chunks that hold the box."""
        self._refuse_gain(name, selection)
        return read_scene(self.path, name, protocol=selection.protocol, box=box)

    def _refuse_gain(self, name: str, selection: Selection) -> None:
        if selection.counting.gain is not None or selection.counting.offset is not None:
            problem = "holds counts of quanta already; expected no gain and no offset (--gain, --offset)"
            raise InputError(self.path, name, "y", problem)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See :class:`SceneReader`."""
        with open_hdf5(self.path) as handle:
            if name in handle.faults:
                return None
            counts = scene_group(handle, name).get("y")
            return counts.shape if isinstance(counts, h5py.Dataset) else None

    def tier(self) -> str | None:
        """See :class:`SceneReader`."""
        return read_tier(self.path)
