"""Writing challenge files."""

from collections.abc import Callable, Iterable
from os import PathLike
from typing import Any

import h5py
import numpy as np
from jaxtyping import Num

from fluorojax.data.scene import Scene
from fluorojax.foreign.limits import NAME_BYTES
from fluorojax.io.atomic import atomic_output, writing
from fluorojax.io.challenge import check_counts
from fluorojax.io.disk import hdf5_output
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import SCENE_PREFIX, check_finite, check_stack, single_precision
from fluorojax.io.json_fields import write_json
from fluorojax.io.texts import put_text
from fluorojax.physics.operator import PUBLISHED_OPERATOR
from fluorojax.physics.registry import stages_as_list

FORMAT_VERSION = "1"


def write_challenge(
    path: str | PathLike[str],
    scenes: Iterable[Scene],
    *,
    tier: str = "public",
    overwrite: bool = False,
    provenance: dict[str, Any] | None = None,
    on_scene: Callable[[Scene], None] | None = None,
) -> None:
    """Write scenes as they come, one in memory at a time; the file appears only when all are written.

    A stack of one frame is stored as (H, W). Whole-numbered counts are stored in the smallest of uint16 and uint32 that
    holds them, others as float32. ``provenance`` is kept as a JSON attribute of the file; ``on_scene`` is called after
    each scene. Raises :class:`fluorojax.io.InputError` for a scene the reader would refuse and for an output that
    cannot be written.
    """
    with atomic_output(path, overwrite=overwrite) as temporary:
        with writing(path), hdf5_output(temporary) as handle:
            for name, text in (("variant", "fluoroscopy"), ("tier", tier), ("version", FORMAT_VERSION)):
                put_text(handle, name, text)
            if provenance is not None:
                write_json(handle, "provenance", provenance)
        # The file is closed while the next scene is made, so that errors of making it are not taken for errors of
        # writing.
        for scene in scenes:
            with writing(path), hdf5_output(temporary, "r+") as handle:
                _write_scene(handle, scene, str(path))
            if on_scene is not None:
                on_scene(scene)


def _write_scene(handle: h5py.File, scene: Scene, file: str) -> None:
    counts, truth = np.asarray(scene.y), None if scene.x_true is None else np.asarray(scene.x_true)
    where = (file, scene.name)
    _check_name(handle, scene.name, file)
    if counts.ndim == 3 and len(counts) == 1:
        counts, truth = counts[0], None if truth is None else truth[0]
    check_stack(counts.shape, "y", where)
    acquisition = scene.acquisition.as_dict()
    check_counts(counts, where, electronic_noise=acquisition["electronic_noise"])
    if truth is not None:
        check_finite(truth, "x_true", where, "finite values")
    group = handle.create_group(scene.name)
    group.create_dataset("y", data=_compact(counts), compression="gzip", shuffle=True)
    group.create_dataset("H_ideal", data=[acquisition["photons_per_pixel"], acquisition["scatter_fraction"]])
    if truth is not None:
        group.create_dataset("x_true", data=single_precision(truth), compression="gzip", shuffle=True)
    write_json(group, "acquisition", acquisition)
    if scene.operator != PUBLISHED_OPERATOR:
        try:
            write_json(group, "stages", stages_as_list(scene.operator))
        except ValueError as error:
            raise InputError(*where, "stages", str(error)) from error
    units = {parameter.name: parameter.unit for parameter in scene.operator.parameters}
    write_json(
        group,
        "spec_ranges",
        [
            {"name": name, "min": low, "max": high, "unit": units[name]}
            for name, (low, high) in scene.ranges.as_dict().items()
        ],
    )
    write_json(group, "metadata", scene.metadata)
    if scene.true_spec is not None:
        write_json(group, "true_spec", scene.true_spec.as_dict())


def _check_name(handle: h5py.File, name: str, file: str) -> None:
    if not name.startswith(SCENE_PREFIX) or "/" in name or not name.isprintable() or len(name.encode()) > NAME_BYTES:
        problem = (
            f"is no name of a scene in a file; expected {SCENE_PREFIX}00 or the like: {SCENE_PREFIX} and printable "
            f"characters other than a slash, at most {NAME_BYTES} bytes"
        )
        raise InputError(file, name, None, problem)
    if name in handle:
        raise InputError(file, name, None, "is the name of more than one scene; expected distinct names")


def _compact(counts: Num[np.ndarray, "*shape"]) -> Num[np.ndarray, "*shape"]:
    if np.array_equal(counts, np.rint(counts)) and counts.min() >= 0:
        for dtype in (np.uint16, np.uint32):
            if counts.max() <= np.iinfo(dtype).max:
                return counts.astype(dtype)
    return single_precision(counts)
