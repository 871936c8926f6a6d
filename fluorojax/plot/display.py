"""What figures and reports show of a scene: which frames, in which window, on which scale. Needs no matplotlib."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fluorojax.data.scene import Scene

UNCERTAINTY_MAP = "plasma"
"""Name of the colour map of standard deviations: perceptually uniform, safe for the colour-blind, and never grey, so
that it reads on top of a grey image."""


@dataclass(frozen=True)
class Window:
    """Values mapped to the two ends of a palette; what lies outside takes the colour of the nearer end."""

    low: float
    high: float


def robust_window(values: Float[np.ndarray, "..."], low: float, high: float) -> Window:
    """The window between two quantiles of the finite values; never empty."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Window(0.0, 1.0)
    start, end = (float(value) for value in np.quantile(finite, [low, high]))
    return Window(start, end if end > start else start + 1.0)


def image_window(x: Float[np.ndarray, "*shape"]) -> Window:
    """The window in which all images of a scene are shown: all of ``x`` but the outermost 0.5 % at either end."""
    return robust_window(x, 0.005, 0.995)


def spread_window(std: Float[np.ndarray, "*shape"]) -> Window:
    """The window of a map of standard deviations: from zero to the 99.5 % quantile."""
    return Window(0.0, max(robust_window(std, 0.0, 0.995).high, 1e-12))


def spread_frames(count: int, most: int) -> tuple[int, ...]:
    """At most ``most`` of ``count`` frames, evenly spread from the first to the last."""
    return tuple(int(index) for index in np.unique(np.rint(np.linspace(0, count - 1, min(count, most)))))


def raw_attenuation(scene: Scene) -> Float[np.ndarray, "*shape"]:
    """``−log(max(y, ½) / I₀) / A``: the counts on the scale of x, for display beside it; shape of ``scene.y``."""
    protocol = scene.acquisition.as_dict()
    depth = np.log(protocol["photons_per_pixel"]) - np.log(np.maximum(scene.y, 0.5))
    return depth / protocol["attenuation_scale"]
