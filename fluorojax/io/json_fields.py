"""JSON in HDF5: read from an attribute or a scalar string dataset, written as strict JSON."""

import json
import math
from os import PathLike
from typing import Any

import h5py
import numpy as np

from fluorojax.foreign.limits import TEXT_BYTES
from fluorojax.io.errors import InputError
from fluorojax.io.texts import as_text, fixed_text, put_text

# HDF5 keeps an attribute in its object header, which ends at 64 KiB; longer fields become scalar datasets.
_ATTRIBUTE_BYTES = 60_000
_SHOWN = 60  # characters
_DEEPEST = 50  # levels of JSON inside JSON
_DIGITS = 308  # of a whole number, which so has a float

LARGEST = float(np.finfo(np.float32).max)
"""Largest number that may stand in a file: computations are in single precision."""


def strict(value: Any) -> Any:
    """``value`` with everything strict JSON cannot hold replaced.

    NaN becomes ``null``, ±∞ the strings ``"Infinity"`` and ``"-Infinity"``; NumPy and JAX scalars and arrays become
    numbers and lists, tuples lists.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else f"{'-' if value < 0 else ''}Infinity"
    if isinstance(value, np.generic | np.ndarray) or hasattr(value, "__array__"):
        return strict(np.asarray(value).tolist())
    if isinstance(value, PathLike):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def dumps(value: Any, **options: Any) -> str:
    """Strict JSON text of ``value`` (see :func:`strict`)."""
    return json.dumps(strict(value), allow_nan=False, ensure_ascii=False, **options)


def write_json(group: h5py.Group, field: str, value: Any) -> None:
    """Store ``value`` as the JSON attribute ``field``, or as a scalar string dataset when it is long."""
    text = dumps(value)
    group.attrs.pop(field, None)
    if field in group:
        del group[field]
    if len(text.encode()) <= _ATTRIBUTE_BYTES:
        put_text(group, field, text)
    else:
        group.create_dataset(field, data=fixed_text(text))


def read_json(group: h5py.Group, field: str, file: str, scene: str | None) -> Any:
    """The JSON field of a group, or None where it is absent.

    It may stand as an attribute or as a scalar string dataset (the attribute wins), as text or bytes.
    """
    try:
        raw = _raw(group, field)
    except (OSError, RuntimeError) as error:
        raise InputError(file, scene, field, f"cannot be read; {error}") from error
    if raw is None:
        return None
    try:
        raw = as_text(raw)
    except UnicodeDecodeError as error:
        raise InputError(file, scene, field, "is not UTF-8 text; expected JSON") from error
    if not isinstance(raw, str):
        raise InputError(file, scene, field, f"is {type(raw).__name__}; expected a JSON string")
    try:
        return parse_json(raw)
    except ValueError as error:
        raise InputError(file, scene, field, str(error)) from error


def parse_json(text: str) -> Any:
    """The value of a JSON text; ``ValueError`` for a text that is none, or that asks too much of whoever reads it.

    A text may be 16 MiB long, nest lists and objects 50 deep, and hold whole numbers of 308 digits.
    """
    if len(text) > TEXT_BYTES:
        raise ValueError(f"is a text of {len(text)} characters; expected JSON of at most {TEXT_BYTES}")
    try:
        value = json.loads(text, parse_int=_whole)
        if "\\u" in text or not text.isascii():
            dumps(value).encode()  # refuses half characters, which can be neither printed nor written
    except UnicodeEncodeError as error:
        raise ValueError("holds half of a character; expected JSON text in UTF-8") from error
    except RecursionError as error:
        raise ValueError(f"nests lists and objects more than {_DEEPEST} deep; expected less") from error
    except ValueError as error:  # no JSON, or a whole number of too many digits
        raise ValueError(f"malformed JSON: {error}") from error
    if _depth(value) > _DEEPEST:
        raise ValueError(f"nests lists and objects more than {_DEEPEST} deep; expected less")
    return value


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits; expected at most {_DIGITS}")
    return int(digits)


def _depth(value: Any) -> int:
    """How deep lists and objects are nested; not recursive, and no deeper than it has to look."""
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        depth += 1
    return depth - 1 if depth <= _DEEPEST else depth


def _raw(group: h5py.Group, field: str) -> Any:
    if field in group.attrs:
        return group.attrs[field]
    dataset = group.get(field)
    if dataset is None:
        return None
    return dataset[()] if isinstance(dataset, h5py.Dataset) else dataset


def read_object(group: h5py.Group, field: str, file: str, scene: str | None) -> dict[str, Any] | None:
    """Like :func:`read_json`, for a field that must be a JSON object."""
    value = read_json(group, field, file, scene)
    if value is not None and not isinstance(value, dict):
        raise InputError(file, scene, field, f"is a JSON {type(value).__name__}; expected an object")
    return value


def number(value: Any, where: tuple[str, str | None, str], what: str) -> float:
    """A number from JSON that is finite in single precision; others raise :class:`InputError`.

    ``where`` is (file, scene, field), ``what`` begins the message.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise InputError(*where, f"{what} is {brief(value)}; expected a finite number of at most {LARGEST:.2g} in size")
    return float(value)


def brief(value: Any) -> str:
    """``value`` as JSON, cut to a length that fits into an error message."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
