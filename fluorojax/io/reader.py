"""What a reader of a file format does."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from fluorojax.data.scene import Scene
from fluorojax.io.challenge import Box
from fluorojax.io.errors import InputError
from fluorojax.io.selection import Selection


class SceneReader(ABC):
    """Reads the scenes of one file of one format; :mod:`fluorojax.io.scenes` holds the table of the formats."""

    title: ClassVar[str]
    """The format in words, for messages."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether a file has the content of this format; raises :class:`InputError` where it is unreadable."""

    @abstractmethod
    def names(self) -> list[str]:
        """Names of the scenes, in numeric order; raises :class:`InputError` where there are none."""

    @abstractmethod
    def read(self, name: str, selection: Selection) -> Scene:
        """Read and check one whole scene, with the protocol values and spec ranges that ``selection`` gives.

        The frames and pixels are selected by the caller. Raises :class:`InputError` where the scene is not fit for use.
        """

    def read_box(self, name: str, selection: Selection, box: Box) -> Scene | None:
        """The counts of a box of the stored sequence, checked, without a truth; all else as :meth:`read` gives it.

        None where the format can only be read as a whole, as by default.
        """
        del name, selection, box
        return None

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of the counts of a scene as stored, without reading them; None where there are none."""

    def tier(self) -> str | None:
        """The published tier that the spec ranges of the scenes are of, where the file says so."""
        return None


def first_bytes(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of a file, or fewer; raises :class:`InputError` where it cannot be read."""
    try:
        with path.open("rb") as handle:
            return handle.read(count)
    except PermissionError as error:
        raise InputError(path, None, None, "cannot be read: permission denied") from error
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}") from error
