"""The part of a report about one scene."""

from dataclasses import dataclass

import numpy as np

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.metrics import FileScore, SceneScore, whiteness
from fluorojax.plot.display import Window, image_window, raw_attenuation, spread_window
from fluorojax.plot.residuals import counts_and_rate
from fluorojax.reports.fragments import colour_scale, escape, facts, figure_strip, table
from fluorojax.reports.movie import Layer, Movie, make_movie
from fluorojax.reports.palettes import gradient, palette_of
from fluorojax.reports.player import player
from fluorojax.reports.score_rows import QUALITY_COLUMNS, mean_row, quality_row
from fluorojax.reports.spec_cards import spec_cards
from fluorojax.reports.strips import StripPlan, plan_strips, strip_images
from fluorojax.reports.verdicts import (
    convergence_verdict,
    coverage_verdict,
    residual_verdict,
    spec_verdict,
    variance_verdict,
    verdict_list,
)

# Of the bytes of a scene, what the still frames for paper may take.
_STILL_SHARE, _STILL_BYTES = 0.3, 600_000
# What stands elsewhere in the section.
_SAID = ("identifiability", "fisher_information", "verdict", "model", "variance_share_of_chain")


@dataclass(frozen=True)
class SceneInputs:
    """Everything a section is made from; None where it is not known."""

    result: Reconstruction
    scene: Scene | None
    """Gives the measurement and the prior ranges."""
    truth: Scene | None
    """Gives the true images and parameters, where public."""
    score: SceneScore | None

    @property
    def usable(self) -> bool:
        """Whether the result may be used."""
        return self.result.status is not Status.DIVERGED and bool(np.isfinite(self.result.x_hat).all())


def scene_section(inputs: SceneInputs, budget: float) -> tuple[list[str], int]:
    """HTML of one scene, and what its images take; they take ``budget`` bytes at most, or there are none."""
    result, score = inputs.result, inputs.score
    time = "" if np.isnan(result.seconds) else f' <span class="soft">· {result.seconds:.1f} s</span>'
    tone = "soft" if result.status is Status.CONVERGED else "warn"
    status = f'<p><span class="{tone}">{escape(result.status.value)}</span>{time}</p>'
    parts = [f'<section id="{escape(result.name)}">', f"<h2>{escape(result.name)}</h2>", status]
    parts.append(_verdicts(inputs))
    layers = scene_layers(inputs)
    still = plan_strips(result.x_hat.shape, len(layers), min(_STILL_SHARE * budget, _STILL_BYTES))
    movie = None if still is None else make_movie(layers, budget - still[1], frame_time_ms=_frame_time(inputs))
    size = 0
    if still is not None and movie is not None:
        size = still[1] + movie.size
        parts += _images(result, layers, movie, still[0])
    if score is not None:
        parts += ["<h3>Scores</h3>", score_table([score])]
    parts += ["<h3>Corrected specification</h3>", spec_cards(result, inputs.scene, inputs.truth)]
    other = {name: value for name, value in result.diagnostics.items() if name not in _SAID}
    if diagnostics := facts(other):
        parts.append(f"<details><summary>All diagnostics</summary>{diagnostics}</details>")
    return [*parts, "</section>"], size


def scene_layers(inputs: SceneInputs) -> dict[str, Layer]:
    """The sequences that can be shown, in the order in which they are."""
    result, scene, truth = inputs.result, inputs.scene, inputs.truth
    layers = {}
    if scene is not None:
        layers["measured"] = Layer("Measurement −log(y/I₀)/A", raw_attenuation(scene), noisy=True)
    layers["estimate"] = Layer("Reconstruction x̂", result.x_hat)
    if result.x_std is not None:
        layers["spread"] = Layer("Uncertainty: posterior sd of x", result.x_std, "spread")
    if truth is not None and truth.x_true is not None:
        layers["truth"] = Layer("Truth x", truth.x_true)
    return layers


def score_table(scores: list[SceneScore]) -> str:
    """Image quality, challenge scores, coverage of 90 % pixel intervals and status, one row a scene.

    Of several scenes also the mean, over those that did not diverge.
    """
    rows = [quality_row(score) for score in scores]
    if len(scores) > 1:
        rows.append(mean_row(FileScore(tuple(scores), {})))
    return table(QUALITY_COLUMNS, [[escape(cell) for cell in row] for row in rows], "Scores")


def _verdicts(inputs: SceneInputs) -> str:
    result, scene = inputs.result, inputs.scene
    residual = whiteness(*counts_and_rate(result, scene)) if scene is not None and inputs.usable else None
    found = [convergence_verdict(result), coverage_verdict(result, inputs.score), residual_verdict(residual)]
    told = [verdict for verdict in (variance_verdict(result), spec_verdict(result)) if verdict is not None]
    return verdict_list([*found, *told])


def _frame_time(inputs: SceneInputs) -> float | None:
    return None if inputs.scene is None else inputs.scene.acquisition.as_dict()["frame_time_ms"]


def _images(result: Reconstruction, layers: dict[str, Layer], movie: Movie, still: StripPlan) -> list[str]:
    windows = {"image": image_window(result.x_hat), "spread": Window(0.0, 1.0)}
    if result.x_std is not None:
        windows["spread"] = spread_window(result.x_std)
    strips = [_strip(layer, still, windows[layer.kind]) for layer in layers.values()]
    return [
        player(result.name, movie),
        '<p class="warn no-player" hidden></p><noscript><p class="soft">Frames only: the player needs scripts.</p>'
        "</noscript>",
        f'<div class="still">{"".join(strips)}</div>',
    ]


def _strip(layer: Layer, plan: StripPlan, window: Window) -> str:
    palette = palette_of(layer.kind)
    images = strip_images(layer.values, plan, window, palette)
    labels = [f"frame {index}" for index in plan.frames]
    note = f" · averaged over {plan.block}×{plan.block} pixels" if plan.block > 1 else ""
    caption = f"{escape(layer.title)} · {colour_scale(window.low, window.high, gradient(palette))}{escape(note)}"
    return figure_strip(images, labels, layer.title, caption)
