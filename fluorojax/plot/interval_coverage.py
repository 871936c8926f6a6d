"""Figures that compare the stated uncertainties with the true errors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from fluorojax.data.scene import Scene
from fluorojax.metrics import moving_pixels
from fluorojax.plot.estimates import Result, estimate_of, true_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEVELS = np.linspace(0.05, 0.95, 19)
# Points of a bin below which its root mean square says little.
_LEAST = 20


def error_vs_sd(result: Result, scene: Scene, *, bins: int = 16) -> "Figure":
    """Show whether the stated standard deviations have the size of the true errors.

    A point on the diagonal means that the stated error is right. A point above it means that the true error is larger
    than the stated one. Pixels are sorted by their standard deviation into bins of equally many, and each point shows
    the root mean squares of both errors in a bin. Moving and static pixels (:func:`fluorojax.metrics.moving_pixels`)
    have bins of their own. **Raises** ``ValueError`` without truth or standard deviation, for shapes that differ, or a
    result that must not be used.
    """
    from fluorojax.plot._canvas import BLUE, GREY, ORANGE, new_figure

    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least one")
    estimate = estimate_of(result)
    std, truth = estimate.spread(), true_images(scene, estimate)
    moving = np.broadcast_to(moving_pixels(truth), truth.shape)
    error = estimate.x - truth
    figure = new_figure(5.2, 4.6)
    axes = figure.subplots()
    drawn = []
    for label, mask, colour in (("static pixels", ~moving, BLUE), ("moving pixels", moving, ORANGE)):
        if mask.sum() < _LEAST:
            continue
        stated, actual = _binned(std[mask], error[mask], bins)
        axes.plot(stated, actual, "o-", color=colour, label=label, markersize=4)
        drawn += [stated, actual]
    if not drawn:
        raise ValueError(f"{estimate.name}: holds {std.size} values; expected at least {_LEAST} to bin")
    # Small scenes have fewer bins of moving pixels than of static ones.
    every = np.concatenate(drawn)
    ends = np.array([every.min(), every.max()]) * [0.9, 1.1]
    axes.plot(ends, ends, "--", color=GREY, label="stated = actual", zorder=0)
    axes.set(xlabel="stated posterior sd of x", ylabel="actual error of x (root mean square)")
    axes.set_title(f"{estimate.name}: error against stated sd", fontsize="medium")
    axes.legend()
    return figure


def _binned(
    std: Float[np.ndarray, "n"], error: Float[np.ndarray, "n"], bins: int
) -> tuple[Float[np.ndarray, "bins"], Float[np.ndarray, "bins"]]:
    """Root mean square of stated and of actual errors in bins of equally many pixels."""
    order = np.argsort(std, kind="stable")
    parts = np.array_split(order, min(bins, max(std.size // _LEAST, 1)))
    stated, actual = ([float(np.sqrt(np.mean(values[part] ** 2))) for part in parts] for values in (std, error))
    return np.array(stated), np.array(actual)


def coverage_curve(results: "Result | Sequence[Result]", scenes: Scene | Sequence[Scene]) -> "Figure":
    """Show how often the pixel intervals contain the truth, for intervals of every nominal level.

    A curve on the diagonal means that the intervals are right; a curve below it means that they are too narrow. There
    are curves of all, of the moving and of the static pixels. Of several scenes the figure shows the mean, and each
    scene as a thin line. The intervals are central Gaussian ones. **Raises** ``ValueError`` without truth or standard
    deviation, for shapes or numbers that differ, or a result that must not be used.
    """
    from fluorojax.plot._canvas import BLUE, GREEN, GREY, ORANGE, new_figure

    pairs = _pairs(results, scenes)
    curves: dict[str, list[np.ndarray]] = {"all pixels": [], "static pixels": [], "moving pixels": []}
    for result, scene in pairs:
        estimate = estimate_of(result)
        truth = true_images(scene, estimate)
        distance = np.abs(truth - estimate.x) / np.maximum(estimate.spread(), np.finfo(np.float32).tiny)
        moving = np.broadcast_to(moving_pixels(truth), truth.shape)
        for label, mask in (
            ("all pixels", np.ones_like(moving)),
            ("static pixels", ~moving),
            ("moving pixels", moving),
        ):
            if mask.any():
                curves[label].append(_shares(distance, mask))
    figure = new_figure(5.2, 4.8)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "--", color=GREY, label="stated = actual")
    for (label, lines), colour in zip(curves.items(), (BLUE, GREEN, ORANGE), strict=True):
        if not lines:
            continue
        if label == "all pixels" and len(lines) > 1:
            axes.plot(_LEVELS, np.transpose(lines), color=colour, linewidth=0.5, alpha=0.5)
        axes.plot(_LEVELS, np.mean(lines, axis=0), "o-", color=colour, label=label, markersize=3.5)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="nominal level", ylabel="share of pixels inside")
    count = len(pairs)
    title = estimate_of(pairs[0][0]).name if count == 1 else f"mean of {count} scenes"
    axes.set_title(f"{title}: coverage of pixel intervals", fontsize="medium")
    axes.legend(loc="upper left")
    return figure


def _shares(distance: Float[np.ndarray, "*shape"], mask: Bool[np.ndarray, "*shape"]) -> Float[np.ndarray, "levels"]:
    chosen = np.sort(distance[mask])
    return np.searchsorted(chosen, ndtri(0.5 * (1.0 + _LEVELS)), side="right") / chosen.size


def _pairs(results: "Result | Sequence[Result]", scenes: Scene | Sequence[Scene]) -> list[tuple[Result, Scene]]:
    listed = list(results) if isinstance(results, Sequence) else [results]
    truths = list(scenes) if isinstance(scenes, Sequence) else [scenes]
    if len(listed) != len(truths) or not listed:
        raise ValueError(f"{len(listed)} results and {len(truths)} scenes; expected one scene for every result")
    return list(zip(listed, truths, strict=True))
