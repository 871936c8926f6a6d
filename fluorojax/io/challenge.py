"""Reading challenge files: scenes of counts with their nominal protocol and spec ranges.

Layout (see :func:`fluorojax.io.write_challenge` for the writer)::

    /sample_00/  y         (T, H, W) or (H, W) counts, any integer or float type
                 H_ideal   (2,) I_0 and scatter fraction            optional
                 x_true    like y, normalised attenuation           where public
                 spec_ranges, acquisition, metadata, true_spec      JSON, attributes or scalar string datasets
                 stages    JSON, likewise: the imaging chain where it is not that of the published task

Fields missing from ``acquisition`` take the defaults of :class:`fluorojax.data.acquisition.Acquisition` and are listed
in ``scene.metadata["assumed"]``; I_0 has no default and comes from ``acquisition`` or ``H_ideal``. Files without
electronic noise need not say so.
"""

from collections.abc import Mapping
from os import PathLike
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float32, Num

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import TIERS, Parameter, Spec, SpecRanges
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import (
    check_finite,
    check_stack,
    first_bad,
    numeric_dataset,
    open_hdf5,
    read_array,
    scene_group,
    scene_names,
    single_precision,
)
from fluorojax.io.json_fields import LARGEST, number, read_json, read_object
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator
from fluorojax.physics.registry import operator_from_list

RESERVED = ("assumed", "narrowed", "selection", "remarks")
"""Keys of ``scene.metadata`` under which readers tell what they did; such a key of a file gets another name."""


def list_scenes(path: str | PathLike[str]) -> list[str]:
    """Names of the scenes of a file, in numeric order."""
    with open_hdf5(path) as handle:
        return scene_names(handle)


def read_tier(path: str | PathLike[str]) -> str | None:
    """The tier that a file says its scenes are of; None where it names no published one."""
    with open_hdf5(path) as handle:
        found = handle.attrs.get("tier")
    text = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
    return text if isinstance(text, str) and text in TIERS else None


Box = tuple[slice, slice, slice]
"""Frames, rows and columns of a sequence; every slice has a start and a stop."""


def read_scene(
    path: str | PathLike[str], name: str, *, protocol: Mapping[str, float] | None = None, box: Box | None = None
) -> Scene:
    """Read and check one scene; the values of ``protocol`` stand in place of those of its ``acquisition``.

    With ``box``, no more than these counts of a sequence are read, and no truth. All else is that of the whole scene;
    it is for the caller to fit it to the box (:meth:`fluorojax.io.LongRun.part`).

    Raises :class:`InputError` naming the file, the scene and the field for anything that does not fit the layout:
    counts that are not finite, or negative without electronic noise in the protocol, a stack that is neither (T ≥ 2, H,
    W) nor (H, W), malformed JSON, unknown or missing spec parameters, empty ranges, an unphysical protocol
    (:meth:`Acquisition.check`).
    """
    with open_hdf5(path) as handle:
        group = scene_group(handle, name)
        where = (str(path), name)
        y, shape = _read_counts(group, where, box)
        metadata = _read_metadata(group, shape, where)
        operator = _read_operator(group, where)
        ranges = _read_ranges(group, operator.parameters, where)
        try:
            ranges.check(operator.parameters, shape[0] if len(shape) == 3 else 1)
        except ValueError as error:
            raise InputError(*where, "spec_ranges", str(error)) from error
        acquisition, assumed = _read_acquisition(group, ranges, operator.parameters, where, protocol or {})
        if assumed:
            metadata["assumed"] = assumed
        check_counts(y, where, electronic_noise=acquisition.as_dict()["electronic_noise"])
        return Scene(
            name=name,
            y=y,
            acquisition=acquisition,
            ranges=ranges,
            metadata=metadata,
            x_true=None if box is not None else _read_truth(group, shape, where),
            true_spec=_read_true_spec(group, operator.parameters, where),
            operator=operator,
        )


