"""The parameters of the imaging chain: posterior against prior and truth."""

from typing import TYPE_CHECKING

import numpy as np

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.data.spec import PUBLISHED, Spec, SpecRanges
from fluorojax.plot.estimates import Result, spec_draws

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def spec_posteriors(
    result: Result, scene: Scene | None = None, *, ranges: SpecRanges | None = None, truth: Spec | None = None
) -> "Figure":
    """Show what the data say about each mismatch parameter.

    Each parameter has a panel: the prior range in grey, the posterior in blue, the truth as an orange line.

    The posterior is a histogram where the result has draws, and else its median and 90 % interval. ``scene`` gives the
    prior ranges and the true spec where public; ``ranges`` and ``truth`` take precedence. **Raises** ``ValueError``
    without prior ranges, or where the result says nothing about a parameter.
    """
    from fluorojax.plot._canvas import BLUE, GREY, ORANGE, new_figure

    if scene is not None:
        ranges = scene.ranges if ranges is None else ranges
        truth = scene.true_spec if truth is None else truth
    if ranges is None:
        raise ValueError("prior ranges are missing; expected a scene or ranges")
    bounds = ranges.as_dict()
    figure = new_figure(9.6, 2.8)
    declared = PUBLISHED if scene is None else scene.operator.parameters
    units = {parameter.name: parameter.unit for parameter in declared}
    panels = figure.subplots(1, len(ranges.names), squeeze=False)[0]
    for axes, name in zip(panels, ranges.names, strict=True):
        low, high = bounds[name]
        margin = 0.06 * (high - low)
        draws = spec_draws(result, name)
        if draws is not None:
            axes.fill_between([low, high], 1 / (high - low), color=GREY, alpha=0.25, linewidth=0, label="prior")
            axes.hist(draws, bins=_bins(draws, low, high), density=True, color=BLUE, alpha=0.7, label="posterior draws")
        else:
            axes.axvspan(low, high, color=GREY, alpha=0.25, linewidth=0, label="prior")
            _interval(axes, result, name, BLUE)
        if truth is not None:
            axes.axvline(truth.as_dict()[name], color=ORANGE, linewidth=2, label="truth")
        axes.set_xlim(low - margin, high + margin)
        axes.set_yticks([])
        axes.set_xlabel(f"{name} ({units[name]})" if units.get(name) else name)
    labels = {}
    for axes in figure.axes:
        labels |= {text: handle for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels.keys(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _bins(draws: np.ndarray, low: float, high: float) -> np.ndarray:
    """Edges as fine as the draws allow, and wide enough to see in the range; also where all draws are the same."""
    edges = np.histogram_bin_edges(draws, "auto")
    least = (high - low) / 200
    count = min(len(edges) - 1, max(int((edges[-1] - edges[0]) / least), 1))
    middle, half = 0.5 * (edges[0] + edges[-1]), 0.5 * max(edges[-1] - edges[0], least)
    return np.linspace(middle - half, middle + half, count + 1)


def _interval(axes: "Axes", result: Result, name: str, colour: str) -> None:
    """Median and 90 % interval, as far as the result has them."""
    if not isinstance(result, Reconstruction):
        raise ValueError(f"{result.model}: {name}: no draws; expected at least one")
    estimate = result.spec.as_dict()[name]
    ends = np.asarray(result.spec_interval.get(name, (np.nan, np.nan)))
    if not np.isfinite(estimate):
        raise ValueError(f"{result.name}: {name}: neither draws nor an estimate; expected one of them")
    if np.isfinite(ends).all():
        axes.plot(ends, [0, 0], color=colour, linewidth=7, alpha=0.5, solid_capstyle="butt", label="90 % interval")
    axes.plot([estimate], [0], "o", color=colour, label="median")
    axes.set_ylim(-1, 1)
