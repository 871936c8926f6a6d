"""Newton's method finds the mode of the scene, and says how the search ended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.engines.newton import conditional_mode


def test_newton_finds_the_mode_of_a_linear_model(linear):
    start = jax.tree.map(jnp.zeros_like, linear.at)
    found = conditional_mode(linear.target, start, linear.scale)
    flat = np.concatenate([np.ravel(found.position[name]) for name in ("first", "second")])
    sd = np.sqrt(np.diag(np.linalg.inv(linear.metric)))
    assert np.abs((flat - linear.mode) / sd).max() < 0.02
    assert float(found.energy) == pytest.approx(float(linear.target.energy(found.position)), rel=1e-5)


def test_a_search_without_a_step_stays_where_it_is(linear):
    start = jax.tree.map(jnp.zeros_like, linear.at)
    found = conditional_mode(linear.target, start, linear.scale, max_steps=0)
    assert int(found.iterations) == 0
    assert not any(bool(flag) for flag in (found.converged, found.stalled, found.diverged))
    np.testing.assert_array_equal(found.position["first"], start["first"])


def test_an_energy_that_is_not_a_number_has_diverged(linear):
    start = jax.tree.map(jnp.zeros_like, linear.at)
    target = linear.target._replace(energy=lambda scene: jnp.nan * linear.target.energy(scene))
    found = conditional_mode(target, start, linear.scale)
    assert bool(found.diverged)
    assert not bool(found.converged)
