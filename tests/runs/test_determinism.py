"""Same seed and platform, same bits: for other batch sizes, orders and names too."""

from dataclasses import replace

import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.progress import ProgressDisplay
from fluorojax.simulation import SimulationOptions, simulate_scenes

pytestmark = pytest.mark.slow

FIELDS = ("x_hat", "x_std", "spec_correlation", "x_quantiles")
METHODS = {
    "map": {},
    "learned": {},
    "nuts": {"chains": 2, "warmup": 20, "draws": 4},
    "nlm": {},
}


@pytest.fixture(scope="module")
def scenes():
    return list(simulate_scenes(3, 0, SimulationOptions(frames=4, size=16)))


def run(scenes, **options):
    found = reconstruct_scenes(scenes, ReconstructOptions(seed=3, **options), progress=ProgressDisplay())
    return {result.name: result for result in found}


def check_same_bits(first, second):
    for field in FIELDS:
        one, other = getattr(first, field), getattr(second, field)
        assert (one is None) == (other is None), field
        if one is not None:
            assert one.tobytes() == other.tobytes(), field
    assert first.draws.keys() == second.draws.keys()
    for name, values in first.draws.items():
        assert values.tobytes() == second.draws[name].tobytes(), name
    np.testing.assert_equal(first.spec.as_dict(), second.spec.as_dict())
    np.testing.assert_equal(first.spec_std.as_dict(), second.spec_std.as_dict())


@pytest.mark.parametrize("method", ["map", "learned", "nlm", pytest.param("nuts", marks=pytest.mark.slow)])
def test_batch_order_and_names_change_no_bit(scenes, method):
    scenes = scenes[:2] if method == "nuts" else scenes
    first = run(scenes, method=method, batch=1, **METHODS[method])
    others = [replace(scene, name=f"another_{scene.name}") for scene in reversed(scenes)]
    second = run(others, method=method, batch=len(scenes), **METHODS[method])
    for scene in scenes:
        check_same_bits(first[scene.name], second[f"another_{scene.name}"])


def test_a_scene_alone_has_the_bits_of_a_batch(scenes):
    together = run(scenes, batch=2)
    check_same_bits(run(scenes[2:])["sample_02"], together["sample_02"])


@pytest.mark.slow
def test_another_seed_gives_other_draws(scenes):
    """What the tests above compare does depend on the seed."""
    options = {"method": "nuts", **METHODS["nuts"]}
    first = run(scenes[:1], **options)["sample_00"]
    found = reconstruct_scenes(scenes[:1], ReconstructOptions(seed=4, **options), progress=ProgressDisplay())
    assert not np.array_equal(first.x_hat, next(found).x_hat)
