"""NumPy arrays (.npy) as scenes: one stack of counts, without a protocol."""

from pathlib import Path

import numpy as np
from jaxtyping import Num
from numpy.lib import format as npy_format

from fluorojax.data.scene import Scene
from fluorojax.io.errors import InputError
from fluorojax.io.reader import SceneReader, first_bytes
from fluorojax.io.selection import Selection
from fluorojax.io.stacks import STACK_SCENE, scene_of_stack


class NpyReader(SceneReader):
    """An array of shape (T, H, W) or (H, W); arrays of Python objects are refused."""

    title = "NumPy array (.npy)"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See :class:`SceneReader`."""
        magic = npy_format.MAGIC_PREFIX
        return first_bytes(path, len(magic)) == magic

    def names(self) -> list[str]:
        """See :class:`SceneReader`."""
        return [STACK_SCENE]

    def read(self, name: str, selection: Selection) -> Scene:
        """See :class:`SceneReader`."""
        return scene_of_stack(str(self.path), np.asarray(self._open()), selection)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See :class:`SceneReader`."""
        return self._open().shape[1:] if self._is_one_frame() else self._open().shape

    def _is_one_frame(self) -> bool:
        shape = self._open().shape
        return len(shape) == 3 and shape[0] == 1

    def _open(self) -> Num[np.ndarray, "*shape"]:
        try:
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            problem = f"cannot be read as a NumPy array: {error}"
            raise InputError(self.path, None, None, problem) from error
