"""Layers and masks of a scene come back from its file."""

from dataclasses import replace

import numpy as np
import pytest

from fluorojax.io import read_scene, write_challenge
from fluorojax.simulation import (
    SimulationOptions,
    device_masks,
    render_layers,
    scene_layers,
    scene_masks,
    simulate_scene,
)


@pytest.mark.parametrize("changes", [{}, {"motion": "fast", "fps": 7.5, "size": (32, 40)}, {"frames": 1}])
def test_layers_of_a_file_are_those_of_the_simulation(tmp_path, changes):
    options = SimulationOptions(**{"frames": 3, "size": 32, "photons": 300.0, "tier": "dev", **changes})
    write_challenge(tmp_path / "scenes.h5", [simulate_scene(5, options, index=3)])
    scene = read_scene(tmp_path / "scenes.h5", "sample_00")
    layers = scene_layers(scene)
    np.testing.assert_allclose(np.sum(list(layers.values()), axis=0), scene.x_true, atol=1e-5)
    scale = scene.acquisition.attenuation_scale
    rendered = render_layers(5, options, index=3)
    np.testing.assert_allclose(scale * layers["vessel"], rendered["vessel"], atol=1e-6)
    np.testing.assert_allclose(scale * layers["device"], rendered["device"], atol=1e-6)
    for name, mask in device_masks(5, options, index=3).items():
        np.testing.assert_array_equal(scene_masks(scene)[name], mask)


def test_other_scenes_are_refused():
    options = SimulationOptions(frames=2, size=32)
    scene = simulate_scene(1, options)
    other = simulate_scene(2, options)
    with pytest.raises(ValueError, match="rendered otherwise"):
        scene_layers(replace(scene, x_true=other.x_true))
    with pytest.raises(ValueError, match="records no seed"):
        scene_layers(replace(scene, metadata={"scene": "phantom"}))
    with pytest.raises(ValueError, match="expected its CT volume"):
        scene_masks(replace(scene, metadata={**scene.metadata, "scene": "CT chest.nii, +3 deg"}))
