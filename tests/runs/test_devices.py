"""A run over several devices gives the answers of one device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from small_models import MODEL

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# Of the range of x. What remains is the order of sums in programs that are compiled for one scene or for several.
BOUND = 1e-4
SCENES, SIZE = 3, SimulationOptions(frames=4, size=16)  # three scenes on two devices: one of them is computed twice
# A model that compiles in seconds; the shipped one, with calibration, is in the slow test.
METHODS = {
    "map": {"spec": "nominal", "model": "small.py"},
    "learned": {"spec": "nominal"},
    "hold": {"spec": "nominal"},
}
SLOW = {"map": {}}

COMPUTE = f"""
import json
import sys
import jax
import numpy as np
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

assert jax.local_device_count() == 2
scenes = list(simulate_scenes({SCENES}, 0, SimulationOptions(frames={SIZE.frames}, size={SIZE.size})))
found = {{}}
for method, settings in json.loads(sys.argv[2]).items():
    for result in reconstruct_scenes(scenes, ReconstructOptions(method=method, **settings)):
        found[f"{{method}} {{result.name}} x_hat"] = result.x_hat
        if result.x_std is not None:
            found[f"{{method}} {{result.name}} x_std"] = result.x_std
np.savez(sys.argv[1], **found)
"""


def on_two_devices(folder, methods):
    """The images of every method and scene, computed by a process with two devices."""
    out = folder / "found.npz"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPUTE, str(out), json.dumps(methods)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    with np.load(out) as found:
        return dict(found)


def check_equal(folder, methods):
    """Two devices give what this process gives with one."""
    if jax.local_device_count() != 1:
        pytest.skip("this process has several devices itself")
    both = on_two_devices(folder, methods)
    scenes = list(simulate_scenes(SCENES, 0, SIZE))
    for method, settings in methods.items():
        results = list(reconstruct_scenes(scenes, ReconstructOptions(method=method, **settings)))
        assert len(results) == SCENES
        for result in results:
            for kind, values in (("x_hat", result.x_hat), ("x_std", result.x_std)):
                other = both.get(f"{method} {result.name} {kind}")
                assert (values is None) == (other is None)
                if values is not None:
                    np.testing.assert_allclose(other, values, rtol=0, atol=BOUND, err_msg=f"{method} {kind}")
            assert np.ptp(result.x_hat) > 0


def test_two_devices_give_the_answers_of_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.py").write_text(MODEL, encoding="utf-8")
    check_equal(tmp_path, METHODS)


@pytest.mark.slow
def test_two_devices_give_the_answers_of_one_with_the_shipped_model(tmp_path):
    check_equal(tmp_path, SLOW)
