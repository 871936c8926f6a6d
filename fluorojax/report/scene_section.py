"""The part of a report about one scene."""

import numpy as np
from jaxtyping import Float

from fluorojax.metrics import FileScore, SceneScore
from fluorojax.reconstruction import Reconstruction, Status
from fluorojax.report.fragments import colour_scale, escape, facts, figure_strip, range_bar, table
from fluorojax.report.numbers import number
from fluorojax.report.score_rows import QUALITY_COLUMNS, mean_row, quality_row
from fluorojax.report.strips import (
    StripPlan,
    Window,
    gradient,
    grey_palette,
    heat_palette,
    robust_window,
    strip_images,
)
from fluorojax.scene import Scene
from fluorojax.spec import SPEC_UNITS

ROWS = 4
"""Most strips a scene has: measurement, reconstruction, uncertainty, truth."""


def scene_section(
    result: Reconstruction,
    scene: Scene | None,
    truth: Scene | None,
    score: SceneScore | None,
    plan: StripPlan | None,
) -> list[str]:
    """HTML of one scene; ``scene`` gives the measurement and the prior ranges, ``truth`` the true images and spec.

    ``plan`` says which frames are shown and how large; without one there are no images.
    """
    tone = "soft" if result.status is Status.CONVERGED else "warn"
    status = f'<p><span class="{tone}">{escape(result.status.value)}</span>'
    time = "" if np.isnan(result.seconds) else f' <span class="soft">· {result.seconds:.1f} s</span>'
    parts = [f'<section id="{escape(result.name)}">', f"<h2>{escape(result.name)}</h2>", status + time + "</p>"]
    parts += [] if plan is None else _strips(result, scene, truth, plan)
    if score is not None:
        parts += ["<h3>Scores</h3>", score_table([score])]
    parts += ["<h3>Corrected specification</h3>", _spec_table(result, scene, truth)]
    if diagnostics := facts(result.diagnostics):
        parts += ["<h3>Diagnostics</h3>", diagnostics]
    return [*parts, "</section>"]


def score_table(scores: list[SceneScore]) -> str:
    """Image quality, challenge scores, coverage of 90 % pixel intervals and status, one row a scene.

    Of several scenes also the mean, over those that did not diverge.
    """
    rows = [quality_row(score) for score in scores]
    if len(scores) > 1:
        rows.append(mean_row(FileScore(tuple(scores), {})))
    return table(QUALITY_COLUMNS, [[escape(cell) for cell in row] for row in rows])


def _strips(result: Reconstruction, scene: Scene | None, truth: Scene | None, plan: StripPlan) -> list[str]:
    window = robust_window(result.x_hat, 0.005, 0.995)
    grey = grey_palette()
    parts = []
    if scene is not None:
        what = "Measurement: raw attenuation −log(y / I₀) / A of the counts"
        parts.append(_strip(raw_attenuation(scene), what, plan, window, grey))
    parts.append(_strip(result.x_hat, "Reconstruction x̂: normalised attenuation", plan, window, grey))
    if truth is not None and truth.x_true is not None:
        parts.append(_strip(truth.x_true, "Truth x", plan, window, grey))
    if result.x_std is not None:
        spread = Window(0.0, max(robust_window(result.x_std, 0.0, 0.995).high, 1e-12))
        parts.append(
            _strip(result.x_std, "Uncertainty: posterior standard deviation of x", plan, spread, heat_palette())
        )
    return parts


def raw_attenuation(scene: Scene) -> Float[np.ndarray, "*shape"]:
    """``−log(max(y, ½) / I₀) / A``: the counts on the scale of x, for display beside it; shape of ``scene.y``."""
    protocol = scene.acquisition.as_dict()
    depth = np.log(protocol["photons_per_pixel"]) - np.log(np.maximum(scene.y, 0.5))
    return depth / protocol["attenuation_scale"]


def _strip(values: np.ndarray, what: str, plan: StripPlan, window: Window, palette: np.ndarray) -> str:
    images = strip_images(values, plan, window, palette)
    labels = [f"frame {index}" for index in plan.frames]
    note = f" · averaged over {plan.block}×{plan.block} pixels" if plan.block > 1 else ""
    caption = f"{escape(what)} · {colour_scale(window.low, window.high, gradient(palette))}{escape(note)}"
    return figure_strip(images, labels, what.split(":")[0], caption)


def _spec_table(result: Reconstruction, scene: Scene | None, truth: Scene | None) -> str:
    estimate, std = result.spec.as_dict(), result.spec_std.as_dict()
    ranges = None if scene is None else scene.ranges.as_dict()
    true = None if truth is None or truth.true_spec is None else truth.true_spec.as_dict()
    rows = []
    for name, unit in SPEC_UNITS.items():
        low, high = result.spec_interval[name]
        prior = None if ranges is None else ranges[name]
        value = None if true is None else true[name]
        interval = f"{number(low, 3, sign=True)} … {number(high, 3, sign=True)}"
        cells = [
            escape(f"{name} ({unit})"),
            number(estimate[name], 3, sign=True),
            number(std[name], 3),
            interval,
            "–" if prior is None else f"{number(prior[0], sign=True)} … {number(prior[1], sign=True)}",
            number(value, 3, sign=True),
            "",
        ]
        if prior is not None:
            label = f"{name}: estimate {number(estimate[name], 3)}, 90 % interval {interval}"
            cells[-1] = range_bar(prior, (low, high), estimate[name], value, label)
        rows.append(cells)
    columns = ["parameter", "estimate", "sd", "90 % interval", "prior range", "truth", ""]
    legend = (
        "Signed offsets from the nominal protocol (exposure window, lag time constant) and gain change per frame."
        " Bar: prior range; thick: 90 % interval; dot: estimate; upright line: truth."
    )
    return table(columns, rows) + f'<p class="soft">{escape(legend)}</p>'
