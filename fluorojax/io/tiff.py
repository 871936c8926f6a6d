"""TIFF stacks as scenes: one page per frame; the protocol may stand in the image description as JSON."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.foreign.pages import open_tiff, stack_of
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import examined
from fluorojax.io.json_fields import number, parse_json
from fluorojax.io.reader import SceneReader, first_bytes
from fluorojax.io.selection import Selection
from fluorojax.io.stacks import STACK_SCENE, scene_of_stack

if TYPE_CHECKING:
    from tifffile import TiffFile

DESCRIPTION_KEY = "fluorojax_acquisition"
"""Key of the protocol in the JSON image description of a stack that ``fluorojax convert`` writes."""
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and large files, in either byte order


class TiffReader(SceneReader):
    """Grey pages of one size, as (T, H, W) or, for one page, (H, W)."""

    title = "TIFF stack"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See :class:`SceneReader`."""
        return first_bytes(path, 4) in _MAGIC

    def names(self) -> list[str]:
        """See :class:`SceneReader`."""
        return [STACK_SCENE]

    def read(self, name: str, selection: Selection) -> Scene:
        """See :class:`SceneReader`."""
        with self._open() as tiff:
            counts, known = stack_of(tiff).asarray(), self._protocol(tiff)
        return scene_of_stack(str(self.path), counts, selection, known=known)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See :class:`SceneReader`."""
        with self._open() as tiff:
            shape = tuple(stack_of(tiff).shape)
        return shape[1:] if len(shape) == 3 and shape[0] == 1 else shape

    @contextmanager
    def _open(self) -> "Iterator[TiffFile]":
        examined(self.path, "tiff")
        try:
            with open_tiff(str(self.path)) as tiff:
                yield tiff
        except InputError:
            raise
        except Exception as error:  # the decoders of a damaged file raise errors of many classes
            problem = f"cannot be read as a TIFF stack: {error or type(error).__name__}"
            raise InputError(self.path, None, None, problem) from error

    def _protocol(self, tiff: "TiffFile") -> dict[str, float]:
        """The protocol values of the image description; none where it holds none."""
        try:
            stored: Any = parse_json(tiff.pages.first.description)[DESCRIPTION_KEY]
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
        at = (str(self.path), None, "image description")
        if not isinstance(stored, dict):
            raise InputError(*at, f"{DESCRIPTION_KEY} is no JSON object; expected the protocol")
        return {
            name: number(value, at, name) for name, value in stored.items() if name in Acquisition.__dataclass_fields__
        }
