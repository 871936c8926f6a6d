"""Several scenes side by side on one device give the answers of one at a time, from one program.

On a CPU a device solves one scene at a time; here it is given several lanes, as an accelerator has them.
"""

from dataclasses import replace

import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.runs import devices
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

OPTIONS = SimulationOptions(frames=4, size=16)

# The image is white noise around one half, so its mode is found to rounding whatever the path to it.
WELL_CONDITIONED = """
import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import spec_prior


def model(data):
    spec = spec_prior(data.ranges)
    detail = numpyro.sample("detail", Normal(0.0, 1.0).expand(data.counts.shape[1:]).to_event(2))
    x = numpyro.deterministic("x", jnp.broadcast_to(0.5 + 0.2 * detail, data.counts.shape))
    rate = numpyro.deterministic("rate", data.operator(x, spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)
"""


@pytest.fixture(scope="module")
def scenes():
    """Three scenes that take differently long, one of them far darker."""
    bright = list(simulate_scenes(2, 0, OPTIONS))
    (dark,) = simulate_scenes(1, 5, replace(OPTIONS, photons=60.0))
    return [*bright, replace(dark, name="dark")]


@pytest.fixture(scope="module")
def well_conditioned(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "pixels.py"
    path.write_text(WELL_CONDITIONED)
    return str(path)


def solve(monkeypatch, scenes, lanes, **options):
    """Results by name where every device has ``lanes`` lanes."""
    monkeypatch.setattr(devices, "lanes", lambda shape: lanes)
    # The number of lanes is read when a program is traced.
    monkeypatch.setattr(devices, "_COMPILED", {})
    # As many scenes to a chunk as there are lanes.
    options = {"method": "map", "batch": lanes, "spec": "true", **options}
    found = list(reconstruct_scenes(scenes, ReconstructOptions(**options)))
    # Whatever the number of chunks, one program serves all of one shape.
    assert [program._cache_size() for program in devices._COMPILED.values()] == [1]
    return {result.name: result for result in found}


def difference(one, other):
    """Largest difference of x in units of its range."""
    return np.abs(one.x_hat - other.x_hat).max() / np.ptp(one.x_hat)


def test_lanes_give_the_mode_of_one_at_a_time_and_compile_once(monkeypatch, scenes, well_conditioned):
    alone = solve(monkeypatch, scenes, 1, model=well_conditioned)
    together = solve(monkeypatch, scenes, 3, model=well_conditioned)
    for name, one in alone.items():
        assert difference(one, together[name]) < 1e-4
        assert one.status == together[name].status == Status.CONVERGED


@pytest.mark.slow
def test_mgvi_gives_every_scene_to_itself(monkeypatch, scenes, well_conditioned):
    """One dark scene whose draws have to be followed does not change the others, nor what they cost."""
    options = {"model": well_conditioned, "method": "mgvi", "samples": 2}
    alone = solve(monkeypatch, scenes, 1, **options)
    together = solve(monkeypatch, scenes, 3, **options)
    for name, one in alone.items():
        assert difference(one, together[name]) == 0
