"""A matplotlib figure without a window and without global state. The module is imported only to draw a figure."""

import io
from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

# Colours that the colour-blind tell apart (Okabe & Ito, 2008).
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"


class PlainFigure(Figure):
    """A figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=110)
        return stream.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches."""
    return PlainFigure(figsize=(width, height), layout="constrained")


def bare(axes: Axes, title: str = "") -> Axes:
    """The axes without ticks, for an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize="medium")
    return axes


def colour_bar(figure: Figure, picture: ScalarMappable, axes: Axes | Iterable[Axes], label: str) -> None:
    """A colour bar with its unit."""
    figure.colorbar(picture, ax=axes, label=label, shrink=0.9, pad=0.02)