def _read_counts(
    group: h5py.Group, where: tuple[str, str], box: Box | None
) -> tuple[Float32[np.ndarray, "*shape"], tuple[int, ...]]:
    """The counts, or those of a box, and the shape of the whole."""
    dataset = numeric_dataset(group, "y", where, "counts of shape (T, H, W) or (H, W)")
    check_stack(dataset.shape, "y", where)
    counts = read_array(dataset, "y", where, box)
    check_finite(counts, "y", where, "finite counts")
    return single_precision(counts), dataset.shape


def check_counts(
    counts: Num[np.ndarray, "*shape"], where: tuple[str, str], field: str = "y", *, electronic_noise: float = 0.0
) -> None:
    """Refuse counts that are not finite in single precision, or negative without electronic noise to make them so."""
    check_finite(counts, field, where, "finite counts")
    bad = counts < 0
    if electronic_noise == 0 and bad.any():
        raise InputError(
            *where,
            field,
            f"has {first_bad(counts, bad)}; expected counts ≥ 0, which only electronic noise (the protocol's "
            "electronic_noise, in quanta) makes negative",
        )


def _read_metadata(group: h5py.Group, shape: tuple[int, ...], where: tuple[str, str]) -> dict[str, Any]:
    """The metadata; what stands under a key of this package and does not fit it, is kept under another key."""
    stored = read_object(group, "metadata", *where) or {}
    others: list[str] = list(RESERVED)
    if not _are_frames(stored.get("mask_frames", []), shape):
        others.append("mask_frames")
    pixel = stored.get("pixel_mm", 1.0)
    if type(pixel) not in (int, float) or not 0 < pixel <= LARGEST:
        others.append("pixel_mm")
    return {f"{key} in the file" if key in others else key: value for key, value in stored.items()}


def _are_frames(value: Any, shape: tuple[int, ...]) -> bool:
    """Whether a JSON value is a list of frames of a sequence of this shape."""
    frames = shape[0] if len(shape) == 3 else 1
    return isinstance(value, list) and all(type(frame) is int and 0 <= frame < frames for frame in value)


def _read_truth(group: h5py.Group, shape: tuple[int, ...], where: tuple[str, str]) -> np.ndarray | None:
    if "x_true" not in group:
        return None
    dataset = numeric_dataset(group, "x_true", where, f"an array of shape {shape}, like y")
    if dataset.shape != shape:
        raise InputError(*where, "x_true", f"has shape {dataset.shape}; expected {shape}, like y")
    truth = read_array(dataset, "x_true", where)
    check_finite(truth, "x_true", where, "finite values")
    return single_precision(truth)


def _read_operator(group: h5py.Group, where: tuple[str, str]) -> FluoroscopyOperator:
    entries = read_json(group, "stages", *where)
    if entries is None:
        return PUBLISHED_OPERATOR
    try:
        return operator_from_list(entries)
    except ValueError as error:
        raise InputError(*where, "stages", str(error)) from error


def _read_ranges(group: h5py.Group, parameters: tuple[Parameter, ...], where: tuple[str, str]) -> SpecRanges:
    declared = {parameter.name: parameter for parameter in parameters}
    at = (*where, "spec_ranges")
    entries = read_json(group, "spec_ranges", *where)
    if entries is None:
        raise InputError(*at, f"missing; expected ranges of {', '.join(declared)}")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(*at, f"is {type(entries).__name__}; expected a list of objects with name, min, max and unit")
    ranges: dict[str, tuple[float, float]] = {}
    for entry in entries:
        name = entry.get("name")
        if not isinstance(name, str) or name not in declared:
            raise InputError(*at, f"unknown parameter {name!r}; expected {', '.join(declared)}")
        if name in ranges:
            raise InputError(*at, f"{name} is given twice")
        low, high = (number(entry.get(end), at, f"{end} of {name}") for end in ("min", "max"))
        # compared as stored: a range that collapses in single precision is no range
        if not np.float32(low) < np.float32(high):
            raise InputError(*at, f"{name} has min {low:g} and max {high:g}; expected min < max")
        _check_unit(declared[name], entry.get("unit"), at)
        ranges[name] = (low, high)
    missing = [name for name in declared if name not in ranges]
    if missing:
        raise InputError(*at, f"lacks {', '.join(missing)}; expected {', '.join(declared)}")
    return SpecRanges.from_dict({name: ranges[name] for name in declared})


