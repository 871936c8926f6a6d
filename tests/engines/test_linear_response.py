"""Linear response is exact for a linear model with Gaussian noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.engines.linear_response import chain_response, sample_variance

SAMPLES = 600


@pytest.fixture(scope="module")
def variance_of(linear):
    return jax.jit(lambda key: sample_variance(linear.target, linear.at, linear.scale, key, SAMPLES))


def test_the_sampled_variance_is_that_of_the_posterior(linear, variance_of):
    exact = np.diag(linear.to_x @ np.linalg.inv(linear.metric) @ linear.to_x.T).reshape(linear.shape)
    relative = np.asarray(variance_of(jax.random.key(0))) / exact
    # Mean squares of n draws scatter by √(2/n); five of those for the worst of the pixels.
    assert np.abs(relative - 1).max() < 5 * np.sqrt(2 / SAMPLES)
    assert relative.mean() == pytest.approx(1, abs=0.08)


def test_the_key_fixes_the_variance(variance_of):
    first, again, other = (np.asarray(variance_of(jax.random.key(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first / other - 1).max() > 1e-3


def test_the_mode_moves_as_the_chain_makes_it(linear):
    changes = np.random.default_rng(3).normal(size=(3, *linear.shape))
    response = chain_response(linear.target, linear.at, linear.scale, jnp.asarray(changes, jnp.float32))
    moved = -np.linalg.solve(linear.metric, linear.jacobian.T @ changes.reshape(3, -1).T / linear.sigma**2)
    exact = (linear.to_x @ moved).T.reshape(3, *linear.shape)
    # Conjugate gradients stop at a relative residual of one per cent.
    assert np.abs(np.asarray(response) - exact).max() < 0.03 * np.abs(exact).max()


def test_a_chain_that_does_not_change_the_rate_does_not_move_the_mode(linear):
    response = chain_response(linear.target, linear.at, linear.scale, jnp.zeros((1, *linear.shape)))
    np.testing.assert_array_equal(response, np.zeros((1, *linear.shape)))


def test_the_preconditioner_does_not_change_the_answer(linear):
    change = jnp.asarray(np.random.default_rng(4).normal(size=(1, *linear.shape)), jnp.float32)
    other = {"first": jnp.array([0.07, 0.1, 0.15]), "second": jnp.full((2, 2), 0.12)}
    first = np.asarray(chain_response(linear.target, linear.at, linear.scale, change))
    second = np.asarray(chain_response(linear.target, linear.at, other, change))
    assert np.abs(first - second).max() < 0.1 * np.abs(first).max()
