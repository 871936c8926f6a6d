"""Linear response is exact for a linear model with Gaussian noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from fluorojax.engines.linear_response import (
    metric,
    sample_residuals,
    sample_variance,
    spec_response,
)

SAMPLES = 600


def flat(latents):
    """The latents in the order of the fixture's exact solutions: first, then second."""
    return np.concatenate([np.asarray(latents["first"]), np.asarray(latents["second"]).ravel()])


@pytest.fixture(scope="module")
def variance_of(linear):
    return jax.jit(lambda key: sample_variance(linear.target, linear.at, linear.scale, key, SAMPLES))


def test_the_metric_is_the_information_plus_one(linear):
    _, unravel = ravel_pytree(linear.at)
    product = metric(linear.target, linear.at, linear.scale).product
    columns = jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])(jnp.eye(7))
    np.testing.assert_allclose(columns, linear.metric, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4])
def test_a_solve_reports_the_residual_it_reached(linear, tolerance):
    _, unravel = ravel_pytree(linear.at)
    right = np.random.default_rng(1).normal(size=7)
    done = metric(linear.target, linear.at, linear.scale).solve(unravel(jnp.float32(right)), tolerance=tolerance)
    scale = flat(linear.scale)
    left = scale * (right - linear.metric @ flat(done.solution))
    true = np.linalg.norm(left) / np.linalg.norm(scale * right)
    assert true <= 1.1 * tolerance + 1e-5
    assert done.residual <= tolerance
    assert float(done.residual) == pytest.approx(true, rel=0.05, abs=1e-5)
    assert 1 <= done.iterations <= 12


def test_the_iteration_limit_shows_in_the_report(linear):
    _, unravel = ravel_pytree(linear.at)
    right = unravel(jnp.arange(1.0, 8.0))
    done = metric(linear.target, linear.at, linear.scale).solve(right, tolerance=1e-6, max_iterations=2)
    assert int(done.iterations) == 2
    assert done.residual > 1e-6


def test_double_precision_reaches_what_single_cannot(linear):
    with jax.enable_x64(True):
        to_double = lambda tree: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)  # noqa: E731
        _, unravel = ravel_pytree(to_double(linear.at))
        linearised = metric(linear.target, to_double(linear.at), to_double(linear.scale))
        right = np.arange(1.0, 8.0)
        done = linearised.solve(unravel(jnp.asarray(right)), tolerance=1e-11)
        assert done.residual <= 1e-11
        double = flat(done.solution)
    single = flat(
        metric(linear.target, linear.at, linear.scale).solve(unravel(jnp.float32(right)), tolerance=1e-5).solution
    )
    # The fixture's matrices are float32, so the metric is known to their rounding.
    np.testing.assert_allclose(double, np.linalg.solve(linear.metric, right), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(single, double, rtol=1e-2, atol=1e-4)


def test_draws_have_the_posterior_covariance(linear):
    linearised = metric(linear.target, linear.at, linear.scale)
    draws = jax.jit(lambda key: sample_residuals(linearised, key, 4000, tolerance=1e-4, batch=500))(jax.random.key(0))
    flat_draws = np.concatenate([draws.solution["first"], draws.solution["second"].reshape(-1, 4)], axis=1)
    root = np.linalg.cholesky(linear.metric)
    white = flat_draws @ root
    # Second moments of n standard normals scatter by √(1/n), on the diagonal by √(2/n).
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(7), atol=5 * np.sqrt(2 / len(white)))


def test_draws_side_by_side_are_those_one_by_one(linear):
    linearised = metric(linear.target, linear.at, linear.scale)
    together, single = (sample_residuals(linearised, jax.random.key(5), 6, batch=batch) for batch in (6, 1))
    np.testing.assert_array_equal(together.iterations, single.iterations)
    np.testing.assert_allclose(together.solution["second"], single.solution["second"], rtol=1e-4, atol=1e-6)


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
    response, information = spec_response(linear.target, linear.at, linear.scale, jnp.asarray(changes, jnp.float32))
    moved = -np.linalg.solve(linear.metric, linear.jacobian.T @ changes.reshape(3, -1).T / linear.sigma**2)
    exact = (linear.to_x @ moved).T.reshape(3, *linear.shape)
    # Conjugate gradients stop at a relative residual of one per cent.
    assert np.abs(np.asarray(response) - exact).max() < 0.03 * np.abs(exact).max()
    # The Schur complement of the joint metric, where the closed form cancels and the sum of squares does not.
    seen = changes.reshape(3, -1) @ changes.reshape(3, -1).T / linear.sigma**2
    pulled = linear.jacobian.T @ changes.reshape(3, -1).T / linear.sigma**2
    schur = seen - pulled.T @ np.linalg.solve(linear.metric, pulled)
    np.testing.assert_allclose(information, schur, rtol=2e-3, atol=2e-3 * np.abs(schur).max())


def test_a_chain_that_does_not_change_the_rate_does_not_move_the_mode(linear):
    response = spec_response(linear.target, linear.at, linear.scale, jnp.zeros((1, *linear.shape)))
    np.testing.assert_array_equal(response.information, np.zeros((1, 1)))
    np.testing.assert_array_equal(response.x, np.zeros((1, *linear.shape)))


def test_the_preconditioner_does_not_change_the_answer(linear):
    change = jnp.asarray(np.random.default_rng(4).normal(size=(1, *linear.shape)), jnp.float32)
    other = {"first": jnp.array([0.07, 0.1, 0.15]), "second": jnp.full((2, 2), 0.12)}
    first = np.asarray(spec_response(linear.target, linear.at, linear.scale, change).x)
    second = np.asarray(spec_response(linear.target, linear.at, other, change).x)
    assert np.abs(first - second).max() < 0.1 * np.abs(first).max()
