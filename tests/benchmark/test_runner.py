"""Rows are made once, kept, and a method that fails is a row with its reason."""

import subprocess
import sys
import time

import pytest

from fluorojax.benchmark.contestants import CALIBRATION, CONTESTANTS
from fluorojax.benchmark.matrix import Matrix
from fluorojax.benchmark.rows import RowStore
from fluorojax.benchmark.runner import Benchmark, run_worker
from fluorojax.benchmark.summary import summarise
from fluorojax.benchmark.table import markdown
from fluorojax.io import InputError
from fluorojax.io.lock import FileLock
from fluorojax.runs.progress import ProgressDisplay


class Notes(ProgressDisplay):
    def __init__(self):
        self.total, self.unit, self.lines = None, None, []

    def start(self, total, unit):
        self.total, self.unit = total, unit

    def update(self, done, note):
        self.lines.append(note)


@pytest.fixture
def run(tmp_path, challenge, worker):
    def call(*behaviour, methods=("raw", "map"), scenarios=("I", "II", "III"), **options):
        matrix = Matrix(methods=methods, scenarios=scenarios, scenes=0)
        bench = Benchmark(
            matrix, tuple(matrix.of_files([challenge])), tmp_path / "scenes", 60.0, worker=worker(*behaviour)
        )
        notes = Notes()
        with RowStore(tmp_path / "rows.jsonl", {"seed": 0}) as store:
            tasks = bench.run(store, notes, **options)
            return tasks, dict(store.rows), notes

    return call


def entry(tasks, rows, method):
    return next(m for m in summarise(tasks, rows)[0]["methods"] if m["method"] == method)


def test_every_scenario_and_scene_is_a_row_and_a_second_run_makes_none(run):
    tasks, rows, notes = run()
    assert notes.total == len(tasks) == len(rows) == 3 + 2 * 3 * 3
    assert {rows[task.key]["status"] for task in tasks} == {"ok"}
    assert notes.unit == "row"
    assert "raw, III, in.h5, sample_02: PSNR 31.00 dB, 0.5 s" in notes.lines
    assert "calibration, III, in.h5, sample_02: 0.5 s" in notes.lines
    recorded = next(row for row in rows.values() if row["method"] == "map")
    assert recorded["parameters"]["seed"] == 0
    assert {"fluorojax", "jax"} <= set(recorded["versions"])
    _, again, notes = run()
    assert (again, notes.total) == (rows, 0)


def test_classical_methods_get_the_calibrated_chain_in_scenario_three_only(run):
    """The worker scores 31 dB where it is handed a chain; engines of fluorojax calibrate by themselves."""
    tasks, rows, _ = run()
    psnr = {name: {s: v["psnr"] for s, v in entry(tasks, rows, name)["scenarios"].items()} for name in ("raw", "map")}
    assert psnr == {"raw": {"I": 30.0, "II": 30.0, "III": 31.0}, "map": {"I": 30.0, "II": 30.0, "III": 30.0}}


def test_the_table_states_the_size_of_a_network(run):
    tasks, rows, _ = run(methods=("raw", "hold"))
    for row in rows.values():
        if row["method"] == "raw":
            row["network"] = {"weights": 12_345, "operations": 6_789.0}
    document = {"cells": summarise(tasks, rows), "settings": {"seed": 0}, "versions": {}, "machine": ""}
    lines = markdown(document).splitlines()
    assert "weights (operations per pixel)" in next(line for line in lines if line.startswith("| method"))
    assert "| 12 (6.8) |" in next(line for line in lines if line.startswith("| raw"))
    assert "| – | " in next(line for line in lines if line.startswith("| last-image hold"))


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("kill", "process killed (signal 9), most often for want of memory"),
        ("exit", "process ended with code 1: out of cheese"),
    ],
)
def test_a_crash_costs_one_row_and_the_rest_goes_on(run, deed, reason):
    tasks, rows, notes = run(deed, "raw")
    found = entry(tasks, rows, "raw")
    assert found["failures"] == [{"reason": reason, "rows": 3}]
    assert f"raw, II, in.h5, sample_01: {reason}" in notes.lines
    assert {name: (v["scenes"], v["of"]) for name, v in found["scenarios"].items()} == dict.fromkeys(
        ("I", "II", "III"), (2, 3)
    )
    assert not entry(tasks, rows, "map")["failures"]


def test_a_method_that_hangs_is_stopped(worker):
    tasks = [{"source": {"index": index}, "spec": None} for index in (0, 1)]
    found = list(run_worker({"kind": "score", "method": "raw"}, tasks, 5.0, worker("hang", "raw")))
    assert [row.get("reason") for row in found] == [None, "stopped after the limit of 5 s"]


def test_failed_rows_are_made_again_only_on_request(run):
    run("exit", "raw")
    _, rows, notes = run()
    assert notes.total == 0
    tasks, rows, notes = run(retry_failed=True)
    assert notes.total == 3
    assert not entry(tasks, rows, "raw")["failures"]


