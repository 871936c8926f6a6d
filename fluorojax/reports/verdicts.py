"""What was checked about a result, in plain words, and one overall judgement: may the result be used?

Each verdict gives its reason. :func:`judge` reconciles them before anyone reads them, so that no two of them contradict
each other: where the truth is known it decides about the stated errors, a solver that stopped early does no harm where
the residual is photon noise, and nothing else is judged of a scene whose result shows nothing of the patient.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.metrics import SceneScore, Whiteness
from fluorojax.reports.templates import render
from fluorojax.runs.notes import fallback_notice, recognition_notice

# Coverage of 90 % intervals in one scene, whose errors are correlated, may be this far off by chance.
_TOO_NARROW, _FAR_TOO_NARROW, _TOO_WIDE = 0.87, 0.82, 0.94
# Correlation of neighbours in the residual: what matters, what cannot be overlooked; chance lies below 4 sd.
_STRUCTURE, _MUCH_STRUCTURE, _CHANCE = 0.02, 0.1, 4.0
_EXCESS, _MUCH_EXCESS, _OVERFIT = 1.05, 1.2, 0.5
# Share of the variance of x from which on the imaging chain is the larger part.
_MUCH_SPEC = 0.5

# Standard deviation of the variance factor from which on it says nothing, and the excess that chance and a fast scene
# do not explain.
_VAGUE, _ERROR_EXCESS, _ERROR_LEFT = 0.3, 0.25, 0.8


@dataclass(frozen=True)
class Verdict:
    """One thing that was checked; ``level`` is good, caution, bad or unknown."""

    topic: str
    level: str
    text: str
    reason: str = ""
    """The finding as part of a sentence, for the overall verdict; empty where it gives no reason to hesitate."""


def verdict_list(overall: Verdict, verdicts: Sequence[Verdict]) -> Markup:
    """HTML of the overall verdict and of those it rests on; the level is said in words, too."""
    return render("verdicts", overall=overall, verdicts=verdicts)


def judge(
    result: Reconstruction, score: SceneScore | None, residual: Whiteness | None
) -> tuple[Verdict, tuple[Verdict, ...]]:
    """The overall verdict on one scene, and the verdicts it rests on, reconciled with each other.

    **Arguments:** ``score`` where the truth is known, ``residual`` where the measurement is (see
    :func:`fluorojax.metrics.whiteness`).
    """
    computation = convergence_verdict(result)
    if result.status in (Status.DIVERGED, Status.PRIOR_ONLY):
        return replace(computation, topic="Overall", text=_FORBIDDING[result.status]), (computation,)
    fit = residual_verdict(residual)
    if result.status is Status.STALLED and fit.level == "good":
        text = (
            "The solver stopped before its tolerance because single precision showed it no better solution. The "
            "residual is photon noise, so that this does not matter here."
        )
        computation = Verdict(computation.topic, "good", text)
    errors = _stated_errors(coverage_verdict(result, score), variance_verdict(result), fit)
    spec = spec_verdict(result)
    verdicts = (computation, fit, errors, held_out_verdict(result), *(() if spec is None else (spec,)))
    return _overall(verdicts), verdicts


_FORBIDDING = {
    Status.DIVERGED: "This result must not be used: the computation failed, and its numbers mean nothing.",
    Status.PRIOR_ONLY: (
        "This result says nothing about the patient: the counts hold no information about this scene, and what you see "
        "is what the model assumes before any measurement. Check the dose, the attenuation scale and the file."
    ),
}


def _overall(verdicts: Sequence[Verdict]) -> Verdict:
    """The worst of the verdicts, with the reasons of all that make one hesitate."""

    def reasons(level: str) -> str:
        return "; ".join(verdict.reason for verdict in verdicts if verdict.level == level and verdict.reason)

    levels = [verdict.level for verdict in verdicts]
    unchecked = reasons("unknown")
    if "bad" in levels:
        return Verdict("Overall", "bad", f"Do not rely on this result: {reasons('bad')}.")
    if "caution" in levels:
        return Verdict("Overall", "caution", f"Use this result with caution: {reasons('caution')}.")
    if "good" not in levels or verdicts[1].level == "unknown":
        return Verdict("Overall", "unknown", f"This report cannot judge the result: {unchecked}.")
    if unchecked:
        return Verdict("Overall", "good", f"Nothing that was checked speaks against this result; {unchecked}.")
    which = "every check that was made" if "unknown" in levels else "every check below"
    return Verdict("Overall", "good", f"This result can be used: {which} was passed.")


def _stated_errors(coverage: Verdict, size: Verdict | None, fit: Verdict) -> Verdict:
    """One verdict on the standard deviations: the truth decides where it is known, else the size of the residual."""
    if coverage.level != "unknown":
        if size is not None and size.level != coverage.level and "good" in (size.level, coverage.level):
            unlike = "had shown nothing of this" if size.level == "good" else "had suggested otherwise"
            return replace(
                coverage, text=f"{coverage.text} The size of the residual alone {unlike}; the truth decides."
            )
        return coverage
    if size is None:
        return coverage
    text = f"{size.text} They cannot be checked against the truth, which is not known here."
    if size.level == "good" and fit.level in ("caution", "bad"):
        text = f"{text} They do not include the error from what the fit to the counts leaves unexplained (see above)."
        return Verdict(coverage.topic, "caution", text, "the stated errors leave out what the fit does not explain")
    return Verdict(coverage.topic, size.level, text, size.reason)


def convergence_verdict(result: Reconstruction) -> Verdict:
    """Did the computation reach its end?"""
    said = result.diagnostics.get("verdict")
    sentence = _sentence(said) if isinstance(said, str) else ""
    iterations = result.diagnostics.get("iterations")
    count = f" after {iterations} iterations" if isinstance(iterations, int) else ""
    for told in filter(None, (fallback_notice(result), recognition_notice(result))):
        sentence = f"{_sentence(told[:1].upper() + told[1:])} {sentence}".strip()
    reason = ""
    match result.status:
        case Status.CONVERGED if math.isnan(result.seconds) and not result.diagnostics:
            level, text = "unknown", "The file does not say how the computation ended."
            reason = "the file does not say how the computation ended"
        case Status.CONVERGED:
            done = "" if isinstance(said, str) else f"The solver reached its tolerance{count}."
            level, text = "good", f"{sentence} {done}".strip()
        case Status.ITERATION_LIMIT:
            text = (
                f"The solver stopped at its iteration limit{count}, before it reached its tolerance. The values might "
                "still change if it went on."
            )
            level, reason = "caution", "the solver stopped at its iteration limit"
        case Status.STALLED:
            text = (
                f"The solver stopped before its tolerance{count}, because single precision showed it no better "
                "solution. Whether that matters shows in how well the result fits the counts."
            )
            level, reason = "caution", "the solver stopped before its tolerance"
        case Status.PRIOR_ONLY:
            level, text, reason = "bad", _sentence(result.status.value), "the counts hold no information"
        case Status.NOT_CONVERGED:
            level, text = "bad", sentence or _sentence(result.status.value)
            reason = "the Markov chains have not converged, and more draws are needed"
        case Status.DIVERGED:
            level, text, reason = "bad", _sentence(result.status.value), "the computation failed"
    return Verdict("Computation", level, text, reason)


def coverage_verdict(result: Reconstruction, score: SceneScore | None) -> Verdict:
    """Do the pixel intervals hold the truth as often as they claim?"""
    topic = "Stated errors"
    if result.x_std is None:
        text = "The file has no standard deviations of x, so that it states no errors."
        return Verdict(topic, "unknown", text, "the file states no errors")
    at_90 = None if score is None else score.coverage_at(0.9)
    if at_90 is None or math.isnan(at_90.overall):
        text = "The stated errors cannot be checked, because the truth of this scene is not known here."
        return Verdict(topic, "unknown", text, "its stated errors could not be checked without the truth")
    parts = {"moving": at_90.moving, "static": at_90.static}
    split = ", ".join(f"{100 * share:.1f} % of the {name} ones" for name, share in parts.items() if share == share)
    found = f"The 90 % intervals contain the truth in {100 * at_90.overall:.1f} % of the pixels" + (
        f" ({split})" if split else ""
    )
    least = min(share for share in (at_90.overall, *parts.values()) if share == share)
    if least < _FAR_TOO_NARROW:
        text = f"{found}. The intervals are too narrow: the true error is larger than the stated one."
        return Verdict(topic, "bad", text, "the true errors are clearly larger than the stated ones")
    if least < _TOO_NARROW:
        text = f"{found}. The intervals are somewhat too narrow."
        return Verdict(topic, "caution", text, "the true errors are somewhat larger than the stated ones")
    if at_90.overall > _TOO_WIDE:
        text = f"{found}. The intervals are wider than necessary, which is the safe side."
        return Verdict(
            topic, "caution", text, "the stated errors are larger than the true ones, which is the safe side"
        )
    return Verdict(topic, "good", f"{found}. The stated errors are right.")


def residual_verdict(found: Whiteness | None) -> Verdict:
    """Is what the reconstruction leaves of the counts photon noise and nothing else?"""
    topic = "Fit to the counts"
    if found is None:
        text = "The fit cannot be checked without the measurement and a finite reconstruction."
        return Verdict(topic, "unknown", text, "its fit to the counts could not be checked without the measurement")
    correlations = {axis: value / max(found.variance, 1e-12) for axis, value in found.autocorrelation.items()}
    rises = {
        axis: value for axis, value in correlations.items() if value > _STRUCTURE and found.statistics[axis] > _CHANCE
    }
    excess = found.variance > _EXCESS and found.statistics["variance"] > _CHANCE
    neighbours = ", ".join(f"{axis} {_signed(value)}" for axis, value in correlations.items())
    facts = (
        f"The mean squared standardised residual is {found.variance:.2f}, where photon noise alone gives 1; "
        f"neighbouring residuals correlate by {neighbours}."
    )
    if rises or excess:
        much = found.variance > _MUCH_EXCESS or any(value > _MUCH_STRUCTURE for value in rises.values())
        *first, last = rises or [""]
        where = f" along {', '.join(first)}{' and ' if first else ''}{last}" if rises else ""
        what = (
            f"The counts hold structure{where} that the reconstruction and the published imaging chain do not explain"
            if rises
            else "The counts scatter more than photon noise around what the reconstruction explains"
        )
        reason = what[:1].lower() + what[1:]
        return Verdict(topic, "bad" if much else "caution", f"{what}. {facts}", reason)
    if found.variance < _OVERFIT:
        text = f"The reconstruction reproduces much of the photon noise instead of removing it. {facts}"
        return Verdict(topic, "caution", text, "the reconstruction reproduces much of the photon noise")
    return Verdict(
        topic,
        "good",
        f"Taken over the whole scene, what remains of the counts is photon noise. {facts} A fit takes up some of the "
        "noise, so that a value somewhat below 1 is normal.",
    )


def variance_verdict(result: Reconstruction) -> Verdict | None:
    """Does the size of the residual agree with the variances of the model? None where it cannot tell."""
    told = [result.diagnostics.get(f"variance_factor{end}") for end in ("", "_measured", "_std")]
    factor, measured, std = (float(value) if isinstance(value, int | float) else math.nan for value in told)
    if not all(math.isfinite(value) for value in (factor, measured, std)):
        return None
    if std > _VAGUE or result.status is Status.DIVERGED:
        return None
    topic = "Stated errors"
    text = (
        f"Judged by the residual, the squared error is {max(measured, 0.0):.2f} ± {std:.2f} times what the model alone "
        f"states; the standard deviations include a factor of {factor:.2f} for this"
    )
    if measured - 1 > max(_ERROR_EXCESS, 3 * std):
        what = "the error is larger than the model allows, or the counts hold noise or structure that it does not have"
        return Verdict(topic, "caution", f"{text}: {what}.", "the model may not fit this scene, and its errors neither")
    if measured + 2 * std < _ERROR_LEFT * factor:
        text = f"{text}, which is more than the residual asks for: the intervals are wider than necessary."
        return Verdict(topic, "caution", text, "the stated errors are larger than necessary")
    return Verdict(topic, "good", f"{text}.")


def held_out_verdict(result: Reconstruction) -> Verdict:
    """Did the result predict quanta that it had not seen?"""
    topic = "Held-out quanta"
    told = result.diagnostics.get("held_out")
    if not isinstance(told, dict) or not isinstance(told.get("verdict"), str):
        return Verdict(
            topic,
            "unknown",
            "It was not tested whether the result predicts quanta that it has not seen. `fluorojax reconstruct "
            "--held-out 0.1` tests it, for any method, at the cost of one more reconstruction.",
        )
    level = told.get("level")
    reason = {
        "bad": "the result does not predict held-out quanta",
        "caution": "the prediction of held-out quanta shows a defect",
    }.get(str(level), "")
    known = level in ("good", "caution", "bad")
    return Verdict(topic, str(level) if known else "unknown", _sentence(told["verdict"]), reason)


def spec_verdict(result: Reconstruction) -> Verdict | None:
    """How much of the uncertainty comes from the imaging chain; None where the file does not say."""
    shares = result.diagnostics.get("variance_share_of_chain")
    if not isinstance(shares, dict) or not all(isinstance(share, int | float) for share in shares.values()):
        return None
    total = sum(shares.values())
    if not math.isfinite(total):
        return None
    words = {parameter.name: parameter.quantity for parameter in result.parameters}
    parts = ", ".join(f"{words.get(name, name)} {_percent(share)}" for name, share in shares.items())
    text = f"The imperfectly known imaging chain causes {_percent(total)} of the variance of x ({parts})"
    if total > _MUCH_SPEC:
        text = f"{text}. A better known imaging chain would reduce the errors more than a higher dose."
        return Verdict("Imaging chain", "caution", text, "most of the uncertainty comes from the imaging chain")
    return Verdict("Imaging chain", "good", f"{text}. Photon noise and the prior cause the rest.")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")
