"""Pictures as they stand on a screen: grey levels or colours, side by side, each with its scale below."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from fluorojax.plot.display import Window

_GAP = 4
_TEXT, _BAR, _STRIP = 12, 8, 34


@dataclass(frozen=True)
class Pane:
    """One of the pictures that stand side by side, with what its scale says."""

    colours: UInt8[np.ndarray, "T H W 3"]
    title: str
    window: Window
    """The values at the two ends of the palette."""
    palette: UInt8[np.ndarray, "256 3"]
    """Colours from the lower to the upper end of the window."""


def arrange(panes: Sequence[Pane], *, magnify: int = 1) -> UInt8[np.ndarray, "T H W 3"]:
    """The panes side by side; ``magnify`` shows each pixel as a square of so many.

    One pane is the picture alone. Several have a scale with their title below. Raises ``ValueError`` for a
    magnification below 1.
    """
    if magnify < 1:
        raise ValueError(f"magnify is {magnify}; expected 1 or more")
    grown = [pane.colours.repeat(magnify, axis=1).repeat(magnify, axis=2) for pane in panes]
    if len(panes) == 1:
        return np.ascontiguousarray(grown[0])
    frames, height = grown[0].shape[:2]
    widths = [max(picture.shape[2], _needed(pane)) for pane, picture in zip(panes, grown, strict=True)]
    total = sum(widths) + _GAP * (len(panes) - 1)
    canvas = np.zeros((frames, height + _STRIP, total, 3), np.uint8)
    left = 0
    for pane, picture, width in zip(panes, grown, widths, strict=True):
        start = left + (width - picture.shape[2]) // 2
        canvas[:, :height, start : start + picture.shape[2]] = picture
        canvas[:, height:, left : left + width] = _scale(pane, width)
        left += width + _GAP
    return canvas


def _words(pane: Pane) -> str:
    return f"{pane.title}: {pane.window.low:.3g} … {pane.window.high:.3g}"


def _needed(pane: Pane) -> int:
    return int(ImageFont.load_default(_TEXT).getlength(_words(pane))) + 8


def _scale(pane: Pane, width: int) -> np.ndarray:
    """The palette as a bar, and the title with the values at its ends."""
    strip = np.zeros((_STRIP, width, 3), np.uint8)
    strip[3 : 3 + _BAR, 4 : width - 4] = pane.palette[np.linspace(0, 255, width - 8).astype(int)]
    image = Image.fromarray(strip)
    ImageDraw.Draw(image).text((4, 13), _words(pane), fill=(230, 230, 230), font=ImageFont.load_default(_TEXT))
    return np.asarray(image)
