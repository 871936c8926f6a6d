"""Enhancement: its linear part passes noise on as stated, and what is below the noise is left alone."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import correlate1d

from fluorojax.display import Enhancement, design, enhance
from fluorojax.display.filters import Smoother

SHARP, MULTI = Enhancement(sharpen=4.0), Enhancement(contrast=3.0, levels=3)
BOTH = Enhancement(sharpen=2.0, width=1.3, contrast=2.0, levels=2)
SHAPE = (2, 24, 28)


def picture(shape=SHAPE):
    """An edge, a thin line and a smooth slope."""
    t, i, j = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")
    return (0.3 + 0.01 * j + 0.3 * (i > 12) + 0.4 * (j == 9 + t)).astype(np.float32)


def uneven_sd(shape=SHAPE):
    _, i, j = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")
    return (0.005 + 0.0005 * i + 0.02 * (j > 20)).astype(np.float32)


@pytest.mark.parametrize("options", [SHARP, MULTI, BOTH], ids=["unsharp", "pyramid", "both"])
@pytest.mark.parametrize("holes", [False, True])
def test_the_amplified_sd_is_that_of_noise_through_the_same_filter(options, holes):
    values, sd = picture(), uneven_sd()
    if holes:
        values[:, 5:9, 3:6] = np.nan
    chosen = design(values, sd, options)
    rng, draws = np.random.default_rng(0), 600
    clean = chosen.apply(values)
    total = np.zeros(SHAPE)
    for _ in range(draws):
        total += (chosen.apply(values + sd * rng.standard_normal(SHAPE).astype(np.float32)) - clean) ** 2
    known = np.isfinite(values)
    ratio = np.sqrt(total / draws)[known] / chosen.spread(sd)[known]
    # a standard deviation of 600 draws has a relative error of 2.9 %
    assert abs(ratio.mean() - 1) < 0.004
    assert np.abs(ratio - 1).max() < 5 * 0.029
    assert (chosen.spread(sd)[known] > 1.5 * sd[known]).any()


def test_the_filter_is_linear_and_keeps_constants():
    values, sd = picture(), uneven_sd()
    chosen = design(values, sd, BOTH)
    other = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    np.testing.assert_allclose(
        chosen.apply(2.0 * values - 3.0 * other), 2.0 * chosen.apply(values) - 3.0 * chosen.apply(other), atol=1e-5
    )
    np.testing.assert_allclose(chosen.apply(np.full(SHAPE, 0.7)), 0.7, atol=1e-9)
    # twice the error is twice the amplified error
    np.testing.assert_allclose(chosen.spread(2.0 * sd), 2.0 * chosen.spread(sd), rtol=1e-6)


def test_correlated_errors_are_passed_on_as_they_are_correlated():
    shape, width = (1, 40, 40), 1.2
    sd = np.full(shape, 0.01, np.float32)
    chosen = design(picture(shape), sd, Enhancement(contrast=3.0, levels=2, correlation=width))
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / width) ** 2)
    kernel /= np.sqrt(np.sum(kernel**2))
    noise = 0.01 * np.random.default_rng(2).standard_normal((800, 52, 52))
    for axis in (1, 2):
        noise = correlate1d(noise, kernel, axis=axis)
    noise = noise[:, 6:-6, 6:-6]
    passed = np.concatenate([chosen.apply(frame[None]) for frame in noise])
    inside = (slice(10, -10), slice(10, -10))
    ratio = passed.std(axis=0)[inside] / chosen.spread(sd)[0][inside]
    assert abs(ratio.mean() - 1) < 0.02


@pytest.mark.parametrize("options", [SHARP, MULTI])
def test_nothing_is_enhanced_below_the_noise(options):
    values = picture()
    sd = np.full(SHAPE, 2.0, np.float32)  # far above every detail
    found = enhance(values, sd, options)
    np.testing.assert_allclose(found.values, values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.sd, sd, rtol=1e-6)


def test_noise_alone_is_hardly_enhanced_and_structure_is():
    rng = np.random.default_rng(3)
    sd = np.full((4, 64, 64), 0.05, np.float32)
    noise = (0.5 + 0.05 * rng.standard_normal(sd.shape)).astype(np.float32)
    unlimited = np.median(design(noise, 0.05 * sd, SHARP).spread(sd) / sd)
    assert np.mean(design(noise, sd, SHARP).gains > 0) < 0.01
    assert enhance(noise, sd, SHARP).sd.mean() < 1.01 * 0.05 < 0.05 * unlimited / 3
    values, small = picture((1, 44, 44)), np.full((1, 44, 44), 1e-3, np.float32)
    gains = design(values, small, SHARP).gains
    assert gains[0, 0, 12, 24] == pytest.approx(4.0, rel=0.01)  # at the edge
    assert gains[0, 0, 30, 30] == 0  # on the slope, which unsharp masking leaves as it is


def test_the_gain_is_bounded_by_amplitude_over_sd():
    values = picture()
    for sd in (0.01, 0.03, 0.1, 0.3):
        spread = np.full(SHAPE, sd, np.float32)
        chosen = design(values, spread, SHARP)
        smoother = Smoother(SHARP.widths, np.ones(SHAPE, bool))
        detail = values - smoother.smooth(values, 1)
        noise = smoother.covariance(spread**2, 0, 0) - 2 * smoother.covariance(spread**2, 0, 1)
        noise = noise + smoother.covariance(spread**2, 1, 1)
        around = Smoother([SHARP.width], np.ones(SHAPE, bool))
        ratio = np.sqrt(around.smooth(detail**2, 0) / around.smooth(noise, 0))
        gain = chosen.gains[0]
        assert (gain[ratio <= SHARP.limit] == 0).all()
        assert (gain <= np.maximum(ratio - 1, 0) + 1e-5).all()  # (1 + gain)·sd ≤ amplitude
        assert (gain <= SHARP.sharpen).all()


def test_more_sd_never_enhances_more():
    values = picture()
    gains = [design(values, np.full(SHAPE, sd, np.float32), MULTI).gains for sd in (1e-3, 0.01, 0.05, 0.2)]
    for more, less in pairwise(gains):
        assert (less <= more + 1e-6).all()


def test_without_gain_nothing_changes_and_unknown_pixels_stay_unknown():
    values, sd = picture(), uneven_sd()
    found = enhance(values, sd, Enhancement())
    np.testing.assert_array_equal(found.values, values)
    values[0, 3, 3] = np.nan
    found = enhance(values, sd, SHARP)
    assert np.isnan(found.values).sum() == 1
    assert np.isfinite(found.sd).all()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Enhancement(sharpen=-1), "sharpen is -1; expected 0 to 20"),
        (lambda: Enhancement(contrast=30), "contrast is 30; expected 0 to 20"),
        (lambda: Enhancement(levels=0), "levels is 0; expected 1 to 8"),
        (lambda: Enhancement(width=0), "width is 0; expected more than 0"),
        (lambda: Enhancement(limit=0.5), "limit is 0.5; expected 1 to 1000"),
        (lambda: enhance(picture(), uneven_sd()[:1], SHARP), "sd has shape .* like the values"),
        (lambda: enhance(picture()[0], uneven_sd()[0], SHARP), "expected \\(T, H, W\\)"),
        (lambda: enhance(picture(), -uneven_sd(), SHARP), "sd holds values that are negative"),
    ],
)
def test_bad_options_are_refused(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()
