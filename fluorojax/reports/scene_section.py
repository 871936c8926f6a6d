"""The part of a report about one scene."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup

from fluorojax.data.reconstruction import Reconstruction, Status, matching_times
from fluorojax.data.scene import Scene
from fluorojax.metrics import FileScore, SceneScore, standardised_residuals, whiteness
from fluorojax.plot.display import Window, image_window, raw_attenuation, spread_window
from fluorojax.plot.residuals import counts_and_rate
from fluorojax.reports.facts import protocol
from fluorojax.reports.fragments import facts, figure_strip, table
from fluorojax.reports.movie import Layer, make_movie
from fluorojax.reports.palettes import SIGNED_LIMIT, gradient, palette_of
from fluorojax.reports.player import player
from fluorojax.reports.score_rows import QUALITY_COLUMNS, mean_row, quality_row
from fluorojax.reports.spec_cards import spec_cards
from fluorojax.reports.strips import StripPlan, plan_strips, strip_images
from fluorojax.reports.templates import render
from fluorojax.reports.verdicts import judge, verdict_list

# Of the bytes of a scene, what the still frames for paper may take.
_STILL_SHARE, _STILL_BYTES = 0.3, 600_000
# What stands elsewhere in the section.
_SAID = (
    "between",
    "identifiability",
    "fisher_information",
    "verdict",
    "model",
    "variance_share_of_chain",
    "held_out",
    "fallback",
    "recognised",
)


@dataclass(frozen=True)
class SceneInputs:
    """Everything that a section is made from. A field is None where it is not known."""

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

    @cached_property
    def fit(self) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]] | None:
        """Counts, and counts expected from the result; None without the measurement or a result that may be used."""
        frames = self.result.at_frames()
        if self.scene is None or frames is None or not self.usable or frames.x_hat.shape != self.scene.y.shape:
            return None
        return counts_and_rate(frames, self.scene)

    @property
    def electronic_noise(self) -> float:
        """Standard deviation of the electronic noise of the counts, quanta; 0 where the scene is not known."""
        return 0.0 if self.scene is None else self.scene.acquisition.as_dict()["electronic_noise"]


def scene_section(inputs: SceneInputs, budget: float) -> tuple[Markup, int]:
    """HTML of one scene, and the bytes that its images take: at most ``budget``, and 0 where no images fit."""
    result, score = inputs.result, inputs.score
    layers = scene_layers(inputs)
    printed = {name: layer for name, layer in layers.items() if layer.kind != "signed"}
    still = plan_strips(result.x_hat.shape, len(printed), min(_STILL_SHARE * budget, _STILL_BYTES))
    movie = None if still is None else make_movie(layers, budget - still[1], frame_time_ms=_frame_time(inputs))
    other = {name: value for name, value in result.diagnostics.items() if name not in _SAID}
    section = render(
        "scene",
        name=result.name,
        seconds=None if np.isnan(result.seconds) else result.seconds,
        verdicts=_verdicts(inputs),
        player="" if movie is None else player(result.name, movie),
        strips=[] if still is None or movie is None else _strips(result, printed, still[0]),
        scores="" if score is None else score_table([score]),
        cards=spec_cards(result, inputs.scene, inputs.truth),
        protocol=protocol(result, inputs.scene),
        diagnostics=facts(other),
    )
    return section, 0 if still is None or movie is None else still[1] + movie.size


def scene_layers(inputs: SceneInputs) -> dict[str, Layer]:
    """The sequences that can be shown, in the order of the page."""
    result, scene, truth = inputs.result, inputs.scene, inputs.truth
    layers = {}
    if scene is not None and result.times_ms is None:
        layers["measured"] = Layer("Measurement −log(y/I₀)/A", raw_attenuation(scene), noisy=True)
    elif scene is not None:
        nearest = _nearest(result, scene)
        layers["measured"] = Layer(
            "Measurement −log(y/I₀)/A, nearest frame", raw_attenuation(scene)[nearest], noisy=True
        )
    layers["estimate"] = Layer("Reconstruction x̂", result.x_hat)
    if result.x_std is not None:
        layers["spread"] = Layer("Uncertainty: posterior sd of x", result.x_std, "spread")
    true = None if truth is None else _true_images(result, truth)
    if true is not None:
        layers["truth"] = Layer("Truth x", true)
        if result.x_std is not None and inputs.usable:
            with np.errstate(divide="ignore", invalid="ignore"):
                score = (result.x_hat - true) / result.x_std
            layers["zscore"] = Layer("z-score (x̂ − x)/sd", _bounded(score), "signed", noisy=True)
    if "zscore" not in layers and inputs.fit is not None and result.times_ms is None:
        residual = _bounded(standardised_residuals(*inputs.fit, electronic_noise=inputs.electronic_noise))
        layers["residual"] = Layer("Residual (y − λ)/sd(y)", residual, "signed", noisy=True)
    return layers


def _bounded(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Standardised values within ±6, where the colours have ended long before, so that outliers cost no precision."""
    return np.clip(values, -1.5 * SIGNED_LIMIT, 1.5 * SIGNED_LIMIT).astype(np.float32)


