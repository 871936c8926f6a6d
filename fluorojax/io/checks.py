"""The checks of a scene, the same for a file and for a scene that a Python caller made."""

import numpy as np

from fluorojax.data.scene import Scene
from fluorojax.io.challenge import check_counts
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import check_finite, check_stack


def check_scene(scene: Scene) -> None:
    """Refuse a scene that no method could use.

    Raises :class:`InputError` naming the scene, the argument, its value and what was expected: counts that are not
    numbers, not of shape (T, H, W) with T ≥ 2 or (H, W), not finite or negative; a protocol that is not finite, or
    whose exposure window or lag time constant reaches zero inside the spec range; empty ranges; a truth of another
    shape.
    """
    where = ("", scene.name)
    counts = np.asarray(scene.y)
    if counts.dtype.kind not in "uif":
        raise InputError(*where, "counts", f"have dtype {counts.dtype}; expected real numbers")
    check_stack(counts.shape, "counts", where)
    check_counts(counts, where, "counts")
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
    if scene.x_true is not None:
        if np.shape(scene.x_true) != counts.shape:
            shape = np.shape(scene.x_true)
            raise InputError(*where, "x_true", f"has shape {shape}; expected {counts.shape}, like the counts")
        check_finite(np.asarray(scene.x_true), "x_true", where, "finite values")
