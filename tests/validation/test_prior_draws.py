"""Replicates drawn from a model's prior."""

import jax
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.validation import draw_prior, empty_scene, poisson_counts, protocol_for_dose

RANGES = SpecRanges.for_tier("public")


def test_dose_is_the_counts_behind_half_the_range():
    protocol = protocol_for_dose(30.0, Acquisition(attenuation_scale=7.0, lag_ms=12.0))
    assert protocol.photons_per_pixel * np.exp(-3.5) == pytest.approx(30.0)
    assert protocol.lag_ms == 12.0
    with pytest.raises(ValueError, match="dose is 0; expected a positive number"):
        protocol_for_dose(0.0)


@pytest.mark.parametrize("rate", [0.5, 30.0, 3e6, 1e12])
def test_counts_have_the_mean_and_variance_of_poisson(rate):
    counts = np.asarray(poisson_counts(jax.random.key(0), np.full(20000, rate, np.float32)), np.float64)
    z = (counts - rate) / np.sqrt(rate)
    # four standard errors: 1/√n of the mean, √((2 + 1/λ)/n) of the variance; float32 steps at 1e12 are 0.06 sd
    assert abs(z.mean()) < 4 / np.sqrt(20000) + 1e-3
    assert abs(z.var() - 1) < 4 * np.sqrt((2 + 1 / rate) / 20000) + 1e-3
    assert (counts == np.round(counts)).all()


def test_truth_follows_the_prior(linear_model):
    scene = empty_scene((3, 4, 4), Acquisition(), RANGES)
    draws = draw_prior(linear_model, scene, jax.random.split(jax.random.key(0), 2000))
    spec = np.asarray(draws.spec)
    assert (spec >= RANGES.low).all()
    assert (spec <= RANGES.high).all()
    np.testing.assert_allclose(spec.mean(axis=0), RANGES.mean(), atol=4 * np.max(RANGES.std()) / np.sqrt(2000))
    # half the squared residuals of 48 pixels, minus the constant of the engines' energy
    residual = -np.asarray(draws.log_likelihood) - 48 * (0.5 * np.log(2 * np.pi) + np.log(0.5))
    assert residual.mean() == pytest.approx(24, abs=4 * np.sqrt(24 / 2000))


def test_a_replicate_depends_on_its_own_key_only(spec_model):
    scene = empty_scene((3, 4, 4), protocol_for_dose(30.0), RANGES)
    keys = jax.random.split(jax.random.key(0), 4)
    many, one = draw_prior(spec_model, scene, keys), draw_prior(spec_model, scene, keys[2:3])
    np.testing.assert_allclose(many.x[2], one.x[0], rtol=1e-6)
    np.testing.assert_array_equal(many.data.counts[2], one.data.counts[0])


def test_electronic_noise_is_drawn_and_known_to_the_likelihood(spec_model):
    quiet = protocol_for_dose(30.0)
    noisy = Acquisition.from_dict({**quiet.as_dict(), "electronic_noise": 3.0})
    keys = jax.random.split(jax.random.key(0), 400)
    without, with_noise = (draw_prior(spec_model, empty_scene((3, 4, 4), p, RANGES), keys) for p in (quiet, noisy))
    added = np.asarray(with_noise.data.counts - without.data.counts)
    assert abs(added.mean()) < 4 * 3.0 / np.sqrt(added.size)
    assert added.std() == pytest.approx(3.0, rel=4 / np.sqrt(2 * added.size))
    # Half the deviance of 48 pixels is about half their number where the noise is known.
    assert -np.asarray(with_noise.log_likelihood).mean() == pytest.approx(24, rel=0.1)
