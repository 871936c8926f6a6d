"""Writing one stack of images as a NumPy array or a TIFF stack."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from fluorojax.data.acquisition import Acquisition
from fluorojax.io.atomic import atomic_stream
from fluorojax.io.errors import InputError
from fluorojax.io.json_fields import dumps
from fluorojax.io.tiff import DESCRIPTION_KEY

STACK_SUFFIXES = (".npy", ".tif", ".tiff")
"""File name endings of :func:`write_stack`."""


def write_stack(
    path: str | PathLike[str],
    values: Num[np.ndarray, "*shape"],
    *,
    acquisition: Acquisition | None = None,
    inputs: Iterable[str | PathLike[str]] = (),
    overwrite: bool = False,
) -> None:
    """Write images of shape (T, H, W) or (H, W) to a new file, atomically; the ending of its name tells the format.

    A TIFF stack has one page per frame, and the protocol ``acquisition``, where it is given, as JSON in its image
    description, from which it is read again. Raises :class:`InputError` for another ending and for a file that cannot
    be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in STACK_SUFFIXES:
        raise InputError(path, None, None, f"has the ending {suffix!r}; expected one of {', '.join(STACK_SUFFIXES)}")
    with atomic_stream(path, inputs=inputs, overwrite=overwrite) as stream:
        if suffix == ".npy":
            np.save(stream, values, allow_pickle=False)
            return
        from tifffile import imwrite

        facts: dict[str, Any] = {"axes": "TYX" if values.ndim == 3 else "YX"}
        if acquisition is not None:
            facts[DESCRIPTION_KEY] = acquisition.as_dict()
        imwrite(stream, values, photometric="minisblack", metadata=None, description=dumps(facts))
