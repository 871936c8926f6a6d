"""The network on top of the filter of a stream: what it sees, that training and use agree, and what it gains."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.learned.features import SpecState
from fluorojax.learned.networks import build_network
from fluorojax.learned.weights import save_weights
from fluorojax.simulation import SimulationOptions, simulate_scenes
from fluorojax.streaming import Refiner, Stream, late, live_network, load_refiner, scene_frames, start, step, stream
from fluorojax.streaming.learning import StreamNetwork
from fluorojax.streaming.network import AFTER, BEFORE, CONDITIONS, PLANES, rate_of
from fluorojax.streaming.state import belief_about, seen_by_network

ACQUISITION = Acquisition(photons_per_pixel=400.0, attenuation_scale=2.0)
PERIOD = 1000.0 / 30.0


def moving(frames, shape=(24, 24), level=40.0, seed=0):
    """Counts of a bar that moves over a flat field."""
    rate = np.full((frames, *shape), level)
    for index in range(frames):
        rate[index, :, 2 + index : 8 + index] *= 0.5
    return np.random.default_rng(seed).poisson(rate).astype(np.float32)


def blank(refiner):
    """The network with outputs of zero: the filter itself."""
    leave = refiner.network.leave
    zero = eqx.tree_at(lambda one: (one.weight, one.bias), leave, (0.0 * leave.weight, 0.0 * leave.bias))
    return Refiner(eqx.tree_at(lambda one: one.leave, refiner.network, zero), jnp.zeros_like(refiner.coefficients))


def play(state, counts):
    """The results of a run and the last state."""
    results = []
    for frame in counts:
        state, x, sd = step(state, frame)
        results.append((np.asarray(x), np.asarray(sd)))
    return state, results


@pytest.mark.parametrize("shape", [(24, 24), (13, 22)])
def test_outputs_of_zero_leave_what_the_filter_returns(shape):
    counts = moving(4, shape)
    _, alone = play(start(ACQUISITION, shape), counts)
    _, network = play(start(ACQUISITION, shape, network=blank(live_network())), counts)
    for (x, sd), (same, error) in zip(alone, network, strict=True):
        np.testing.assert_allclose(same, x, atol=1e-5)
        assert error.shape == shape
        # The filter widens its standard deviation by a constant of its own, 0.69 to 1.15.
        assert np.all((error / sd > 0.8) & (error / sd < 1.5))


def test_the_network_sees_the_frames_around_the_one_of_the_result():
    counts = moving(5)
    state = start(ACQUISITION, (24, 24), delay=2, network=live_network())
    for count, frame in enumerate(counts, 1):
        state, _, _ = step(state, frame)
        for behind in range(min(count, AFTER + 1)):
            belief = belief_about(state, behind)
            seen = seen_by_network(state, belief, behind)
            assert seen.planes.shape == (PLANES, 24, 24)
            assert seen.conditions.shape == (CONDITIONS,)
            there = [0 <= count - 1 - behind + offset < count for offset in range(-BEFORE, AFTER + 1)]
            others = there[:BEFORE] + there[BEFORE + 1 :]
            np.testing.assert_array_equal(seen.conditions[: len(others)], others)
            mean = sum(belief.means[1:], belief.means[0])
            for offset, known, plane in zip(range(-BEFORE, AFTER + 1), there, seen.planes, strict=False):
                rest = state.recent[behind - offset] - mean if known else 0.0 * mean
                scale = 1.0 if not known else float(jnp.std(rest) / jnp.std(plane))
                np.testing.assert_allclose(scale * plane, rest, atol=1e-3)


@pytest.mark.parametrize("first", [4, 5, 7])
def test_training_sees_what_a_stream_returns(first):
    """The blocks of training, whose results are 0, 1 and 2 frames late, equal those of the steps of a stream."""
    counts, drift, tau = moving(12), 0.4, 12.0
    spec = SpecState(8.0, tau, drift, 1.0, 1.0, 0.1, PERIOD, PERIOD)
    network = StreamNetwork(live_network().network)
    depth, log_std, unit = network.solve_blocks(
        jnp.asarray(counts), jnp.asarray(12), jnp.asarray([first]), spec, jnp.asarray(400.0)
    )
    delay = {4: 0, 5: 1, 7: 2}[first]
    state = start(
        Acquisition(photons_per_pixel=400.0, attenuation_scale=7.0),
        (24, 24),
        drift_range=(drift - 1e-3, drift + 1e-3),
        lag=tau - 10.0,
        delay=delay,
        network=Refiner(network.network, jnp.zeros(6)),
    )
    _, results = play(state, counts)
    for place in range(4):
        x, sd = results[min(first + place + delay, 11)]
        if first + place + delay > 11:
            continue
        np.testing.assert_allclose(depth[0, :, :, place], 7.0 * x, atol=2e-3)
        np.testing.assert_allclose(jnp.exp(log_std[0, :, :, place]) * unit[0, :, :, place], 7.0 * sd, rtol=0.02)


def test_a_delay_gives_its_last_results_at_the_end():
    counts = moving(6)
    state, _ = play(start(ACQUISITION, (24, 24), delay=1, network=live_network()), counts)
    _, causal = play(start(ACQUISITION, (24, 24), network=live_network()), counts)
    x, sd = late(state, 0)
    np.testing.assert_allclose(x, causal[-1][0], atol=2e-5)
    np.testing.assert_allclose(sd, causal[-1][1], rtol=1e-3)


def test_the_state_keeps_its_size_with_the_network():
    state = start(ACQUISITION, (24, 24), network=live_network())
    state, _, _ = step(state, moving(1)[0])
    layout, programs = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)], step._cache_size()
    state, _ = play(state, moving(10))
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(state)] == layout
    assert step._cache_size() == programs


def test_the_shipped_network_is_nearer_to_the_truth_than_the_filter_and_covers():
    (scene,) = simulate_scenes(1, 41, SimulationOptions(frames=12, size=64, photons=1500.0, motion="fast"))
    assert scene.x_true is not None
    found = {}
    for name, options in {"network": {}, "filter": {"network": None}}.items():
        results = list(stream(scene_frames(scene), scene.acquisition, **options))
        x, sd = (np.stack([getattr(one, part) for one in results]) for part in ("x", "sd"))
        error = (x - scene.x_true)[4:]
        found[name] = np.sqrt(np.mean(error**2)), np.mean(np.abs(error) < 1.645 * sd[4:])
    assert found["network"][0] < 0.95 * found["filter"][0]
    assert 0.82 < found["network"][1] < 0.97


def test_a_stream_uses_the_shipped_network_unless_it_is_told_not_to():
    running, alone = Stream(ACQUISITION, (8, 8)), Stream(ACQUISITION, (8, 8), network=None)
    assert running.state is not None
    assert running.state.network is not None
    assert len(running.state.recent) == BEFORE + 1
    assert alone.state is not None
    assert alone.state.network is None
    assert alone.state.recent == ()


def test_weights_of_another_architecture_are_refused(tmp_path):
    file = tmp_path / "unet.npz"
    save_weights(file, build_network("unet-small", jax.random.key(0)), {"architecture": "unet-small"})
    with pytest.raises(ValueError, match=r"unet\.npz: architecture is 'unet-small'; expected 'stream'"):
        load_refiner(file)


def test_the_inverse_of_the_stabilisation_is_exact_for_poisson_counts():
    rate = 6.0
    counts = np.random.default_rng(2).poisson(rate, 200_000)
    z = jnp.asarray(np.mean(2 * np.sqrt(counts + 0.375)), jnp.float32)
    assert abs(float(rate_of(z)) - rate) < 0.05


@pytest.mark.slow
def test_the_command_trains_a_network_that_a_stream_takes(run, tmp_path):
    file = tmp_path / "w.npz"
    code, out, err = run("train", "stream", "-o", file, "--scenes", 2, "--steps", 2, "-q")
    assert (code, out, err) == (0, "", "")
    running = Stream(ACQUISITION, (16, 16), network=load_refiner(file))
    found = running.push(moving(1, (16, 16))[0])
    assert found is not None
    assert np.isfinite(found.x).all()
