"""Reading reconstruction files, this package's own and those others submit.

Only ``x_hat`` and ``corrected_spec`` are required; standard deviations and intervals that are absent read as None or
NaN.
"""

import json
from collections.abc import Iterator
from os import PathLike
from typing import Any

import h5py
import numpy as np

from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import check_stack, numeric_dataset, open_hdf5, read_array, scene_group, scene_names
from fluorojax.io.json_fields import read_object
from fluorojax.io.provenance import Provenance
from fluorojax.reconstruction import Reconstruction, Status
from fluorojax.spec import SPEC_NAMES, Spec


def list_reconstructions(path: str | PathLike[str]) -> list[str]:
    """Names of the reconstructed scenes of a file, in numeric order."""
    with open_hdf5(path) as handle:
        return scene_names(handle)


def iter_reconstructions(path: str | PathLike[str]) -> Iterator[Reconstruction]:
    """Read the scenes of a file one by one."""
    for name in list_reconstructions(path):
        yield read_reconstruction(path, name)


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
        x_std = None
        if "x_std" in group:
            stored = numeric_dataset(group, "x_std", where, f"an array of shape {x_hat.shape}, like x_hat")
            if stored.shape != x_hat.shape:
                raise InputError(*where, "x_std", f"has shape {stored.shape}; expected {x_hat.shape}, like x_hat")
            x_std = read_array(stored, "x_std", where).astype(np.float32)
        spec = _read_spec(group, "corrected_spec", where)
        if spec is None:
            raise InputError(*where, "corrected_spec", f"missing; expected {', '.join(SPEC_NAMES)}")
        nan = float("nan")
        return Reconstruction(
            name=name,
            x_hat=read_array(x_hat, "x_hat", where).astype(np.float32),
            x_std=x_std,
            spec=spec,
            spec_std=_read_spec(group, "corrected_spec_std", where) or Spec(nan, nan, nan),
            spec_interval=_read_interval(group, where),
            status=_read_status(group, where),
            seconds=float(group.attrs.get("seconds", nan)),
            diagnostics=read_object(group, "diagnostics", *where) or {},
        )


def read_provenance(path: str | PathLike[str]) -> Provenance:
    """The provenance of a file; fields that are absent read as empty (a seed as −1)."""
    with open_hdf5(path) as handle:
        attrs = handle.attrs
        return Provenance(
            model=str(attrs.get("model", "")),
            method=str(attrs.get("method", "")),
            seed=int(attrs.get("seed", -1)),
            settings=read_object(handle, "settings", str(path), None) or {},
            input_file=str(attrs.get("input_file", "")),
            input_sha256=str(attrs.get("input_sha256", "")),
            model_sha256=str(attrs.get("model_sha256", "")),
            versions=read_object(handle, "versions", str(path), None) or {},
        )


def read_skipped(path: str | PathLike[str]) -> dict[str, str]:
    """Scenes the run left out because of bad input, with the reason."""
    with open_hdf5(path) as handle:
        return read_object(handle, "skipped", str(path), None) or {}


def _read_spec(group: h5py.Group, field: str, where: tuple[str, str]) -> Spec | None:
    stored = read_object(group, field, *where)
    if stored is None:
        return None
    if set(stored) != set(SPEC_NAMES):
        raise InputError(*where, field, f"has {', '.join(stored) or 'nothing'}; expected {', '.join(SPEC_NAMES)}")
    return Spec(**{name: _number(stored[name], (*where, field), name) for name in SPEC_NAMES})


def _read_interval(group: h5py.Group, where: tuple[str, str]) -> dict[str, tuple[float, float]]:
    field = "corrected_spec_interval"
    stored = read_object(group, field, *where) or {}
    intervals = {}
    for name in SPEC_NAMES:
        ends = stored.get(name, [None, None])
        if not isinstance(ends, list) or len(ends) != 2:
            raise InputError(*where, field, f"{name} is {json.dumps(ends)}; expected [lower, upper]")
        low, high = (_number(end, (*where, field), name) for end in ends)
        intervals[name] = (low, high)
    return intervals


def _number(value: Any, where: tuple[str, str, str], what: str) -> float:
    """Inverse of what :func:`fluorojax.io.json_fields.strict` makes of a float."""
    if value is None:
        return float("nan")
    if value in ("Infinity", "-Infinity") or (isinstance(value, int | float) and not isinstance(value, bool)):
        return float(value)
    raise InputError(*where, f"{what} is {json.dumps(value)}; expected a number")


def _read_status(group: h5py.Group, where: tuple[str, str]) -> Status:
    name = group.attrs.get("status", Status.CONVERGED.name.lower())
    name = name.decode() if isinstance(name, bytes) else str(name)
    try:
        return Status[name.upper()]
    except KeyError as error:
        expected = ", ".join(status.name.lower() for status in Status)
        raise InputError(*where, "status", f"is {name!r}; expected one of {expected}") from error
