"""Contrast measures on images whose contrast is known."""

import numpy as np
import pytest

from fluorojax.metrics import cnr, device_contrast, moving_pixels, moving_psnr, psnr, region_psnr, vessel_score


def bar(frames=5, size=48, height=0.2, speed=3, thickness=3):
    """A bar that moves ``speed`` pixels a frame on a flat field, and its mask."""
    mask = np.zeros((frames, size, size), bool)
    for t in range(frames):
        mask[t, 12 + speed * t : 12 + speed * t + thickness, 6:-6] = True
    return 0.5 + height * mask, mask


def test_cnr():
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    image = 3.0 + 0.5 * mask + 0.25 * rng.standard_normal((64, 64))
    assert cnr(image, mask, ~mask) == pytest.approx(2.0, rel=0.05)
    assert cnr(-image, mask, ~mask) == pytest.approx(-2.0, rel=0.05)
    assert cnr(1.0 * mask, mask, ~mask) == np.inf
    with pytest.raises(ValueError, match="selects no pixel"):
        cnr(image, mask, mask & ~mask)


def test_moving_psnr_sees_only_what_moves():
    x, _ = bar(size=64)
    moving = moving_pixels(x)
    error = np.where(moving, 0.1, 0.001)
    assert moving_psnr(x + error, x) == pytest.approx(20.0)
    assert region_psnr(x + error, x, ~moving) == pytest.approx(60.0)
    assert psnr(x + error, x) > 26.0
    assert np.isnan(moving_psnr(x[0], x[0]))
    with pytest.raises(ValueError, match="like x_true"):
        region_psnr(x[0], x, moving)


def test_device_contrast_of_an_unbiased_image():
    x, mask = bar()
    noise = 0.05 * np.random.default_rng(1).standard_normal(x.shape)
    result = device_contrast(x + noise, mask, x)
    assert result.contrast == pytest.approx(0.2, abs=0.01)
    assert result.noise == pytest.approx(0.05, rel=0.05)
    assert result.recovery == pytest.approx(1.0, abs=0.05)
    assert result.cnr == pytest.approx(4.0, rel=0.07)
    assert np.isnan(device_contrast(x + noise, mask).recovery)


@pytest.mark.parametrize("frames", [2, 5])
def test_averaging_a_moving_device_costs_its_contrast(frames):
    """A mean of n frames of a bar that never overlaps itself shows 1/n of it, though its noise falls by √n."""
    x, mask = bar(frames=frames, speed=9)
    mean = np.broadcast_to(x.mean(axis=0), x.shape)
    result = device_contrast(mean, mask, x, gap=1, width=3)
    assert result.recovery == pytest.approx(1.0 / frames, rel=1e-6)


def test_anatomy_counts_as_noise_only_without_the_truth():
    x, mask = bar()
    x = x + 0.1 * np.sin(np.arange(48) / 3.0)
    noise = 0.01 * np.random.default_rng(2).standard_normal(x.shape)
    assert device_contrast(x + noise, mask, x).noise == pytest.approx(0.01, rel=0.1)
    assert device_contrast(x + noise, mask).noise > 0.05


def test_excluded_pixels_leave_the_ring():
    x, mask = bar(frames=1, speed=0)
    other = np.zeros_like(mask)
    other[:, 18:21] = True
    spoiled = x + 5.0 * other
    assert device_contrast(spoiled, mask).contrast < 0
    assert device_contrast(spoiled, mask, exclude=other).contrast == pytest.approx(0.2)
    with pytest.raises(ValueError, match="share no frame"):
        device_contrast(x, np.zeros_like(mask))


def test_vessel_score():
    truth = np.zeros((4, 40, 40))
    truth[1:, 10:14, 5:35] = 0.3
    rng = np.random.default_rng(3)
    std = np.full(truth.shape, 0.05)
    found = 0.9 * truth + 0.05 * rng.standard_normal(truth.shape)
    score = vessel_score(found, truth, std)
    assert score.recovery == pytest.approx(0.9, abs=0.02)
    assert score.rmse == pytest.approx(np.hypot(0.05, 0.03), rel=0.1)
    assert score.noise == pytest.approx(0.05, rel=0.05)
    assert score.cnr == pytest.approx(0.27 / 0.05, rel=0.1)
    assert score.z_background == pytest.approx(1.0, abs=0.05)
    assert score.z_vessels == pytest.approx(np.hypot(1.0, 0.6), rel=0.1)
    assert score.pixels == 3 * 4 * 30
    hidden = np.where(truth > 0, np.nan, found)
    hidden[1] = found[1]
    assert vessel_score(hidden, truth, std).pixels == 4 * 30
    assert np.isnan(vessel_score(found, truth).z_vessels)
    assert vessel_score(found, truth, std, exclude=np.arange(40) < 20).pixels == 3 * 4 * 15
    with pytest.raises(ValueError, match="shows no vessel"):
        vessel_score(found, truth, std, exclude=np.ones(40, bool))