def _check_unit(parameter: Parameter, unit: Any, at: tuple[str, str, str]) -> None:
    """A range in seconds read as milliseconds would be wrong without a sign of it."""
    if unit is None or unit == "":
        return
    percent = parameter.unit.startswith("%")
    if not isinstance(unit, str) or not (("%" in unit or "percent" in unit) if percent else unit == parameter.unit):
        raise InputError(*at, f"unit of {parameter.name} is {unit!r}; expected {parameter.unit or 'none'}")


def _read_acquisition(
    group: h5py.Group,
    ranges: SpecRanges,
    parameters: tuple[Parameter, ...],
    where: tuple[str, str],
    protocol: Mapping[str, float],
) -> tuple[Acquisition, dict[str, float]]:
    """The protocol and the defaults it took."""
    at = (*where, "acquisition")
    stored = read_object(group, "acquisition", *where) or {}
    names = list(Acquisition.__dataclass_fields__)
    values = {name: number(stored[name], at, name) for name in names if name in stored} | dict(protocol)
    ideal = _read_ideal(group, where)
    for name, fallback in zip(("photons_per_pixel", "scatter_fraction"), ideal or (), strict=False):
        given = values.setdefault(name, fallback)
        if name not in protocol and abs(given - fallback) > 1e-3 * max(abs(given), abs(fallback)) + 1e-9:
            raise InputError(
                *where, "H_ideal", f"says {name} = {fallback:g}, acquisition says {given:g}; expected the same value"
            )
    if "photons_per_pixel" not in values:
        raise InputError(
            *at, "lacks photons_per_pixel, and there is no H_ideal; expected I_0 in one of them or --photons"
        )
    acquisition = Acquisition.from_dict(values)
    try:
        acquisition.check(ranges, parameters)
    except ValueError as error:
        raise InputError(*at, str(error)) from error
    assumed = {name: float(getattr(acquisition, name)) for name in names if name not in values}
    return acquisition, without_optional(assumed)


def without_optional(assumed: Mapping[str, float]) -> dict[str, float]:
    """Protocol values that were assumed, less those that a file leaves out where there is nothing to tell."""
    return {name: value for name, value in assumed.items() if name != "electronic_noise"}


def _read_ideal(group: h5py.Group, where: tuple[str, str]) -> tuple[float, float] | None:
    if "H_ideal" not in group:
        return None
    expected = "two numbers: I_0 and the scatter fraction"
    dataset = numeric_dataset(group, "H_ideal", where, expected)
    if dataset.shape != (2,):
        raise InputError(*where, "H_ideal", f"has shape {dataset.shape}; expected {expected}")
    photons, scatter = (float(value) for value in read_array(dataset, "H_ideal", where))
    if not 0 < photons <= LARGEST:
        raise InputError(*where, "H_ideal", f"I_0 is {photons:g}; expected a positive number of at most {LARGEST:.2g}")
    if not 0 <= scatter < 1:
        raise InputError(*where, "H_ideal", f"scatter fraction is {scatter:g}; expected 0 ≤ f < 1")
    return photons, scatter


def _read_true_spec(group: h5py.Group, parameters: tuple[Parameter, ...], where: tuple[str, str]) -> Spec | None:
    stored = read_object(group, "true_spec", *where)
    if stored is None:
        return None
    at = (*where, "true_spec")
    names = [parameter.name for parameter in parameters]
    if set(stored) != set(names):
        raise InputError(*at, f"has {', '.join(stored) or 'nothing'}; expected {', '.join(names)}")
    return Spec.from_dict({name: number(stored[name], at, name) for name in names})
