"""Reading reconstruction files, this package's own and those others submit.

Only ``x_hat`` and ``corrected_spec`` are required; standard deviations and intervals that are absent read as None or
NaN.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import QUANTILES, Reconstruction, Status
from fluorojax.data.spec import PUBLISHED, Parameter, Spec
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import (
    check_stack,
    numeric_dataset,
    open_hdf5,
    read_array,
    scene_group,
    scene_names,
    single_precision,
)
from fluorojax.io.json_fields import brief, number, read_json, read_object
from fluorojax.io.provenance import Provenance

COUNTS_SHA256 = "counts_sha256"
"""Attribute of a scene: the digest of the counts that were reconstructed."""
TIMES = "times_ms"
"""Dataset of a scene: the times of its images, where they are not those of the frames."""


@dataclass(frozen=True)
class ResultSummary:
    """What a reconstruction file says about a scene beside its images; fields as in :class:`Reconstruction`."""

    name: str
    spec: Spec
    spec_std: Spec
    spec_interval: dict[str, tuple[float, float]]
    status: Status
    seconds: float
    diagnostics: dict[str, Any] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = PUBLISHED
    nominal: dict[str, float] = field(default_factory=dict)
    prior_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    pixel_mm: float | None = None
    counts_sha256: str | None = None
    times_ms: Float[np.ndarray, " n"] | None = None


def list_reconstructions(path: str | PathLike[str]) -> list[str]:
    """Names of the reconstructed scenes of a file, in numeric order."""
    with open_hdf5(path) as handle:
        return scene_names(handle)


def iter_reconstructions(path: str | PathLike[str]) -> Iterator[Reconstruction]:
    """Read the scenes of a file one by one."""
    for name in list_reconstructions(path):
        yield read_reconstruction(path, name)


def read_summaries(path: str | PathLike[str]) -> list[ResultSummary]:
    """Everything but the images of all scenes of a file, in numeric order; raises :class:`InputError`."""
    with open_hdf5(path) as handle:
        return [_read_summary(scene_group(handle, name), (str(path), name)) for name in scene_names(handle)]


def read_reconstruction(path: str | PathLike[str], name: str) -> Reconstruction:
    """Read and check one reconstructed scene.

    A file without ``status`` (not written by this package) reads as converged. Values may be non-finite where the
    status is diverged. Raises :class:`InputError` naming file, scene and field.
    """
    with open_hdf5(path) as handle:
        group = scene_group(handle, name)
        where = (str(path), name)
        x_hat = numeric_dataset(group, "x_hat", where, "an array of shape (T, H, W) or (H, W)")
        check_stack(x_hat.shape, "x_hat", where)
        summary = _read_summary(group, where)
        if summary.times_ms is not None and x_hat.shape[:-2] != summary.times_ms.shape:
            problem = f"has {summary.times_ms.size} values; expected one for each image of x_hat, {x_hat.shape}"
            raise InputError(*where, TIMES, problem)
        return Reconstruction(
            x_hat=single_precision(read_array(x_hat, "x_hat", where)),
            x_std=_like(group, "x_std", x_hat.shape, where),
            spec_correlation=_like(group, "spec_correlation", (len(summary.parameters), *x_hat.shape), where),
            x_quantiles=_like(group, "x_quantiles", (len(QUANTILES), *x_hat.shape), where),
            draws=_read_draws(group, "draws", where),
            sample_stats=_read_draws(group, "sample_stats", where),
            **vars(summary),
        )


def _like(
    group: h5py.Group, field: str, shape: tuple[int, ...], where: tuple[str, str]
) -> Float[np.ndarray, "*shape"] | None:
    """An optional dataset whose shape follows from that of ``x_hat``."""
    if field not in group:
        return None
    stored = numeric_dataset(group, field, where, f"an array of shape {shape}")
    if stored.shape != shape:
        raise InputError(*where, field, f"has shape {stored.shape}; expected {shape}, as x_hat asks for")
    return single_precision(read_array(stored, field, where))


def _read_draws(group: h5py.Group, folder: str, where: tuple[str, str]) -> dict[str, np.ndarray]:
    """Arrays of shape (chains, draws, …) by name; none where the file has none."""
    draws: dict[str, np.ndarray] = {}
    stored_group = group.get(folder)
    for name in map(str, stored_group if isinstance(stored_group, h5py.Group) else ()):
        field = f"{folder}/{name}"
        stored = numeric_dataset(group, field, where, "an array of shape (chains, draws, …)")
        if stored.ndim < 2:
            raise InputError(*where, field, f"has shape {stored.shape}; expected (chains, draws, …)")
        draws[name] = read_array(stored, field, where)
    return draws


def _read_summary(group: h5py.Group, where: tuple[str, str]) -> ResultSummary:
    parameters = _read_parameters(group, where)
    names = tuple(parameter.name for parameter in parameters)
    spec = _read_spec(group, "corrected_spec", names, where)
    if spec is None:
        raise InputError(*where, "corrected_spec", f"missing; expected {', '.join(names)}")
    nan = math.nan
    return ResultSummary(
        name=where[1],
        spec=spec,
        spec_std=_read_spec(group, "corrected_spec_std", names, where) or Spec.from_dict(dict.fromkeys(names, nan)),
        spec_interval=_read_interval(group, names, where),
        status=_read_status(group, where),
        seconds=float(_attribute(group, "seconds", "uif", "a number of seconds", where, nan)),
        diagnostics=read_object(group, "diagnostics", *where) or {},
        parameters=parameters,
        nominal=_read_nominal(group, where),
        prior_ranges=_read_ranges(group, where),
        pixel_mm=_read_pixel(group, where),
        counts_sha256=_text(group, COUNTS_SHA256, where) or None,
        times_ms=_read_times(group, where),
    )


def read_provenance(path: str | PathLike[str]) -> Provenance:
    """The provenance of a file; fields that are absent read as empty (a seed as −1)."""
    with open_hdf5(path) as handle:
        return provenance_of(handle, str(path))


def provenance_of(handle: h5py.File, file: str) -> Provenance:
    """The provenance of an open file; ``file`` is its name in messages."""
    where = (file, None)
    return Provenance(
        model=_text(handle, "model", where),
        method=_text(handle, "method", where),
        seed=int(_attribute(handle, "seed", "ui", "a whole number", where, -1)),
        settings=read_object(handle, "settings", *where) or {},
        input_file=_text(handle, "input_file", where),
        input_sha256=_text(handle, "input_sha256", where),
        model_files=read_object(handle, "model_files", *where) or {},
        assets=read_object(handle, "assets", *where) or {},
        versions=read_object(handle, "versions", *where) or {},
    )


def read_count_digests(path: str | PathLike[str]) -> dict[str, str]:
    """Digest of the counts that every scene was reconstructed from, by scene name; scenes without one are left out."""
    with open_hdf5(path) as handle:
        found = {}
        for name in scene_names(handle):
            found[name] = _text(scene_group(handle, name), COUNTS_SHA256, (str(path), name))
        return {name: digest for name, digest in found.items() if digest}


def read_skipped(path: str | PathLike[str]) -> dict[str, str]:
    """Scenes the run left out because of bad input, with the reason."""
    with open_hdf5(path) as handle:
        skipped = read_object(handle, "skipped", str(path), None) or {}
    for name, reason in skipped.items():
        if not isinstance(reason, str):
            raise InputError(path, name, "skipped", f"is {brief(reason)}; expected the reason as text")
    return skipped


def _read_parameters(group: h5py.Group, where: tuple[str, str]) -> tuple[Parameter, ...]:
    """The parameters of the imaging chain; files that do not name them are of the published task."""
    entries = read_json(group, "parameters", *where)
    if entries is None:
        return PUBLISHED
    expected = "a list of objects with name, unit, low, high and quantity"
    try:
        return tuple(Parameter(**entry) for entry in entries)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(*where, "parameters", f"is {brief(entries)}; expected {expected}") from error


def _read_spec(group: h5py.Group, field: str, names: tuple[str, ...], where: tuple[str, str]) -> Spec | None:
    stored = read_object(group, field, *where)
    if stored is None:
        return None
    if set(stored) != set(names):
        raise InputError(*where, field, f"has {', '.join(stored) or 'nothing'}; expected {', '.join(names)}")
    return Spec.from_dict({name: _number(stored[name], (*where, field), name) for name in names})


def _read_interval(group: h5py.Group, names: tuple[str, ...], where: tuple[str, str]) -> dict[str, tuple[float, float]]:
    field = "corrected_spec_interval"
    stored = read_object(group, field, *where) or {}
    intervals = {}
    for name in names:
        ends = stored.get(name, [None, None])
        if not isinstance(ends, list) or len(ends) != 2:
            raise InputError(*where, field, f"{name} is {brief(ends)}; expected [lower, upper]")
        low, high = (_number(end, (*where, field), name) for end in ends)
        intervals[name] = (low, high)
    return intervals


def _read_nominal(group: h5py.Group, where: tuple[str, str]) -> dict[str, float]:
    """The nominal protocol; empty in files of earlier versions and in those that others submit."""
    stored = read_object(group, "acquisition", *where) or {}
    return {name: number(value, (*where, "acquisition"), name) for name, value in stored.items()}


def _read_ranges(group: h5py.Group, where: tuple[str, str]) -> dict[str, tuple[float, float]]:
    stored = read_object(group, "spec_prior", *where) or {}
    ranges = {}
    for name, ends in stored.items():
        if not isinstance(ends, list) or len(ends) != 2:
            raise InputError(*where, "spec_prior", f"{name} is {brief(ends)}; expected [lower, upper]")
        low, high = (number(end, (*where, "spec_prior"), name) for end in ends)
        ranges[name] = (low, high)
    return ranges


def _read_times(group: h5py.Group, where: tuple[str, str]) -> Float[np.ndarray, " n"] | None:
    if TIMES not in group:
        return None
    expected = "ascending, finite times in ms, one for each image"
    stored = numeric_dataset(group, TIMES, where, expected)
    if stored.ndim != 1:
        raise InputError(*where, TIMES, f"has shape {stored.shape}; expected {expected}")
    times = np.asarray(read_array(stored, TIMES, where), np.float64)
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise InputError(*where, TIMES, f"has values that are not finite or not ascending; expected {expected}")
    return times


def _read_pixel(group: h5py.Group, where: tuple[str, str]) -> float | None:
    value = float(_attribute(group, "pixel_mm", "uif", "a number of mm", where, math.nan))
    return value if 0 < value < math.inf else None


def _number(value: Any, where: tuple[str, str, str], what: str) -> float:
    """Inverse of what :func:`fluorojax.io.json_fields.strict` makes of a float."""
    if value is None or value in ("Infinity", "-Infinity") or (isinstance(value, float) and not math.isfinite(value)):
        return math.nan if value is None else float(value)
    return number(value, where, what)


def _attribute(
    group: h5py.Group, field: str, kinds: str, expected: str, where: tuple[str, str | None], default: Any
) -> Any:
    """The scalar attribute ``field`` of one of the NumPy dtype ``kinds``, or ``default`` where it is absent."""
    try:
        value = group.attrs.get(field, default)
    except (OSError, RuntimeError) as error:
        raise InputError(*where, field, f"cannot be read; {error}") from error
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in kinds:
        raise InputError(*where, field, f"is {str(value)[:60]!r}; expected {expected}")
    return array.reshape(())[()]


def _text(group: h5py.Group, field: str, where: tuple[str, str | None], default: str = "") -> str:
    value = _attribute(group, field, "USO", "text", where, default)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _read_status(group: h5py.Group, where: tuple[str, str]) -> Status:
    name = _text(group, "status", where, Status.CONVERGED.name.lower())
    try:
        return Status[name.upper()]
    except KeyError as error:
        expected = ", ".join(status.name.lower() for status in Status)
        raise InputError(*where, "status", f"is {name!r}; expected one of {expected}") from error
