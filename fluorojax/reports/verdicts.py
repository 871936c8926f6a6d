"""Diagnostics in plain language: is the result to be trusted, as far as it can be checked?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.engines.variance_factor import LOWEST
from fluorojax.metrics import SceneScore, Whiteness
from fluorojax.reports.fragments import escape

# Coverage of 90 % intervals in one scene, whose errors are correlated, may be this far off by chance.
_TOO_NARROW, _FAR_TOO_NARROW, _TOO_WIDE = 0.87, 0.82, 0.94
# Correlation of neighbours in the residual: what matters, what cannot be overlooked; chance lies below 4 sd.
_STRUCTURE, _MUCH_STRUCTURE, _CHANCE = 0.02, 0.1, 4.0
_EXCESS, _MUCH_EXCESS, _OVERFIT = 1.05, 1.2, 0.5
# Share of the variance of x from which on the chain is the larger part.
_MUCH_SPEC = 0.5

# Standard deviation of the variance factor from which on it says nothing, and the excess that chance and a fast scene
# do not explain.
_VAGUE, _ERROR_EXCESS = 0.3, 0.25

_WORDS = {"good": "Good", "caution": "Caution", "bad": "Problem", "unknown": "Not known"}


@dataclass(frozen=True)
class Verdict:
    """One thing that was checked; ``level`` is good, caution, bad or unknown."""

    topic: str
    level: str
    text: str


def verdict_list(verdicts: Sequence[Verdict]) -> str:
    """HTML of verdicts; the level is said in words, too."""
    items = "".join(
        f'<li class="{verdict.level}"><b>{_WORDS[verdict.level]}</b><span><strong>{escape(verdict.topic)}.</strong> '
        f"{escape(verdict.text)}</span></li>"
        for verdict in verdicts
    )
    return f'<ul class="verdicts">{items}</ul>'


def convergence_verdict(result: Reconstruction) -> Verdict:
    """Did the run end well?"""
    said = result.diagnostics.get("verdict")
    sentence = _sentence(said) if isinstance(said, str) else ""
    iterations = result.diagnostics.get("iterations")
    count = f" after {iterations} iterations" if isinstance(iterations, int) else ""
    match result.status:
        case Status.CONVERGED if math.isnan(result.seconds) and not result.diagnostics:
            level, text = "unknown", "The file does not say how the run ended."
        case Status.CONVERGED:
            level, text = "good", sentence or f"The solver met its tolerance{count}."
        case Status.ITERATION_LIMIT:
            text = f"The solver stopped at its iteration limit{count}, before its tolerance: values may still move."
            level = "caution"
        case Status.STALLED:
            text = (
                f"The solver found no lower energy in single precision and stopped before its tolerance{count}; "
                "the residual shows whether that matters."
            )
            level = "caution"
        case Status.NOT_CONVERGED:
            level, text = "bad", sentence or _sentence(result.status.value)
        case Status.DIVERGED:
            level, text = "bad", _sentence(result.status.value)
    return Verdict("Convergence", level, text)


def coverage_verdict(result: Reconstruction, score: SceneScore | None) -> Verdict:
    """Do the pixel intervals hold the truth as often as they claim?"""
    if result.x_std is None:
        return Verdict("Coverage", "unknown", "The file has no standard deviations of x.")
    at_90 = None if score is None else score.coverage_at(0.9)
    if at_90 is None or math.isnan(at_90.overall):
        return Verdict("Coverage", "unknown", "Cannot be checked: the truth of this scene is not known here.")
    parts = {"moving": at_90.moving, "static": at_90.static}
    split = ", ".join(f"{100 * share:.1f} % of the {name} ones" for name, share in parts.items() if share == share)
    found = f"90 % intervals hold the truth in {100 * at_90.overall:.1f} % of the pixels" + (
        f" ({split})" if split else ""
    )
    least = min(share for share in (at_90.overall, *parts.values()) if share == share)
    if least < _FAR_TOO_NARROW:
        return Verdict("Coverage", "bad", f"{found}: they are too narrow, the error is larger than stated.")
    if least < _TOO_NARROW:
        return Verdict("Coverage", "caution", f"{found}: they are somewhat too narrow.")
    if at_90.overall > _TOO_WIDE:
        return Verdict("Coverage", "caution", f"{found}: they are wider than need be, on the safe side.")
    return Verdict("Coverage", "good", f"{found}: they are what they claim.")


def residual_verdict(found: Whiteness | None) -> Verdict:
    """Is what the reconstruction leaves of the counts photon noise and nothing else?"""
    if found is None:
        text = "Cannot be checked without the measurement and a finite reconstruction."
        return Verdict("Residual", "unknown", text)
    correlations = {axis: value / max(found.variance, 1e-12) for axis, value in found.autocorrelation.items()}
    rises = {
        axis: value for axis, value in correlations.items() if value > _STRUCTURE and found.statistics[axis] > _CHANCE
    }
    excess = found.variance > _EXCESS and found.statistics["variance"] > _CHANCE
    neighbours = ", ".join(f"{axis} {_signed(value)}" for axis, value in correlations.items())
    facts = f"its variance is {found.variance:.2f} of that of photon noise, neighbours correlate by {neighbours}"
    if rises or excess:
        much = found.variance > _MUCH_EXCESS or any(value > _MUCH_STRUCTURE for value in rises.values())
        *first, last = rises or [""]
        where = f" along {', '.join(first)}{' and ' if first else ''}{last}" if rises else ""
        what = (
            f"The counts hold structure{where} that the reconstruction and the published chain do not explain"
            if rises
            else "The counts scatter more than photon noise around what the reconstruction explains"
        )
        return Verdict("Residual", "bad" if much else "caution", f"{what}: {facts}.")
    if found.variance < _OVERFIT:
        return Verdict("Residual", "caution", f"The reconstruction follows much of the photon noise: {facts}.")
    return Verdict(
        "Residual",
        "good",
        f"As a whole it is photon noise; no structure was missed ({facts}; a fit takes up some of the noise).",
    )


def variance_verdict(result: Reconstruction) -> Verdict | None:
    """Does the size of the residual agree with the variances of the model? None where it cannot tell."""
    told = [result.diagnostics.get(f"variance_factor{end}") for end in ("", "_measured", "_std")]
    factor, measured, std = (float(value) if isinstance(value, int | float) else math.nan for value in told)
    if not all(math.isfinite(value) for value in (factor, measured, std)):
        return None
    if std > _VAGUE or result.status is Status.DIVERGED:
        return None
    text = (
        f"By its residual the squared error is {max(measured, 0.0):.2f} ± {std:.2f} times what the model states; "
        f"x_std holds a factor of {factor:.2f}"
    )
    if measured - 1 > max(_ERROR_EXCESS, 3 * std):
        what = "the error is larger than the model can be, or the counts hold noise or structure that it does not have"
        return Verdict("Error size", "caution", f"{text}: {what}.")
    if measured + 2 * std < LOWEST:
        return Verdict("Error size", "caution", f"{text}, the smallest allowed: intervals are wider than need be.")
    return Verdict("Error size", "good", f"{text}.")


def spec_verdict(result: Reconstruction) -> Verdict | None:
    """How much of the uncertainty comes from the chain; None where the file does not say."""
    shares = result.diagnostics.get("variance_share_of_chain")
    if not isinstance(shares, dict) or not all(isinstance(share, int | float) for share in shares.values()):
        return None
    total = sum(shares.values())
    if not math.isfinite(total):
        return None
    parts = ", ".join(f"{name} {_percent(share)}" for name, share in shares.items())
    text = f"The imperfectly known chain makes {_percent(total)} of the variance of x ({parts})"
    if total > _MUCH_SPEC:
        return Verdict("Chain", "caution", f"{text}: knowing the chain better would help more than more dose.")
    return Verdict("Chain", "good", f"{text}; photon noise and prior make the rest.")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _percent(share: float) -> str:
    return "below 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
