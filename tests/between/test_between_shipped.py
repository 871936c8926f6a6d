"""The shipped weights between the frames of a simulated run of a seed that training never sees, as gates."""

import json

import numpy as np
import pytest

import fluorojax
from fluorojax.between.images import at_times
from fluorojax.between.weights import SHIPPED, load_between
from fluorojax.metrics import psnr
from fluorojax.simulation import SimulationOptions, build_phantom, simulate_scene


def test_recipe_says_how_the_weights_were_made():
    weights = load_between()
    assert {"steps", "options", "runs", "seeds", "validation", "versions", "hardware"} <= set(weights.recipe)
    assert json.loads(SHIPPED.with_suffix(".json").read_text())["sha256"] == weights.sha256
    assert SHIPPED.stat().st_size < 300_000


@pytest.mark.slow
@pytest.mark.parametrize("motion", ["slow", "fast"])
def test_it_is_better_than_linear_and_covers(motion):
    gains, inside = [], []
    for seed in (424242, 424243):
        options = SimulationOptions(frames=8, fps=15.0, size=64, photons=2000.0, motion=motion)
        scene, phantom = simulate_scene(seed, options), build_phantom(seed, options)
        result = fluorojax.reconstruct(scene, held_out=0.0)
        times = (np.arange(7) + 0.5) * 1000.0 / 15.0
        found = at_times(result, times)
        truth = np.stack([phantom.attenuation(t) for t in times]) / scene.acquisition.as_dict()["attenuation_scale"]
        linear = 0.5 * (result.x_hat[1:] + result.x_hat[:-1])
        gains.append(psnr(found.x_hat, truth) - psnr(linear, truth))
        inside.append(np.abs(found.x_hat - truth) <= 1.6449 * found.x_std)
    assert np.mean(gains) > 0.1
    assert 0.84 < np.mean(inside) < 0.97
