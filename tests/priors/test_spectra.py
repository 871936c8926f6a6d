"""Amplitudes are pixel standard deviations of x at every size, frame count and frame rate."""

import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.priors import Pyramid, corner_index, dynamic_spectrum, octave_shares, static_spectrum

SHAPES = [(1, 8, 8), (4, 24, 24), (7, 13, 30), (16, 64, 48)]


def pixel_variance(pyramid, power):
    """Mean over pixels and frames, away from the rounding of the levels' grids."""
    return float(np.sum(np.asarray(power, np.float64) * pyramid.basis_energy[:, None]) / pyramid.frames)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("slope", [0.0, 2.5, 4.0])
def test_the_amplitude_of_a_static_image_is_its_pixel_sd(shape, slope):
    pyramid = Pyramid(*shape)
    power = np.asarray(static_spectrum(pyramid, 0.2, slope), np.float64)
    assert power.shape == (pyramid.levels, shape[0])
    assert pixel_variance(pyramid, power) == pytest.approx(0.2**2, rel=1e-5)
    assert power[:, 0].min() > 0
    assert np.all(power[:, 1:] == 0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frame_time_ms", [33.3, 133.0])
def test_the_amplitude_of_a_dynamic_field_is_its_pixel_sd(shape, frame_time_ms):
    pyramid = Pyramid(*shape)
    power = dynamic_spectrum(pyramid, 0.1, 3.0, jnp.ones(shape[0]), frame_time_ms)
    assert power.shape == (pyramid.levels, shape[0])
    assert pixel_variance(pyramid, power) == pytest.approx(0.1**2, rel=1e-5)
    assert float(power.min()) > 0


def test_power_falls_with_spatial_and_temporal_frequency():
    power = np.asarray(dynamic_spectrum(Pyramid(6, 32, 32), 0.1, 3.0, jnp.ones(6), 33.3))
    assert np.all(np.diff(power, axis=0) > 0)  # levels run from fine to coarse
    assert np.all(np.diff(power, axis=1) < 0)


def test_octaves_share_a_power_law_by_its_integral():
    pyramid = Pyramid(1, 256, 256)
    shares = np.asarray(octave_shares(pyramid, 4.0), np.float64)
    assert shares.sum() == pytest.approx(1, rel=1e-6)
    # ∫ k (1+k)^-4 dk = (1/3) (1+k)^-3 − (1/2) (1+k)^-2, up to a constant
    at = pyramid.nyquist[1:4] + 1.0
    below = 1 / (3 * at**3) - 1 / (2 * at**2)
    np.testing.assert_allclose(shares[1] / shares[2], (below[0] - below[1]) / (below[1] - below[2]), rtol=1e-3)


def test_temporal_factors_scale_their_frequency_only():
    pyramid, factors = Pyramid(5, 8, 8), np.array([1.0, 2.0, 0.5, 0.0, 3.0])
    plain = np.asarray(dynamic_spectrum(pyramid, 0.1, 3.0, jnp.ones(5), 33.3))
    scaled = np.asarray(dynamic_spectrum(pyramid, 0.1, 3.0, jnp.asarray(factors, jnp.float32), 33.3))
    np.testing.assert_allclose(scaled, plain * factors**2, rtol=1e-5)


def test_fine_detail_changes_faster_than_coarse_detail():
    corners = np.asarray(corner_index(Pyramid(8, 16, 16), 33.3), np.float64)
    assert np.all(corners[1:] < corners[:-1])


def test_temporal_corners_are_frequencies_per_second():
    # Twice the frames at half the period last equally long: the same half-cycles per sequence.
    corners = corner_index(Pyramid(8, 12, 12), 40.0), corner_index(Pyramid(16, 12, 12), 20.0)
    np.testing.assert_allclose(*corners, rtol=1e-6)


def test_the_same_motion_has_the_same_spectrum_at_every_frame_rate():
    # Frequencies both rates resolve keep their relative power.
    slow = np.asarray(dynamic_spectrum(Pyramid(8, 12, 12), 0.1, 3.0, jnp.ones(8), 40.0), np.float64)
    fast = np.asarray(dynamic_spectrum(Pyramid(16, 12, 12), 0.1, 3.0, jnp.ones(16), 20.0), np.float64)
    np.testing.assert_allclose(fast[:, :8] / fast[0, 0], slow / slow[0, 0], rtol=1e-4)
