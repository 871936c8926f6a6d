"""What figures and reports show of a scene: the frames, the window and the scale. This module needs no matplotlib."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fluorojax.data.scene import Scene

UNCERTAINTY_MAP = "plasma"
"""Name of the colour map of standard deviations. It is perceptually uniform, colour-blind people can read it, and it
has no grey, so that it remains visible on top of a grey image."""


@dataclass(frozen=True)
class Window:
    """The values at the two ends of a palette. Values outside take the colour of the nearer end."""

    low: float
    high: float


def robust_window(values: Float[np.ndarray, "..."], low: float, high: float) -> Window:
    """The window between the quantiles ``low`` and ``high`` of the finite values.

    A window is never empty: where the two quantiles are equal it is one unit wide, and without finite values it runs
    from 0 to 1.
    """
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Window(0.0, 1.0)
    start, end = (float(value) for value in np.quantile(finite, [low, high]))
    return Window(start, end if end > start else start + 1.0)


def image_window(x: Float[np.ndarray, "*shape"]) -> Window:
    """The window in which all images of a scene are shown. It leaves out the lowest and the highest 0.5 % of ``x``."""
    return robust_window(x, 0.005, 0.995)


def spread_window(std: Float[np.ndarray, "*shape"]) -> Window:
    """The window of a map of standard deviations. It runs from zero to the 99.5 % quantile."""
    return Window(0.0, max(robust_window(std, 0.0, 0.995).high, 1e-12))


def spread_frames(count: int, most: int) -> tuple[int, ...]:
    """Indices of at most ``most`` of ``count`` frames, which are evenly spread from the first to the last frame."""
    return tuple(int(index) for index in np.unique(np.rint(np.linspace(0, count - 1, min(count, most)))))


def raw_attenuation(scene: Scene) -> Float[np.ndarray, "*shape"]:
    """The counts on the scale of x, so that they can be shown beside it; dimensionless, shape of ``scene.y``.

    Computed as ``−log(max(y, ½) / I₀) / A``.
    """
    protocol = scene.acquisition.as_dict()
    depth = np.log(protocol["photons_per_pixel"]) - np.log(np.maximum(scene.y, 0.5))
    return depth / protocol["attenuation_scale"]
