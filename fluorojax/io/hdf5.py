"""Opening and reading HDF5 with errors a user can act on."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import SEEK_END, PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Num

from fluorojax.foreign import Refusal, Report, examine, stop_child
from fluorojax.foreign.identity import mark_of_open
from fluorojax.io.errors import InputError
from fluorojax.io.shutdown import at_stop

SCENE_PREFIX = "sample_"
_OF_HDF5 = re.compile(r"(Unable to|Can't) ")  # how the errors of h5py begin
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class ExaminedFile(h5py.File):
    """An HDF5 file that is open for reading and that the child process has been through."""

    faults: Mapping[str, tuple[str | None, str]] = {}
    """Field and problem of the scenes that must not be read, by name."""


@contextmanager
def open_hdf5(path: str | PathLike[str]) -> Iterator[ExaminedFile]:
    """Open a file for reading; a missing, foreign or damaged file raises :class:`InputError`.

    A child process goes through the whole file first (:mod:`fluorojax.foreign`), once for each file and process, so
    that nothing in it can crash or hang this process. Scenes that must not be read are refused by
    :func:`scene_group`.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(path, None, None, "no such file; expected an HDF5 file")
    if not path.is_file():
        raise InputError(path, None, None, "not a regular file; expected an HDF5 file")
    if not has_signature(path):
        raise InputError(path, None, None, "not an HDF5 file; expected a file in the challenge layout")
    report = examined(path, "hdf5")
    try:
        handle = ExaminedFile(path, "r")
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read; {error}") from error
    with handle:
        if mark_of_open(handle, path) != report.mark:
            raise InputError(path, None, None, "was changed while it was read; expected a file that nobody is writing")
        handle.faults = report.faults
        try:
            yield handle
        except (OSError, RuntimeError) as error:
            if not _OF_HDF5.match(str(error)):
                raise
            raise InputError(path, None, None, f"cannot be read, the file is damaged; {error}") from error


def examined(path: Path, kind: str) -> Report:
    """What the child process says of a file (:func:`fluorojax.foreign.examine`); raises :class:`InputError`."""
    try:
        with at_stop(stop_child):
            return examine(path, kind)
    except Refusal as refusal:
        cause = None if refusal.code is None else OSError(refusal.code, refusal.problem)
        raise InputError(path, None, refusal.field, refusal.problem) from cause
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}") from error


def has_signature(path: Path) -> bool:
    """Whether a file is HDF5; the signature may follow a block that belongs to the user, of 512 bytes times 2ⁿ."""
    try:
        with path.open("rb") as handle:
            size, place = handle.seek(0, SEEK_END), 0
            while place < size:
                handle.seek(place)
                if handle.read(len(_SIGNATURE)) == _SIGNATURE:
                    return True
                place = max(512, 2 * place)
    except PermissionError as error:
        raise InputError(path, None, None, "cannot be read: permission denied") from error
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}") from error
    return False


def scene_names(handle: h5py.File) -> list[str]:
    """Names of the scene groups ``sample_*`` in numeric order (``sample_9`` before ``sample_10``)."""
    try:
        names = [str(name) for name in handle if str(name).startswith(SCENE_PREFIX)]
    except RuntimeError as error:
        raise InputError(handle.filename, None, None, f"damaged HDF5 file; {error}") from error
    if not names:
        raise InputError(handle.filename, None, None, f"holds no scenes; expected groups named {SCENE_PREFIX}00, …")
    return sorted(names, key=natural_order)


def natural_order(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which ``sample_9`` comes before ``sample_10``."""
    return [_natural_part(part) for part in re.split(r"(\d+)", name)]


def _natural_part(part: str) -> tuple[bool, int, str]:
    digits = part.lstrip("0")  # compared as text, because a name may hold more digits than Python makes a number of
    return (True, len(digits), digits) if part.isdecimal() else (False, 0, part)


def scene_group(handle: h5py.File, name: str) -> h5py.Group:
    """The group of one scene."""
    fault = getattr(handle, "faults", {}).get(name)
    if fault is not None:
        raise InputError(handle.filename, name, *fault)
    try:
        group = handle.get(name)
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(handle.filename, name, None, f"damaged group; {error}") from error
    if group is None:
        raise InputError(handle.filename, name, None, "no such scene in this file")
    if not isinstance(group, h5py.Group):
        raise InputError(handle.filename, name, None, "is a dataset; expected a group with the dataset y")
    return group


def numeric_dataset(group: h5py.Group, field: str, where: tuple[str, str], expected: str) -> h5py.Dataset:
    """The real-valued dataset ``group[field]``; ``where`` is (file, scene), ``expected`` ends the message."""
    dataset = group.get(field)
    if dataset is None:
        raise InputError(*where, field, f"missing; expected {expected}")
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise InputError(*where, field, f"is not an array; expected {expected}")
    if dataset.dtype.kind not in "uif":
        raise InputError(*where, field, f"has dtype {dataset.dtype}; expected {expected}")
    return dataset


def read_array(
    dataset: h5py.Dataset, field: str, where: tuple[str, str], part: tuple[slice, ...] | None = None
) -> np.ndarray:
    """The values of a dataset, or of a ``part`` of it; a damaged chunk raises :class:`InputError`."""
    try:
        return dataset[()] if part is None else dataset[part]
    except (OSError, RuntimeError) as error:
        raise InputError(*where, field, f"cannot be read, the file is damaged; {error}") from error


def single_precision(values: Num[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """``values`` as float32; what is too large for it becomes infinite, without a warning, for the caller to refuse."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def check_finite(values: Num[np.ndarray, "*shape"], field: str, where: tuple[str, str], expected: str) -> None:
    """Refuse values that are not finite in single precision; ``expected`` ends the message."""
    bad = ~np.isfinite(single_precision(values))
    if bad.any():
        raise InputError(*where, field, f"has {first_bad(values, bad)}; expected {expected} in single precision")


def check_stack(shape: tuple[int, ...], field: str, where: tuple[str, str]) -> None:
    """Refuse shapes other than (T, H, W) with T ≥ 2 and (H, W), all positive."""
    if len(shape) not in (2, 3):
        raise InputError(*where, field, f"has shape {shape}; expected (T, H, W) or, for a single frame, (H, W)")
    if 0 in shape:
        raise InputError(*where, field, f"has shape {shape}; expected at least one pixel and no empty axis")
    if len(shape) == 3 and shape[0] < 2:
        raise InputError(*where, field, f"has shape {shape}; a single frame is stored as (H, W), here {shape[1:]}")


def first_bad(values: np.ndarray, bad: np.ndarray) -> str:
    """Where the first offending value stands and how many there are, for an error message."""
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    value: Any = values[index]
    return f"{value:g} at index {list(index)} ({int(bad.sum())} of {bad.size} values)"
