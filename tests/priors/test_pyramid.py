"""Levels of a pyramid are exact splines, each of about one octave, on grids that reach over the borders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline

from fluorojax.priors import Pyramid, cosine_matrix

SHAPE = (3, 13, 22)
PYRAMID = Pyramid(*SHAPE)


def white(pyramid, seed=0):
    return jax.random.normal(jax.random.key(seed), (pyramid.size, pyramid.frames))


def dense_axis(level, axis):
    """The axis of a level's image as a matrix (pixels, latents), for its spline and for the low-pass part of it."""
    step = 2**level
    nodes = PYRAMID.grids[level][axis]
    margin = 2 if level < PYRAMID.levels - 1 else 0
    first = np.arange(nodes) - margin
    for _ in range(level):
        first = 2 * (first - 1)
    distance = (np.arange(SHAPE[1 + axis])[:, None] - (first - 1)) / step
    hat = BSpline.basis_element(np.arange(-2.0, 3.0), extrapolate=False)
    spline, weights = np.nan_to_num(hat(distance)), [1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16]
    low = sum(w * np.nan_to_num(hat(distance + shift)) for w, shift in zip(weights, range(-2, 3), strict=True))
    return spline, low


@pytest.mark.parametrize("level", range(PYRAMID.levels))
def test_the_image_of_a_level_is_that_of_its_splines(level):
    parts = [part if at == level else 0 * part for at, part in enumerate(PYRAMID.split(white(PYRAMID)))]
    (rows, low_rows), (columns, low_columns) = dense_axis(level, 0), dense_axis(level, 1)
    latents = np.asarray(parts[level], np.float64)
    expected = np.einsum("ya,abk,xb->yxk", rows, latents, columns)
    if level < PYRAMID.levels - 1:
        expected -= np.einsum("ya,abk,xb->yxk", low_rows, latents, low_columns)
    np.testing.assert_allclose(PYRAMID.image(parts), expected, atol=2e-6)


def test_split_and_join_are_inverse():
    latents = white(PYRAMID)
    np.testing.assert_array_equal(PYRAMID.join(PYRAMID.split(latents)), latents)


@pytest.mark.parametrize(("shape", "levels"), [((1, 3, 4), 1), ((2, 5, 5), 2), ((2, 16, 16), 3), ((2, 128, 64), 6)])
def test_the_coarsest_level_has_at_most_four_knots_a_side(shape, levels):
    pyramid = Pyramid(*shape)
    assert pyramid.levels == len(pyramid.grids) == levels
    assert pyramid.image(pyramid.split(white(pyramid))).shape == (*shape[1:], shape[0])


def test_the_energy_of_a_level_is_the_variance_of_its_pixels():
    pyramid = Pyramid(400, 32, 32)
    for level, energy in enumerate(pyramid.basis_energy):
        parts = [part if at == level else 0 * part for at, part in enumerate(pyramid.split(white(pyramid)))]
        assert float(jnp.mean(pyramid.image(parts) ** 2)) == pytest.approx(energy, rel=0.1)


def test_the_quadrature_over_frequency_keeps_the_energies():
    weights, power = Pyramid(1, 64, 64).frequencies
    assert weights.sum() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(power @ weights, Pyramid(1, 64, 64).basis_energy, rtol=1e-9)
    # Fine levels have their power at high frequencies, which come first.
    assert np.all(np.diff(power.argmax(axis=1)) >= 0)


def test_time_has_orthonormal_cosines():
    matrix = cosine_matrix(7)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(7), atol=1e-12)
    still = jnp.zeros((2, 2, 7)).at[..., 0].set(1.0)
    np.testing.assert_allclose(Pyramid(7, 2, 2).in_time(still), np.full((7, 2, 2), 7**-0.5), rtol=1e-6)


def test_maps_on_pixels_and_at_nodes_keep_a_constant():
    ones = [jnp.ones((*grid, 2)) for grid in PYRAMID.grids]
    np.testing.assert_allclose(PYRAMID.on_pixels(ones), np.ones((PYRAMID.levels, *SHAPE[1:], 2)), rtol=1e-6)
    ramp = jnp.broadcast_to(jnp.arange(SHAPE[2], dtype=float), SHAPE[1:])
    for level in range(PYRAMID.levels):
        at = np.asarray(PYRAMID.at_nodes(level, ramp))
        assert at.shape == PYRAMID.grids[level]
        assert np.all(np.diff(at[0]) >= 0)
