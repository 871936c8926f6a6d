"""A figure of what a mismatch of the imaging chain costs, and of what the calibration wins back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fluorojax.metrics import FileScore

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "standard": "standard score", "blind": "blind score"}


def scenario_bars(scores: Mapping[str, FileScore]) -> "Figure":
    """Show what a mismatch costs: the mean of each score as a bar for every scenario, and every scene as a dot.

    **Arguments:** ``scores`` by scenario (I, II, III), as :func:`fluorojax.runs.scenarios.run_scenarios` returns them.
    Only scenes that enter the means are drawn. **Raises** ``ValueError`` where no scene is left in a scenario.
    """
    from fluorojax.plot._canvas import BLUE, GREEN, GREY, ORANGE, new_figure

    if not scores:
        raise ValueError("there are no scenarios; expected at least one")
    for name, score in scores.items():
        if not score.averaged:
            raise ValueError(f"scenario {name}: no scene to average; expected one that did not diverge")
    colours = [(BLUE, ORANGE, GREEN, GREY)[index % 4] for index in range(len(scores))]
    figure = new_figure(10.4, 3.0)
    for axes, (field, label) in zip(figure.subplots(1, len(_SCORES)), _SCORES.items(), strict=True):
        means = [score.means()[field] for score in scores.values()]
        bars = axes.bar(range(len(scores)), means, color=colours, alpha=0.75, width=0.7)
        # Bars start at zero, so that a difference of a decibel is hard to see. The number beside each bar tells it.
        axes.bar_label(bars, fmt="%.2f" if field == "psnr" else "%.3f", padding=4, fontsize="small")
        for place, score in enumerate(scores.values()):
            values = [getattr(scene, field) for scene in score.averaged]
            spread = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(place + spread, values, ".", color="black", markersize=4)
        axes.margins(y=0.12)
        axes.set_xticks(range(len(scores)), list(scores))
        axes.set_title(label, fontsize="medium")
    figure.supxlabel("scenario", fontsize="medium")
    return figure