def test_a_failed_calibration_is_the_reason_of_the_rows_that_need_it(run):
    tasks, rows, _ = run("exit", CALIBRATION)
    assert entry(tasks, rows, "raw")["failures"] == [
        {"reason": "calibration failed: process ended with code 1: out of cheese", "rows": 1}
    ]
    assert not entry(tasks, rows, "map")["failures"]
    document = {"cells": summarise(tasks, rows), "settings": {"seed": 0}, "versions": {}, "machine": ""}
    assert "Calibration failed on 1 scenes: process ended with code 1: out of cheese." in markdown(document)


def test_a_package_that_is_missing_is_a_reason(run, monkeypatch):
    monkeypatch.setattr("fluorojax.benchmark.contestants._version", lambda module, distribution: None)
    tasks, rows, _ = run(methods=("raw", "bm4d"))
    assert entry(tasks, rows, "bm4d")["failures"] == [
        {"reason": "bm4d not installed (non-commercial licence)", "rows": 9}
    ]
    assert not entry(tasks, rows, "raw")["failures"]


def test_keys_change_with_parameters_code_and_versions(run, monkeypatch):
    _, rows, _ = run(methods=("raw",))
    monkeypatch.setattr("fluorojax.benchmark.runner.package_versions", lambda: {"fluorojax": "9.9"})
    tasks, _, notes = run(methods=("raw",))
    assert notes.total == len(tasks)
    assert not {task.key for task in tasks} & set(rows)


def test_worker_rows_come_in_order_over_several_processes(worker):
    tasks = [{"source": {"index": index}, "spec": None} for index in (0, 1, 2, 1, 3)]
    found = list(run_worker({"kind": "score", "method": "raw"}, tasks, 60.0, worker("exit", "raw")))
    assert [row["status"] for row in found] == ["ok", "failed", "ok", "failed", "ok"]


PARENT = """
import sys
from pathlib import Path

from fluorojax.benchmark.matrix import Matrix
from fluorojax.benchmark.rows import RowStore
from fluorojax.benchmark.runner import Benchmark
from fluorojax.runs.progress import LineProgress

folder, challenge, code = map(Path, sys.argv[1:])
matrix = Matrix(methods=("raw",), scenarios=("II",), scenes=0)
worker = (sys.executable, str(code), str(folder))
bench = Benchmark(matrix, tuple(matrix.of_files([challenge])), folder / "scenes", 600.0, worker=worker)
with RowStore(folder / "rows.jsonl", {"seed": 0}) as store:
    bench.run(store, LineProgress("benchmark", sys.stderr))
"""

# The worker itself, but for what it measures: one row at once, and then one that takes ten minutes.
SLOW_WORKER = """
import sys, time
from pathlib import Path

from fluorojax.benchmark import worker
from fluorojax.io.lock import FileLock

folder = Path(sys.argv[1])

def run(self, task):
    if task["source"]["scene"] != "sample_00":
        lock = FileLock(folder / "working")  # a lock ends with its object
        lock.acquire(folder)
        (folder / "begun").touch()
        time.sleep(600)
    return {"status": "ok", "shape": [3, 12, 12], "first_seconds": None, "seconds": 0.5, "cpu_seconds": 0.4,
            "peak_mb": 200.0, "base_mb": 150.0, "scores": {"psnr": 30.0}}

worker.ScoredRuns.run = run
worker.main()
"""


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_free(lock):
    """Whether whoever held the lock has ended."""
    try:
        lock.acquire(lock.path)
    except InputError:
        return False
    lock.release()
    return True


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_worker_ends_with_the_run_that_started_it_whose_rows_are_kept(run, tmp_path, challenge, how):
    code = tmp_path / "slow.py"
    code.write_text(SLOW_WORKER)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path, challenge, code])
    try:
        wait_until(lambda: (tmp_path / "begun").exists() or parent.poll() is not None)
        working = FileLock(tmp_path / "working")
        assert not is_free(working)
        getattr(parent, how)()
        parent.wait(60)
        wait_until(lambda: is_free(working))
    finally:
        parent.kill()
    _, rows, notes = run(methods=("raw",), scenarios=("II",))
    assert notes.total == 2
    assert [row["scene"] for row in rows.values()] == ["sample_00", "sample_01", "sample_02"]


def test_mean_table_marks_the_best_and_says_how_many_scenes(run):
    tasks, rows, _ = run()
    document = {"cells": summarise(tasks, rows), "settings": {"seed": 0}, "versions": {"jax": "1"}, "machine": "m"}
    text = markdown(document)
    row = next(line for line in text.splitlines() if line.startswith("| raw"))
    assert "| 30.00 | " in row.replace("*", "")
    assert "**31.00**" in row
    assert "n = 3" in row
    assert text.count("## in.h5 (3×12×12)") == 1


def test_every_contestant_has_parameters_that_can_be_hashed():
    from fluorojax.benchmark.rows import row_key

    keys = {row_key(contestant.parameters(0)) for contestant in CONTESTANTS.values()}
    assert len(keys) == len(CONTESTANTS)
