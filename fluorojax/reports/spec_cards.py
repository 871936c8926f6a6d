"""The corrected specification: each parameter's posterior against its prior range, in a picture and in words."""

import math

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Parameter
from fluorojax.reports.fragments import escape
from fluorojax.reports.numbers import number

_WIDTH, _HEIGHT, _MARGIN = 320.0, 52.0, 10.0
_AXIS = 44.0
_BINS = 60


def spec_cards(result: Reconstruction, scene: Scene | None, truth: Scene | None) -> str:
    """A card for each parameter; ``scene`` gives the prior ranges, ``truth`` the true values where public."""
    ranges = None if scene is None else scene.ranges.as_dict()
    true = None if truth is None or truth.true_spec is None else truth.true_spec.as_dict()
    drawn = ranges is not None and any(parameter.name in result.draws for parameter in result.parameters)
    cards = "".join(
        _card(
            result,
            parameter,
            None if ranges is None else ranges.get(parameter.name),
            None if true is None else true.get(parameter.name),
        )
        for parameter in result.parameters
    )
    legend = (
        "Signed offsets from the nominal protocol (exposure window, lag time constant) and gain change per frame."
        " Grey: prior range; thick: 90 % interval; dot: estimate"
        f"{'' if true is None else '; upright line: truth'}{'; area: posterior draws' if drawn else ''}."
    )
    return f'<div class="cards">{cards}</div>{_information(result)}<p class="soft small">{escape(legend)}</p>'


def _information(result: Reconstruction) -> str:
    """What the Fisher information says about combinations of the parameters, where the file has it."""
    fisher = result.diagnostics.get("fisher_information")
    sentences = fisher.get("sentences") if isinstance(fisher, dict) else None
    if not isinstance(sentences, list) or not all(isinstance(line, str) for line in sentences):
        return ""
    return f"<p>Together: {escape('; '.join(sentences))}.</p>"


def _card(result: Reconstruction, parameter: Parameter, prior: tuple[float, float] | None, truth: float | None) -> str:
    name, unit = parameter.name, parameter.unit
    estimate, std = result.spec.as_dict()[name], result.spec_std.as_dict()[name]
    low, high = result.spec_interval.get(name, (math.nan, math.nan))
    lines = [f"<b>{number(estimate, 3, sign=True)} ± {number(std, 3)}</b> {escape(unit)}"]
    lines.append(f"90 % interval {number(low, 3, sign=True)} … {number(high, 3, sign=True)}")
    if prior is not None:
        lines.append(f"prior range {number(prior[0], sign=True)} … {number(prior[1], sign=True)}")
    if truth is not None:
        inside = "" if math.isnan(low) else f", {'in' if low <= truth <= high else 'outside'} the 90 % interval"
        lines.append(f"truth {number(truth, 3, sign=True)}{inside}")
    picture = ""
    if prior is not None:
        draws = result.draws.get(name)
        label = f"{name}: estimate {number(estimate, 3)}, 90 % interval {number(low, 3)} to {number(high, 3)}"
        picture = range_picture(prior, (low, high), estimate, truth, label, draws)
    items = "".join(f"<li>{line}</li>" for line in lines)
    sentences = result.diagnostics.get("identifiability")
    sentence = sentences.get(name) if isinstance(sentences, dict) else None
    words = f"<p>{escape(sentence)}</p>" if isinstance(sentence, str) else ""
    return f'<div class="card"><h4>{escape(name)}</h4>{picture}<ul>{items}</ul>{words}</div>'


def range_picture(
    prior: tuple[float, float],
    interval: tuple[float, float],
    estimate: float,
    truth: float | None,
    label: str,
    draws: Float[np.ndarray, "..."] | None = None,
) -> str:
    """SVG: prior range, posterior draws where there are any, 90 % interval, estimate, truth."""
    low, high = prior

    def at(value: float) -> float:
        inside = min(max((value - low) / (high - low), -0.02), 1.02)
        return round(_MARGIN + inside * (_WIDTH - 2 * _MARGIN), 1)

    box = f'x="{at(low)}" width="{at(high) - at(low):.1f}"'
    shapes = [f'<rect {box} y="6" height="{_AXIS - 6:g}" class="prior"/>']
    if draws is not None and np.isfinite(draws).any():
        shapes.append(f'<path d="{_histogram(draws, prior)}" class="draws"/>')
    shapes.append(f'<line x1="{at(low)}" x2="{at(high)}" y1="{_AXIS:g}" y2="{_AXIS:g}" class="axis"/>')
    if all(math.isfinite(end) for end in interval):
        ends = f'x1="{at(interval[0])}" x2="{at(interval[1])}"'
        shapes.append(f'<line {ends} y1="{_AXIS:g}" y2="{_AXIS:g}" class="interval"/>')
    if math.isfinite(estimate):
        shapes.append(f'<circle cx="{at(estimate)}" cy="{_AXIS:g}" r="5" class="median"/>')
    if truth is not None:
        shapes.append(f'<line x1="{at(truth)}" x2="{at(truth)}" y1="2" y2="{_HEIGHT:g}" class="true"/>')
    view = f'viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}"'
    return f'<svg {view} class="range" role="img" aria-label="{escape(label)}">{"".join(shapes)}</svg>'


def _histogram(draws: Float[np.ndarray, "..."], prior: tuple[float, float]) -> str:
    """Outline of the histogram of draws over the prior range, its highest bin as high as the picture."""
    count, edges = np.histogram(draws[np.isfinite(draws)], _BINS, prior)
    places = _MARGIN + (edges - prior[0]) / (prior[1] - prior[0]) * (_WIDTH - 2 * _MARGIN)
    tops = _AXIS - (_AXIS - 8) * count / max(count.max(), 1)
    steps = "".join(f"L{a:.1f} {y:.1f}H{b:.1f}" for a, b, y in zip(places, places[1:], tops, strict=False))
    return f"M{places[0]:.1f} {_AXIS:g}{steps}V{_AXIS:g}Z"
