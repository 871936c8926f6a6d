"""The shipped weights on a simulated scene of a seed that training never sees: accuracy and coverage, as gates."""

import json

import numpy as np
import pytest

from fluorojax.learned.inference import posterior
from fluorojax.learned.weights import load_weights, shipped_file
from fluorojax.simulation import SimulationOptions, simulate_scene


@pytest.fixture(scope="module")
def weights():
    return load_weights(shipped_file())


def test_recipe_says_how_the_weights_were_made(weights):
    recipe = weights.recipe
    assert {"architecture", "steps", "scenes", "stages", "versions", "calibrated"} <= set(recipe)
    assert json.loads(json.dumps(recipe)) == recipe
    assert shipped_file().stat().st_size < 3e6


# Over 16 and 12 scenes of seeds from 424242 on: gain over the raw counts 15.2 ± 0.45 and 11.5 ± 0.44 dB (mean ±
# standard deviation of the scenes), moving pixels 11.8 ± 0.39 and 8.3 ± 0.53 dB; coverage .900 ± .010 and .911 ± .006,
# moving pixels .829 ± .025 and .886 ± .011. The limits are four standard deviations away.
@pytest.mark.parametrize(
    ("photons", "gains", "covers"),
    [(300.0, (13.4, 10.2), ((0.86, 0.94), (0.73, 0.93))), (3000.0, (9.8, 6.2), ((0.885, 0.935), (0.84, 0.93)))],
)
def test_shipped_weights_denoise_and_cover(weights, photons, gains, covers):
    scene = simulate_scene(424242, SimulationOptions(size=64, photons=photons, motion="fast"))
    truth, spec = scene.x_true, scene.true_spec
    assert truth is not None
    assert spec is not None
    protocol = scene.acquisition.as_dict()
    mean = np.array([spec.as_dict()[name] for name in ("motion_blur", "lag", "gain_drift")])
    found = posterior(weights.network, scene.y, protocol, mean, np.array([0.5, 0.5, 0.01]))
    raw = -np.log((scene.y + 0.5) / protocol["photons_per_pixel"]) / protocol["attenuation_scale"]
    moving = truth.std(0) >= np.quantile(truth.std(0), 0.8)
    inside = np.abs(found.mean - truth) <= 1.6449 * found.std
    for where, gain, (low, high) in zip((np.ones_like(moving), moving), gains, covers, strict=True):
        better = np.mean((raw - truth)[:, where] ** 2) / np.mean((found.mean - truth)[:, where] ** 2)
        assert 10.0 * np.log10(better) > gain
        assert low < inside[:, where].mean() < high
