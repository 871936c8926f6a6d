"""Calibrated standard deviations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.learned import spread
from fluorojax.learned.features import BLOCK, CHANNELS, CONDITIONS, log_level, run_level
from fluorojax.learned.networks import UNet
from fluorojax.learned.spread import LARGEST, CalibratedNetwork, fit_spread


@pytest.fixture(scope="module")
def network():
    return UNet(jax.random.key(0), widths=(8, 8), encode=(1, 0), decode=(1,), hidden=4)


@pytest.fixture(scope="module")
def inputs():
    return jax.random.normal(jax.random.key(1), (1, 8, 8, CHANNELS)), jnp.zeros((1, CONDITIONS))


def test_without_coefficients_it_is_the_network_itself(network, inputs):
    for one, other in zip(CalibratedNetwork(network)(*inputs), network(*inputs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_correction_shifts_log_s_alone_and_is_limited(network, inputs):
    mean, log_std = network(*inputs)
    for shift, expected in ((0.3, 0.3), (9.0, LARGEST), (-9.0, -LARGEST)):
        coefficients = jnp.zeros(spread.TERMS).at[0].set(shift)
        same, moved = CalibratedNetwork(network, coefficients)(*inputs)
        np.testing.assert_array_equal(same, mean)
        np.testing.assert_allclose(moved - log_std, expected, atol=1e-5)


def test_the_fit_makes_intervals_cover_at_every_dose(network, monkeypatch):
    rng = np.random.default_rng(0)

    def errors(some, runs):
        # Too wide at low dose, too narrow at high dose, and of heavy tails.
        for count in (3.0, 30.0, 300.0):
            log_std = rng.normal(-1.4, 0.4, (2, 50, 50, BLOCK))
            factor = (count / 30.0) ** 0.15
            yield factor * np.exp(log_std) * rng.standard_t(5, log_std.shape), log_std, np.full(log_std.shape, count)

    monkeypatch.setattr(spread, "pixel_errors", errors)
    found = fit_spread(network, None)
    for error, log_std, count in errors(None, None):
        level = jnp.log(count + 0.5)
        terms = spread._terms(jnp.asarray(log_std), level)
        change = sum(c * t for c, t in zip(found.coefficients, terms, strict=True))
        inside = np.abs(error) <= 1.6449 * np.exp(log_std + np.asarray(change))
        assert 0.88 < inside.mean() < 0.92


def test_log_level_reads_the_level_from_the_input_images():
    counts = jnp.asarray(np.random.default_rng(0).poisson(30.0, (5, 8, 8)), jnp.float32)
    level = run_level(counts, 5)
    images = jnp.concatenate([jnp.zeros((8, 8, CHANNELS - 3)), level.images], axis=-1)
    np.testing.assert_allclose(log_level(images), jnp.log(level.mean + 0.5), rtol=1e-5)
