"""From rows to cells: means over scenes for every method."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from fluorojax.benchmark.contestants import CALIBRATION, CONTESTANTS
from fluorojax.benchmark.runner import Task
from fluorojax.data.spec import SPEC_NAMES

QUALITY = (
    "psnr",
    "ssim",
    "standard",
    "blind",
    "moving_psnr",
    "device_psnr",
    "device_cnr",
    "device_recovery",
    "coverage",
    "coverage_moving",
    "coverage_static",
)
SPEC_ERRORS = tuple(f"{name}_error" for name in SPEC_NAMES)


def summarise(tasks: Iterable[Task], rows: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells in order; each with its methods, each of those with means by scenario, cost and failures.

    A mean is over the scenes that succeeded; ``scenes`` and ``of`` say how many of how many.
    """
    cells: dict[str, dict[str, list[Task]]] = {}
    for task in tasks:
        cells.setdefault(task.source.cell, {}).setdefault(task.method, []).append(task)
    return [_cell(name, methods, rows) for name, methods in cells.items()]


def _cell(name: str, methods: dict[str, list[Task]], rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    known = {method: [rows[task.key] for task in tasks if task.key in rows] for method, tasks in methods.items()}
    calibrations = known.get(CALIBRATION, [])
    shapes = sorted({tuple(row["shape"]) for members in known.values() for row in members if "shape" in row})
    return {
        "cell": name,
        "shapes": [list(shape) for shape in shapes],
        "calibration": {
            "seconds": mean(row.get("seconds") for row in calibrations),
            "cpu_seconds": mean(row.get("cpu_seconds") for row in calibrations),
            "first_seconds": mean(row.get("first_seconds") for row in calibrations),
            "failures": failures(calibrations),
        },
        "methods": [_method(method, rows) for method, rows in known.items() if method != CALIBRATION],
    }


def _method(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    contestant = CONTESTANTS[name]
    by_scenario: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_scenario.setdefault(row["scenario"], []).append(row)
    good = [row for row in rows if row["status"] == "ok"]
    return {
        "method": name,
        "label": contestant.label,
        "note": contestant.note,
        "scenarios": {scenario: _scenario(members) for scenario, members in by_scenario.items()},
        "seconds": mean(row.get("seconds") for row in good),
        "cpu_seconds": mean(row.get("cpu_seconds") for row in good),
        "first_seconds": max((row["first_seconds"] for row in good if row["first_seconds"] is not None), default=None),
        "peak_mb": max((row["peak_mb"] for row in good), default=None),
        "base_mb": max((row["base_mb"] for row in good), default=None),
        "network": next((row["network"] for row in good if "network" in row), None),
        "failures": failures(rows),
        "unconverged": sum("ended" in row for row in good),
    }


def _scenario(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    scores = [row["scores"] for row in rows if row["status"] == "ok"]
    values: dict[str, Any] = {name: mean(score.get(name) for score in scores) for name in QUALITY}
    for name in SPEC_ERRORS:
        values[f"abs_{name}"] = mean(abs(s[name]) for s in scores if s.get(name) is not None)
    return {"scenes": len(scores), "of": len(rows), **values}


def failures(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reasons, each with how many rows it cost."""
    reasons: dict[str, int] = {}
    for row in rows:
        if row["status"] != "ok":
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return [{"reason": reason, "rows": count} for reason, count in reasons.items()]


def mean(values: Iterable[Any]) -> float | None:
    """Mean of the numbers among ``values``; None of none, and of infinities (kept as text in JSON)."""
    known = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return sum(known) / len(known) if known else None
