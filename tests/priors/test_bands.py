"""The bands partition the orthonormal cosine basis, whatever the size of the field."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dct, idctn

from fluorojax.priors import Bands, LocalScales, cosine_matrix, dynamic_field, static_field

SHAPES = [(1, 8, 8), (2, 20, 11), (9, 17, 24)]


def coefficients(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 8, 9, 24, 33])
def test_cosine_matrices_are_orthonormal(size):
    matrix = cosine_matrix(size, size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)
    np.testing.assert_allclose(matrix, dct(np.eye(size), axis=0, norm="ortho"), atol=1e-12)


def test_fewer_terms_are_the_first_rows():
    np.testing.assert_array_equal(cosine_matrix(12, 5), cosine_matrix(12, 12)[:5])


@pytest.mark.parametrize("side", range(8, 21))
@pytest.mark.parametrize("other", [8, 13, 20])
def test_every_coefficient_belongs_to_one_band(side, other):
    bands = Bands(4, side, other)
    total = np.zeros((side, other))
    for band in bands.spatial:
        assert band.mask.shape == (band.rows, band.columns)
        total[: band.rows, : band.columns] += band.mask
    np.testing.assert_array_equal(total, 1)


@pytest.mark.parametrize("shape", [(16, 16), (12, 30), (128, 128)])
def test_bands_run_from_coarse_to_fine(shape):
    bands = Bands(1, *shape)
    uppers = [band.upper for band in bands.spatial]
    assert uppers == sorted(set(uppers))
    means = [bands.wavenumber[: b.rows, : b.columns][b.mask > 0].mean() for b in bands.spatial]
    assert np.all(np.diff(means) > 0)
    assert bands.spatial[0].mask[0, 0] == 1


@pytest.mark.parametrize("frames", range(1, 12))
def test_every_temporal_index_belongs_to_one_group(frames):
    groups = Bands(frames, 8, 8).temporal
    assert [n for low, high in groups for n in range(low, high)] == list(range(frames))
    assert all(high > low for low, high in groups)


def test_wavenumbers_count_half_cycles_per_larger_side():
    # A pattern of one orientation and pitch has the same wavenumber along either axis.
    wavenumber = Bands(1, 10, 30).wavenumber
    assert wavenumber[0, 6] == pytest.approx(6)
    assert wavenumber[2, 0] == pytest.approx(6)
    assert wavenumber[2, 6] == pytest.approx(np.hypot(6, 6))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bands_of_an_image_sum_to_its_inverse_cosine_transform(shape):
    bands, c = Bands(*shape), coefficients(*shape[1:])
    summed = sum(np.asarray(bands.image(band, jnp.asarray(c))) for band in bands.spatial)
    np.testing.assert_allclose(summed, idctn(c, norm="ortho"), atol=2e-5)
    np.testing.assert_allclose(static_field(bands, LocalScales.ones(bands), jnp.asarray(c)), summed, atol=2e-5)


def test_a_band_image_holds_that_bands_coefficients_only():
    bands, c = Bands(1, 12, 20), coefficients(12, 20)
    for band in bands.spatial:
        kept = np.zeros_like(c)
        kept[: band.rows, : band.columns] = c[: band.rows, : band.columns] * band.mask
        np.testing.assert_allclose(bands.image(band, jnp.asarray(c)), idctn(kept, norm="ortho"), atol=2e-5)


def test_band_images_take_leading_axes():
    bands, c = Bands(1, 9, 12), coefficients(2, 9, 12)
    band = bands.spatial[1]
    np.testing.assert_allclose(
        bands.image(band, jnp.asarray(c)), np.stack([bands.image(band, jnp.asarray(one)) for one in c]), atol=1e-6
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sequence_of_unit_scales_is_the_inverse_cosine_transform(shape):
    bands, c = Bands(*shape), coefficients(*shape)
    field = dynamic_field(bands, LocalScales.ones(bands), jnp.asarray(c))
    np.testing.assert_allclose(field, idctn(c, norm="ortho"), atol=3e-5)


def test_each_band_and_group_of_a_sequence_holds_its_own_coefficients():
    bands, c = Bands(6, 10, 12), coefficients(6, 10, 12)
    ones = LocalScales.ones(bands)
    for b, band in enumerate(bands.spatial):
        for g, (low, high) in enumerate(bands.temporal):
            one_hot = LocalScales(ones.static, jnp.zeros_like(ones.dynamic).at[b, g].set(1.0))
            kept = np.zeros_like(c)
            kept[low:high, : band.rows, : band.columns] = c[low:high, : band.rows, : band.columns] * band.mask
            np.testing.assert_allclose(
                dynamic_field(bands, one_hot, jnp.asarray(c)), idctn(kept, norm="ortho"), atol=2e-5
            )


def test_local_scales_multiply_the_field_pixel_by_pixel():
    bands, c = Bands(3, 8, 10), coefficients(3, 8, 10)
    gains = np.random.default_rng(1).uniform(0, 2, (8, 10)).astype(np.float32)
    ones = LocalScales.ones(bands)
    scaled = LocalScales(ones.static * gains, ones.dynamic * gains)
    np.testing.assert_allclose(dynamic_field(bands, scaled, jnp.asarray(c)), gains * idctn(c, norm="ortho"), atol=2e-5)
    np.testing.assert_allclose(
        static_field(bands, scaled, jnp.asarray(c[0])), gains * idctn(c[0], norm="ortho"), atol=2e-5
    )


def test_bands_are_hashable_by_their_shape():
    assert hash(Bands(3, 8, 10)) == hash(Bands(3, 8, 10))
    assert Bands(3, 8, 10) == Bands(3, 8, 10) != Bands(3, 10, 8)
