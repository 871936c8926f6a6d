"""Small pieces of HTML that several parts of a page use."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from fluorojax.io import dumps
from fluorojax.reports.templates import render


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], name: str) -> Markup:
    """A table called ``name``, with the titles of its columns and the cells of its rows as text."""
    return render("table", columns=columns, rows=list(rows), name=name)


def definitions(pairs: Mapping[str, Any]) -> Markup:
    """A list of names and values."""
    return render("definitions", pairs=pairs)


def figure_strip(
    images: Sequence[str],
    labels: Sequence[str],
    alt: str,
    *,
    window: tuple[float, float, str] | None = None,
    note: str = "",
) -> Markup:
    """Frames side by side under their labels.

    **Arguments:** ``images`` as ``data:`` addresses; ``alt`` what they show; ``window`` the values at the two ends of
    the colour scale and its CSS gradient; ``note`` a remark at the end of the caption.
    """
    return render("strip", frames=list(zip(images, labels, strict=True)), alt=alt, window=window, note=note)


def facts(diagnostics: Mapping[str, Any]) -> Markup:
    """Diagnostics as a list: sentences as they are, other values as ``name: value``."""
    items: list[str] = []
    for name, value in diagnostics.items():
        title = name.replace("_", " ")
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            items.extend(value)
        elif isinstance(value, dict) and value and all(isinstance(item, str) for item in value.values()):
            items.extend(f"{key}: {item}" for key, item in value.items())
        else:
            items.append(f"{title}: {_brief(value)}")
    return render("facts", items=items)


def _brief(value: Any, limit: int = 300) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    text = dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
