"""Local scales are found from a reconstruction, and give the pixel variance of the Wiener posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.priors import (
    LocalScales,
    Pyramid,
    carried,
    curvature,
    dynamic_spectrum,
    local_variance,
    scene_field,
    static_spectrum,
    update_scales,
)

SHAPE = (6, 32, 32)
PYRAMID = Pyramid(*SHAPE)
ONES = LocalScales.ones(PYRAMID)
POWER = static_spectrum(PYRAMID, 0.1, 3.0) + dynamic_spectrum(PYRAMID, 0.05, 2.0, jnp.ones(SHAPE[0]), 33.3)
PRECISE = jnp.full(SHAPE[1:], 1e9)
SMALL = Pyramid(5, 12, 13)
SMALL_POWER = static_spectrum(SMALL, 0.1, 2.0) + dynamic_spectrum(SMALL, 0.05, 2.0, jnp.ones(5), 33.3)


def halves(left, right, shape=SHAPE[1:]):
    image = np.full(shape, left, np.float32)
    image[:, shape[1] // 2 :] = right
    return jnp.asarray(image)


def white(seed, pyramid=PYRAMID):
    return jax.random.normal(jax.random.key(seed), (pyramid.size, pyramid.frames))


def on_grids(pyramid, image):
    """Scales whose squares follow an image of the field of view."""
    groups = len(pyramid.groups)
    return LocalScales(
        tuple(
            jnp.broadcast_to(pyramid.at_nodes(level, image)[..., None] ** 2, (*grid, groups))
            for level, grid in enumerate(pyramid.grids)
        )
    )


def contrast(squares):
    """Mean square of the right quarter over that of the left quarter, for each temporal group."""
    quarter = squares.shape[1] // 4
    squares = np.asarray(squares)
    return squares[:, -quarter:].mean(axis=(0, 1)) / squares[:, :quarter].mean(axis=(0, 1))


def dense(pyramid, scales, power):
    """The field as a matrix (T·H·W, latents), float64."""
    shape = (pyramid.size, pyramid.frames)
    columns = jax.vmap(lambda z: scene_field(pyramid, scales, power, z.reshape(shape)).ravel())(
        jnp.eye(shape[0] * shape[1])
    )
    return np.asarray(columns, np.float64).T


def test_a_stationary_field_has_the_variance_of_its_spectrum():
    draws = jax.vmap(lambda key: scene_field(PYRAMID, ONES, POWER, jax.random.normal(key, (PYRAMID.size, SHAPE[0]))))(
        jax.random.split(jax.random.key(0), 100)
    )
    assert float(jnp.mean(draws**2)) == pytest.approx(0.1**2 + 0.05**2, rel=0.1)


def test_carried_latents_give_the_same_field():
    after = on_grids(PYRAMID, halves(0.3, 1.7))
    field = scene_field(PYRAMID, ONES, POWER, white(1))
    again = scene_field(PYRAMID, after, POWER, carried(PYRAMID, ONES, after, white(1)))
    np.testing.assert_allclose(again, field, atol=1e-6)


def test_more_local_energy_means_larger_scales_there():
    # Where the data decide everything, the mean under unit scales holds all of the field.
    mean = carried(PYRAMID, on_grids(PYRAMID, halves(0.3, 1.7)), ONES, white(2))
    scales = update_scales(PYRAMID, ONES, POWER, mean, PRECISE)
    assert np.all(contrast(scales.square[0]) > 5)
    assert np.all(contrast(scales.square[1]) > 3)


def test_a_field_of_the_assumed_amplitude_keeps_its_scales():
    """Posterior means of draws from the model under unit scales, by dense algebra."""
    matrix = dense(SMALL, LocalScales.ones(SMALL), SMALL_POWER)
    precision = 1e4
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(matrix.shape[1], 40))
    data = matrix @ latents + precision**-0.5 * rng.normal(size=(len(matrix), 40))
    mean = np.linalg.solve(precision * matrix.T @ matrix + np.eye(matrix.shape[1]), precision * matrix.T @ data)
    squares = []
    for draw in mean.T:
        found = update_scales(
            SMALL,
            LocalScales.ones(SMALL),
            SMALL_POWER,
            jnp.asarray(draw.reshape(SMALL.size, -1), jnp.float32),
            jnp.full((12, 13), precision),
        )
        squares.append(np.asarray(found.square[0]).mean(axis=(0, 1)))
    np.testing.assert_allclose(np.mean(squares, axis=0), 1.0, atol=0.15)


def test_without_information_the_scales_stay():
    # Nothing determined and a mean of zero: the fixed point is whatever the scales were.
    start = LocalScales(tuple(4 * square for square in ONES.square))
    scales = update_scales(PYRAMID, start, POWER, jnp.zeros((PYRAMID.size, 6)), jnp.full(SHAPE[1:], 1e-12))
    for found, before in zip(scales.square, start.square, strict=True):
        np.testing.assert_allclose(found, before, rtol=1e-3)


def test_scales_stay_positive_where_nothing_was_found():
    scales = update_scales(PYRAMID, ONES, POWER, jnp.zeros((PYRAMID.size, 6)), jnp.full(SHAPE[1:], 1e6))
    for found in scales.square:
        assert float(found.min()) > 0
        assert float(found.max()) < 1


@pytest.mark.parametrize("precision", [1e-2, 1e2, 1e4, 1e6])
def test_the_variance_of_a_stationary_field_is_that_of_dense_algebra(precision):
    matrix = dense(SMALL, LocalScales.ones(SMALL), SMALL_POWER)
    covariance = matrix @ np.linalg.solve(precision * matrix.T @ matrix + np.eye(matrix.shape[1]), matrix.T)
    exact = np.diag(covariance).reshape(5, 12, 13)
    variance = np.asarray(local_variance(SMALL, LocalScales.ones(SMALL), SMALL_POWER, jnp.full((12, 13), precision)))
    # Pixels at the borders see one side only, which the local approximation leaves out.
    inside = exact[:, 4:-4, 4:-4]
    np.testing.assert_allclose(variance[:, 4:-4, 4:-4].mean(axis=(1, 2)), inside.mean(axis=(1, 2)), rtol=0.12)


def test_the_curvature_is_the_diagonal_of_the_precision():
    scales = on_grids(SMALL, jnp.full((12, 13), 0.7))
    matrix = dense(SMALL, scales, SMALL_POWER)
    exact = (1.0 + 50.0 * np.sum(matrix**2, axis=0)).reshape(SMALL.size, -1)
    found = np.asarray(curvature(SMALL, scales, SMALL_POWER, jnp.full((12, 13), 50.0)))
    level = SMALL.split(jnp.asarray(found))[0], SMALL.split(jnp.asarray(exact))[0]
    np.testing.assert_allclose(*(np.asarray(part)[7:-7, 7:-7] for part in level), rtol=1e-3)


def test_the_variance_falls_with_dose_and_rises_with_scale():
    ones, image = LocalScales.ones(SMALL), (12, 13)
    variance = local_variance(SMALL, ones, SMALL_POWER, halves(1e2, 1e5, image))
    assert np.all(variance[..., -1] < 0.5 * variance[..., 0])
    active = on_grids(SMALL, halves(0.1, 1.0, image))
    variance = local_variance(SMALL, active, SMALL_POWER, jnp.full(image, 1e3))
    assert np.all(variance[..., 0] < variance[..., -1])


def test_without_dose_the_variance_is_the_priors():
    variance = local_variance(SMALL, LocalScales.ones(SMALL), SMALL_POWER, jnp.full((12, 13), 1e-9))
    np.testing.assert_allclose(variance.mean(axis=0), np.full((12, 13), 0.1**2 + 0.05**2), rtol=0.01)


def test_the_ends_of_a_sequence_are_less_certain_than_its_middle():
    variance = local_variance(SMALL, LocalScales.ones(SMALL), SMALL_POWER, jnp.full((12, 13), 1e4))
    by_frame = np.asarray(variance.mean(axis=(1, 2)))
    assert by_frame[0] == pytest.approx(by_frame[-1], rel=1e-5)
    assert by_frame[0] > 1.1 * by_frame[2]


def test_the_scale_before_an_update_counts_as_three_per_cent_of_fully_determined_data():
    """The square of a scale grows linearly with the energy that was found, from what the damping alone would leave."""

    def updated(latent):
        white = jnp.full((PYRAMID.size, 6), latent)
        square = update_scales(PYRAMID, ONES, POWER, white, jnp.full(SHAPE[1:], 1e12)).square[0]
        return float(square[square.shape[0] // 2, square.shape[1] // 2, 0])

    # In the middle of the finest level: coarser ones share what they describe with their neighbours.
    nothing, found = updated(0.0), updated(1.0)
    assert nothing < 0.1
    assert nothing / (found - nothing) == pytest.approx(0.03, rel=0.15)
