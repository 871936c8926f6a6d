"""The corrected specification: each parameter's posterior against its prior range, in a picture and in words."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_UNITS
from fluorojax.data.wording import is_determined, nominal_value, plain, quantity, undetermined, with_error
from fluorojax.reports.templates import render

_WIDTH, _HEIGHT, _MARGIN = 320.0, 52.0, 10.0
_AXIS = 44.0
_BINS = 60

_TOGETHER_NOTE = (
    "This judges combinations of the parameters by the model of the scene alone. The cards above show the calibration, "
    "which also uses that some pixels do not move, and which may therefore know more."
)


def spec_cards(result: Reconstruction, scene: Scene | None, truth: Scene | None) -> Markup:
    """A card for each parameter.

    **Arguments:** ``scene`` gives nominal protocol and prior ranges where the result itself does not hold them,
    ``truth`` the true values where they are public.
    """
    nominal = result.nominal or ({} if scene is None else scene.acquisition.as_dict())
    ranges = result.prior_ranges or ({} if scene is None else scene.ranges.as_dict())
    true = {} if truth is None or truth.true_spec is None else truth.true_spec.as_dict()
    drawn = bool(ranges) and any(name in result.draws for name in SPEC_UNITS)
    cards = [_card(result, name, ranges.get(name), nominal_value(name, nominal), true.get(name)) for name in SPEC_UNITS]
    legend = (
        "Every parameter is an offset from the nominal protocol or, for the drift, a change per frame."
        " Grey: prior range; thick line: 90 % interval; dot: estimate"
        f"{'; upright line: truth' if true else ''}{'; area: posterior draws' if drawn else ''}."
    )
    joint = _settings_say_joint(result)
    return render(
        "cards", cards=cards, together=_together(result), together_note="" if joint else _TOGETHER_NOTE, legend=legend
    )


def _settings_say_joint(result: Reconstruction) -> bool:
    """Whether the parameters were inferred together with the scene, so that the model of the scene is all there is."""
    return "newton_steps" in result.diagnostics


def _together(result: Reconstruction) -> str:
    """What the Fisher information says about combinations of the parameters, where the file has it."""
    fisher = result.diagnostics.get("fisher_information")
    sentences = fisher.get("sentences") if isinstance(fisher, dict) else None
    if not isinstance(sentences, list) or not all(isinstance(line, str) for line in sentences):
        return ""
    return "; ".join(sentences)


def _card(
    result: Reconstruction,
    name: str,
    prior: tuple[float, float] | None,
    nominal: float | None,
    truth: float | None,
) -> dict[str, Any]:
    """What the template shows of one parameter."""
    estimate, std = result.spec.as_dict()[name], result.spec_std.as_dict()[name]
    low, high = result.spec_interval.get(name, (math.nan, math.nan))
    unit, determined = SPEC_UNITS[name], is_determined(std, prior)
    lines: list[str] = []
    if not determined and prior is not None:
        lines.append(undetermined(name, prior))
        if nominal is not None:
            lines.append(f"nominal {plain(nominal)} {unit}")
    else:
        offset = with_error(estimate, std, unit, sign=True)
        if nominal is None:
            lines.append(offset)
        else:
            lines += [
                f"{with_error(nominal + estimate, std, unit)} (nominal {plain(nominal)} {unit})",
                f"offset {offset}",
            ]
        if math.isfinite(low) and math.isfinite(high):
            lines.append(f"90 % interval {plain(low, sign=True)} … {plain(high, sign=True)} {unit}")
        if prior is not None:
            lines.append(f"prior range {plain(prior[0], sign=True)} … {plain(prior[1], sign=True)} {unit}")
    if truth is not None:
        lines.append(f"truth {plain(truth, sign=True)} {unit}{_where(truth, low, high) if determined else ''}")
    picture = ""
    if prior is not None:
        label = f"{name}: estimate {plain(estimate)}, 90 % interval {plain(low)} to {plain(high)}"
        if not determined:  # the interval of a prior would look like a measurement
            label, estimate, low, high = f"{name}: {undetermined(name, prior)}", math.nan, math.nan, math.nan
        picture = range_picture(prior, (low, high), estimate, truth, label, result.draws.get(name))
    sentences = result.diagnostics.get("identifiability")
    sentence = sentences.get(name) if isinstance(sentences, dict) else None
    if isinstance(sentence, str) and sentence.startswith(f"{name} is not determined") and ". " not in sentence:
        sentence = None  # the card says the same
    return {
        "name": name,
        "title": quantity(name).capitalize(),
        "determined": determined,
        "lines": lines,
        "picture": picture,
        "sentence": sentence if isinstance(sentence, str) else "",
    }


def _where(truth: float, low: float, high: float) -> str:
    if math.isnan(low):
        return ""
    return f", {'inside' if low <= truth <= high else 'outside'} the 90 % interval"


def range_picture(
    prior: tuple[float, float],
    interval: tuple[float, float],
    estimate: float,
    truth: float | None,
    label: str,
    draws: Float[np.ndarray, "..."] | None = None,
) -> Markup:
    """SVG: prior range, posterior draws where there are any, 90 % interval, estimate, truth."""
    low, high = prior

    def at(value: float) -> float:
        inside = min(max((value - low) / (high - low), -0.02), 1.02)
        return round(_MARGIN + inside * (_WIDTH - 2 * _MARGIN), 1)

    return render(
        "range",
        width=f"{_WIDTH:g}",
        height=f"{_HEIGHT:g}",
        axis=int(_AXIS),
        label=label,
        prior=(at(low), at(high)),
        outline="" if draws is None or not np.isfinite(draws).any() else _histogram(draws, prior),
        interval=(at(interval[0]), at(interval[1])) if all(math.isfinite(end) for end in interval) else None,
        estimate=at(estimate) if math.isfinite(estimate) else None,
        truth=None if truth is None else at(truth),
    )


def _histogram(draws: Float[np.ndarray, "..."], prior: tuple[float, float]) -> str:
    """Outline of the histogram of draws over the prior range, its highest bin as high as the picture."""
    count, edges = np.histogram(draws[np.isfinite(draws)], _BINS, prior)
    places = _MARGIN + (edges - prior[0]) / (prior[1] - prior[0]) * (_WIDTH - 2 * _MARGIN)
    tops = _AXIS - (_AXIS - 8) * count / max(count.max(), 1)
    steps = "".join(f"L{a:.1f} {y:.1f}H{b:.1f}" for a, b, y in zip(places, places[1:], tops, strict=False))
    return f"M{places[0]:.1f} {_AXIS:g}{steps}V{_AXIS:g}Z"
