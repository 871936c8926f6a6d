"""Laws of the projector stage and of the gain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.spec import Spec
from fluorojax.physics import BeerLambert, GainDrift

DRIFTS = (-0.6, 0.0, 0.003, 1.15, 100.0)


@pytest.mark.parametrize("scale", [0.0, 3.0, 7.0])
def test_transmissions_of_layers_multiply(scale):
    first, second = np.random.default_rng(0).uniform(size=(2, 3, 4, 5)).astype(np.float32)
    transmit = BeerLambert().transmission
    product = transmit(jnp.asarray(first), scale) * transmit(jnp.asarray(second), scale)
    np.testing.assert_allclose(transmit(jnp.asarray(first + second), scale), product, rtol=2e-6)


def test_empty_beam_transmits_everything():
    np.testing.assert_array_equal(BeerLambert().transmission(jnp.zeros((2, 3, 3)), 7.0), 1.0)


def test_projector_integrates_along_the_beam():
    volume = jnp.full((2, 4, 3, 5), 0.1)
    stage = BeerLambert(projector=lambda x: x.sum(axis=1))
    np.testing.assert_allclose(stage.transmission(volume, 7.0), np.full((2, 3, 5), np.exp(-2.8)), rtol=1e-6)


@pytest.mark.parametrize("drift", DRIFTS)
def test_gain_is_geometric_and_starts_at_one(drift):
    gains = GainDrift().gains(Spec(gain_drift=drift), 32)
    assert gains[0] == 1.0
    np.testing.assert_allclose(gains, (1 + drift / 100) ** np.arange(32), rtol=1e-5)


@pytest.mark.parametrize("drift", DRIFTS)
def test_derivative_of_the_gain(drift):
    with jax.enable_x64(True):
        t = np.arange(16)
        slope = t / 100 * (1 + drift / 100) ** (t - 1)
        np.testing.assert_allclose(
            jax.jacfwd(lambda d: GainDrift().gains(Spec(gain_drift=d), 16))(drift), slope, rtol=1e-10
        )
