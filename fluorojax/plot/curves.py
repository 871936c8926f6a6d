"""A figure of one pixel or region over time, with its 90 % band."""

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from jaxtyping import Bool
from scipy.special import ndtri

from fluorojax.data.scene import Scene
from fluorojax.plot.display import raw_attenuation
from fluorojax.plot.estimates import Estimate, Result, estimate_of, matching, true_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Place: TypeAlias = "tuple[int | slice, int | slice] | Bool[np.ndarray, 'H W']"

_LEVEL = 0.9


def time_curve(result: Result, place: Place, scene: Scene | None = None, *, measured: bool = False) -> "Figure":
    """Show x over time with its 90 % band, in one pixel or as the mean over a region, and the truth where it is known.

    **Arguments:** ``place`` is (row, column), (slice, slice) or a mask (H, W); with ``scene`` the axis is in ms and the
    truth is drawn where public, with ``measured`` also the raw attenuation of the counts.

    The band is ``x̂ ± 1.645 σ``, or lies between the 5 % and 95 % quantiles where the result has them. The band of a
    region is the mean of the bands of its pixels. The true band is at most as wide: how much narrower it is depends on
    the correlations of the pixels, which a result does not hold. There is no band without standard deviations.
    **Raises** ``ValueError`` for a place outside the frame, shapes that differ, or ``measured`` without a scene.
    """
    from fluorojax.plot._canvas import BLUE, GREY, ORANGE, new_figure

    estimate = estimate_of(result)
    mask, label = _mask(place, estimate)
    if measured and scene is None:
        raise ValueError("measured values were asked for without a scene; expected the scene with the counts")
    frames = np.arange(len(estimate.x), dtype=float)
    axis, unit = frames, "frame"
    if scene is not None:
        axis, unit = frames * scene.acquisition.as_dict()["frame_time_ms"], "time (ms)"

    figure = new_figure(6.4, 3.6)
    axes = figure.subplots()
    if scene is not None and measured:
        raw = matching(raw_attenuation(scene), scene.name, "y", estimate)
        axes.plot(axis, _mean(raw, mask), "o", color=GREY, markersize=3, label="measured")
    band = _band(estimate)
    if band is not None:
        low, high = (_mean(edge, mask) for edge in band)
        title = "90 % interval" if mask.sum() == 1 else "90 % interval, at most"
        axes.fill_between(axis, low, high, color=BLUE, alpha=0.25, linewidth=0, label=title)
    axes.plot(axis, _mean(estimate.x, mask), color=BLUE, label="reconstruction", marker="o", markersize=2.5)
    if scene is not None and scene.x_true is not None:
        axes.plot(axis, _mean(true_images(scene, estimate), mask), "--", color=ORANGE, label="truth")
    axes.set(xlabel=unit, ylabel="attenuation x")
    axes.set_title(f"{estimate.name}, {label}", fontsize="medium")
    axes.legend()
    return figure


def _band(estimate: Estimate) -> tuple[np.ndarray, np.ndarray] | None:
    if estimate.quantiles is not None:
        return estimate.quantiles
    return None if estimate.std is None else estimate.band(float(ndtri(0.5 * (1 + _LEVEL))))


def _mean(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return values[:, mask].mean(axis=1)


def _mask(place: Place, estimate: Estimate) -> tuple[np.ndarray, str]:
    """The pixels of a place, and what to call it."""
    shape = estimate.x.shape[1:]
    mask = np.zeros(shape, dtype=bool)
    if isinstance(place, np.ndarray):
        if place.shape != shape or place.dtype != bool:
            raise ValueError(f"place has shape {place.shape} and dtype {place.dtype}; expected a bool mask {shape}")
        mask, label = place, f"mean of {place.sum()} pixels"
    else:
        for what, index, length in zip(("row", "column"), place, shape, strict=True):
            if not isinstance(index, slice) and not 0 <= index < length:
                raise ValueError(f"{what} is {index}; expected 0 … {length - 1}")
        mask[place] = True
        names = (
            f"{i.start or 0}–{(n if i.stop is None else i.stop) - 1}" if isinstance(i, slice) else f"{i}"
            for i, n in zip(place, shape, strict=True)
        )
        label = "row {}, column {}".format(*names)
    if not mask.any():
        raise ValueError("place holds no pixel; expected at least one")
    return mask, label
