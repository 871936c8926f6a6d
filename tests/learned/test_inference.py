"""Posteriors of scenes: shapes, tiles, runs, mirrors, spec and scatter. The network is random: only structure is
tested here, accuracy is a measurement."""

import equinox as eqx
import jax
import numpy as np
import pytest
from learned_inputs import MEAN, PROTOCOL, STD

from fluorojax.learned.features import SIDE, SPAN
from fluorojax.learned.inference import (
    outside_training,
    posterior,
    shifted_counts,
    spans,
    spec_state,
    tile_slices,
)
from fluorojax.learned.networks import UNet


@pytest.fixture(scope="module")
def network():
    small = UNet(jax.random.key(3), widths=(8, 8), encode=(1, 0), decode=(1,), hidden=4)
    return eqx.tree_at(lambda n: n.leave.weight, small, 10.0 * small.leave.weight)


def counts_of(frames, height, width, seed=0):
    return np.random.default_rng(seed).poisson(20.0, (frames, height, width)).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 16, 16), (5, 17, 23)])
def test_any_size_and_length(network, shape):
    found = posterior(network, counts_of(*shape), PROTOCOL, MEAN, STD)
    assert found.mean.shape == found.std.shape == shape
    assert found.response.shape == (3, *shape)
    assert np.isfinite(found.mean).all()
    assert (found.std > 0).all()
    np.testing.assert_allclose(found.noise_variance + found.spec_variance.sum(0), found.std**2, rtol=1e-4)


def test_tiles_agree_with_the_whole_image(network):
    counts = counts_of(4, 16, 136)
    whole = posterior(network, counts, PROTOCOL, MEAN, STD, response=False, tile=512)
    tiles = posterior(network, counts, PROTOCOL, MEAN, STD, response=False, tile=48)
    assert len(tile_slices((16, 136), 48, network.reach)) > 1
    np.testing.assert_allclose(tiles.mean, whole.mean, atol=2e-5)
    np.testing.assert_allclose(tiles.std, whole.std, rtol=1e-4)


def test_the_reach_of_the_network_is_no_less_than_stated(network):
    counts = counts_of(4, 16, 136)
    changed = counts.copy()
    changed[:, :, :8] += 50.0
    one, other = (posterior(network, c, PROTOCOL, MEAN, STD, response=False) for c in (counts, changed))
    differs = np.flatnonzero(np.any(one.mean != other.mean, axis=(0, 1)))
    assert differs.max() < 8 + network.reach


@pytest.mark.parametrize("frames", [3, SPAN, SPAN + 1, SPAN + 7, 61, 100])
def test_spans_partition_the_frames_and_give_them_neighbours(frames):
    kept = np.concatenate([np.arange(frames)[k] for _, k in spans(frames)])
    np.testing.assert_array_equal(kept, np.arange(frames))
    for seen, part in spans(frames):
        assert seen.stop - seen.start <= SPAN
        assert part.start == 0 or part.start - seen.start >= SIDE
        assert part.stop == frames or seen.stop - part.stop >= SIDE


def test_long_runs_are_finite_and_complete(network):
    found = posterior(network, counts_of(25, 16, 16), PROTOCOL, MEAN, STD, response=False)
    assert (found.std > 0).all()


def test_response_is_the_change_of_the_mean(network):
    counts = counts_of(4, 16, 16)
    found = posterior(network, counts, PROTOCOL, MEAN, STD, mirrors=1)
    mean = MEAN + np.array([0.0, 0.5, 0.0]) * STD
    moved = posterior(network, counts, PROTOCOL, mean, STD, response=False, mirrors=1)
    np.testing.assert_allclose(found.response[1], (moved.mean - found.mean) / 0.5, atol=1e-5)


def test_a_known_spec_has_no_response(network):
    found = posterior(network, counts_of(3, 16, 16), PROTOCOL, MEAN, np.zeros(3))
    assert not found.response.any()


