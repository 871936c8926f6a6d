"""Small pieces of HTML; every text that enters goes through :func:`escape`."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fluorojax.io import dumps


def escape(value: Any) -> str:
    """Text safe inside an element or a quoted attribute."""
    return html.escape(str(value), quote=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> str:
    """A table called ``name``; the cells of ``rows`` are HTML already, the column titles text."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows)
    frame = f'<div class="wide" tabindex="0" role="region" aria-label="{escape(name)}">'
    return f"{frame}<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"


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
