"""What a run tells of a scene, in words: what its reader assumed, its spec, how it stands."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.wording import in_words, nominal_value
from fluorojax.physics.extensions import RECOGNITION

if TYPE_CHECKING:
    from fluorojax.io import ResultSummary

# Scenes that a line about several of them names.
_NAMED = 3


def spec_note(scene: Scene, posterior: SpecPosterior, options: ReconstructOptions) -> str:
    """The spec that a scene is reconstructed with, in the quantities of its protocol."""
    if options.spec not in ("calibrated", "joint"):
        return f"reconstructing with the {options.spec} spec"
    ranges, nominal = scene.ranges.as_dict(), scene.acquisition.as_dict()
    parts = []
    for parameter in posterior.parameters:
        found = posterior.marginals[parameter.name]
        known = {"prior": ranges[parameter.name], "nominal": nominal_value(parameter, nominal)}
        parts.append(in_words(parameter, found.quantile(0.5), found.std, **known))
    return f"spec calibrated, reconstructing; {'; '.join(parts)}"


def fallback_notice(result: "Reconstruction | ResultSummary") -> str | None:
    """Which method took the place of the one that was asked for, and why; None where none did."""
    facts = result.diagnostics.get("fallback")
    if not isinstance(facts, dict):
        return None
    reasons = "; ".join(map(str, facts.get("reasons", ())))
    return f"reconstructed by the method {facts.get('method')!r} in place of {facts.get('instead_of')!r}: {reasons}"


def recognition_notice(result: "Reconstruction | ResultSummary") -> str | None:
    """What the counts showed of the imaging chain that the file does not say; None where nothing was."""
    facts = result.diagnostics.get(RECOGNITION)
    return str(facts["sentence"]) if isinstance(facts, dict) and "sentence" in facts else None


def notices(results: "Iterable[Reconstruction | ResultSummary]") -> list[str]:
    """What a user has to know of results beside their status: recognised imaging chains, and other methods."""
    results = list(results)
    found = [f"{r.name}: {told}" for r in results if (told := recognition_notice(r)) is not None]
    return found + fallback_notices(results)


def fallback_notices(results: "Iterable[Reconstruction | ResultSummary]") -> list[str]:
    """One line for every reason why another method took the place of the one that was asked for, with the scenes."""
    scenes: dict[str, list[str]] = {}
    for result in results:
        if (clause := fallback_notice(result)) is not None:
            scenes.setdefault(clause, []).append(result.name)
    lines = []
    for clause, names in scenes.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"{', '.join(names[:_NAMED])}{more}: {clause}")
    return lines


def standing(result: Reconstruction) -> str:
    """How the computation of a scene ended, and how well its result agrees with the counts."""
    facts = result.diagnostics
    if result.status is Status.PRIOR_ONLY:
        return "prior only: the counts hold no information about this scene"
    if "verdict" in facts:
        return str(facts["verdict"])
    after = f" after {facts['iterations']} iterations" if "iterations" in facts else ""
    parts = [f"{result.status.name.lower().replace('_', ' ')}{after}"]
    if "change_of_mean" in facts:
        rounds = f"{facts['rounds']} round{'' if facts['rounds'] == 1 else 's'}"
        parts.append(f"{rounds} of draws, the last of which moved the mean by {facts['change_of_mean']:.2g} sd")
    if "mean_squared_residual" in facts:
        parts.append(f"mean squared residual {facts['mean_squared_residual']:.3g} (photon noise alone: 1)")
    return ", ".join(parts)


def assumptions(scene: Scene) -> list[str]:
    """What the reader of a scene assumed because the file does not say it, each in one line."""
    found = []
    if assumed := scene.metadata.get("assumed"):
        values = ", ".join(f"{field} {value:g}" for field, value in assumed.items())
        found.append(f"the file does not give the whole protocol; assumed: {values}")
    for name, low in scene.metadata.get("narrowed", {}).items():
        found.append(f"the range of {name} begins at {low:g}, so that the quantity that it offsets stays positive")
    found += [str(remark) for remark in scene.metadata.get("remarks", ())]
    frames = scene.metadata.get("selection", {}).get("frames")
    if frames is not None and frames[0] > 0:
        found.append(f"the gain drift counts from frame {frames[0]}, whose open-beam counts are photons_per_pixel")
    return found
