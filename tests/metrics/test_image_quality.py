"""PSNR and SSIM: closed forms and scikit-image."""

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from fluorojax.metrics import psnr, ssim


@pytest.mark.parametrize("error", [0.5, 0.1, 1e-3])
@pytest.mark.parametrize("shape", [(3, 12, 14), (12, 14)])
def test_psnr_of_a_constant_error(error, shape):
    x = np.full(shape, 0.25)
    assert psnr(x + error, x) == pytest.approx(-20 * math.log10(error))


def test_psnr_pools_the_frames_before_the_logarithm():
    x = np.zeros((2, 12, 12))
    x_hat = x.copy()
    x_hat[0] = 0.1
    assert psnr(x_hat, x) == pytest.approx(-10 * math.log10(0.1**2 / 2))


def test_a_perfect_reconstruction():
    x = np.random.default_rng(0).uniform(size=(2, 12, 12)).astype(np.float32)
    assert psnr(x, x) == math.inf
    assert ssim(x, x) == pytest.approx(1.0, abs=1e-12)


def test_values_outside_the_range_are_not_clipped():
    x = np.ones((2, 12, 12))
    assert psnr(x + 1, x) == pytest.approx(0.0)


@pytest.mark.parametrize("shape", [(11, 11), (16, 23), (3, 20, 12)])
@pytest.mark.parametrize("noise", [0.01, 0.3])
def test_ssim_equals_scikit_image(shape, noise):
    rng = np.random.default_rng(1)
    x = rng.uniform(size=shape)
    x_hat = x + noise * rng.normal(size=shape)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    frames = zip(x_hat, x, strict=True) if x.ndim == 3 else [(x_hat, x)]
    assert ssim(x_hat, x) == pytest.approx(
        np.mean([structural_similarity(a, b, **options) for a, b in frames]), abs=1e-6
    )


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_must_agree(measure):
    with pytest.raises(ValueError, match=r"x_hat has shape \(3, 12, 12\); expected \(2, 12, 12\)"):
        measure(np.zeros((3, 12, 12)), np.zeros((2, 12, 12)))


def test_ssim_needs_room_for_its_window():
    with pytest.raises(ValueError, match="at least 11×11"):
        ssim(np.zeros((2, 10, 40)), np.zeros((2, 10, 40)))
