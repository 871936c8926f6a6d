"""What a NUTS run is said to need is what its compiled program takes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpyro
import pytest
from numpyro.distributions import Normal, Poisson

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.engines.nuts import NutsOptions, Watch
from fluorojax.engines.nuts import memory as nuts_memory
from fluorojax.engines.nuts.coordinates import make_coordinates, shared_sites
from fluorojax.engines.nuts.memory import bytes_needed, check_memory
from fluorojax.engines.nuts.sampler import Problem, sampler_for
from fluorojax.engines.online_statistics import Grid, Moments
from fluorojax.models.protocol import SceneData, SceneModel, spec_prior

SHAPE = (3, 40, 40)
OPTIONS = NutsOptions(settle=0, chains=2, max_tree_depth=6)


def white(data):
    spec = spec_prior(data.ranges)
    amplitude = jnp.exp(numpyro.sample("amplitude", Normal(0.0, 1.0)))
    detail = numpyro.sample("detail", Normal(0.0, 1.0).expand(SHAPE).to_event(3))
    x = numpyro.deterministic("x", amplitude * detail)
    rate = numpyro.deterministic("rate", jnp.exp(5.0 - x * (1.0 + spec.gain_drift)))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)


MODEL = SceneModel("white", white, hyperparameters=("amplitude",))


def compiled_bytes(options):
    """Arguments, results and temporary memory of one block, by XLA's account; nothing is run."""
    data = SceneData(jnp.full(SHAPE, 50.0), Acquisition(), SpecRanges.for_tier("public"))
    sampler, key = sampler_for(MODEL, options), jax.random.key(0)
    start = {name: jnp.zeros(shape) for name, shape in MODEL.latent_shapes(data).items()}
    coordinates = jax.eval_shape(lambda: make_coordinates(MODEL, data, start, key))
    grid = jax.eval_shape(lambda: Grid.around(Moments.zero(SHAPE)))
    problem = Problem(data, coordinates, grid, Watch.of(None, SHAPE), None)
    chains = jax.eval_shape(sampler.begin, problem, jax.random.split(key, options.chains))
    found = sampler.advance.lower(problem, 0, 25, 100, 1, 0, chains).compile().memory_analysis()
    return found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes


def needed(options, chains):
    data = SceneData(jnp.full(SHAPE, 50.0), Acquisition(), SpecRanges.for_tier("public"))
    shapes = MODEL.latent_shapes(data)
    sizes = {name: int(jnp.zeros(shape).size) for name, shape in shapes.items()}
    shared = sum(sizes[name] for name in shared_sites(MODEL, shapes))
    in_turn = options.layout == "sequential"
    return bytes_needed(options, SHAPE, sum(sizes.values()), shared, 3, chains, in_turn=in_turn)


@pytest.mark.parametrize(("layout", "double"), [("vectorised", False), ("sequential", True)])
def test_the_estimate_is_what_the_compiled_program_takes(layout, double):
    options = replace(OPTIONS, layout=layout)
    with jax.enable_x64(double):
        assert needed(options, 2) == pytest.approx(compiled_bytes(options), rel=0.2)


@pytest.mark.parametrize("in_turn", [True, False])
@pytest.mark.parametrize("devices", [1, 2])
def test_as_many_chains_as_are_said_to_fit_do(monkeypatch, in_turn, devices):
    sizes = {"shape": SHAPE, "latents": 5000, "shared": 4, "parameters": 3, "in_turn": in_turn}
    available = bytes_needed(OPTIONS, chains=9, **sizes)
    monkeypatch.setattr(nuts_memory, "device_memory", lambda: available)
    check_memory(replace(OPTIONS, chains=9 * devices), devices=devices, **sizes)
    with pytest.raises(ValueError, match=rf"^chains is {10 * devices}, .* expected at most {9 * devices} for the"):
        check_memory(replace(OPTIONS, chains=10 * devices), devices=devices, **sizes)
    with jax.enable_x64(True):
        with pytest.raises(ValueError, match=rf"^chains is {9 * devices}, which needs about .*; expected at most"):
            check_memory(replace(OPTIONS, chains=9 * devices), devices=devices, **sizes)


@pytest.mark.parametrize(("memory", "most"), [(0, 0), (1, 1)])
def test_where_one_chain_or_none_fits_that_is_said(monkeypatch, memory, most):
    sizes = {"shape": SHAPE, "latents": 5000, "shared": 4, "parameters": 3, "in_turn": True}
    monkeypatch.setattr(nuts_memory, "device_memory", lambda: memory * bytes_needed(OPTIONS, chains=1, **sizes))
    with pytest.raises(ValueError, match=f"expected at most {most} for the"):
        check_memory(OPTIONS, devices=1, **sizes)
