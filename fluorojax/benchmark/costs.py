"""Cost curves of the reconstruction: time and memory against frames, size and batch, with fitted exponents."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fluorojax.benchmark.contestants import OURS_CODE
from fluorojax.benchmark.rows import RowStore, code_digest, row_key
from fluorojax.benchmark.runner import WORKER, run_worker
from fluorojax.benchmark.sources import SimulatedSource
from fluorojax.io import package_versions
from fluorojax.runs.progress import Progress

CURVES = {
    "frames": "frames T, at 64 × 64",
    "size": "side length N, at 8 frames",
    "batch": "scenes B of a batch, at 16 × 64 × 64",
}
_COUNTS = 50.0


@dataclass(frozen=True)
class CostPoint:
    """One point: ``batch`` scenes of ``frames`` × ``size`` × ``size`` in one chunk."""

    curve: str
    value: int
    frames: int
    size: int
    batch: int

    def sources(self, seed: int) -> list[SimulatedSource]:
        """Its scenes."""
        return [
            SimulatedSource("public", "slow", _COUNTS, self.frames, self.size, seed, index, matched=False)
            for index in range(self.batch)
        ]


def cost_points() -> list[CostPoint]:
    """8 to 128 frames, 64² to 512² pixels, 1 to 16 scenes."""
    points = [CostPoint("frames", frames, frames, 64, 1) for frames in (8, 16, 32, 64, 128)]
    points += [CostPoint("size", size, 8, size, 1) for size in (64, 128, 256, 512)]
    points += [CostPoint("batch", batch, 16, 64, batch) for batch in (1, 2, 4, 8, 16)]
    return points


def run_costs(
    store: RowStore,
    cache: Path,
    progress: Progress,
    *,
    method: str = "map",
    seed: int = 0,
    limit_s: float,
    points: Sequence[CostPoint] | None = None,
    worker: Sequence[str] = WORKER,
) -> list[tuple[CostPoint, dict[str, Any]]]:
    """Rows of all points; those in the store are kept. Every point has a process of its own, for its peak memory."""
    points = cost_points() if points is None else list(points)
    code, versions = code_digest((*OURS_CODE, "simulation")), package_versions()
    found = []
    progress.start(len(points), "point")
    cache.mkdir(parents=True, exist_ok=True)
    for done, point in enumerate(points):
        facts = {"cost": asdict(point), "method": method, "seed": seed, "code": code, "versions": versions}
        key = row_key(facts)
        if key in store.rows:
            progress.skip(1)
        else:
            progress.update(done, f"{point.curve} = {point.value}")
            sources = point.sources(seed)
            for source in sources:
                source.load(cache)
            request = {"kind": "cost", "method": method, "seed": seed, "cache": str(cache)}
            task = {"sources": [asdict(source) for source in sources]}
            measured = next(run_worker(request, [task], limit_s, worker))
            store.add({"key": key, **facts, **measured})
        found.append((point, store.rows[key]))
        progress.update(done + 1, f"{point.curve} = {point.value}: {_outcome(store.rows[key])}")
    return found


def _outcome(row: dict[str, Any]) -> str:
    if row["status"] != "ok":
        return row["reason"]
    return f"{row['seconds']:.3g} s, {row['cpu_seconds']:.3g} s of processors, {row['peak_mb']:.0f} MB"


@dataclass(frozen=True)
class Exponent:
    """Slope of ``log value = a + b log n`` by least squares."""

    slope: float
    std: float
    """Standard error; NaN from two points."""


def fit_exponent(numbers: Sequence[float], values: Sequence[float]) -> Exponent | None:
    """Exponent of a power law; None from fewer than two positive values."""
    pairs = [(n, v) for n, v in zip(numbers, values, strict=True) if v is not None and v > 0]
    if len(pairs) < 2:
        return None
    logs = np.log(np.array(pairs, float))
    x, y = logs[:, 0] - logs[:, 0].mean(), logs[:, 1] - logs[:, 1].mean()
    slope = float(x @ y / (x @ x))
    freedom = len(pairs) - 2
    std = float(np.sqrt(np.sum((y - slope * x) ** 2) / freedom / (x @ x))) if freedom else float("nan")
    return Exponent(slope, std)


_MEASURES = {
    "wall s": lambda row: row["seconds"],
    "CPU s": lambda row: row["cpu_seconds"],
    "added memory, MB": lambda row: row["peak_mb"] - row["base_mb"],
}


def cost_document(found: Sequence[tuple[CostPoint, dict[str, Any]]], facts: dict[str, Any]) -> dict[str, Any]:
    """Plain values: every point, and the exponents of every curve."""
    document = {**facts, "curves": {}}
    for curve, meaning in CURVES.items():
        rows = [(point, row) for point, row in found if point.curve == curve]
        good = [(point, row) for point, row in rows if row["status"] == "ok"]
        exponents = {}
        for name, read in _MEASURES.items():
            fit = fit_exponent([point.value for point, _ in good], [read(row) for _, row in good])
            exponents[name] = None if fit is None else asdict(fit)
        document["curves"][curve] = {
            "against": meaning,
            "points": [{**asdict(point), **row} for point, row in rows],
            "exponents": exponents,
            "bytes_per_value": _bytes_per_value(good),
        }
    return document


def _bytes_per_value(good: Sequence[tuple[CostPoint, dict[str, Any]]]) -> float | None:
    """Growth of the peak from the smallest to the largest point, bytes per frame and pixel of all scenes."""
    sizes = [(point.frames * point.size**2 * point.batch, row["peak_mb"]) for point, row in good]
    if len(sizes) < 2:
        return None
    (small, low), (large, high) = min(sizes), max(sizes)
    return (high - low) * 1024**2 / (large - small)


def cost_markdown(document: dict[str, Any]) -> str:
    """The tables of the cost curves."""
    lines = [f"# Cost of fluorojax {document['method']}", "", _COST_LEGEND, ""]
    for curve, content in document["curves"].items():
        if not content["points"]:
            continue
        lines += [f"## Against {content['against']}", ""]
        lines += [f"| {curve} | first call, s | wall s | CPU s | peak MB | added MB | note |", "|" + "---|" * 7]
        for point in content["points"]:
            if point["status"] != "ok":
                lines.append(f"| {point['value']} | – | – | – | – | – | {point['reason'].replace('|', '/')} |")
                continue
            numbers = [point["first_seconds"], point["seconds"], point["cpu_seconds"]]
            memory = [point["peak_mb"], point["peak_mb"] - point["base_mb"]]
            cells = [f"{value:.2f}" for value in numbers] + [f"{value:.0f}" for value in memory]
            lines.append(f"| {point['value']} | " + " | ".join(cells) + " | |")
        fits = [
            f"{name} ∝ n^{fit['slope']:.2f}"
            + ("" if fit["std"] is None or np.isnan(fit["std"]) else f" ± {fit['std']:.2f}")
            for name, fit in content["exponents"].items()
            if fit is not None
        ]
        if content["bytes_per_value"] is not None:
            fits.append(f"memory grows by {content['bytes_per_value']:.0f} bytes per frame and pixel")
        lines += ["", f"Fitted: {'; '.join(fits)}." if fits else "Too few points for a fit.", ""]
    return "\n".join(lines)


_COST_LEGEND = (
    "The first call includes the compilation, the second is the measurement; calibration and uncertainty map are "
    "included. Memory: peak of the process over both calls, and how much of it was added to interpreter, libraries and "
    "scenes; most of that is the compiler's, whatever the size, so that its exponent is small."
)


def draw_costs(document: dict[str, Any], path: Path) -> None:
    """Write the cost curves with their fitted lines as PNG, whole or not at all."""
    from matplotlib.figure import Figure

    from fluorojax.io import atomic_stream

    curves = {name: content for name, content in document["curves"].items() if content["points"]}
    figure = Figure(figsize=(3.6 * len(curves), 5.6), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False, sharey="row", sharex="col")
    for column, (name, content) in enumerate(curves.items()):
        good = [point for point in content["points"] if point["status"] == "ok"]
        numbers = np.array([point["value"] for point in good], float)
        seconds, fit = np.array([point["cpu_seconds"] for point in good], float), content["exponents"]["CPU s"]
        axes[0, column].loglog(numbers, seconds, "o", color="#1f4e8c")
        if fit is not None:
            centre = np.exp(np.mean(np.log(numbers))), np.exp(np.mean(np.log(seconds)))
            line = centre[1] * (numbers / centre[0]) ** fit["slope"]
            axes[0, column].loglog(numbers, line, color="#c2571a", label=f"exponent {fit['slope']:.2f}")
            axes[0, column].legend(frameon=False, fontsize=9)
        axes[1, column].semilogx(numbers, [point["peak_mb"] for point in good], "o-", color="#1f4e8c")
        for axis in axes[:, column]:
            axis.set_xticks(numbers, [f"{n:g}" for n in numbers])
            axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            axis.grid(color="#ececec")
            axis.spines[["top", "right"]].set_visible(False)
        axes[0, column].set_title(content["against"], fontsize=9)
        axes[1, column].set_xlabel(name)
    axes[1, 0].set_ylim(0, 1.1 * axes[1, 0].get_ylim()[1])
    axes[0, 0].set_ylabel("processor seconds")
    axes[1, 0].set_ylabel("peak memory, MB")
    with atomic_stream(path, overwrite=True) as stream:
        figure.savefig(stream, dpi=130, format="png")