def test_mirrors_commute_with_the_answer(network):
    counts = counts_of(4, 16, 24)
    one = posterior(network, counts, PROTOCOL, MEAN, STD, mirrors=4, response=False)
    other = posterior(network, counts[:, ::-1], PROTOCOL, MEAN, STD, mirrors=4, response=False)
    np.testing.assert_allclose(other.mean, one.mean[:, ::-1], atol=1e-5)


def test_scatter_is_taken_off_the_denoised_counts(network):
    flat = np.full((4, 16, 16), 40.0, np.float32)
    clear = posterior(network, flat, PROTOCOL, MEAN, STD, response=False)
    protocol = {**PROTOCOL, "scatter_fraction": 0.5}
    hazy = posterior(network, flat, protocol, MEAN, STD, response=False)
    # Half of the quanta are scattered: the primary beam is twice as deep in the patient, and the errors double.
    assert np.mean(hazy.mean - clear.mean) == pytest.approx(np.log(2.0) / 5.0, rel=0.02)
    assert np.median(hazy.std / clear.std) == pytest.approx(2.0, rel=0.05)


def test_spec_state_is_physical_and_stays_in_reach():
    state = spec_state(PROTOCOL, np.array([-20.0, -20.0, 0.0]), STD)
    assert float(state.window_ms) == 0.5
    assert float(state.tau_ms) == 2.0


@pytest.mark.parametrize("shape", [(2, 16, 16), (16, 16)])
def test_too_few_frames_are_refused(network, shape):
    with pytest.raises(ValueError, match="expected \\(T, H, W\\) with at least 3 frames"):
        posterior(network, np.ones(shape, np.float32), PROTOCOL, MEAN, STD)
    with pytest.raises(ValueError, match="mirrors is 5"):
        posterior(network, np.ones((3, 16, 16), np.float32), PROTOCOL, MEAN, STD, mirrors=5)


def test_scenes_outside_the_training_are_named():
    counts = counts_of(3, 16, 16)
    assert outside_training(counts, PROTOCOL, MEAN) == []
    (line,) = outside_training(100.0 * counts, PROTOCOL, MEAN)
    assert "mean counts per pixel is" in line
    assert len(outside_training(counts, {**PROTOCOL, "frame_time_ms": 5.0, "lag_ms": 40.0}, MEAN)) == 2


def test_the_network_sees_counts_with_electronic_noise_as_poisson_counts(network):
    counts = counts_of(4, 16, 16)
    noisy = {**PROTOCOL, "electronic_noise": 3.0}
    shifted = counts + 9.0 * (1 + MEAN[2] / 100) ** np.arange(4)[:, None, None]
    np.testing.assert_allclose(shifted_counts(counts, 9.0, MEAN[2]), shifted, rtol=1e-6)
    found, plain = posterior(network, counts, noisy, MEAN, STD), posterior(network, shifted, PROTOCOL, MEAN, STD)
    rate = 400.0 * np.exp(-5.0 * plain.mean)
    primary = np.maximum(rate - 9.0, 0.5 * 5.0 * plain.std * rate)
    np.testing.assert_allclose(400.0 * np.exp(-5.0 * found.mean), primary, rtol=1e-3)
    np.testing.assert_allclose(found.std, plain.std * rate / primary, rtol=1e-3)
    assert shifted_counts(counts, 0.0, 0.2) is counts
    assert shifted_counts(counts - 100.0, 9.0, 0.2).min() == 0.0


def test_electronic_noise_that_matters_is_outside_of_the_training():
    counts = counts_of(4, 16, 16)
    assert outside_training(counts, {**PROTOCOL, "electronic_noise": 0.9}, MEAN) == []
    (sentence,) = outside_training(counts, {**PROTOCOL, "electronic_noise": 2.0}, MEAN)
    assert sentence.startswith("electronic noise is 20 % of the variance")
