"""The search for the mode of the evidence comes back from where the evidence is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.engines.evidence import Evidence
from fluorojax.engines.marginal_mode import evidence_mode

SCENE = {"scene": jnp.zeros(2)}


def search(energy, start):
    """The mode of an energy of the outer latents alone."""

    def evidence(flat, scene):
        value, gradient = jax.value_and_grad(energy)(flat)
        return Evidence(value, jnp.where(jnp.isfinite(value), gradient, jnp.nan), scene)

    return jax.jit(lambda at: evidence_mode(evidence, at, SCENE))(jnp.asarray(start))


def test_the_mode_and_covariance_of_a_quadratic_are_exact():
    precision = jnp.array([[40.0, 10.0], [10.0, 20.0]])
    found = search(lambda at: 0.5 * (at - 0.3) @ precision @ (at - 0.3), [0.0, 0.0])
    assert bool(found.converged)
    np.testing.assert_allclose(found.position, 0.3, atol=0.02)
    np.testing.assert_allclose(found.root @ found.root.T, np.linalg.inv(precision), rtol=1e-3)


@pytest.mark.parametrize("reach", [0.3, 0.1])
def test_differences_that_reach_beyond_finite_energies_are_taken_over_less(reach):
    """The first differences are 0.35 wide; the energy is finite only within ``reach`` of the mode."""
    mode, sd = 0.1, 0.2 * reach

    def energy(at):
        return jnp.where(jnp.abs(at - mode) < reach, 0.5 * ((at - mode) / sd) ** 2, jnp.nan)[0]

    found = search(energy, [mode + 0.1 * reach])
    assert bool(found.converged)
    assert float(found.position[0]) == pytest.approx(mode, abs=0.1 * sd)
    assert float(found.root[0, 0]) == pytest.approx(sd, rel=0.02)


def test_a_step_beyond_finite_energies_is_taken_back():
    """A wall at one: the first step goes beyond, because the energy bends only next to the wall."""
    slope = 10.0
    found = search(lambda at: -slope * at[0] - jnp.log(1.0 - at[0]), [0.0])
    assert bool(found.converged)
    # The mode is at 1 − 1/slope, where the sd of the quadratic expansion is 1/slope.
    assert float(found.position[0]) == pytest.approx(1.0 - 1.0 / slope, abs=0.3 / slope)


def test_a_search_that_never_sees_a_finite_energy_has_not_converged():
    found = search(lambda at: jnp.nan * at[0], [0.0])
    assert not bool(found.converged)
    assert float(found.left) == np.inf
    np.testing.assert_array_equal(found.position, [0.0])
