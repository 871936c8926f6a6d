"""Scores of a row against closed forms."""

import ast
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from fluorojax.benchmark.contestants import CONTESTANTS
from fluorojax.benchmark.scoring import score_row
from fluorojax.benchmark.sources import SimulatedSource
from fluorojax.benchmark.worker import ScoredRuns
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.spec import Spec


@pytest.fixture
def source():
    return SimulatedSource("public", "fast", 300.0, 4, 32, 5, 0, matched=False)


def result_for(x_hat, x_std=None, spec=None):
    unknown = Spec(float("nan"), float("nan"), float("nan"))
    return Reconstruction("sample_00", x_hat, x_std, spec or Spec(), unknown, {}, Status.CONVERGED, 1.0)


def test_an_error_on_devices_only_is_seen_there(source, tmp_path):
    scene, device = source.load(tmp_path)
    wrong = scene.x_true + np.float32(0.01) * device
    row = score_row(result_for(wrong, np.full_like(wrong, 0.02), scene.true_spec), scene, device)
    assert row["device_psnr"] == pytest.approx(40.0, abs=0.01)
    assert row["psnr"] == pytest.approx(40.0 - 10 * np.log10(device.mean()), abs=0.01)
    assert row["coverage"] == 1.0
    assert row["gain_drift_error"] == pytest.approx(0, abs=1e-6)
    assert row["device_recovery"] > 1


def test_what_is_not_known_is_none(source, tmp_path):
    scene, _ = source.load(tmp_path)
    row = score_row(result_for(scene.x_true), scene, None)
    assert [row[name] for name in ("device_psnr", "device_cnr", "coverage", "coverage_moving")] == [None] * 4
    assert row["gain_drift_error"] == pytest.approx(-scene.true_spec.as_dict()["gain_drift"])


@pytest.mark.parametrize("method", ["recursive", "calibration"])
def test_a_worker_scores_and_times_a_scene(source, tmp_path, method):
    runs = ScoredRuns({"method": method, "seed": 0, "cache": str(tmp_path)})
    task = {"scenario": "II", "source": asdict(source), "spec": None}
    first, second = runs.run(task), runs.run(task)
    assert first["status"] == second["status"] == "ok"
    assert first["first_seconds"] > 0
    assert second["first_seconds"] is None
    assert second["seconds"] > 0
    assert first["peak_mb"] >= first["base_mb"] > 0
    if method == "recursive":
        assert 15 < first["scores"]["psnr"] < 60
        assert first["scores"] == second["scores"]
    else:
        assert set(first["spec"]) == {"motion_blur", "lag", "gain_drift"}


def test_memory_of_a_call_is_what_it_adds():
    """In a fresh process, started by this large one, 256 MiB that are touched are 256 MiB added."""
    script = (
        "from fluorojax.benchmark.worker import Memory\n"
        "memory = Memory(); memory.mark(); room = bytearray(b'1') * 2**28; print(memory.read())"
    )
    room = np.ones(2**26)  # 512 MiB in this process
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    found = ast.literal_eval(out)
    assert room.nbytes == 2**29
    assert found["peak_mb"] - found["base_mb"] == pytest.approx(256, abs=8)
    assert found["base_mb"] < 256


def test_an_exception_is_a_reason(source, tmp_path, monkeypatch):
    runs = ScoredRuns({"method": "raw", "seed": 0, "cache": str(tmp_path)})

    def fail(*_):
        raise MemoryError("no room for\n 3 GB")

    monkeypatch.setattr(type(CONTESTANTS["raw"]), "run", fail)
    row = runs.run({"scenario": "I", "source": asdict(source), "spec": None})
    assert row == {"status": "failed", "reason": "MemoryError: no room for 3 GB"}
