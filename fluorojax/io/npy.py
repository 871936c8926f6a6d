"""NumPy arrays (.npy) as scenes: one stack of counts, without a protocol."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import SEEK_END
from pathlib import Path

import numpy as np
from jaxtyping import Num
from numpy.lib import format as npy_format

from fluorojax.data.scene import Scene
from fluorojax.foreign.memory import free_bytes
from fluorojax.io.errors import InputError
from fluorojax.io.reader import SceneReader, first_bytes
from fluorojax.io.selection import Selection
from fluorojax.io.stacks import STACK_SCENE, scene_of_stack

_HEADER_BYTES = 10_000


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
        return scene_of_stack(str(self.path), self._values(), selection)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See :class:`SceneReader`."""
        shape = self._header().shape
        return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape

    def _values(self) -> Num[np.ndarray, "*shape"]:
        header = self._header()
        with self._reading(), self.path.open("rb") as handle:
            handle.seek(header.offset)
            values = np.fromfile(handle, header.dtype, math.prod(header.shape))
            return values.reshape(header.shape, order="F" if header.columns_first else "C")

    def _header(self) -> "_Header":
        """What the file says it holds; refused where it holds less, or objects, or more than memory can take."""
        with self._reading(), self.path.open("rb") as handle:
            major, _ = npy_format.read_magic(handle)
            # The length of the header comes first: NumPy reads what it says before it looks at it.
            start = handle.tell()
            length = int.from_bytes(handle.read(2 if major == 1 else 4), "little")
            if length > _HEADER_BYTES:
                raise ValueError(f"its header takes {length} bytes; expected at most {_HEADER_BYTES}")
            handle.seek(start)
            read = npy_format.read_array_header_1_0 if major == 1 else npy_format.read_array_header_2_0
            shape, columns_first, dtype = read(handle)
            if dtype.hasobject:
                raise ValueError("it holds Python objects; expected numbers")
            if any(size < 0 for size in shape):
                raise ValueError(f"it has shape {shape}; expected positive sizes")
            offset, count = handle.tell(), math.prod(shape)
            held = handle.seek(0, SEEK_END) - offset
            if count * dtype.itemsize > held:
                raise ValueError(
                    f"it has shape {shape} of {dtype}, {count * dtype.itemsize} bytes, of which the file holds {held}"
                )
            free = free_bytes()
            if free is not None and count * max(dtype.itemsize, 4) > free:
                raise ValueError(f"it has shape {shape} of {dtype}; expected at most {free} bytes, which are free")
        return _Header(tuple(int(size) for size in shape), dtype, columns_first, offset)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # damaged headers raise errors of many classes
            problem = f"cannot be read as a NumPy array: {error or type(error).__name__}"
            raise InputError(self.path, None, None, problem) from error


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype
    columns_first: bool
    offset: int
