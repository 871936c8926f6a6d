"""A tiny challenge file and an engine that answers at once, for tests of the plumbing.

``test_real_engine.py`` runs the same commands through the engine itself.
"""

import sys
from types import ModuleType

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.digest import counts_digest
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import write_challenge


def tiny_scene(name="sample_00", shape=(3, 12, 12), **changes):
    rng = np.random.default_rng(int(name[-2:]))
    x_true = rng.uniform(0.2, 0.8, shape).astype(np.float32)
    fields = {
        "y": rng.poisson(200 * np.exp(-2 * x_true)).astype(np.float32),
        "acquisition": Acquisition(photons_per_pixel=200.0, attenuation_scale=2.0),
        "ranges": SpecRanges.for_tier("public"),
        "x_true": x_true,
        "true_spec": Spec(1.0, -2.0, 0.25),
    }
    return Scene(name, **{**fields, **changes})


class FakeEngine:
    """Returns the raw attenuation of each scene, in pairs and each pair in reverse, as grouped shapes may come."""

    def __init__(self):
        self.seen = []
        self.options = []
        self.diverging = set()
        self.diverged_value = 0.5
        self.failing: dict[str, BaseException] = {}

    def __call__(self, scenes, options, *, state_file=None, on_foreign_state=None, progress=None):
        self.options.append(options)
        scenes = list(scenes)
        if progress is not None:
            progress.start(len(scenes))
        for start in range(0, len(scenes), 2):
            for scene in reversed(scenes[start : start + 2]):
                if scene.name in self.failing:
                    raise self.failing[scene.name]
                self.seen.append(scene.name)
                yield self.result(scene, options)
                if progress is not None:
                    progress.update(len(self.seen), scene.name)

    def result(self, scene, options):
        spec = Spec() if options.spec == "nominal" else Spec(1.5, -1.0, 0.25)
        diverged = scene.name in self.diverging
        x_hat = -np.log(np.maximum(scene.y, 0.5) / 200) / 2
        return Reconstruction(
            name=scene.name,
            # like the real engine, which returns its finite start
            x_hat=np.full_like(x_hat, self.diverged_value) if diverged else x_hat,
            x_std=np.full_like(x_hat, 0.05),
            spec=spec,
            spec_std=Spec(0.5, 0.25, 0.125),
            spec_interval={"motion_blur": (0.0, 3.0), "lag": (-1.5, 0.0), "gain_drift": (0.0, 0.5)},
            status=Status.DIVERGED if diverged else Status.CONVERGED,
            seconds=0.25,
            diagnostics={"note": "lag <is> not identifiable here"},
            counts_sha256=counts_digest(scene.y),
        )


@pytest.fixture
def engine(monkeypatch):
    fake = FakeEngine()
    module = ModuleType("fluorojax.runs.batches")
    module.reconstruct_scenes = fake
    monkeypatch.setitem(sys.modules, "fluorojax.runs.batches", module)
    return fake


@pytest.fixture
def challenge(tmp_path):
    path = tmp_path / "in.h5"
    write_challenge(path, [tiny_scene(f"sample_0{i}") for i in range(3)])
    return path


@pytest.fixture
def make_scene():
    return tiny_scene
