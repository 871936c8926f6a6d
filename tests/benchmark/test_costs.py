"""Cost curves: exponents, resumption, tables."""

import io
import sys

import numpy as np
import pytest

from fluorojax.benchmark.costs import (
    CostPoint,
    cost_document,
    cost_markdown,
    cost_points,
    draw_costs,
    fit_exponent,
    run_costs,
)
from fluorojax.benchmark.rows import RowStore
from fluorojax.runs.progress import LineProgress, ProgressDisplay

# Time goes with the frames, memory with the pixels.
WORKER = """
import json, sys
for task in json.loads(sys.stdin.readline())["tasks"]:
    source = task["sources"][0]
    cost = len(task["sources"]) * source["frames"]
    print(json.dumps({"status": "ok", "first_seconds": 9.0, "seconds": 0.1 * cost, "cpu_seconds": 0.2 * cost,
                      "base_mb": 100.0, "peak_mb": 100.0 + cost * source["size"] ** 2 / 1e3}))
"""


def test_a_power_law_gives_its_exponent():
    fit = fit_exponent([8, 16, 32, 64], [3 * n**1.7 for n in (8, 16, 32, 64)])
    assert fit.slope == pytest.approx(1.7)
    assert fit.std == pytest.approx(0, abs=1e-6)


def test_standard_error_is_that_of_least_squares():
    n, noise = np.array([1.0, 2, 4, 8, 16]), np.array([0.1, -0.1, 0.05, -0.1, 0.05])
    fit = fit_exponent(n, np.exp(np.log(n) + noise))
    design = np.stack([np.ones(5), np.log(n)], 1)
    coefficients, residual, *_ = np.linalg.lstsq(design, np.log(n) + noise, rcond=None)
    covariance = residual[0] / 3 * np.linalg.inv(design.T @ design)
    assert (fit.slope, fit.std) == pytest.approx((coefficients[1], np.sqrt(covariance[1, 1])))


def test_too_few_points_give_none():
    assert fit_exponent([8], [1.0]) is None
    assert fit_exponent([8, 16], [0.0, 1.0]) is None
    assert np.isnan(fit_exponent([8, 16], [1.0, 2.0]).std)


def test_curves_span_what_they_promise():
    values = {curve: [p.value for p in cost_points() if p.curve == curve] for curve in ("frames", "size", "batch")}
    assert [(v[0], v[-1]) for v in values.values()] == [(8, 128), (64, 512), (1, 16)]


def test_points_are_measured_once_and_fitted(tmp_path):
    points = [CostPoint("frames", n, n, 16, 1) for n in (2, 4, 8)] + [CostPoint("batch", n, 2, 16, n) for n in (1, 2)]

    def run(worker, progress):
        with RowStore(tmp_path / "costs.jsonl", {"seed": 0}) as store:
            options = {"limit_s": 60.0, "points": points, "worker": worker}
            return run_costs(store, tmp_path / "scenes", progress, **options)

    found = run((sys.executable, "-c", WORKER), LineProgress("costs", stream := io.StringIO(), interval=0.0))
    lines = stream.getvalue().splitlines()
    assert lines[-1].endswith("batch = 2: 0.4 s, 0.8 s of processors, 101 MB")
    assert "/point, " in lines[-1] or " points/s, " in lines[-1]
    again = run((sys.executable, "-c", "raise SystemExit('must not run')"), ProgressDisplay())
    assert again == found
    document = cost_document(found, {"method": "map"})
    exponents = document["curves"]["frames"]["exponents"]
    assert exponents["wall s"]["slope"] == pytest.approx(1.0)
    assert exponents["added memory, MB"]["slope"] == pytest.approx(1.0)
    draw_costs(document, tmp_path / "costs.png")
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")
    text = cost_markdown(document)
    assert "| 8 | 9.00 | 0.80 | 1.60 | 102 | 2 | |" in text
    assert "wall s ∝ n^1.00 ± 0.00" in text
    assert document["curves"]["frames"]["bytes_per_value"] == pytest.approx(1024**2 / 1e3)


def test_a_failed_point_is_a_row_with_its_reason(tmp_path):
    with RowStore(tmp_path / "costs.jsonl", {"seed": 0}) as store:
        worker = (sys.executable, "-c", "raise SystemExit('no room')")
        points = [CostPoint("size", 16, 2, 16, 1)]
        options = {"limit_s": 60.0, "points": points, "worker": worker}
        found = run_costs(store, tmp_path / "scenes", ProgressDisplay(), **options)
    text = cost_markdown(cost_document(found, {"method": "map"}))
    assert "process ended with code 1: no room" in text
    assert "Too few points for a fit." in text
