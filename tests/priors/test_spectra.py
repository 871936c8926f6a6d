"""Amplitudes are pixel standard deviations of x at every size, frame count and frame rate."""

import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.priors import Bands, corner_index, dynamic_spectrum, static_spectrum

SHAPES = [(1, 8, 8), (4, 24, 24), (7, 13, 30), (16, 64, 48)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slope", [0.0, 2.5, 4.0])
def test_the_amplitude_of_a_static_image_is_its_pixel_sd(shape, slope):
    power = np.asarray(static_spectrum(Bands(*shape), 0.2, slope), np.float64)
    assert power.shape == shape[1:]
    assert power.mean() == pytest.approx(0.2**2, rel=1e-5)
    assert power.min() > 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frame_time_ms", [33.3, 133.0])
def test_the_amplitude_of_a_dynamic_field_is_its_pixel_sd(shape, frame_time_ms):
    power = np.asarray(dynamic_spectrum(Bands(*shape), 0.1, 3.0, jnp.ones(shape[0]), frame_time_ms), np.float64)
    assert power.shape == shape
    assert power.mean() == pytest.approx(0.1**2, rel=1e-5)
    assert power.min() > 0


def test_power_falls_with_spatial_and_temporal_frequency():
    power = np.asarray(dynamic_spectrum(Bands(6, 12, 12), 0.1, 3.0, jnp.ones(6), 33.3))
    assert np.all(np.diff(power, axis=0) < 0)
    assert np.all(np.diff(power[0], axis=0) < 0)
    assert np.all(np.diff(power[0], axis=1) < 0)


def test_a_static_spectrum_is_a_power_law():
    bands = Bands(1, 16, 16)
    power = np.asarray(static_spectrum(bands, 0.1, 3.0), np.float64)
    np.testing.assert_allclose(np.log(power / power[0, 0]), -3 * np.log1p(bands.wavenumber), atol=1e-4)


def test_temporal_factors_scale_their_frequency_only():
    bands, factors = Bands(5, 8, 8), np.array([1.0, 2.0, 0.5, 0.0, 3.0])
    plain = np.asarray(dynamic_spectrum(bands, 0.1, 3.0, jnp.ones(5), 33.3))
    scaled = np.asarray(dynamic_spectrum(bands, 0.1, 3.0, jnp.asarray(factors, jnp.float32), 33.3))
    np.testing.assert_allclose(scaled, plain * factors[:, None, None] ** 2, rtol=1e-5)


def test_fine_detail_changes_faster_than_coarse_detail():
    corners = np.asarray(corner_index(Bands(8, 16, 16), 33.3))
    assert np.all(np.diff(corners, axis=0) > 0)
    assert np.all(np.diff(corners, axis=1) > 0)


def test_temporal_corners_are_frequencies_per_second():
    # Twice the frames at half the period last equally long: the same half-cycles per sequence.
    np.testing.assert_allclose(corner_index(Bands(8, 12, 12), 40.0), corner_index(Bands(16, 12, 12), 20.0), rtol=1e-6)


def test_the_same_motion_has_the_same_spectrum_at_every_frame_rate():
    # Frequencies both rates resolve keep their relative power.
    slow = np.asarray(dynamic_spectrum(Bands(8, 12, 12), 0.1, 3.0, jnp.ones(8), 40.0), np.float64)
    fast = np.asarray(dynamic_spectrum(Bands(16, 12, 12), 0.1, 3.0, jnp.ones(16), 20.0), np.float64)
    np.testing.assert_allclose(fast[:8] / fast[0, 0, 0], slow / slow[0, 0, 0], rtol=1e-4)
