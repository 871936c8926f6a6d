"""Small pieces of HTML; every text that enters goes through :func:`escape`."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fluorojax.io import dumps

STYLE = """
:root { color-scheme: light dark; --fg: #1c2126; --bg: #fff; --soft: #5d6873; --line: #d5dbe1; --card: #f5f7f9;
  --accent: #0a66a8; --warn: #a33b00; }
@media (prefers-color-scheme: dark) { :root { --fg: #e4e8ec; --bg: #14181c; --soft: #9aa6b2; --line: #343c45;
  --card: #1d2329; --accent: #6cb6f0; --warn: #ffa06b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: var(--fg);
  background: var(--bg); }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line);
  padding-top: 1.2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.soft { color: var(--soft); } .warn { color: var(--warn); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--soft); }
figure { margin: 1rem 0; } figcaption { font-size: .85rem; color: var(--soft); margin-top: .3rem; }
.strip { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(7rem, 1fr); gap: .3rem; overflow-x: auto; }
.strip > div { max-width: 24rem; }
.strip img { width: 100%; display: block; image-rendering: pixelated; border-radius: 2px; }
.strip span { font-size: .75rem; color: var(--soft); }
.scale { display: inline-block; width: 6rem; height: .7rem; vertical-align: middle; margin: 0 .4rem;
  border: 1px solid var(--line); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
svg { vertical-align: middle; } ul { padding-left: 1.2rem; overflow-wrap: anywhere; }
"""


def escape(value: Any) -> str:
    """Text safe inside an element or a quoted attribute."""
    return html.escape(str(value), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """A complete document that loads nothing."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the cells of ``rows`` are HTML already, the column titles text."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def definitions(pairs: Mapping[str, Any]) -> str:
    """A list of names and values."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in pairs.items())
    return f"<dl>{items}</dl>"


def figure_strip(images: Sequence[str], labels: Sequence[str], alt: str, caption: str) -> str:
    """Frames side by side; ``images`` are data addresses, ``caption`` is HTML already."""
    cells = "".join(
        f'<div><img src="{escape(image)}" alt="{escape(f"{alt}, {label}")}"><span>{escape(label)}</span></div>'
        for image, label in zip(images, labels, strict=True)
    )
    return f'<figure><div class="strip">{cells}</div><figcaption>{caption}</figcaption></figure>'


def colour_scale(low: float, high: float, css_gradient: str) -> str:
    """A bar from the lowest to the highest colour with its values."""
    return f'{low:.3g}<span class="scale" style="background: {escape(css_gradient)}"></span>{high:.3g}'


def range_bar(
    prior: tuple[float, float], interval: tuple[float, float], estimate: float, truth: float | None, label: str
) -> str:
    """Picture of a parameter: prior range (thin), 90 % interval (thick), estimate (dot), truth (upright line)."""
    low, high = prior
    width, margin = 180.0, 8.0

    def at(value: float) -> float:
        inside = min(max((value - low) / (high - low), -0.04), 1.04)
        return margin + inside * (width - 2 * margin)

    shapes = [f'<line x1="{margin}" x2="{width - margin}" y1="9" y2="9" stroke="var(--line)" stroke-width="4"/>']
    if all(math.isfinite(end) for end in interval):
        ends = f'x1="{at(interval[0]):.1f}" x2="{at(interval[1]):.1f}"'
        shapes.append(f'<line {ends} y1="9" y2="9" stroke="var(--accent)" stroke-opacity=".55" stroke-width="8"/>')
    if math.isfinite(estimate):
        shapes.append(f'<circle cx="{at(estimate):.1f}" cy="9" r="4" fill="var(--accent)"/>')
    if truth is not None:
        shapes.append(
            f'<line x1="{at(truth):.1f}" x2="{at(truth):.1f}" y1="1" y2="17" stroke="var(--fg)" stroke-width="2"/>'
        )
    return f'<svg width="{width:g}" height="18" role="img" aria-label="{escape(label)}">{"".join(shapes)}</svg>'


def facts(diagnostics: Mapping[str, Any]) -> str:
    """Diagnostics as a list: sentences as they are, other values as ``name: value``."""
    items = []
    for name, value in diagnostics.items():
        title = name.replace("_", " ")
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            items.extend(value)
        elif isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
            items.extend(f"{key}: {item}" for key, item in value.items())
        else:
            items.append(f"{title}: {_brief(value)}")
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>" if items else ""


def _brief(value: Any, limit: int = 300) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    text = dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
