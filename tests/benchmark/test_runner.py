"""Rows are made once, kept, and a method that fails is a row with its reason."""

import pytest

from fluorojax.benchmark.contestants import CALIBRATION, CONTESTANTS
from fluorojax.benchmark.matrix import Matrix
from fluorojax.benchmark.rows import RowStore
from fluorojax.benchmark.runner import Benchmark, run_worker
from fluorojax.benchmark.summary import summarise
from fluorojax.benchmark.table import markdown
from fluorojax.progress import ProgressDisplay


class Notes(ProgressDisplay):
    def __init__(self):
        self.total, self.lines = None, []

    def start(self, total):
        self.total = total

    def update(self, done, note):
        self.lines.append(note)


@pytest.fixture
def run(tmp_path, challenge, worker):
    def call(*behaviour, methods=("raw", "map"), **options):
        matrix = Matrix(methods=methods, scenes=0)
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


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("kill", "process killed (signal 9), most often for want of memory"),
        ("exit", "process ended with code 1: out of cheese"),
    ],
)
def test_a_crash_costs_one_row_and_the_rest_goes_on(run, deed, reason):
    tasks, rows, _ = run(deed, "raw")
    found = entry(tasks, rows, "raw")
    assert found["failures"] == [{"reason": reason, "rows": 3}]
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
