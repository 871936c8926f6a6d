"""The line search is that of optax, and ends at a point with the strong Wolfe conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fluorojax.engines.line_search import wolfe_step


def narrow(position):
    """A curved valley: full steps overshoot or fall short by far."""
    return 100.0 * (position[1] - position[0] ** 2) ** 2 + (1.0 - position[0]) ** 2


def walls(position):
    return jnp.sum(jnp.log(jnp.cosh(position)) + 0.05 * position**2)


def barrier(position):
    """Not a number beyond one."""
    return jnp.sum(-jnp.log(1.0 - position) - 3.0 * position)


CASES = [(narrow, (-1.2, 1.0)), (narrow, (0.3, 0.6)), (walls, (3.0, -0.4)), (barrier, (-0.5, 0.1))]


@pytest.mark.parametrize("length", [1e-4, 0.02, 1.0, 30.0])
@pytest.mark.parametrize(("energy", "start"), CASES)
def test_the_step_is_that_of_optax(energy, start, length):
    search = optax.scale_by_zoom_linesearch(max_linesearch_steps=12, initial_guess_strategy="one")
    position = jnp.asarray(start)
    value, gradient = jax.value_and_grad(energy)(position)
    direction = -length * gradient
    update, state = search.update(
        direction, search.init(position), position, value=value, grad=gradient, value_fn=energy
    )
    found = wolfe_step(jax.value_and_grad(energy), position, direction, value, gradient)
    np.testing.assert_allclose(found.length * direction, update, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(found.value, optax.tree.get(state, "value"), rtol=1e-4, atol=1e-5)


def test_a_direction_of_zero_evaluates_the_position():
    position = jnp.asarray([0.3, 0.6])
    found = wolfe_step(jax.value_and_grad(narrow), position, jnp.zeros(2), jnp.asarray(jnp.inf), jnp.zeros(2))
    assert float(found.value) == pytest.approx(float(narrow(position)))
    np.testing.assert_allclose(found.gradient, jax.grad(narrow)(position), rtol=1e-6)


def test_no_step_is_made_where_every_energy_is_not_a_number():
    position = jnp.zeros(2)
    nowhere = jax.value_and_grad(lambda p: jnp.sum(p) * jnp.nan)
    found = wolfe_step(nowhere, position, jnp.ones(2), jnp.asarray(1.0), jnp.ones(2))
    assert float(found.length) == 0.0
    assert float(found.value) == 1.0
