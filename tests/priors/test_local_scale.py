"""Local scales are found from a reconstruction, and give the pixel variance of the Wiener posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.priors import (
    Bands,
    LocalScales,
    cosine_matrix,
    dynamic_field,
    dynamic_spectrum,
    initial_scales,
    local_variance,
    static_field,
    static_spectrum,
    update_scales,
)

SHAPE = (6, 32, 32)
BANDS = Bands(*SHAPE)
STATIC = static_spectrum(BANDS, 0.1, 3.0)
DYNAMIC = dynamic_spectrum(BANDS, 0.05, 2.0, jnp.ones(SHAPE[0]), 33.3)
PRECISE = jnp.full(SHAPE[1:], 1e9)
variance_of = jax.jit(local_variance, static_argnums=0)


def halves(left, right, shape=SHAPE[1:]):
    image = np.full(shape, left, np.float32)
    image[:, shape[1] // 2 :] = right
    return jnp.asarray(image)


def white(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@jax.jit
def one_update(scales, static_mean, dynamic_mean, precision):
    return update_scales(BANDS, scales, (STATIC, static_mean), (DYNAMIC, dynamic_mean), precision)


def analyse(field):
    """Orthonormal cosine coefficients of a sequence: the posterior mean where the data decide everything."""
    matrices = [cosine_matrix(size, size) for size in field.shape]
    return jnp.asarray(np.einsum("kt,ay,bx,tyx->kab", *matrices, np.asarray(field, np.float64)), jnp.float32)


def contrast(scales):
    """Mean scale of the right quarter over that of the left quarter, away from the step."""
    scales, quarter = np.asarray(scales), SHAPE[2] // 4
    return scales[..., -quarter:].mean(axis=(-1, -2)) / scales[..., :quarter].mean(axis=(-1, -2))


def test_unit_scales_are_stationary():
    ones = LocalScales.ones(BANDS)
    count, groups = len(BANDS.spatial), len(BANDS.temporal)
    assert ones.static.shape == (count, *SHAPE[1:])
    assert ones.dynamic.shape == (count, groups, *SHAPE[1:])
    assert jnp.all(ones.static == 1)
    assert jnp.all(ones.dynamic == 1)


def test_a_stationary_field_has_the_variance_of_its_spectrum():
    ones = LocalScales.ones(BANDS)
    draws = jax.vmap(lambda z: static_field(BANDS, ones, jnp.sqrt(STATIC) * z))(white(0, 400, *SHAPE[1:]))
    assert float(jnp.mean(draws**2)) == pytest.approx(0.1**2, rel=0.1)


def test_more_local_energy_means_larger_scales_there():
    truth = halves(0.3, 1.7)
    static_mean = analyse(
        (truth * static_field(BANDS, LocalScales.ones(BANDS), jnp.sqrt(STATIC) * white(1, 32, 32)))[None]
    )[0]
    motion = dynamic_field(BANDS, LocalScales.ones(BANDS), jnp.sqrt(DYNAMIC) * white(2, *SHAPE))
    scales = one_update(LocalScales.ones(BANDS), static_mean, analyse(truth * motion), PRECISE)
    # The finest bands hold most coefficients, so their local energies are known best.
    assert np.all(contrast(scales.static)[-2:] > 1.5)
    assert np.all(contrast(scales.dynamic)[-2:] > 1.5)
    assert np.all(np.isfinite(scales.static))
    assert np.all(np.isfinite(scales.dynamic))


def test_the_true_scales_are_a_fixed_point_that_updates_approach():
    truth = halves(0.3, 1.7)
    ones = LocalScales.ones(BANDS)
    true = LocalScales(ones.static * truth, ones.dynamic * truth)
    latents = jnp.sqrt(STATIC) * white(3, *SHAPE[1:]), jnp.sqrt(DYNAMIC) * white(4, *SHAPE)
    # Where the data decide everything, the mean under unit scales holds all of the field.
    fields = static_field(BANDS, true, latents[0]), dynamic_field(BANDS, true, latents[1])
    from_ones = one_update(ones, analyse(fields[0][None])[0], analyse(fields[1]), PRECISE)
    from_truth = one_update(true, *latents, PRECISE)

    def error(scales):
        return np.sqrt(np.mean((np.asarray(scales.dynamic[-2:]) - np.asarray(truth)) ** 2))

    assert error(from_ones) < 0.75 * error(ones)
    assert error(from_truth) < 0.6 * error(ones)


def test_a_field_of_the_assumed_amplitude_keeps_its_scales():
    ones = LocalScales.ones(BANDS)
    mean = (jnp.sqrt(STATIC) * white(5, *SHAPE[1:]), jnp.sqrt(DYNAMIC) * white(6, *SHAPE))
    scales = one_update(ones, *mean, PRECISE)
    assert float(jnp.sqrt(jnp.mean(scales.dynamic[-1] ** 2))) == pytest.approx(1, abs=0.1)
    assert float(jnp.sqrt(jnp.mean(scales.static[-1] ** 2))) == pytest.approx(1, abs=0.1)


def test_without_information_the_scales_stay():
    # Nothing determined and a mean of zero: the fixed point is whatever the scales were.
    ones = LocalScales.ones(BANDS)
    start = LocalScales(2 * ones.static, 0.5 * ones.dynamic)
    scales = one_update(start, jnp.zeros(SHAPE[1:]), jnp.zeros(SHAPE), jnp.full(SHAPE[1:], 1e-12))
    np.testing.assert_allclose(scales.static, start.static, rtol=1e-3)
    np.testing.assert_allclose(scales.dynamic, start.dynamic, rtol=1e-3)


def test_scales_stay_positive_where_nothing_was_found():
    scales = one_update(LocalScales.ones(BANDS), jnp.zeros(SHAPE[1:]), jnp.zeros(SHAPE), jnp.full(SHAPE[1:], 1e6))
    assert float(scales.static.min()) > 0
    assert float(scales.dynamic.min()) > 0
    assert float(scales.dynamic.max()) < 1


def test_starting_scales_follow_the_temporal_variance_beyond_poisson():
    rng = np.random.default_rng(0)
    level = 200 * np.exp(np.where(np.arange(32) < 16, 0.0, 0.3)[None, None, :] * rng.normal(size=(6, 1, 1)))
    counts = jnp.asarray(rng.poisson(np.broadcast_to(level, SHAPE)), jnp.float32)
    scales = initial_scales(BANDS, counts, jnp.ones(6), 5.0)
    assert np.all(contrast(scales.dynamic) > 2)
    np.testing.assert_array_equal(scales.static, np.ones_like(scales.static))


def test_gains_are_no_motion():
    rng = np.random.default_rng(1)
    gains = jnp.asarray(1.05 ** np.arange(6), jnp.float32)
    rate = np.full(SHAPE, 300.0) * (1 + 0.2 * rng.normal(size=(6, 1, 1)) * (np.arange(32) > 15))
    counts = rng.poisson(rate * np.asarray(gains)[:, None, None]).astype(np.float32)
    told = contrast(initial_scales(BANDS, jnp.asarray(counts), gains, 5.0).dynamic)
    untold = contrast(initial_scales(BANDS, jnp.asarray(counts), jnp.ones(6), 5.0).dynamic)
    assert np.all(told > 1.3 * untold)


def dense_variance(bands, static_power, dynamic_power, precision):
    """Mean posterior variance in each frame of x = static + dynamic with independent noise, by dense float64."""
    frames, height, width = bands.frames, bands.height, bands.width
    image = np.kron(cosine_matrix(height, height), cosine_matrix(width, width))
    time = cosine_matrix(frames, frames)
    still = np.kron(np.ones((1, frames)), image)
    moving = np.kron(time, image)
    covariance = (still.T * np.asarray(static_power, np.float64).ravel()) @ still
    covariance += (moving.T * np.asarray(dynamic_power, np.float64).ravel()) @ moving
    posterior = np.linalg.inv(np.linalg.inv(covariance) + precision * np.eye(len(covariance)))
    return np.diag(posterior).reshape(frames, -1).mean(axis=1)


def wiener_variance(bands, static_power, dynamic_power, precision):
    power = np.array(dynamic_power, np.float64)
    power[0] += bands.frames * np.asarray(static_power, np.float64)
    return np.sum(power / (1 + precision * power)) / power.size


SMALL = Bands(7, 8, 9)
SMALL_STATIC = static_spectrum(SMALL, 0.1, 2.0)
SMALL_DYNAMIC = dynamic_spectrum(SMALL, 0.05, 2.0, jnp.ones(7), 33.3)


@pytest.mark.parametrize("precision", [1e-2, 1e2, 1e4, 1e6])
def test_the_variance_of_a_stationary_field_is_that_of_the_wiener_filter(precision):
    exact = dense_variance(SMALL, SMALL_STATIC, SMALL_DYNAMIC, precision)
    mean = wiener_variance(SMALL, SMALL_STATIC, SMALL_DYNAMIC, precision)
    assert mean == pytest.approx(exact.mean(), rel=1e-3)
    variance = variance_of(SMALL, LocalScales.ones(SMALL), SMALL_STATIC, SMALL_DYNAMIC, jnp.full((8, 9), precision))
    np.testing.assert_allclose(variance, np.broadcast_to(exact[:, None, None], variance.shape), rtol=0.02)


def test_the_variance_falls_with_dose_and_rises_with_scale():
    ones = LocalScales.ones(SMALL)
    variance = variance_of(SMALL, ones, SMALL_STATIC, SMALL_DYNAMIC, halves(1e2, 1e5, (8, 9)))
    assert np.all(variance[..., -1] < 0.5 * variance[..., 0])
    active = LocalScales(ones.static, ones.dynamic * halves(0.1, 1.0, (8, 9)))
    variance = variance_of(SMALL, active, SMALL_STATIC, SMALL_DYNAMIC, jnp.full((8, 9), 1e3))
    assert np.all(variance[..., 0] < variance[..., -1])


def test_without_dose_the_variance_is_the_priors():
    variance = variance_of(SMALL, LocalScales.ones(SMALL), SMALL_STATIC, SMALL_DYNAMIC, jnp.full((8, 9), 1e-9))
    np.testing.assert_allclose(variance.mean(axis=0), np.full((8, 9), 0.1**2 + 0.05**2), rtol=0.01)


def test_the_ends_of_a_sequence_are_less_certain_than_its_middle():
    variance = variance_of(SMALL, LocalScales.ones(SMALL), SMALL_STATIC, SMALL_DYNAMIC, jnp.full((8, 9), 1e4))
    by_frame = np.asarray(variance.mean(axis=(1, 2)))
    assert by_frame[0] == pytest.approx(by_frame[-1], rel=1e-5)
    assert by_frame[0] > 1.1 * by_frame[3]


def test_a_single_frame_has_the_variance_of_its_static_image():
    one = Bands(1, 8, 9)
    variance = variance_of(one, LocalScales.ones(one), SMALL_STATIC, jnp.zeros((1, 8, 9)), jnp.full((8, 9), 1e4))
    power = np.asarray(SMALL_STATIC, np.float64)
    np.testing.assert_allclose(variance, np.full((1, 8, 9), np.sum(power / (1 + 1e4 * power)) / 72), rtol=0.02)


def test_the_scale_before_an_update_counts_as_three_per_cent_of_fully_determined_data():
    """Where the data decide everything and find nothing, only the damping keeps a scale from zero."""
    ones = LocalScales.ones(BANDS)
    scales = one_update(ones, jnp.zeros(SHAPE[1:]), jnp.zeros(SHAPE), jnp.full(SHAPE[1:], 1e12))
    for found in (scales.static, scales.dynamic):
        np.testing.assert_allclose(np.square(found), np.full(found.shape, 0.03 / 1.03), rtol=0.02)
