"""Linear methods, whose transfer, noise, lag and detectability are known, pass through the tasks."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.signal import lfilter

from fluorojax.data.acquisition import Acquisition
from fluorojax.metrics import Task, disk, task_detectability, task_lag, task_noise, task_transfer

NO_LAG = Acquisition(lag_ms=1.0)


def raw(y, acquisition):
    nominal = acquisition.as_dict()
    return -np.log((y + 0.5) / nominal["photons_per_pixel"]) / nominal["attenuation_scale"]


def blurred(y, acquisition):
    return gaussian_filter(raw(y, acquisition), (0, 1.0, 1.0), mode="wrap")


def recursive(y, acquisition, alpha=0.4):
    x = raw(y, acquisition)
    return lfilter([alpha], [1.0, alpha - 1.0], x, axis=0, zi=(1.0 - alpha) * x[:1])[0]


def test_transfer_of_a_blur():
    task = Task(counts=700.0, contrast=0.5, frames=4, repeats=6)
    result = task_transfer(blurred, task)
    low = result.frequency < 0.3
    expected = np.exp(-2.0 * (np.pi * result.frequency) ** 2)
    np.testing.assert_allclose(result.transfer[low], expected[low], atol=0.03)


def test_transfer_of_the_counts_themselves():
    result = task_transfer(raw, Task(counts=700.0, contrast=0.5, frames=4, repeats=6))
    np.testing.assert_allclose(result.transfer[result.frequency < 0.3], 1.0, atol=0.05)


def test_noise_of_the_counts_and_of_a_blur():
    task = Task(counts=400.0, frames=8, size=32, repeats=6)
    sigma = 1.0 / (np.sqrt(400.0) * 7.0)
    spectrum = task_noise(raw, task)
    assert spectrum.variance == pytest.approx(sigma**2, rel=0.03)
    soft = task_noise(blurred, task)
    assert soft.variance == pytest.approx(sigma**2 / (4.0 * np.pi), rel=0.1)  # of a Gaussian of 1 pixel


def test_lag_of_a_recursive_filter():
    result = task_lag(recursive, Task(counts=500.0, contrast=0.2, frames=40, size=32, acquisition=NO_LAG))
    assert result.first_frame_lag == pytest.approx(0.6, abs=0.01)
    assert result.time_constant_frames == pytest.approx(-1.0 / np.log(0.6), rel=0.02)


def test_the_detectors_lag_is_seen_by_a_method_that_ignores_it():
    result = task_lag(raw, Task(counts=500.0, contrast=0.2, frames=8, size=64))
    carry = np.exp(-1000.0 / 30.0 / 10.0)  # charge that one frame leaves to the next
    bright, dark = 1.0, np.exp(-0.2)
    assert result.first_frame_lag == pytest.approx(1 + np.log(dark + carry * (bright - dark)) / 0.2, abs=0.006)


def test_detectability_of_a_disk_in_the_counts():
    task = Task(counts=400.0, contrast=0.01, frames=2, size=32, repeats=200)
    pattern = disk((32, 32), 6.0)
    result = task_detectability(raw, task, pattern)
    expected = 0.01 * np.linalg.norm(pattern - pattern.mean()) * np.sqrt(400.0)
    assert abs(result.d_prime - expected) < 3.0 * result.std


def test_averaging_helps_what_rests_and_not_what_moves():
    task = Task(counts=30.0, contrast=0.3, frames=8, size=32, repeats=24)
    rest = disk((32, 32), 2.0)
    moving = np.stack([np.roll(rest, 5 * t, axis=0) for t in range(8)])
    d = {(f, n): task_detectability(f, task, p).d_prime for f in (raw, recursive) for n, p in enumerate((rest, moving))}
    assert d[recursive, 0] > 1.4 * d[raw, 0]
    assert d[recursive, 1] < 0.8 * d[raw, 1] + 0.2 * d[recursive, 0]
    assert d[recursive, 1] < 0.7 * d[recursive, 0]


def test_bad_tasks():
    with pytest.raises(ValueError, match="counts is 2000"):
        Task(counts=2000.0)
    with pytest.raises(ValueError, match="method returned shape"):
        Task(repeats=1).run(lambda y, a: y[0], np.zeros(()))
