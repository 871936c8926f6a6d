"""Figures of results: functions that take a result and return a matplotlib figure, and a drawing of an imaging chain.

The functions use neither pyplot nor other global state, and they import matplotlib only when they draw. Save a figure
with ``figure.savefig("name.png")``. A notebook shows a figure that is the last line of a cell.
"""

from fluorojax.plot.chain import chain_picture
from fluorojax.plot.curves import time_curve
from fluorojax.plot.display import Window
from fluorojax.plot.images import before_after, frame_strip, uncertainty_overlay
from fluorojax.plot.interval_coverage import coverage_curve, error_vs_sd
from fluorojax.plot.photon_transfer import photon_transfer_figure
from fluorojax.plot.residuals import residual_figure
from fluorojax.plot.scenarios import scenario_bars
from fluorojax.plot.spec import spec_posteriors

__all__ = [
    "Window",
    "before_after",
    "chain_picture",
    "coverage_curve",
    "error_vs_sd",
    "frame_strip",
    "photon_transfer_figure",
    "residual_figure",
    "scenario_bars",
    "spec_posteriors",
    "time_curve",
    "uncertainty_overlay",
]
