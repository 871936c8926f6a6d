"""Opening and reading HDF5 with errors a user can act on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Num

from fluorojax.io.errors import InputError

SCENE_PREFIX = "sample_"


@contextmanager
def open_hdf5(path: str | PathLike[str]) -> Iterator[h5py.File]:
    """Open a file for reading; a missing, foreign or truncated file raises :class:`InputError`."""
    path = Path(path)
    if not path.exists():
        raise InputError(path, None, None, "no such file; expected an HDF5 file")
    if not path.is_file():
        raise InputError(path, None, None, "not a regular file; expected an HDF5 file")
    try:
        handle = h5py.File(path, "r")
    except OSError as error:
        raise InputError(path, None, None, _why_unreadable(path, error)) from error
    with handle:
        yield handle


def _why_unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "cannot be read: permission denied"
    try:
        foreign = not h5py.is_hdf5(path)
    except OSError:
        foreign = False
    if foreign:
        return "not an HDF5 file; expected a file in the challenge layout"
    if "truncated" in str(error):
        return "truncated HDF5 file (it ends early); copy or download it again"
    return f"damaged HDF5 file; {error}"


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
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def scene_group(handle: h5py.File, name: str) -> h5py.Group:
    """The group of one scene."""
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


def read_array(dataset: h5py.Dataset, field: str, where: tuple[str, str]) -> np.ndarray:
    """The values of a dataset; a damaged chunk raises :class:`InputError`."""
    try:
        return dataset[()]
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
