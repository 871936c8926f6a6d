"""Markup of the interactive part of a scene; ``static/*.js`` brings it to life."""

from fluorojax.io import dumps
from fluorojax.reports.fragments import escape
from fluorojax.reports.movie import Movie
from fluorojax.reports.palettes import gradient, palette_of

_KEYS = (
    "With the images in focus: arrow keys move the pixel, Shift by ten; space plays and pauses; comma and full stop "
    "step one frame."
)


def player(name: str, movie: Movie) -> str:
    """Panels, controls, time curve and comparison of the scene ``name``; hidden until its script has started."""
    parts = [
        '<div class="player" hidden>',
        f'<script type="application/json" class="movie">{json_block(movie.data)}</script>',
        _panels(name, movie),
        _controls(movie),
        _curve(movie),
        _compare(name, movie),
        f'<p class="soft small">{escape(_rounding(movie))}</p>',
        "</div>",
    ]
    return "\n".join(parts)


def json_block(value: object) -> str:
    """JSON that can stand inside a script element."""
    return dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _panels(name: str, movie: Movie) -> str:
    figures = "".join(
        f'<figure data-layer="{escape(key)}"><div class="screen">'
        f'<canvas role="img" aria-label="{escape(layer["title"])}"></canvas><i class="mark"></i></div>'
        f"<figcaption>{escape(layer['title'])}</figcaption></figure>"
        for key, layer in movie.data["layers"].items()
    )
    label = f"Images of {name}. {_KEYS}"
    height, width = movie.data["shape"][1:]
    style = f"--ratio: {width} / {height}"
    return (
        f'<div class="panels" tabindex="0" role="group" aria-label="{escape(label)}" style="{style}">{figures}</div>\n'
        f'<p class="scales">{_scales(movie)}</p>'
    )


def _scales(movie: Movie) -> str:
    low, high = movie.data["window"]
    bars = [_scale("attenuation x", "image", low, high, "image-scale")]
    if "spread" in movie.data["layers"]:
        bars.append(_scale("posterior sd of x", "spread", 0.0, movie.data["spreadMax"], ""))
    return " ".join(bars)


def _scale(what: str, kind: str, low: float, high: float, name: str) -> str:
    bar = f'<span class="scale" style="background: {gradient(palette_of(kind))}"></span>'
    return f'<span class="{name}">{escape(what)} <output>{low:.3g}</output>{bar}<output>{high:.3g}</output></span>'


def _controls(movie: Movie) -> str:
    moving = movie.data["shape"][0] > 1
    ranges = {"Level": 'data-control="level"', "Window": 'data-control="window"'}
    play = ""
    if moving:
        play = '<button type="button" data-control="play">Play</button>'
        frame = 'data-control="frame" min="0" max="0" value="0"'
        ranges = {"Frame": frame, "Rate": 'data-control="rate" min="1" max="60" value="15"', **ranges}
    sliders = "".join(
        f'<label>{label} <input type="range" {attributes}><output></output></label>'
        for label, attributes in ranges.items()
    )
    return (
        f'<div class="controls">{play}{sliders}<button type="button" data-control="reset">Reset window</button></div>'
        f'<details class="keys"><summary>Keyboard</summary><p>{escape(_KEYS)} All controls work with Tab and arrow'
        " keys. A click on an image chooses a pixel, a click on the curve a frame.</p></details>"
    )


def _curve(movie: Movie) -> str:
    layers = movie.data["layers"]
    entries = [("estimate", "reconstruction")]
    if "spread" in layers:
        entries.append(("band", "its 90 % interval, x̂ ± 1.645 sd"))
    if "truth" in layers:
        entries.append(("truth", "truth"))
    legend = "".join(
        f'<span class="entry"><span class="key {key}"></span>{escape(text)}</span> ' for key, text in entries
    )
    measured = ""
    if "measured" in layers:
        measured = (
            '<label class="tick"><input type="checkbox" data-control="measured">'
            '<span class="key measured"></span>measured values</label>'
        )
    return (
        '<div class="time"><h3>A pixel over time</h3>'
        '<div class="pick"><label>Row <input type="number" data-control="row" min="0" step="1"></label>'
        '<label>Column <input type="number" data-control="column" min="0" step="1"></label>'
        f'<span class="legend">{legend}</span>{measured}</div>'
        '<div class="curve"></div><p class="readout" aria-live="polite"></p></div>'
    )


def _compare(name: str, movie: Movie) -> str:
    titles = {key: layer["title"] for key, layer in movie.data["layers"].items()}
    wanted = [("measured", "estimate"), ("estimate", "truth"), ("measured", "truth")]
    pairs = [(a, b) for a, b in wanted if a in titles and b in titles]
    if not pairs:
        return ""
    options = "".join(f'<option value="{a} {b}">{escape(titles[a])} | {escape(titles[b])}</option>' for a, b in pairs)
    height, width = movie.data["shape"][1:]
    return (
        '<div class="compare"><h3>Before and after</h3>'
        f'<figure><div class="split" style="--ratio: {width} / {height}"><canvas></canvas>'
        f'<canvas role="img" aria-label="Two images of {escape(name)}, divided by a line"></canvas>'
        '<i class="line"></i></div><figcaption><span></span><span></span></figcaption></figure>'
        '<div class="controls"><label>Line <input type="range" data-control="split" min="0" max="100" value="50"'
        ' step="0.5" aria-label="Position of the line between before and after"></label>'
        f'<label>Images <select data-control="pair">{options}</select></label></div></div>'
    )


def _rounding(movie: Movie) -> str:
    """What the page holds of the scene, and how exactly."""
    plan = movie.plan
    layers = movie.data["layers"]
    step = max(layer["step"] for name, layer in layers.items() if name != "measured")
    parts = []
    if plan.stride > 1:
        parts.append(f"every {_ordinal(plan.stride)} frame")
    if plan.block > 1:
        block = f"{plan.block}×{plan.block}"
        parts.append(f"means over {block} pixels, the standard deviation being the mean of theirs")
    held = f"To keep the page small, it holds {' and '.join(parts)}. " if parts else ""
    measured = f", measured values to {layers['measured']['step'] / 2:.1g}" if "measured" in layers else ""
    return f"{held}Values are rounded to within {step / 2:.1g}{measured}; numbers count from 0."


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"
