"""Conjugate gradients end after one step per distinct eigenvalue."""

import jax.numpy as jnp
import numpy as np

from fluorojax.engines.conjugate_gradients import conjugate_gradients


def test_conjugate_gradients_end_after_one_step_per_eigenvalue():
    diagonal = jnp.array([1.0, 1.0, 4.0, 4.0, 9.0])
    done = conjugate_gradients(lambda v: {"a": diagonal * v["a"]}, {"a": jnp.ones(5)}, tolerance=1e-5, max_iterations=9)
    assert int(done.iterations) == 3
    np.testing.assert_allclose(done.solution["a"], 1 / diagonal, rtol=1e-5)


def test_nothing_to_solve_takes_no_iteration():
    done = conjugate_gradients(lambda v: v, {"a": jnp.zeros(3)}, tolerance=1e-2, max_iterations=9)
    assert int(done.iterations) == 0
    np.testing.assert_array_equal(done.solution["a"], np.zeros(3))
