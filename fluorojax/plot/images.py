"""Figures that show frames: strips, a frame before and after reconstruction, and the uncertainty over the image."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fluorojax.data.scene import Scene
from fluorojax.plot.display import (
    UNCERTAINTY_MAP,
    Window,
    image_window,
    raw_attenuation,
    spread_frames,
    spread_window,
)
from fluorojax.plot.estimates import Result, estimate_of, frame_index, matching, true_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

X_LABEL = "attenuation x"
SD_LABEL = "posterior sd of x (attenuation)"


def frame_strip(
    result: Result, scene: Scene | None = None, *, frames: int | Sequence[int] = 6, window: Window | None = None
) -> "Figure":
    """Show how a sequence looks as measured and as reconstructed, frame by frame.

    The rows are the measurement and the truth (where the scene has them), the reconstruction and its uncertainty.

    **Arguments:** ``frames`` is a number of evenly spread frames, or a list of frames; ``window`` is that of all
    images, by default one that fits the reconstruction. All images share one window, so that they can be compared. The
    row of the uncertainty is missing where the result has no standard deviation. **Raises** ``ValueError`` for shapes
    that differ, a frame that does not exist, or a result that must not be used.
    """
    from fluorojax.plot._canvas import bare, colour_bar, new_figure

    estimate = estimate_of(result)
    chosen = spread_frames(len(estimate.x), frames) if isinstance(frames, int) else tuple(frames)
    if not chosen:
        raise ValueError(f"frames is {frames if isinstance(frames, int) else 'empty'}; expected at least one")
    chosen = tuple(frame_index(index, estimate) for index in chosen)
    images = {"reconstruction": estimate.x}
    if scene is not None:
        images = {"measurement": matching(raw_attenuation(scene), scene.name, "y", estimate), **images}
        if scene.x_true is not None:
            images["truth"] = true_images(scene, estimate)
    rows = [(label, values, image_window(estimate.x) if window is None else window) for label, values in images.items()]
    if estimate.std is not None:
        rows.append(("posterior sd", estimate.std, spread_window(estimate.std)))

    height, width = estimate.x.shape[1:]
    figure = new_figure(1.6 * len(chosen) + 1.2, 1.6 * len(rows) * height / width + 0.4)
    grid = figure.subplots(len(rows), len(chosen), squeeze=False)
    for row, (label, values, shown) in enumerate(rows):
        colours = UNCERTAINTY_MAP if label == "posterior sd" else "gray"
        for column, index in enumerate(chosen):
            title = f"frame {index}" if row == 0 else ""
            bare(grid[row, column], title).imshow(values[index], colours, vmin=shown.low, vmax=shown.high)
        grid[row, 0].set_ylabel(label)
    colour_bar(figure, grid[0, -1].images[0], list(grid[: len(images)].ravel()), X_LABEL)
    if estimate.std is not None:
        colour_bar(figure, grid[-1, -1].images[0], list(grid[-1]), "sd of x")
    return figure


def before_after(result: Result, scene: Scene, *, frame: int = 0, window: Window | None = None) -> "Figure":
    """Show one frame as measured and as reconstructed, and the truth where it is known, in one window.

    **Raises** ``ValueError`` as :func:`frame_strip` does.
    """
    from fluorojax.plot._canvas import bare, colour_bar, new_figure

    estimate = estimate_of(result)
    index = frame_index(frame, estimate)
    images = {
        "before: measurement": matching(raw_attenuation(scene), scene.name, "y", estimate),
        "after: reconstruction": estimate.x,
    }
    if scene.x_true is not None:
        images["truth"] = true_images(scene, estimate)
    shown = image_window(estimate.x) if window is None else window
    height, width = estimate.x.shape[1:]
    figure = new_figure(3.2 * len(images) + 0.8, 3.2 * height / width + 0.5)
    row = figure.subplots(1, len(images))
    for axes, (title, values) in zip(row, images.items(), strict=True):
        bare(axes, title).imshow(values[index], "gray", vmin=shown.low, vmax=shown.high)
    colour_bar(figure, row[-1].images[0], list(row), X_LABEL)
    figure.suptitle(f"{estimate.name}, frame {index}", fontsize="medium")
    return figure


def uncertainty_overlay(
    result: Result, *, frame: int = 0, window: Window | None = None, most: float | None = None
) -> "Figure":
    """Show where a frame is uncertain: the reconstruction in grey, and its standard deviation in colour over it.

    The image shows through where the standard deviation is small. ``most`` is the standard deviation at which the
    colours end; by default it is the 99.5 % quantile of the sequence. **Raises** ``ValueError`` as :func:`frame_strip`
    does, and where the result has no standard deviation.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    from fluorojax.plot._canvas import bare, colour_bar, new_figure

    estimate = estimate_of(result)
    index = frame_index(frame, estimate)
    std = estimate.spread()
    if most is not None and not most > 0:
        raise ValueError(f"most is {most:g}; expected a positive standard deviation")
    spread = spread_window(std) if most is None else Window(0.0, most)
    shown = image_window(estimate.x) if window is None else window
    colours = colormaps[UNCERTAINTY_MAP](np.linspace(0, 1, 256))
    colours[:, 3] = np.linspace(0, 0.85, 256)

    height, width = estimate.x.shape[1:]
    figure = new_figure(6.4, 4.6 * height / width + 0.4)
    axes = bare(figure.subplots(), f"{estimate.name}, frame {index}")
    image = axes.imshow(estimate.x[index], "gray", vmin=shown.low, vmax=shown.high)
    over = axes.imshow(std[index], ListedColormap(colours), vmin=spread.low, vmax=spread.high)
    colour_bar(figure, over, axes, SD_LABEL)
    colour_bar(figure, image, axes, X_LABEL)
    return figure
