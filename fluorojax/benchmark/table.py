"""The Markdown table of a benchmark."""

from collections.abc import Sequence
from typing import Any

from fluorojax.benchmark.matrix import SCENARIOS

_DASH = "–"
_COLUMNS = (
    "method",
    "PSNR I",
    "II",
    "III",
    "SSIM III",
    "standard II",
    "III",
    "blind II",
    "III",
    "moving PSNR III",
    "device PSNR III",
    "device CNR III",
    "90 % coverage III (moving)",
    "s per scene (CPU)",
    "first call",
    "peak MB (added)",
    "weights (operations per pixel)",
    "note",
)
_LEGEND = (
    "Scenarios: I no mismatch, nominal spec; II mismatch, nominal spec; III mismatch, calibrated spec: fluorojax and "
    "the learned peers calibrate as part of their runs, the others are handed the spec that fluorojax calibrated "
    '("+ calibration"), whose time stands above each table and not in their rows. Means over scenes. PSNR in dB, data '
    "range 1; moving and device PSNR over the fifth of the pixels that vary most in time and over the devices; device "
    "CNR: contrast to a ring around the devices over the standard deviation of the error there. Coverage of 90 % "
    "intervals where a method gives a standard deviation: that of classical filters is the photon noise they let "
    "through, not their bias. Times in seconds, wall and all processors, compilation (first call) apart; memory: peak "
    "of the process that runs the method, and how much of it the method added. Weights of a network in thousands, and "
    "thousands of multiplications per pixel and frame of one pass; `learned` makes two to five passes, its peers two."
)


def markdown(document: dict[str, Any]) -> str:
    """The tables of all cells, with what made them."""
    lines = ["# Benchmark", "", _LEGEND, ""]
    for cell in document["cells"]:
        lines += _cell(cell)
    lines += ["## Made with", "", f"Seed {document['settings']['seed']}. Versions: " + _versions(document["versions"])]
    if document["machine"]:
        lines += ["", f"Machine: {document['machine']}."]
    return "\n".join(lines) + "\n"


def _cell(cell: dict[str, Any]) -> list[str]:
    shapes = ", ".join("×".join(map(str, shape)) for shape in cell["shapes"])
    lines = [f"## {cell['cell']}" + (f" ({shapes})" if shapes else ""), ""]
    calibration = cell["calibration"]
    if calibration["seconds"] is not None:
        first = "" if calibration["first_seconds"] is None else f", first call {_seconds(calibration['first_seconds'])}"
        lines.append(f"Calibration: {_seconds(calibration['seconds'])} s per scene{first}. {_drift(cell['methods'])}")
        lines.append("")
    for failure in calibration["failures"]:
        lines += [f"Calibration failed on {failure['rows']} scenes: {failure['reason']}.", ""]
    lines += ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    best = _best(cell["methods"])
    lines += ["| " + " | ".join(_row(entry, best)) + " |" for entry in cell["methods"]]
    return [*lines, ""]


def _drift(methods: Sequence[dict[str, Any]]) -> str:
    for scenario in ("II", "III"):
        found = [m["scenarios"][scenario]["abs_gain_drift_error"] for m in methods if scenario in m["scenarios"]]
        if scenario == "III" and any(value is not None for value in found):
            value = next(value for value in found if value is not None)
            return f"Gain drift, mean absolute error: {value:.3f} %/frame."
    return ""


def _best(methods: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """Highest mean of each scenario and quality, among methods that finished as many scenes as any."""
    best: dict[tuple[str, str], float] = {}
    for scenario in SCENARIOS:
        found = [m["scenarios"][scenario] for m in methods if scenario in m["scenarios"]]
        most = max((values["scenes"] for values in found), default=0)
        for name in ("psnr", "ssim", "standard", "blind", "moving_psnr", "device_psnr", "device_cnr"):
            known = [v[name] for v in found if v[name] is not None and v["scenes"] == most]
            if known:
                best[scenario, name] = max(known)
    return best


def _row(entry: dict[str, Any], best: dict[tuple[str, str], float]) -> list[str]:
    def number(scenario: str, name: str, digits: int) -> str:
        value = entry["scenarios"].get(scenario, {}).get(name)
        if value is None:
            return _DASH
        text = f"{value:.{digits}f}"
        top = best.get((scenario, name))
        return f"**{text}**" if top is not None and text == f"{top:.{digits}f}" else text

    covered = entry["scenarios"].get("III", {})
    coverage = _DASH
    if covered.get("coverage") is not None:
        moving = covered["coverage_moving"]
        coverage = f"{covered['coverage']:.3f}" + ("" if moving is None else f" ({moving:.3f})")
    memory = _DASH
    if entry["peak_mb"] is not None:
        memory = f"{entry['peak_mb']:.0f} ({entry['peak_mb'] - entry['base_mb']:.0f})"
    cells = [
        entry["label"],
        *(number(scenario, "psnr", 2) for scenario in SCENARIOS),
        number("III", "ssim", 4),
        *(number(scenario, name, 4) for name in ("standard", "blind") for scenario in ("II", "III")),
        *(number("III", name, 2) for name in ("moving_psnr", "device_psnr", "device_cnr")),
        coverage,
        _time(entry),
        _seconds(entry["first_seconds"]),
        memory,
        _network(entry),
        _note(entry),
    ]
    return [cell.replace("|", "/") for cell in cells]


def _note(entry: dict[str, Any]) -> str:
    parts = [entry["note"]] if entry["note"] else []
    parts += [f"failed, {failure['rows']} rows: {failure['reason']}" for failure in entry["failures"]]
    if entry["unconverged"]:
        parts.append(f"{entry['unconverged']} rows stopped before convergence")
    finished = [f"{values['scenes']}" for values in entry["scenarios"].values()]
    if finished and not entry["failures"]:
        parts.append(f"n = {'/'.join(dict.fromkeys(finished))}")
    return "; ".join(parts)


def _network(entry: dict[str, Any]) -> str:
    size = entry.get("network")
    return _DASH if size is None else f"{size['weights'] / 1e3:.0f} ({size['operations'] / 1e3:.1f})"


def _time(entry: dict[str, Any]) -> str:
    if entry["seconds"] is None:
        return _DASH
    return f"{_seconds(entry['seconds'])} ({_seconds(entry['cpu_seconds'])})"


def _seconds(value: float | None) -> str:
    if value is None:
        return _DASH
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _versions(versions: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items()) + "."
