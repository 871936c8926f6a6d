"""A matplotlib figure without a window and without global state. The module is imported only to draw a figure."""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from fluorojax.io.atomic import atomic_stream

# Colours that the colour-blind tell apart (Okabe & Ito, 2008).
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"


class PlainFigure(Figure):
    """A figure that a notebook shows without pyplot, and whose files are whole or not there."""

    def savefig(self, fname: Any, **options: Any) -> None:
        """As in matplotlib; a file appears under its name once all of it is written, and an older one stays till then.

        Raises :class:`fluorojax.io.InputError` where the file cannot be written.
        """
        if not isinstance(fname, str | os.PathLike):
            super().savefig(fname, **options)
            return
        path = Path(fname)
        kind = options.pop("format", None) or path.suffix[1:]
        if not kind:  # matplotlib adds the ending of its setting
            kind = str(mpl.rcParams["savefig.format"])
            path = path.with_name(f"{path.name}.{kind}")
        if kind.lower() not in self.canvas.get_supported_filetypes():
            super().savefig(path, format=kind, **options)  # raises, and names what is supported
        with atomic_stream(path, overwrite=True) as stream:
            super().savefig(stream, format=kind, **options)

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
