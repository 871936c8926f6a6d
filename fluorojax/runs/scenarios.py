"""Scenarios I, II and III: an imaging chain without mismatch, a mismatch that is ignored, one that is calibrated."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.io import InputError, open_scenes

if TYPE_CHECKING:
    from fluorojax.metrics import FileScore
    from fluorojax.runs.progress import Progress, ProgressDisplay

SCENARIOS = {
    "I": "no mismatch, nominal spec",
    "II": "mismatch, nominal spec",
    "III": "mismatch, calibrated spec",
}
"""What each scenario is, in a few words."""


def without_mismatch(scene: Scene, seed: int) -> Scene:
    """The scene as an imaging chain without mismatch would have measured it: counts at zero offsets, with the
    electronic noise of its protocol.

    The draw depends on ``seed`` and the name of the scene only. Raises ``ValueError`` for a scene without truth.
    """
    from fluorojax.metrics import expected_counts  # slow to import, and not needed by most who import this module
    from fluorojax.simulation.imaging_chain import count

    if scene.x_true is None:
        raise ValueError(f"{scene.name} has no truth; expected x_true")
    nominal = Spec.nominal(scene.operator.parameters)
    rate = expected_counts(scene.x_true, nominal, scene.acquisition, scene.operator).astype(np.float64)
    rng = np.random.default_rng([seed, *scene.name.encode()])
    return replace(scene, y=count(rng, rate, scene.acquisition.as_dict()["electronic_noise"]), true_spec=nominal)


def run_scenarios(
    source: str | PathLike[str],
    settings: dict[str, Any],
    *,
    make_display: "Callable[[str], ProgressDisplay]",
    on_start: Callable[[], object] = lambda: None,
) -> "dict[str, FileScore]":
    """Scores of the three scenarios, by their names.

    **Arguments:** ``source`` a challenge file with truth; ``settings`` fields of
    :class:`~fluorojax.data.reconstruction.ReconstructOptions` other than ``spec``, ``seed`` among them;
    ``make_display(name)`` a progress display as a context manager;
    ``on_start`` is called once the scenes are found to be fit.

    The means of all three are over the same scenes: those that diverged in none. Raises
    :class:`fluorojax.io.InputError` where a scene is bad or has no truth.
    """
    measured = list(open_scenes(source))
    for scene in measured:
        if scene.x_true is None:
            raise InputError(source, scene.name, "x_true", "missing; expected the truth, which the scenarios need")
    on_start()
    matched = [without_mismatch(scene, settings["seed"]) for scene in measured]

    scores = {}
    for scenario, spec, scenes in (
        ("I", "nominal", matched),
        ("II", "nominal", measured),
        ("III", "calibrated", measured),
    ):
        with make_display(scenario) as progress:
            scores[scenario] = _run_one(scenes, source, {**settings, "spec": spec}, progress)
    return _paired(scores)


def _run_one(
    scenes: list[Scene], source: str | PathLike[str], settings: dict[str, Any], progress: "Progress"
) -> "FileScore":
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.metrics import FileScore, score_scene
    from fluorojax.runs.batches import reconstruct_scenes  # slow to import: bad input is reported before

    truth = {scene.name: scene for scene in scenes}
    results = reconstruct_scenes(scenes, ReconstructOptions(**{"held_out": 0.0, **settings}), progress=progress)
    scores = {result.name: score_scene(result, truth[result.name], file=source) for result in results}
    return FileScore(tuple(scores[name] for name in truth), {})


def _paired(scores: "dict[str, FileScore]") -> "dict[str, FileScore]":
    """The scores, with means over the scenes that did not diverge in any scenario."""
    diverged = frozenset(name for score in scores.values() for name in score.diverged)
    return {scenario: replace(score, unpaired=diverged) for scenario, score in scores.items()}


def verdict(scores: "Mapping[str, FileScore]") -> str:
    """One sentence that says how much PSNR the mismatch costs and how much of it the calibration wins back."""
    psnr = {name: score.means()["psnr"] for name, score in scores.items()}
    cost, gain = psnr["I"] - psnr["II"], psnr["III"] - psnr["II"]
    if math.isnan(cost):
        return "Nothing to compare: every scene diverged in one of the scenarios."
    if not cost > 0.05:
        return f"Mismatch costs no measurable PSNR here ({cost:+.2f} dB); calibration changes it by {gain:+.2f} dB."
    if gain < 0:
        return f"Mismatch costs {cost:.2f} dB of PSNR; calibration loses another {-gain:.2f} dB."
    return (
        f"Mismatch costs {cost:.2f} dB of PSNR; calibration wins back {gain:.2f} dB of it ({100 * gain / cost:.0f} %)."
    )
