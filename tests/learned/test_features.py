"""Inputs of the networks against independent formulas and the imaging chain of the simulator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.learned.features import (
    BLOCK,
    CHANNELS,
    CONDITIONS,
    SIDE,
    SpecState,
    block_inputs,
    correct_counts,
    depth_of,
    run_level,
)
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.simulation import imaging_chain as steps


def make_spec(tau=14.0, drift=0.8, frame_time=40.0, delay=33.3):
    values = (9.0, tau, drift, 2.0, 1.0, 0.1, frame_time, delay)
    return SpecState(*(jnp.float32(v) for v in values))


@jax.jit
def inputs_of(stack, spec, frames, start):
    corrected = correct_counts(stack, spec)
    return block_inputs(corrected, run_level(corrected, frames), frames, start, spec)


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(20.0, (10, 12, 16)).astype(np.float32)


@pytest.mark.parametrize(("frame_time", "delay"), [(40.0, 33.3), (33.3, 33.3), (100.0, 20.0)])
def test_correct_counts_undoes_lag_and_gain_of_the_simulator(frame_time, delay):
    truth = np.random.default_rng(1).uniform(5.0, 50.0, (9, 4, 5))
    read = steps.rate(steps.lag(truth, 14.0, frame_time, delay, from_dark=False), 1.0, 0.8)
    found = correct_counts(jnp.asarray(read, jnp.float32), make_spec(frame_time=frame_time, delay=delay))
    np.testing.assert_allclose(found, truth, rtol=2e-4)


def test_correct_counts_inverts_the_lag_matrix_of_the_operator(counts):
    spec = make_spec(drift=0.0)
    matrix = ChargeReleaseLag().matrix(14.0, 40.0, 33.3, len(counts), jnp.float32)
    back = jnp.tensordot(matrix, correct_counts(jnp.asarray(counts), spec), axes=1)
    np.testing.assert_allclose(back, counts, rtol=1e-4, atol=1e-3)


def test_padding_frames_change_nothing(counts):
    spec = make_spec()
    padded = np.concatenate([counts, 99.0 * np.ones((6, 12, 16), np.float32)])
    results = []
    for stack in (counts, padded):
        results.append(inputs_of(jnp.asarray(stack), spec, 10, 7))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_block_inputs_reflect_at_the_ends_and_have_unit_noise():
    stack = jnp.asarray(np.random.default_rng(2).poisson(40.0, (16, 48, 48)), jnp.float32)
    spec = SpecState(*(jnp.float32(v) for v in (9.0, 1e-3, 0.0, 0.0, 0.0, 0.0, 40.0, 33.3)))
    images, conditions = inputs_of(stack, spec, 16, 0)
    assert images.shape == (48, 48, CHANNELS)
    assert conditions.shape == (CONDITIONS,)
    for k in range(1, SIDE + 1):
        np.testing.assert_array_equal(images[..., SIDE - k], images[..., SIDE + k])
    np.testing.assert_array_equal(conditions[-(BLOCK + 2 * SIDE) :], [0.0] * SIDE + [1.0] * (BLOCK + SIDE))
    np.testing.assert_allclose(jnp.std(images[..., SIDE : SIDE + BLOCK], axis=(0, 1)), 1.0, atol=0.06)


@pytest.mark.parametrize("frames", [3])
def test_shortest_runs_have_finite_inputs(frames):
    stack = jnp.zeros((frames, 8, 8))
    images, conditions = inputs_of(stack, make_spec(), frames, 0)
    assert np.isfinite(images).all()
    assert np.isfinite(conditions).all()


def test_depth_of_a_perfect_output_is_the_depth_of_the_mean():
    level = jnp.full((4, 4), 25.0)
    np.testing.assert_allclose(depth_of(level, jnp.zeros((4, 4, BLOCK)), 100.0), np.log(4.0), rtol=1e-6)
    np.testing.assert_allclose(depth_of(level, jnp.ones((4, 4, BLOCK)), 100.0), np.log(4.0) - 0.2, rtol=1e-5)
