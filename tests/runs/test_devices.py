"""A run over several devices gives the answers of one device."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

# Of the range of x. What remains is the order of sums in programs that are compiled for one scene or for several.
BOUND = 1e-4
METHODS = ("map", "learned", "temporal_mean")
SCENES, SIZE = 3, SimulationOptions(frames=4, size=16)  # three scenes on two devices: one of them is computed twice

COMPUTE = f"""
import sys
import jax
import numpy as np
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

assert jax.local_device_count() == 2
scenes = list(simulate_scenes({SCENES}, 0, SimulationOptions(frames={SIZE.frames}, size={SIZE.size})))
found = {{}}
for method in {METHODS}:
    for result in reconstruct_scenes(scenes, ReconstructOptions(method=method)):
        found[f"{{method}} {{result.name}} x_hat"] = result.x_hat
        if result.x_std is not None:
            found[f"{{method}} {{result.name}} x_std"] = result.x_std
np.savez(sys.argv[1], **found)
"""


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory):
    """The images of every method and scene, computed by a process with two devices."""
    out = tmp_path_factory.mktemp("devices") / "found.npz"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMPUTE, str(out)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    with np.load(out) as found:
        return dict(found)


@pytest.mark.parametrize("method", METHODS)
def test_two_devices_give_the_answer_of_one(on_two_devices, method):
    if jax.local_device_count() != 1:
        pytest.skip("this process has several devices itself")
    scenes = list(simulate_scenes(SCENES, 0, SIZE))
    results = list(reconstruct_scenes(scenes, ReconstructOptions(method=method)))
    assert len(results) == SCENES
    for result in results:
        for kind, values in (("x_hat", result.x_hat), ("x_std", result.x_std)):
            if values is None:
                assert f"{method} {result.name} {kind}" not in on_two_devices
                continue
            other = on_two_devices[f"{method} {result.name} {kind}"]
            assert np.ptp(values) > 0
            np.testing.assert_allclose(other, values, rtol=0, atol=BOUND)
