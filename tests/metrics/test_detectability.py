"""Detectability of objects for which it has a closed form."""

import numpy as np
import pytest

from fluorojax.metrics import (
    EdgeTransfer,
    NoisePower,
    disk,
    noise_power,
    npw_detectability,
    template_detectability,
    wire,
)

SIZE = 64


def spectrum(function):
    f = np.fft.fftshift(np.fft.fftfreq(SIZE))
    power = function(np.hypot(f[:, None], f))[None]
    return NoisePower(power, np.zeros(1), f, f, (1.0, 1 / SIZE, 1 / SIZE), 1)


def transfer(function):
    f = np.linspace(0.0, 0.75, 400)
    return EdgeTransfer(f, function(f), f, f, 0.0, 1.0)


def test_disk_in_white_noise():
    contrast, radius, std = 0.3, 6.0, 0.5
    white = noise_power(std * np.random.default_rng(0).standard_normal((400, SIZE, SIZE)), block=(1, SIZE, SIZE))
    d_prime = npw_detectability(disk((SIZE, SIZE), radius, contrast), white)
    assert d_prime == pytest.approx(contrast * np.sqrt(np.pi) * radius / std, rel=0.03)


def test_gaussians_throughout():
    """Object, transfer and noise spectrum Gaussian: d' in closed form."""
    contrast, std, size, blur, grain = 0.4, 0.2, 2.5, 1.2, 0.9
    y, x = np.indices((SIZE, SIZE)) - SIZE / 2
    signal = contrast * np.exp(-0.5 * (x**2 + y**2) / size**2)
    noise = spectrum(lambda f: std**2 * np.exp(-4.0 * (np.pi * grain * f) ** 2))
    seen = transfer(lambda f: np.exp(-2.0 * (np.pi * blur * f) ** 2))
    a, b = size**2 + blur**2, size**2 + blur**2 + grain**2
    expected = contrast * 2.0 * np.pi * size**2 * np.sqrt(b / (4.0 * np.pi)) / (std * a)
    assert npw_detectability(signal, noise, seen) == pytest.approx(expected, rel=1e-3)


def test_blur_costs_an_observer_that_does_not_prewhiten():
    """Blurring image and noise alike costs a non-prewhitening observer detectability."""
    signal = disk((SIZE, SIZE), 5.0)
    plain = npw_detectability(signal, spectrum(np.ones_like))
    filtered = npw_detectability(signal, spectrum(lambda f: np.exp(-20 * f**2)), transfer(lambda f: np.exp(-10 * f**2)))
    assert filtered < plain
    assert plain == pytest.approx(np.linalg.norm(signal), rel=1e-9)


def test_the_eye_filter_ignores_brightness():
    noise, field = spectrum(np.ones_like), np.ones((SIZE, SIZE))
    assert npw_detectability(0.1 * field, noise) == pytest.approx(0.1 * SIZE)
    assert npw_detectability(0.1 * field, noise, eye_peak=0.1) == pytest.approx(0.0, abs=1e-9)
    # E = f exp(−f/f_p) of a point in white noise: ∫E² / √∫E⁴ over the plane, far below the Nyquist frequency
    point, peak = np.zeros((SIZE, SIZE)), 0.03
    point[0, 0] = 1.0
    second, fourth = (2 * np.pi * n * (peak / k) ** (k + 2) for k, n in ((2, 6.0), (4, 120.0)))
    expected = second / np.sqrt(fourth)
    assert npw_detectability(point, noise, eye_peak=peak) == pytest.approx(expected, rel=0.02)


def test_spectra_in_other_units_and_large_objects_are_refused():
    noise = noise_power(np.random.default_rng(0).standard_normal((4, 16, 16)), pixel=0.3)
    with pytest.raises(ValueError, match="cycles/pixel"):
        npw_detectability(disk((8, 8), 2.0), noise)
    with pytest.raises(ValueError, match="at most"):
        npw_detectability(disk((80, 80), 2.0), spectrum(np.ones_like))


def test_the_template_observer_agrees_with_the_spectra():
    rng, std = np.random.default_rng(1), 0.6
    signal = wire((32, 32), 1.0, 20.0, 0.15)
    white = rng.standard_normal((2, 1500, 32, 32)) * std
    result = template_detectability(signal + white[0], white[1], signal)
    expected = np.linalg.norm(signal) / std
    assert abs(result.d_prime - expected) < 3.0 * result.std
    assert result.std == pytest.approx(np.sqrt(2 / 1500 + expected**2 / 6000), rel=0.02)
    blurred = np.roll(signal, 3, axis=0)
    assert template_detectability(blurred + white[0], white[1], signal).d_prime < 0.3 * expected


def test_few_images_are_unbiased_and_their_error_is_stated():
    rng = np.random.default_rng(2)
    template = np.ones((1, 1))
    results = [
        template_detectability(2.0 + rng.standard_normal((5, 1, 1)), rng.standard_normal((5, 1, 1)), template)
        for _ in range(4000)
    ]
    estimates = np.array([r.d_prime for r in results])
    assert estimates.mean() == pytest.approx(2.0, abs=0.04)
    assert np.mean([r.std for r in results]) == pytest.approx(estimates.std(), rel=0.1)


def test_objects():
    assert disk((40, 41), 7.0, 2.0).sum() == pytest.approx(2.0 * np.pi * 49.0, rel=0.005)
    # a cylinder of radius r has the mean chord π r/2 relative to its diameter
    for angle in (0.0, 37.0, 90.0):
        assert wire((64, 64), 1.5, 30.0, 0.5, angle_deg=angle).sum() == pytest.approx(
            0.5 * 30.0 * 1.5 * np.pi / 2, rel=0.01
        )
    moved = wire((64, 64), 1.5, 30.0, centre=(4.0, -3.0))
    rows, columns = np.indices((64, 64)) - 31.5
    assert np.average(rows, weights=moved) == pytest.approx(4.0, abs=0.02)
    assert np.average(columns, weights=moved) == pytest.approx(-3.0, abs=0.02)


def test_template_shapes():
    with pytest.raises(ValueError, match="absent has shape"):
        template_detectability(np.zeros((3, 4, 4)), np.zeros((1, 4, 4)), np.zeros((4, 4)))
