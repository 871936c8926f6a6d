"""What every classical method owes, and what some promise in particular."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from fluorojax.classical import CLASSICAL, LowRankSparse, MotionCompensated, Stabilised, with_electronic_noise
from fluorojax.classical.low_rank import decompose
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.metrics import expected_counts, psnr
from fluorojax.simulation import SimulationOptions, simulate_scene

_MODULES = {"scikit-image": "skimage", "opencv-python-headless": "cv2", "PyWavelets": "pywt"}


def usable(name):
    return all(find_spec(_MODULES.get(package, package)) is not None for package in CLASSICAL[name].packages)


NAMES = [pytest.param(name, marks=pytest.mark.skipif(not usable(name), reason="not installed")) for name in CLASSICAL]


@pytest.fixture(scope="module")
def scene():
    return simulate_scene(1, SimulationOptions(frames=8, size=32, photons=1500, mismatch=False))


@pytest.fixture(scope="module")
def drifting():
    options = SimulationOptions(frames=8, size=32, photons=1500, spec=Spec(0.0, 0.0, 1.0))
    return simulate_scene(1, options)


@pytest.mark.parametrize("name", NAMES)
def test_beats_the_raw_image_without_touching_the_counts(name, scene):
    counts = scene.y.copy()
    found = CLASSICAL[name].method(scene.y, scene.acquisition)
    assert found.x_hat.shape == scene.y.shape
    assert found.x_hat.dtype == np.float32
    assert found.x_hat.min() >= 0
    assert found.x_hat.max() <= 1
    np.testing.assert_array_equal(scene.y, counts)
    raw = CLASSICAL["raw"].method(scene.y, scene.acquisition)
    gain = psnr(found.x_hat, scene.x_true) - psnr(raw.x_hat, scene.x_true)
    assert gain == 0 if name == "raw" else gain > 2
    again = CLASSICAL[name].method(scene.y, scene.acquisition)
    np.testing.assert_array_equal(again.x_hat, found.x_hat)


@pytest.mark.parametrize("name", NAMES)
def test_the_true_drift_removes_the_trend(name, drifting):
    """Over eight frames at 1 %/frame the mean of A·x falls by 0.07; with the drift handed over it does not."""
    method, scale = CLASSICAL[name].method, float(drifting.acquisition.attenuation_scale)

    def trend(estimate):
        error = (estimate.x_hat - drifting.x_true).mean((1, 2)) * scale
        return np.polyfit(np.arange(8.0), error, 1)[0]

    known = trend(method(drifting.y, drifting.acquisition, drifting.true_spec))
    assert abs(known) < 0.003
    assert trend(method(drifting.y, drifting.acquisition)) < known - 0.005


class Identity(Stabilised):
    def denoise(self, z):
        return z


def test_stabilised_without_a_denoiser_is_nearly_the_raw_logarithm(scene):
    """The unbiased inverse of one frame is y − 1/4 + …: no gain is lost or doubled on the way."""
    found = Identity()(scene.y, scene.acquisition, Spec(0.0, 0.0, 1.0)).x_hat
    gain = 1.01 ** np.arange(8)[:, None, None]
    bright = scene.y > 50
    expected = -np.log(np.maximum(scene.y, 1) / gain / 1500) / float(scene.acquisition.attenuation_scale)
    np.testing.assert_allclose(found[bright], expected[bright], atol=2e-3)


def test_poisson_tv_inverts_the_lag_that_others_leave():
    """A blob that moves its own width a frame leaves a ghost of 12 %, of which the nominal chain knows 4 %."""
    rows, columns = np.mgrid[:32, :32]
    blob = [0.3 * np.exp(-((rows - 16) ** 2 + (columns - 6 - 2.5 * t) ** 2) / 8) for t in range(8)]
    x = (0.3 + np.stack(blob)).astype(np.float32)
    acquisition, spec = Acquisition(photons_per_pixel=2e4, attenuation_scale=5.0), Spec(0.0, 6.0, 0.0)
    y = np.random.default_rng(0).poisson(expected_counts(x, spec, acquisition)).astype(np.float32)
    method = CLASSICAL["poisson-tv"].method
    assert psnr(method(y, acquisition, spec).x_hat, x) > psnr(method(y, acquisition).x_hat, x) + 1


def test_low_rank_and_sparse_parts_are_told_apart():
    rng = np.random.default_rng(0)
    low = np.outer(rng.normal(size=20), 40 * rng.normal(size=900))
    few = np.where(rng.random((20, 900)) < 0.02, 60.0, 0.0)
    noisy = low + few + rng.normal(size=low.shape)
    found_low, found_few = decompose(noisy, LowRankSparse().rank, LowRankSparse().sparse, 60)
    values = np.linalg.svd(found_low, compute_uv=False)
    assert values[1] < 0.05 * values[0]
    assert np.mean((found_few > 30) == (few > 0)) == 1
    assert np.std(found_low + found_few - low - few) < 0.75  # of unit noise; few keeps the noise of its own entries


def test_low_rank_satisfies_the_optimality_of_the_sparse_part():
    """S = soft(D − L): where S is not zero the residual is σ, elsewhere at most σ."""
    rng = np.random.default_rng(1)
    data = rng.normal(size=(10, 400)) + np.where(rng.random((10, 400)) < 0.05, 20.0, 0.0)
    low, few = decompose(data, 1.0, 3.0, 500)
    residual = np.abs(data - low - few)
    assert residual.max() <= 3.0 + 5e-3
    np.testing.assert_allclose(residual[few != 0], 3.0, atol=5e-3)


@pytest.mark.skipif(not usable("mctf"), reason="not installed")
def test_motion_compensation_keeps_a_moving_edge_that_the_mean_smears():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    texture = 3 * np.sin(rows / 3) * np.cos(columns / 4)
    clean = np.stack([20 + 6 / (1 + np.exp(-(columns - 16 - 2.0 * t))) + texture for t in range(9)]).astype(np.float32)
    noisy = clean + rng.normal(size=clean.shape).astype(np.float32)
    found = replace(MotionCompensated(), weight=0.0, radius=3).denoise(noisy)
    middle = found[4] - clean[4]
    blurred = noisy[1:8].mean(0) - clean[4]
    assert middle.std() < 0.7  # of unit noise
    assert np.abs(middle[:, 20:28].mean(0)).max() < 0.5 * np.abs(blurred[:, 20:28].mean(0)).max()


@pytest.mark.skipif(not usable("tnlm"), reason="not installed")
def test_temporal_non_local_means_takes_sequences_shorter_than_its_window():
    z = 20 + np.random.default_rng(0).normal(size=(2, 24, 24)).astype(np.float32)
    found = CLASSICAL["tnlm"].method.denoise(z)
    assert found.shape == z.shape
    assert found.std() < 0.6


@pytest.mark.skipif(find_spec("bm3d") is not None, reason="bm3d is installed")
def test_a_missing_package_is_named(scene):
    with pytest.raises(ModuleNotFoundError, match="bm3d"):
        CLASSICAL["bm3d"].method(scene.y, scene.acquisition)


@pytest.mark.parametrize("name", ["raw", "kalman", "poisson-tv", "rpca"])
def test_electronic_noise_is_not_taken_for_signal(name):
    """A flat field of five quanta behind noise of three quanta."""
    acquisition = Acquisition(photons_per_pixel=5.0 * np.exp(2.0), attenuation_scale=4.0, electronic_noise=3.0)
    quiet = Acquisition.from_dict({**acquisition.as_dict(), "electronic_noise": 0.0})
    rng = np.random.default_rng(1)
    counts = (rng.poisson(5.0, (8, 32, 32)) + 3.0 * rng.standard_normal((8, 32, 32))).astype(np.float32)
    method = CLASSICAL[name].method
    found, plain = with_electronic_noise(method, counts, acquisition), method(np.abs(counts), quiet)
    assert np.isfinite(found.x_hat).all()
    if name != "raw":  # the logarithm of single counts is biased
        assert abs(np.mean(found.x_hat[-1]) - 0.5) * 4.0 < 0.25
    if found.x_std is not None:
        assert found.x_std[-1].mean() > 1.2 * plain.x_std[-1].mean()
    np.testing.assert_array_equal(with_electronic_noise(method, np.abs(counts), quiet).x_hat, plain.x_hat)
