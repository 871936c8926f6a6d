"""Digital subtraction: registration, propagated noise and recovered contrast, on scenes known exactly."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift
from scipy.special import ndtr
from skimage.registration import phase_cross_correlation

from fluorojax.data.acquisition import Acquisition
from fluorojax.metrics import vessel_score
from fluorojax.simulation import SimulationOptions, simulate_scene
from fluorojax.subtraction.dsa import (
    CountRun,
    EstimateRun,
    SubtractOptions,
    overlay,
    peak,
    road_map,
    subtract,
)
from fluorojax.subtraction.registration import CountImage, EstimatedImage, register, shift_image
from fluorojax.subtraction.score import true_contrast

SIZE = 96
OPEN_BEAM = 1500.0
NOMINAL = Acquisition(photons_per_pixel=OPEN_BEAM, attenuation_scale=4.0)


def anatomy(by=(0.0, 0.0)):
    """Optical depth of blurred ribs, an organ and vessels, displaced exactly by ``by`` (rows, columns)."""
    y, x = np.indices((SIZE, SIZE), dtype=float)
    y, x = y - by[0], x - by[1]
    depth = 3.0 + 0.3 * np.sin(2 * np.pi * (y + 0.2 * x) / 31) + 0.25 * np.sin(2 * np.pi * (x - 0.1 * y) / 23)
    depth += 0.5 * ndtr((26 - np.hypot(y - 60, x - 40)) / 1.0)
    for k in range(6):
        across = (x - 10 - 14 * k) * np.cos(0.4 * k) - (y - 48) * np.sin(0.4 * k)
        depth += 0.12 * np.exp(-0.5 * (across / 1.3) ** 2)
    return depth


def vessel():
    """Contrast agent: optical depth of a bent tube."""
    y, x = np.indices((SIZE, SIZE), dtype=float)
    return 0.5 * np.exp(-0.5 * ((x - 50 - 12 * np.sin(y / 17)) / 1.8) ** 2)


def rates(shifts, contrast_from, drift=0.0):
    frames = [anatomy(by) + (vessel() if t >= contrast_from else 0.0) for t, by in enumerate(shifts)]
    gain = (1 + drift / 100) ** np.arange(len(frames))
    return OPEN_BEAM * gain[:, None, None] * np.exp(-np.array(frames))


def test_a_known_shift_is_found_to_a_twentieth_of_a_pixel():
    rng = np.random.default_rng(0)
    errors, claims, dose = [], [], 4 * OPEN_BEAM  # about 270 counts behind the anatomy
    for _ in range(12):
        by = rng.uniform(-6, 6, 2)
        mask = rng.poisson(4 * dose * np.exp(-anatomy()))
        live = rng.poisson(1.1 * dose * np.exp(-anatomy(by) - vessel()))
        fit = register(CountImage(mask, 4 * dose, 1.0), CountImage(live, dose, 1.0))
        assert fit.converged
        errors.append([*(fit.shift - by), fit.level + np.log(1.1)])
        claims.append(np.sqrt(np.diag(fit.covariance)))
    errors, claims = np.array(errors), np.array(claims)
    assert np.abs(errors[:, :2]).max() < 0.05
    assert np.sqrt(np.mean((errors / claims) ** 2)) < 1.5
    assert np.abs(errors[:, 2]).max() < 0.01


def test_registration_agrees_with_phase_correlation():
    """Of a periodic image without noise, which is what the Fourier method is exact for."""
    image = gaussian_filter(np.random.default_rng(1).standard_normal((64, 64)), 2.0, mode="wrap")
    moved = shift(image, (1.3, -2.6), order=5, mode="grid-wrap")
    theirs, *_ = phase_cross_correlation(moved, image, upsample_factor=100, normalization=None)
    noise = np.full(image.shape, 1e-6)
    ours = register(EstimatedImage(image, noise), EstimatedImage(moved, noise)).shift
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_what_cannot_be_registered_is_left_in_place():
    rng = np.random.default_rng(2)
    flat = [CountImage(rng.poisson(100.0, (SIZE, SIZE)), 100.0 / gain, 1.0) for gain in (1.0, 1.5)]
    fit = register(*flat)
    assert not fit.converged
    np.testing.assert_array_equal(fit.shift, 0.0)
    assert fit.level == pytest.approx(-np.log(1.5), abs=0.01)
    assert register(*flat, level=False, translate=False).level == 0.0
    with pytest.raises(ValueError, match="like the image"):
        register(flat[0], CountImage(np.ones((8, 8)), 1.0, 1.0))
    with pytest.raises(ValueError, match="not positive"):
        EstimatedImage(np.ones((8, 8)), np.zeros((8, 8)))


@pytest.mark.parametrize("rate", [5.0, 12.0, 60.0])
def test_the_logarithm_of_counts_is_unbiased_and_its_variance_right(rate):
    counts = np.random.default_rng(3).poisson(rate, (1000, 1000))
    image = CountImage(counts, 100.0, 2.0)
    error = image.value + np.log(rate / 100.0) / 2.0
    assert error.mean() == pytest.approx(0.0, abs=0.002)
    assert np.mean(error**2 / image.variance) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("by", [(0.5, 0.0), (0.3, -1.6), (-2.0, 0.25)])
def test_interpolation_propagates_its_variance(by):
    rng = np.random.default_rng(4)
    deviation = 0.2 + 0.1 * np.sin(np.indices((48, 48))[0] / 9)
    moved = [shift_image(deviation * rng.standard_normal((48, 48)), deviation**2, np.array(by)) for _ in range(600)]
    inner = (slice(6, -6),) * 2
    measured = np.var([m.value for m in moved], axis=0)[inner]
    assert np.mean(measured / moved[0].variance[inner]) == pytest.approx(1.0, abs=0.02)
    assert (moved[0].variance < deviation**2 * 1.1).all()


def test_pixels_without_a_mask_are_not_numbers():
    moved = shift_image(np.ones((8, 8)), np.ones((8, 8)), np.array([2.3, -1.0]))
    assert np.isnan(moved.value[:2]).all()
    assert np.isnan(moved.value[:, -1]).all()
    np.testing.assert_allclose(moved.value[2:, :-1], 1.0)
    still = shift_image(moved.value, np.ones((8, 8)), np.zeros(2))
    assert still.value is moved.value


@pytest.mark.parametrize("drift", [0.0, 1.0])
def test_errors_of_a_subtraction_are_its_standard_deviation(drift):
    """Monte Carlo over noise: rigid motion, contrast, drift; frames in and outside the mask."""
    shifts = np.array([(0, 0)] * 4 + [(0.4, -0.7), (1.3, 0.2), (-0.6, 2.1)])
    rate = rates(shifts, 5, drift)
    rng = np.random.default_rng(5)
    truth = np.zeros(rate.shape)
    truth[5:] = vessel() / 4.0
    scores, errors, contrast, deviations = [], [], [], []
    for _ in range(6):
        result = subtract(CountRun(rng.poisson(rate), NOMINAL), range(4), SubtractOptions(match_level=drift != 0))
        inner = (slice(None), slice(8, -8), slice(8, -8))
        scores.append(((result.contrast - truth) / result.std)[inner])
        errors.append((result.contrast - truth)[inner])
        contrast.append(result.contrast[inner])
        deviations.append(result.shift - shifts)
        np.testing.assert_allclose(result.level, -np.log(1 + drift / 100) * (np.arange(7) - 1.5) / 4, atol=0.004)
    scores = np.array(scores)
    for part in (scores[:, :4], scores[:, 4:]):
        assert part.std() == pytest.approx(1.0, abs=0.03)
    assert np.mean(errors) == pytest.approx(0.0, abs=0.02 * np.std(errors))
    assert np.abs(deviations).max() < 0.12  # noise leaves 0.03
    filled = truth[inner][5:] > 0.02
    share = np.mean(contrast, axis=0)[5:][filled].sum() / truth[inner][5:][filled].sum()
    # matching the level gives some of the contrast away: faint pixels at the rim of vessels pull it
    assert share == pytest.approx(1.0, abs=0.02 if drift == 0 else 0.04)


def test_an_uncertain_shift_widens_the_standard_deviation_at_edges():
    """Two dots: the shift is found on the faint one, and its error shows on the other."""
    y, x = np.indices((40, 40))
    dots = [a * np.exp(-0.5 * ((y - 20) ** 2 + (x - c) ** 2) / 1.5**2) for a, c in ((0.7, 12), (1.5, 27))]
    rate = 400.0 * np.exp(-sum(dots))
    options = SubtractOptions(match_level=False, region=x < 20)
    steep = np.hypot(*np.gradient(dots[1])) > 0.35
    rng, nominal = np.random.default_rng(10), Acquisition(photons_per_pixel=400.0, attenuation_scale=1.0)
    scores, errors, noise = [], [], []
    for _ in range(250):
        run = CountRun(rng.poisson(rate, (2, 40, 40)), nominal)
        result = subtract(run, [0], options)
        scores.append((result.contrast[1] / result.std[1])[steep])
        errors.append(result.contrast[1][steep])
        noise.append(np.sqrt(run.frame(0).variance + run.frame(1).variance)[steep])
    assert np.std(errors) > 1.08 * np.sqrt(np.mean(np.square(noise)))
    assert np.std(scores) == pytest.approx(1.0, abs=0.05)


def test_without_registration_edges_stay_in_the_picture():
    shifts = np.array([(0, 0)] * 3 + [(0.8, -1.1)] * 2)
    y = np.random.default_rng(6).poisson(10 * rates(shifts, 9))
    run = CountRun(y, Acquisition(photons_per_pixel=10 * OPEN_BEAM, attenuation_scale=4.0))
    with_it, without = (subtract(run, range(3), SubtractOptions(register=on)) for on in (True, False))
    spread = [np.nanstd((r.contrast / r.std)[3:, 8:-8, 8:-8]) for r in (with_it, without)]
    assert spread[0] == pytest.approx(1.0, abs=0.05)
    assert spread[1] > 1.5
    assert (without.shift == 0).all()


def test_a_single_mask_frame_differs_from_itself_by_nothing():
    y = np.random.default_rng(7).poisson(rates([(0, 0)] * 3, 9))
    result = subtract(CountRun(y, NOMINAL), [1], SubtractOptions(register=False, match_level=False))
    np.testing.assert_array_equal(result.contrast[1], 0.0)
    np.testing.assert_allclose(result.std[1], 0.0, atol=1e-6)
    assert (result.std[[0, 2]] > 0).all()
    assert result.contrast.dtype == result.std.dtype == np.float32


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_the_variance_of_estimates_is_a_bound(correlation):
    rng = np.random.default_rng(8)
    common, own = rng.standard_normal((SIZE, SIZE)), rng.standard_normal((8, SIZE, SIZE))
    noise = 0.01 * (np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own)
    truth = np.zeros(noise.shape)
    truth[4:] = vessel() / 4.0
    run = EstimateRun(anatomy() / 4.0 + truth + noise, np.full(noise.shape, 0.01))
    result = subtract(run, range(4), SubtractOptions(match_level=False))
    z = ((result.contrast - truth) / result.std)[4:, 8:-8, 8:-8]
    # independent: σ²(1 + 1/4) of a stated 2σ²; correlated errors cancel further
    assert z.std() == pytest.approx(np.sqrt((1 - correlation) * 1.25 / 2), rel=0.05)


def test_road_map():
    shifts = [(0, 0)] * 9
    rate = rates(shifts, 4)
    rate[7:] = OPEN_BEAM * np.exp(-anatomy() - 0.3 * vessel())
    run = CountRun(np.random.default_rng(9).poisson(rate), NOMINAL)
    plain = subtract(run, range(3))
    assert set(peak(plain, range(3), 3)) == {4, 5, 6}
    result = road_map(run, range(3))
    assert result.peak_frames == (4, 5, 6)
    z = (result.vessels - vessel() / 4.0) / result.vessels_std
    assert z[8:-8, 8:-8].std() == pytest.approx(1.0, abs=0.05)
    emptied = (result.live.contrast[7] - (0.3 - 1.0) * vessel() / 4.0) / result.live.std[7]
    assert np.nanstd(emptied[8:-8, 8:-8]) == pytest.approx(1.0, abs=0.05)
    shown = overlay(np.ones((2, SIZE, SIZE)), result.vessels, 1.0)
    np.testing.assert_allclose(shown[1], 1.0 - np.maximum(result.vessels, 0.0), rtol=1e-6)
    assert peak(plain, range(3), 99) == tuple(range(3, 9))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda run: subtract(run, []), r"mask frames are \[\]"),
        (lambda run: subtract(run, [0, 5]), r"expected some of 0 … 4, each once"),
        (lambda run: subtract(run, [1, 1]), "each once"),
        (lambda run: road_map(run, [0, 1], [1, 2]), "frame 1 is both mask and peak"),
        (lambda run: road_map(run, [4]), "0 frames follow the mask"),
        (lambda run: CountRun(np.ones((8, 8)), NOMINAL), "expected a sequence"),
        (lambda run: EstimateRun(np.ones((2, 8, 8)), np.ones((3, 8, 8))), "like x_hat"),
    ],
)
def test_bad_frames(call, named):
    run = CountRun(np.random.default_rng(0).poisson(50.0, (5, 32, 32)), NOMINAL)
    with pytest.raises(ValueError, match=named):
        call(run)


def test_simulated_vessels_before_resting_anatomy_are_recovered():
    """The simulator's contrast agent, frame by frame, in front of its first frame."""
    options = SimulationOptions(frames=12, fps=8.0, size=64, photons=3e4, mismatch=False)
    scene = simulate_scene(77, options, index=3)
    contrast, device = true_contrast(scene, [0, 1, 2])
    assert (contrast[:3] == 0).all()
    assert contrast.max() > 0.02
    assert 0.001 < device.mean() < 0.2
    nominal = scene.acquisition.as_dict()
    rate = nominal["photons_per_pixel"] * np.exp(-nominal["attenuation_scale"] * (scene.x_true[0] + contrast))
    result = subtract(CountRun(np.random.default_rng(0).poisson(rate), scene.acquisition), range(3))
    score = vessel_score(result.contrast, contrast, result.std)
    assert score.recovery == pytest.approx(1.0, abs=0.02)
    assert score.z_vessels == pytest.approx(1.0, abs=0.06)
    assert score.z_background == pytest.approx(1.0, abs=0.03)
    with pytest.raises(ValueError, match="records no seed"):
        true_contrast(replace(scene, metadata={}), [0])


def test_electronic_noise_is_part_of_the_variance():
    rng, sigma = np.random.default_rng(9), 3.0
    nominal = Acquisition(photons_per_pixel=400.0, attenuation_scale=4.0, electronic_noise=sigma)
    y = rng.poisson(40.0, (9, 40, 40)) + sigma * rng.standard_normal((9, 40, 40))
    found = subtract(CountRun(y, nominal), range(4), SubtractOptions(register=False, match_level=False))
    z = found.contrast[4:] / found.std[4:]
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1.0, abs=0.03)


def test_negative_counts_have_a_finite_logarithm_that_tells_nothing():
    image = CountImage(np.array([[-4.0, 30.0]]), 100.0, 2.0, 9.0)
    assert np.isfinite(image.value).all()
    assert np.sqrt(image.variance[0, 0]) > 3 > 10 * np.sqrt(image.variance[0, 1])
