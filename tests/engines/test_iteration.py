"""An iteration stops where it should, and says why."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.engines.iteration import Step, iterate


def halve(value, steps):
    return Step(0.5 * value, 0.5 * value)


def flags(end):
    return {name for name in ("converged", "stalled", "limit", "diverged") if bool(getattr(end, name))}


def test_it_ends_where_what_is_left_falls_to_the_goal():
    end = iterate(halve, jnp.asarray(8.0), goal=1.0, max_steps=9)
    assert (float(end.state), float(end.left), int(end.steps)) == (1.0, 1.0, 3)
    assert flags(end) == {"converged"}


def test_it_ends_at_the_limit():
    end = iterate(halve, jnp.asarray(8.0), goal=1.0, max_steps=2)
    assert (float(end.left), int(end.steps)) == (2.0, 2)
    assert flags(end) == {"limit"}


def test_it_ends_where_a_step_gains_nothing():
    end = iterate(lambda value, steps: Step(value, value, steps >= 2), jnp.asarray(8.0), goal=1.0, max_steps=9)
    assert int(end.steps) == 3
    assert flags(end) == {"stalled"}


def test_it_ends_where_what_is_left_is_not_a_number():
    end = iterate(lambda value, steps: Step(value, value * jnp.nan), jnp.asarray(8.0), goal=1.0, max_steps=9)
    assert int(end.steps) == 1
    assert flags(end) == {"diverged"}


def test_what_a_step_cannot_tell_yet_does_not_end_it():
    def late(value, steps):
        return Step(0.5 * value, jnp.where(steps < 5, jnp.inf, 0.5 * value))

    end = iterate(late, jnp.asarray(8.0), goal=1.0, max_steps=9)
    assert int(end.steps) == 6
    assert flags(end) == {"converged"}


@pytest.mark.parametrize(("left", "steps"), [(0.5, 0), (2.0, 3), (None, 3)])
def test_a_start_at_the_goal_takes_no_step(left, steps):
    assert int(iterate(halve, jnp.asarray(8.0), goal=1.0, max_steps=9, left=left).steps) == steps


def test_every_problem_of_a_batch_ends_by_itself():
    starts = jnp.array([2.0, 64.0, jnp.nan])
    ends = jax.vmap(lambda start: iterate(halve, start, goal=1.0, max_steps=4))(starts)
    np.testing.assert_array_equal(ends.steps, [1, 4, 1])
    np.testing.assert_array_equal(ends.converged, [True, False, False])
    np.testing.assert_array_equal(ends.limit, [False, True, False])
    np.testing.assert_array_equal(ends.diverged, [False, False, True])