def score_table(scores: list[SceneScore]) -> Markup:
    """Image quality, challenge scores, coverage of 90 % pixel intervals and status, one row a scene.

    Several scenes also have their mean in the last row, over those that did not diverge.
    """
    rows = [quality_row(score) for score in scores]
    if len(scores) > 1:
        rows.append(mean_row(FileScore(tuple(scores), {})))
    return table(QUALITY_COLUMNS, rows, "Scores")


def _verdicts(inputs: SceneInputs) -> Markup:
    residual = None
    if inputs.fit is not None:
        residual = whiteness(*inputs.fit, electronic_noise=inputs.electronic_noise)
    return verdict_list(*judge(inputs.result, inputs.score, residual))


def _nearest(result: Reconstruction, scene: Scene) -> Int[np.ndarray, " n"]:
    """The number of the frame that is nearest to each image."""
    assert result.times_ms is not None
    frames = np.rint(result.times_ms / scene.acquisition.as_dict()["frame_time_ms"]).astype(int)
    return np.clip(frames, 0, len(scene.y) - 1)


def _true_images(result: Reconstruction, truth: Scene) -> Float[np.ndarray, "*shape"] | None:
    """The truth at the times of the images; None where it is not known at all of them."""
    if truth.x_true is None or result.times_ms is None:
        return truth.x_true
    protocol = truth.acquisition.as_dict()
    index = matching_times(protocol["frame_time_ms"] * np.arange(len(truth.x_true)), result.times_ms)
    if (index < 0).any():
        return None
    scale = protocol["attenuation_scale"]
    return truth.x_true[index] * np.float32(scale / result.nominal.get("attenuation_scale", scale))


def _frame_time(inputs: SceneInputs) -> float | None:
    if inputs.scene is None or inputs.result.times_ms is not None:
        return inputs.result.frame_time_ms
    return inputs.scene.acquisition.as_dict()["frame_time_ms"]


def _strips(result: Reconstruction, layers: dict[str, Layer], plan: StripPlan) -> list[Markup]:
    """Still frames of every layer, for paper and for browsers without scripts."""
    windows = {"image": image_window(result.x_hat), "spread": Window(0.0, 1.0)}
    if result.x_std is not None:
        windows["spread"] = spread_window(result.x_std)
    return [_strip(layer, plan, windows[layer.kind]) for layer in layers.values()]


def _strip(layer: Layer, plan: StripPlan, window: Window) -> Markup:
    palette = palette_of(layer.kind)
    images = strip_images(layer.values, plan, window, palette)
    labels = [f"frame {index}" for index in plan.frames]
    note = f" · averaged over {plan.block}×{plan.block} pixels" if plan.block > 1 else ""
    return figure_strip(images, labels, layer.title, window=(window.low, window.high, gradient(palette)), note=note)
