"""Markup of the interactive part of a scene; ``static/*.js`` brings it to life."""

from markupsafe import Markup

from fluorojax.io import dumps
from fluorojax.reports.movie import Movie
from fluorojax.reports.palettes import KINDS, gradient, palette_of
from fluorojax.reports.templates import render

_KEYS = (
    "With the images in focus: arrow keys move the pixel, Shift by ten; space plays and pauses; comma and full stop "
    "step one frame. Plus and minus zoom."
)


def player(name: str, movie: Movie) -> Markup:
    """Panels, controls, time curve and comparison of the scene ``name``; hidden until its script has started."""
    layers = movie.data["layers"]
    height, width = movie.data["shape"][1:]
    wanted = [("measured", "estimate"), ("estimate", "truth"), ("measured", "truth")]
    return render(
        "player",
        name=name,
        movie=movie.data,
        data=json_block(movie.data),
        keys=_KEYS,
        height=height,
        width=width,
        gradients={kind: gradient(palette_of(kind)) for kind in KINDS},
        pairs=[(a, b) for a, b in wanted if a in layers and b in layers],
        rounding=_rounding(movie),
    )


def json_block(value: object) -> Markup:
    """JSON that can stand inside a script element: no text in it can end the element."""
    return Markup(dumps(value, separators=(",", ":")).replace("<", "\\u003c"))


def _rounding(movie: Movie) -> str:
    """What the page holds of the scene, and how exactly."""
    plan = movie.plan
    layers = movie.data["layers"]
    step = max(layer["step"] for name, layer in layers.items() if name not in ("measured", "zscore", "residual"))
    parts = []
    if plan.stride > 1:
        parts.append(f"every {_ordinal(plan.stride)} frame")
    if plan.block > 1:
        block = f"{plan.block}×{plan.block}"
        parts.append(f"means over {block} pixels, standard deviations and standardised values too")
    held = f"To keep the page small, it holds {' and '.join(parts)}. " if parts else ""
    measured = f", measured values to {layers['measured']['step'] / 2:.1g}" if "measured" in layers else ""
    return f"{held}Values are rounded to within {step / 2:.1g}{measured}; numbers count from 0."


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
