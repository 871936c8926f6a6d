"""Minimisation says where it ended and why."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.engines.lbfgs import minimise

RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(6, 6))
HESSIAN = ROOT @ ROOT.T + 2 * np.eye(6)
TARGET = RNG.normal(size=(3, 6))


def quadratic(position, target):
    step = jnp.concatenate([position["a"], position["b"].ravel()]) - target
    return 0.5 * step @ jnp.asarray(HESSIAN, step.dtype) @ step + 3.0


START = {"a": jnp.zeros(2), "b": jnp.zeros((2, 2))}


def solve(target, max_iterations=60, tolerance=1e-6):
    return minimise(partial(quadratic, target=target), START, max_iterations=max_iterations, tolerance=tolerance)


@pytest.fixture(scope="module")
def solved():
    return jax.jit(partial(solve, max_iterations=60))(jnp.asarray(TARGET[0], jnp.float32))


def test_a_quadratic_is_minimised_exactly(solved):
    found = np.concatenate([solved.position["a"], np.ravel(solved.position["b"])])
    np.testing.assert_allclose(found, TARGET[0], atol=1e-3)
    assert float(solved.energy) == pytest.approx(3.0, abs=1e-5)
    assert bool(solved.converged)
    assert not bool(solved.diverged)
    assert 0 < int(solved.iterations) < 60


def test_the_reported_energy_and_decrement_belong_to_the_position(solved):
    value, gradient = jax.value_and_grad(quadratic)(solved.position, jnp.asarray(TARGET[0], jnp.float32))
    half_square = 0.5 * sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(gradient))
    assert float(solved.energy) == pytest.approx(float(value), rel=1e-6)
    assert float(solved.decrement) == pytest.approx(half_square, abs=1e-6)
    assert half_square <= 0.5 * 1e-6 * 6


def test_stopping_at_the_limit_is_not_convergence():
    stopped = solve(jnp.asarray(TARGET[0], jnp.float32), max_iterations=2)
    assert int(stopped.iterations) == 2
    assert not bool(stopped.converged)
    assert not bool(stopped.diverged)
    assert float(stopped.energy) < float(quadratic(START, jnp.asarray(TARGET[0], jnp.float32)))


def test_a_looser_tolerance_stops_earlier(solved):
    loose = solve(jnp.asarray(TARGET[0], jnp.float32), tolerance=0.5)
    assert bool(loose.converged)
    assert int(loose.iterations) < int(solved.iterations)


def test_an_energy_that_is_not_a_number_has_diverged():
    bad = minimise(lambda p: jnp.sum(p) * jnp.nan, jnp.ones(3), max_iterations=20, tolerance=1e-3)
    assert bool(bad.diverged)
    assert not bool(bad.converged)
    assert int(bad.iterations) < 20


def test_starting_at_the_minimum_is_converged():
    there = minimise(lambda p: jnp.sum((p - 1) ** 2), jnp.ones(3), max_iterations=20, tolerance=1e-3)
    assert bool(there.converged)
    np.testing.assert_allclose(there.position, np.ones(3), atol=1e-6)


def test_vmap_over_problems_equals_a_loop():
    targets = jnp.asarray(TARGET, jnp.float32) * jnp.array([[1.0], [0.01], [30.0]])
    batched = jax.jit(jax.vmap(solve))(targets)
    single = jax.jit(solve)
    for i, target in enumerate(targets):
        alone = single(target)
        np.testing.assert_allclose(batched.position["b"][i], alone.position["b"], rtol=1e-3, atol=1e-3)
        assert bool(batched.converged[i]) == bool(alone.converged)


def test_one_diverging_problem_leaves_its_neighbours_alone():
    targets = jnp.asarray(TARGET, jnp.float32).at[1].set(jnp.nan)
    batched = jax.jit(jax.vmap(solve))(targets)
    assert batched.diverged.tolist() == [False, True, False]
    assert batched.converged.tolist() == [True, False, True]


def bottomless(position):
    return jnp.where(position[0] > 0.5, -jnp.inf, jnp.sum((position - 2.0) ** 2))


def steep_aside(position):
    """Across the descent, beyond one half, the squared gradient overflows."""
    return (position[0] - 2.0) ** 2 + jnp.where(position[0] > 0.5, 1e30 * position[1], 0.0)


@pytest.mark.parametrize("energy", [bottomless, steep_aside])
def test_the_run_never_leaves_finite_energies_and_gradients(energy):
    found = minimise(energy, jnp.zeros(2), max_iterations=20, tolerance=1e-3)
    assert np.isfinite(float(found.energy))
    assert np.isfinite(float(found.decrement))
    assert bool(found.stalled)
    assert not bool(found.diverged)
    np.testing.assert_array_equal(found.position, np.zeros(2))


def test_the_energy_is_traced_once():
    """Large models cost their compilation at every place where they are evaluated."""
    calls = []

    def counted(position):
        calls.append(position)
        return jnp.sum((position - 1.0) ** 2)

    jax.jit(lambda start: minimise(counted, start, max_iterations=5, tolerance=1e-3)).trace(jnp.zeros(2))
    assert len(calls) == 1
