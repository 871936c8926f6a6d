"""The figure of a benchmark: PSNR of every method in the three scenarios, a panel for each cell."""

from pathlib import Path
from typing import Any

from fluorojax.io import atomic_stream
from fluorojax.methods.registry import method_names

# Scenario III, what a user gets, is filled; colours differ in lightness, too.
_MARKS = {
    "I": {"marker": "|", "color": "#767676", "markersize": 11, "markeredgewidth": 1.6},
    "II": {"marker": "o", "color": "#c2571a", "markersize": 6, "markerfacecolor": "none"},
    "III": {"marker": "o", "color": "#1f4e8c", "markersize": 6},
}
_NAMES = {"I": "I: no mismatch", "II": "II: mismatch, nominal spec", "III": "III: mismatch, calibrated spec"}


def draw(document: dict[str, Any], path: Path) -> None:
    """Write the figure as PNG, whole or not at all."""
    from matplotlib.figure import Figure

    cells = document["cells"]
    columns = min(3, len(cells))
    rows = -(-len(cells) // columns)
    labels = list(dict.fromkeys(entry["label"] for cell in cells for entry in cell["methods"]))
    ours = {entry["label"] for cell in cells for entry in cell["methods"] if entry["method"] in method_names()}
    figure = Figure(figsize=(3.1 + 3.3 * columns, rows * (0.9 + 0.24 * len(labels)) + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axis, cell in zip(axes, cells, strict=False):
        _panel(axis, cell, labels)
    # The panels of a row share their axis, which only the first one labels.
    for axis in axes[::columns]:
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        for tick, label in zip(axis.get_yticklabels(), labels, strict=True):
            tick.set_fontweight("bold" if label in ours else "normal")
    for axis in axes[len(cells) :]:
        axis.set_visible(False)
    for axis in axes[max(0, len(cells) - columns) : len(cells)]:
        axis.set_xlabel("PSNR (dB), mean over scenes")
    handles, names = axes[0].get_legend_handles_labels()
    found = dict(zip(names, handles, strict=True))
    figure.legend(list(found.values()), list(found), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    with atomic_stream(path, overwrite=True) as stream:
        figure.savefig(stream, dpi=130, format="png")


def _panel(axis: Any, cell: dict[str, Any], labels: list[str]) -> None:
    values = {entry["label"]: entry["scenarios"] for entry in cell["methods"]}
    for place, label in enumerate(labels):
        found = {name: scores["psnr"] for name, scores in values.get(label, {}).items() if scores["psnr"] is not None}
        if not found:
            axis.annotate("no result", (0.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7)
            continue
        axis.plot([min(found.values()), max(found.values())], [place, place], color="#d0d0d0", zorder=0)
        for name, psnr in found.items():
            axis.plot(psnr, place, linestyle="none", label=_NAMES[name], **_MARKS[name])
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_title(cell["cell"], fontsize=9)
    axis.grid(axis="x", color="#ececec")
    axis.set_axisbelow(True)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
