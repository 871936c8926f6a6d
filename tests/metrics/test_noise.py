"""Noise power spectra of noise whose spectrum is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from fluorojax.metrics import ensemble_noise, noise_power


def white(shape, std=1.0, seed=0):
    return std * np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("shape", [(17, 12), (5, 9, 16), (3, 4, 8, 7)])
def test_the_integral_is_the_mean_square(shape):
    noise = white(shape, 2.0) + 0.7
    spectrum = noise_power(noise, detrend="none")
    assert spectrum.variance == pytest.approx(np.mean(noise**2), rel=1e-12)
    assert spectrum.power.shape == (1, 1, 1, *shape)[-3:]
    assert noise_power(noise).variance == pytest.approx(
        np.mean([run.var() for run in noise.reshape(-1, *spectrum.power.shape)]), rel=1e-12
    )


@pytest.mark.parametrize("window", ["rectangular", "hann"])
def test_white_noise_has_the_flat_spectrum_sigma_squared(window):
    spectrum = noise_power(white((24, 96, 96), 1.5), block=(8, 16, 16), detrend="none", window=window)
    # blocks overlap by half in three directions: of 605 about 216 are independent
    assert spectrum.periodograms == 5 * 11 * 11
    assert spectrum.power.mean() == pytest.approx(1.5**2, rel=0.02)
    np.testing.assert_allclose(spectrum.power, 1.5**2, rtol=0.45)
    np.testing.assert_allclose(spectrum.radial(6)[1], 1.5**2, rtol=0.1)


def test_filtered_noise_has_the_filters_spectrum():
    kernel = np.array([0.25, 0.5, 0.25])
    alpha, std = 0.4, 2.0
    noise = white((600, 64, 16), std)
    noise = sum(k * np.roll(noise, i, axis=1) for i, k in enumerate(kernel))
    noise = lfilter([alpha], [1.0, alpha - 1.0], noise, axis=0)[20:]
    spectrum = noise_power(noise, block=(64, 32, 16), window="hann")
    ft, fy, _ = np.meshgrid(spectrum.temporal, spectrum.vertical, spectrum.horizontal, indexing="ij")
    recursive = alpha**2 / np.abs(1.0 - (1.0 - alpha) * np.exp(-2j * np.pi * ft)) ** 2
    expected = (std * np.cos(np.pi * fy) ** 2) ** 2 * recursive
    inner = np.abs(fy) < 0.4
    ratio = (spectrum.power / expected)[inner]
    assert ratio.mean() == pytest.approx(1.0, abs=0.03)
    assert ratio.std() < 0.35
    along = spectrum.over_time()
    np.testing.assert_allclose(
        along[32:], std**2 * 0.375 * recursive[32:, 0, 0], rtol=0.1
    )  # ∫cos⁴(πf) df = 3/8 over a period


def test_frequencies_carry_their_units():
    spectrum = noise_power(white((8, 16, 32), 3.0), pixel=0.2, frame_time=0.5)
    assert (spectrum.temporal[0], spectrum.vertical[0], spectrum.horizontal[0]) == (-1.0, -2.5, -2.5)
    assert spectrum.temporal[4] == spectrum.vertical[8] == spectrum.horizontal[16] == 0.0
    assert spectrum.variance == pytest.approx(9.0, rel=0.06)
    assert spectrum.power.mean() == pytest.approx(9.0 * 0.2 * 0.2 * 0.5, rel=0.06)
    assert spectrum.spatial().mean() == pytest.approx(9.0 * 0.2 * 0.2, rel=0.06)


def test_linear_trends_are_taken_out_exactly():
    t, y, x = np.indices((6, 10, 12))
    trend = 3.0 + 0.5 * t - 0.2 * y + 0.1 * x
    assert noise_power(trend, detrend="linear").variance == pytest.approx(0.0, abs=1e-20)
    noise = white(trend.shape)
    np.testing.assert_allclose(
        noise_power(noise + trend, detrend="linear").power, noise_power(noise, detrend="linear").power, atol=1e-10
    )


def test_what_repeats_is_not_noise():
    fixed = 10.0 * white((4, 16, 16), seed=1)
    repeats = fixed + white((5, 4, 16, 16), 2.0, seed=2)
    assert noise_power(ensemble_noise(repeats), detrend="none").variance == pytest.approx(4.0, rel=0.07)
    with pytest.raises(ValueError, match="expected at least 2"):
        ensemble_noise(repeats[:1])


@pytest.mark.parametrize(
    ("options", "named"),
    [({"block": (9, 4, 4)}, "block is"), ({"detrend": "cubic"}, "detrend is"), ({"window": "flat"}, "window is")],
)
def test_bad_options(options, named):
    with pytest.raises(ValueError, match=named):
        noise_power(white((8, 8, 8)), **options)
