import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges


@pytest.fixture
def make_scene():
    def make(name="sample_00", shape=(3, 12, 12), **changes):
        rng = np.random.default_rng(int(name[-2:]))
        x_true = rng.uniform(0.2, 0.8, shape).astype(np.float32)
        fields = {
            "name": name,
            "y": rng.poisson(200 * np.exp(-2 * x_true)).astype(np.float32),
            "acquisition": Acquisition(photons_per_pixel=200.0, attenuation_scale=2.0),
            "ranges": SpecRanges.for_tier("public"),
            "metadata": {"scene": "Röntgen"},
            "x_true": x_true,
            "true_spec": Spec(1.0, -2.0, 0.25),
        }
        return Scene(**{**fields, **changes})

    return make


@pytest.fixture
def make_result():
    def make(name="sample_00", shape=(3, 12, 12), **changes):
        rng = np.random.default_rng(list(name.encode()))
        fields = {
            "name": name,
            "x_hat": rng.uniform(size=shape).astype(np.float32),
            "x_std": np.full(shape, 0.1, np.float32),
            "spec": Spec(1.0, 0.5, 0.25),
            "spec_std": Spec(0.5, 0.25, 0.125),
            "spec_interval": {"motion_blur": (0.0, 2.0), "lag": (0.0, 1.0), "gain_drift": (0.0, 0.5)},
            "status": Status.CONVERGED,
            "seconds": 1.5,
            "diagnostics": {"energy": 12.5, "notes": ["lag is not identifiable here"]},
        }
        return Reconstruction(**{**fields, **changes})

    return make
