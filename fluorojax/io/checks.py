"""The checks of a scene, the same for a file and for a scene that a Python caller made."""

import numpy as np

from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.io.challenge import check_counts
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import check_finite, check_stack


def check_scene(scene: Scene) -> None:
    """Refuse a scene that no method could use.

    Raises :class:`InputError` naming the scene, the argument, its value and what was expected: a name that is no name
    of a group; counts that are no array of numbers, not of shape (T, H, W) with T ≥ 2 or (H, W), not finite, or
    negative without electronic noise; a protocol that is not finite, or whose exposure window or lag time constant
    reaches zero inside the spec range; empty ranges; a truth of another shape, and a true spec that is not finite.
    """
    if not isinstance(scene.name, str) or not scene.name or "/" in scene.name or scene.name in (".", ".."):
        raise InputError("", None, "name", f"is {scene.name!r}; expected a text without slashes, such as sample_00")
    where = ("", scene.name)
    counts = scene.y
    if not hasattr(counts, "dtype") or not hasattr(counts, "__array__"):
        raise InputError(*where, "counts", f"are of type {type(counts).__name__}; expected a NumPy array")
    counts = np.asarray(counts)
    if counts.dtype.kind not in "uif":
        raise InputError(*where, "counts", f"have dtype {counts.dtype}; expected real numbers")
    check_stack(counts.shape, "counts", where)
    for name, (low, high) in scene.ranges.as_dict().items():
        if not (np.isfinite([low, high]).all() and low < high):
            raise InputError(*where, "ranges", f"{name} has min {low:g} and max {high:g}; expected finite min < max")
    try:
        scene.ranges.check(scene.operator.parameters, counts.shape[0] if counts.ndim == 3 else 1)
    except ValueError as error:
        raise InputError(*where, "ranges", str(error)) from error
    try:
        scene.acquisition.check(scene.ranges, scene.operator.parameters)
    except (TypeError, ValueError) as error:
        raise InputError(*where, "acquisition", str(error)) from error
    # After the protocol, whose electronic noise says whether counts may be negative.
    check_counts(counts, where, "counts", electronic_noise=scene.acquisition.as_dict()["electronic_noise"])
    if scene.x_true is not None:
        if np.shape(scene.x_true) != counts.shape:
            shape = np.shape(scene.x_true)
            raise InputError(*where, "x_true", f"has shape {shape}; expected {counts.shape}, like the counts")
        check_finite(np.asarray(scene.x_true), "x_true", where, "finite values")
    _check_true_spec(scene, where)


def _check_true_spec(scene: Scene, where: tuple[str, str]) -> None:
    if scene.true_spec is None:
        return
    if not isinstance(scene.true_spec, Spec):
        raise InputError(*where, "true_spec", f"is of type {type(scene.true_spec).__name__}; expected Spec")
    for name, value in zip(scene.true_spec.names, scene.true_spec.values, strict=True):
        if np.shape(value) != () or np.asarray(value).dtype.kind not in "uif" or not np.isfinite(value):
            raise InputError(*where, "true_spec", f"has {name} {value!r}; expected a finite number")
