"""Gaussian smoothing without boundary bias."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluorojax.priors import smooth
from fluorojax.priors.smoothing import gaussian_matrix

FIELD = np.random.default_rng(0).normal(size=(18, 25)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 3.0, 40.0, np.inf])
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (9, 20)])
def test_a_constant_stays_constant(shape, sigma):
    np.testing.assert_allclose(smooth(jnp.full(shape, 3.7), sigma), np.full(shape, 3.7), rtol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 5.0, np.inf])
def test_smoothing_stays_within_the_range_of_the_field(sigma):
    smoothed = np.asarray(smooth(jnp.asarray(FIELD), sigma))
    assert smoothed.min() >= FIELD.min() - 1e-5
    assert smoothed.max() <= FIELD.max() + 1e-5


def test_no_width_leaves_the_field_and_infinite_width_its_mean():
    np.testing.assert_allclose(smooth(jnp.asarray(FIELD), 0.0), FIELD, atol=1e-6)
    np.testing.assert_allclose(smooth(jnp.asarray(FIELD), np.inf), np.full(FIELD.shape, FIELD.mean()), atol=1e-6)


def test_the_mean_of_what_lies_inside_is_kept():
    inside = np.zeros((40, 40), np.float32)
    inside[16:24, 15:26] = np.random.default_rng(1).uniform(1, 2, (8, 11))
    assert np.mean(smooth(jnp.asarray(inside), 2.0)) == pytest.approx(inside.mean(), rel=1e-5)


def test_far_from_the_border_it_is_the_gaussian_filter():
    expected = gaussian_filter(FIELD.astype(np.float64), 1.0, truncate=8)
    np.testing.assert_allclose(smooth(jnp.asarray(FIELD), 1.0)[7:-7, 7:-7], expected[7:-7, 7:-7], atol=1e-5)


def test_a_window_on_long_axes_smooths_as_the_matrix_does():
    long = jnp.asarray(np.random.default_rng(2).normal(size=(2, 300, 5)), jnp.float32)
    expected = np.einsum("ab,kbx->kax", gaussian_matrix(300, 3.0), np.asarray(smooth(long, 0.0), np.float64))
    rows = np.einsum("ab,kxb->kxa", gaussian_matrix(5, 3.0), expected)
    np.testing.assert_allclose(smooth(long, 3.0), rows, atol=2e-4)


def test_leading_axes_are_smoothed_apart():
    stack = jnp.stack([jnp.asarray(FIELD), 2 * jnp.asarray(FIELD)])
    smoothed = smooth(stack, 2.0)
    np.testing.assert_allclose(smoothed[1], 2 * smoothed[0], atol=1e-5)
    np.testing.assert_allclose(smoothed[0], smooth(stack[0], 2.0), atol=1e-6)
