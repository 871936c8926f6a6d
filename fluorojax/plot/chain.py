"""A drawing of an imaging chain: boxes for stages from top to bottom, their unknown parameters beside them."""

import textwrap
from typing import TYPE_CHECKING

from markupsafe import escape

if TYPE_CHECKING:
    from fluorojax.physics.description import ChainDescription

_WIDTH, _BOX, _SIDE = 860, 470, 340
_LINE, _PAD, _GAP = 17, 9, 34
# Characters that fit in a line of a box and of a parameter.
_CHARACTERS, _SIDE_CHARACTERS = 68, 46


def chain_picture(description: "ChainDescription") -> str:
    """An SVG element with a title for screen readers; colours follow the text around it (``currentColor``).

    Unknown parameters are drawn as rounded boxes beside the stage that declares them. What leaves a stage, with its
    unit and shape, stands on the arrow to the next stage.
    """
    parts, y = list[str](), 6
    y = _box(parts, y, ["image", description.source], strong=True)
    for stage in description.stages:
        before = description.size if stage is description.stages[0] else None
        y = _arrow(parts, y, "" if before is None else f"x, {before}")
        settings = ", ".join(f"{name} {value}" for name, value in stage.settings.items())
        head = f"{stage.name}, {stage.acts}" + (f" ({settings})" if settings else "")
        top = y
        y = _box(parts, y, [head, *textwrap.wrap(stage.summary, _CHARACTERS)])
        y = _parameters(parts, top, y, [description.parameter_words(p) for p in stage.parameters])
        label = f"{stage.result}, {description.size}"
        if stage is description.stages[-1]:
            y = _arrow(parts, y, label)
        else:
            parts.append(_text(_BOX / 2 + 12, y + 21, label, small=True))
    y = _box(parts, y, ["measurement", description.measurement], strong=True)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" width="{_WIDTH}" role="img" '
        'style="max-width:100%;height:auto" font-family="system-ui, sans-serif" font-size="13" fill="currentColor">'
    )
    return "".join([head, "<title>Imaging chain</title>", *parts, "</svg>"])


def _box(parts: list[str], y: float, lines: list[str], *, strong: bool = False) -> float:
    """A box with a title and further lines; returns where it ends."""
    height = 2 * _PAD + _LINE * len(lines)
    width = 2.2 if strong else 1.2
    parts.append(
        f'<rect x="4" y="{y}" width="{_BOX - 8}" height="{height}" rx="4" fill="none" stroke="currentColor" '
        f'stroke-width="{width}"/>'
    )
    for index, line in enumerate(lines):
        parts.append(_text(16, y + _PAD + _LINE * index + 12, line, bold=index == 0, small=index > 0))
    return y + height


def _parameters(parts: list[str], top: float, bottom: float, texts: list[str]) -> float:
    """Rounded boxes to the right of a stage with arrows into it; returns the lower end of stage and boxes."""
    y = top
    for text in texts:
        lines = textwrap.wrap(text, _SIDE_CHARACTERS)
        height = 2 * _PAD + _LINE * len(lines)
        x = _WIDTH - _SIDE - 4
        parts.append(
            f'<rect x="{x}" y="{y}" width="{_SIDE}" height="{height}" rx="{height / 2:.0f}" fill="none" '
            'stroke="currentColor" stroke-dasharray="4 3"/>'
        )
        parts += [_text(x + 18, y + _PAD + _LINE * i + 12, line, small=True) for i, line in enumerate(lines)]
        middle = min(y + height / 2, bottom - 8)
        parts.append(_line(x, middle, _BOX - 4, middle))
        y += height + 6
    return max(bottom, y - 6 if texts else bottom)


def _arrow(parts: list[str], y: float, label: str) -> float:
    parts.append(_line(_BOX / 2, y, _BOX / 2, y + _GAP))
    if label:
        parts.append(_text(_BOX / 2 + 12, y + 21, label, small=True))
    return y + _GAP


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    """A line with a head at its end, straight down or to the left."""
    down = y2 > y1
    head = f"{x2 - 5},{y2 - 9} {x2 + 5},{y2 - 9}" if down else f"{x2 + 9},{y2 - 5} {x2 + 9},{y2 + 5}"
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor"/><polygon points="{x2},{y2} {head}"/>'


def _text(x: float, y: float, text: str, *, bold: bool = False, small: bool = False) -> str:
    style = ' font-weight="600"' if bold else ""
    style += ' font-size="12"' if small else ""
    return f'<text x="{x}" y="{y}"{style}>{escape(text)}</text>'
