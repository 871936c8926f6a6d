"""A scene, its reconstruction and its posterior draws, small and exactly known."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import QUANTILES, Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES, Spec, SpecRanges
from fluorojax.metrics import expected_counts

SHAPE = (8, 24, 20)


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    t, i, j = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    x = (0.4 + 0.01 * i + 0.1 * np.exp(-((j - t - 4) ** 2) / 4) * (i > 12)).astype(np.float32)
    acquisition, spec = Acquisition(photons_per_pixel=400.0, attenuation_scale=2.0), Spec(1.0, -2.0, 0.25)
    y = rng.poisson(expected_counts(x, spec, acquisition)).astype(np.float32)
    return Scene("sample_00", y, acquisition, SpecRanges.for_tier("public"), x_true=x, true_spec=spec)


@pytest.fixture
def result(scene):
    """Errors are exactly of the stated size, which rises from row to row."""
    rng = np.random.default_rng(1)
    std = np.broadcast_to(0.01 + 0.001 * np.arange(SHAPE[1])[:, None], SHAPE).astype(np.float32)
    return Reconstruction(
        name="sample_00",
        x_hat=scene.x_true + (std * rng.normal(size=SHAPE)).astype(np.float32),
        x_std=std,
        spec=Spec(2.0, 0.0, 0.2),
        spec_std=Spec(0.5, 0.4, 0.1),
        spec_interval={"motion_blur": (1.5, 3.2), "lag": (-0.5, 0.5), "gain_drift": (0.1, 0.3)},
        status=Status.CONVERGED,
        seconds=1.0,
    )


@pytest.fixture
def sampled(result):
    """The same with draws and quantiles, as a sampling method gives them."""
    rng = np.random.default_rng(2)
    spec = result.spec.as_dict()
    quantiles = np.stack([result.x_hat + z * result.x_std for z in (-2.0, -0.5, 0.0, 0.5, 3.0)])
    assert len(quantiles) == len(QUANTILES)
    draws = {name: rng.normal(spec[name], 0.1, (4, 50)) for name in SPEC_NAMES}
    return replace(result, x_quantiles=quantiles.astype(np.float32), draws=draws)


@pytest.fixture
def nuts(sampled):
    """The fields of a :class:`NutsResult` that figures read."""
    return SimpleNamespace(
        model="sequence",
        x_mean=sampled.x_hat,
        x_variance=sampled.x_std**2,
        x_quantiles=sampled.x_quantiles,
        spec_names=SPEC_NAMES,
        spec_draws=np.stack([sampled.draws[name] for name in SPEC_NAMES], axis=-1),
    )
