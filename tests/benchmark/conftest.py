"""A tiny matrix, and workers that answer at once or misbehave."""

import sys

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import write_challenge

# Answers every task by its scene's name; what the scene "sample_01" does is the argument.
WORKER = """
import json, os, signal, sys, time
request = json.loads(sys.stdin.readline())
for task in request["tasks"]:
    name = task["source"]["scene"] if "path" in task["source"] else f"sample_{task['source']['index']:02d}"
    if name == "sample_01" and sys.argv[1] != "well" and request["method"] == sys.argv[2]:
        if sys.argv[1] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if sys.argv[1] == "hang":
            time.sleep(60)
        sys.exit("out of cheese")
    row = {"status": "ok", "shape": [3, 12, 12], "first_seconds": None, "seconds": 0.5, "cpu_seconds": 0.4,
           "peak_mb": 200.0, "base_mb": 150.0, "spec": {"motion_blur": 1.0, "lag": 2.0, "gain_drift": 0.5}}
    if request["method"] != "calibration":
        row["scores"] = {"psnr": 30.0 + (task["spec"] is not None), "ssim": 0.9, "standard": 0.8, "blind": 0.7}
    print(json.dumps(row), flush=True)
"""


def tiny_scene(name="sample_00", **changes):
    rng = np.random.default_rng(int(name[-2:]))
    x_true = rng.uniform(0.2, 0.8, (3, 12, 12)).astype(np.float32)
    fields = {
        "y": rng.poisson(200 * np.exp(-2 * x_true)).astype(np.float32),
        "acquisition": Acquisition(photons_per_pixel=200.0, attenuation_scale=2.0),
        "ranges": SpecRanges.for_tier("public"),
        "x_true": x_true,
        "true_spec": Spec(1.0, -2.0, 0.25),
    }
    return Scene(name, **{**fields, **changes})


@pytest.fixture
def challenge(tmp_path):
    path = tmp_path / "in.h5"
    write_challenge(path, [tiny_scene(f"sample_0{i}") for i in range(3)])
    return path


@pytest.fixture
def worker():
    """Command of a worker: ``worker("kill", "raw")`` dies at sample_01 of the method raw."""

    def command(deed="well", method=""):
        return (sys.executable, "-c", WORKER, deed, method)

    return command


@pytest.fixture
def make_scene():
    return tiny_scene
