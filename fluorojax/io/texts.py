"""Text in HDF5 files: written with a fixed length, and read in whichever of the ways it may stand there.

HDF5 keeps strings of variable length in a heap of the file, and damage to that heap can send its library into an
endless loop. Files of this package hold strings of fixed length only; those of variable length are read as well.
"""

from typing import Any

import h5py
import numpy as np


def put_text(holder: h5py.Group, field: str, text: str) -> None:
    """Set the attribute ``field`` of a group or file to ``text``, as a UTF-8 string of fixed length."""
    holder.attrs.create(field, fixed_text(text))


def fixed_text(text: str) -> np.ndarray:
    """``text`` as a NumPy scalar that h5py stores as a UTF-8 string of fixed length; half characters become ``?``."""
    encoded = text.encode("utf-8", "replace")
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", max(len(encoded), 1)))


def as_text(value: Any) -> Any:
    """``value`` as ``str`` where it is text that h5py read as bytes; anything else unchanged.

    Raises ``UnicodeDecodeError`` for bytes that are not UTF-8.
    """
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    return value.decode("utf-8") if isinstance(value, bytes) else value
