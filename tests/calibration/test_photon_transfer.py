"""Gain and offset from the noise of a run: still, moving, drifting, short, saturated."""

import re

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from fluorojax.calibration.photon_transfer import photon_transfer
from fluorojax.io.counting import Counting, to_counts

GAIN, OFFSET = 13.7, 120.0


def rates(mean, frames=24, side=120, amplitude=0.0, period=20.0, drift=0.0, seed=0):
    """Expected counts (T, H, W) of a textured scene whose middle swings along the rows by ``amplitude`` pixels."""
    rng = np.random.default_rng(seed)
    depth = 40.0 * gaussian_filter(rng.normal(size=(side, side)), 6.0) + gaussian_filter(
        rng.normal(size=(side, side)), 1
    )
    depth += np.linspace(-1.2, 1.2, side)
    row, column = np.mgrid[:side, :side].astype(float)
    swing = amplitude * np.exp(-((row - side / 2) ** 2 + (column - side / 2) ** 2) / (side / 4) ** 2)
    found = [
        np.exp(-map_coordinates(depth, [row + swing * np.sin(2 * np.pi * t / period), column], order=3, mode="nearest"))
        for t in range(frames)
    ]
    found = np.array(found) * (1 + drift / 100) ** np.arange(frames)[:, None, None]
    return found * mean / found.mean()


def stored(rate, seed=1):
    counts = np.random.default_rng(seed).poisson(rate)
    return np.clip(np.rint(GAIN * counts + OFFSET), 0, 65535).astype(np.uint16)


@pytest.mark.parametrize("mean", [3, 30, 300])
@pytest.mark.parametrize("amplitude", [0.0, 1.0])
def test_the_gain_is_within_two_percent_whatever_moves(mean, amplitude):
    found = photon_transfer(stored(rates(mean, amplitude=amplitude, drift=0.5)), saturation=65535)
    assert found.gain == pytest.approx(GAIN, rel=0.02)
    assert abs(found.gain - GAIN) < 4 * found.gain_std
    assert abs(found.offset - OFFSET) < 4 * found.offset_std + 0.02 * GAIN
    assert found.used.mean() > 0.8
    assert abs(found.correlation) < 0.02


@pytest.mark.parametrize("frames", [3, 6, 9])
def test_short_runs_tell_a_wider_error(frames):
    short = photon_transfer(stored(rates(30, frames=frames)))
    assert abs(short.gain - GAIN) < 4 * short.gain_std
    assert short.gain_std > photon_transfer(stored(rates(30, frames=24))).gain_std


def test_a_known_offset_stays():
    found = photon_transfer(stored(rates(30)), offset=OFFSET)
    assert (found.offset, found.offset_std) == (OFFSET, 0.0)
    assert found.gain == pytest.approx(GAIN, rel=0.02)


def test_electronic_noise_moves_the_offset_and_not_the_gain():
    values = stored(rates(30)) + np.random.default_rng(2).normal(0.0, 2.0 * GAIN, (24, 120, 120))
    found = photon_transfer(values)
    assert found.gain == pytest.approx(GAIN, rel=0.02)
    assert found.offset == pytest.approx(OFFSET - 4.0 * GAIN, abs=4 * found.offset_std + 0.5)


def test_saturated_blocks_are_left_out():
    values = np.minimum(stored(rates(30)), 700)
    assert photon_transfer(values, saturation=700).gain == pytest.approx(GAIN, rel=0.03)


def test_smoothed_noise_is_told():
    values = gaussian_filter(stored(rates(30)).astype(float), (0, 0.7, 0.7))
    assert any("correlated" in line for line in photon_transfer(values).sentences())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((2, 40, 40)), "at least 3 frames"),
        (np.ones((5, 3, 40)), r"4 × 4 pixels"),
        (np.ones((5, 40, 40)), "show noise"),
        (np.random.default_rng(0).normal(100.0, 3.0, (6, 64, 64)), "levels|positive slope|equally bright|determined"),
    ],
)
def test_what_cannot_be_estimated_is_refused_or_told(values, words):
    try:
        found = photon_transfer(values)
    except ValueError as error:
        told = str(error)
    else:
        told = " ".join(found.sentences())
    assert re.search(words, told)


@pytest.mark.parametrize("offset", [OFFSET, None], ids=["offset given", "offset estimated"])
def test_known_electronic_noise_is_taken_off_gain_and_offset(offset):
    rate, sigma = rates(4), 2.0
    values = stored(rate) + sigma * GAIN * np.random.default_rng(5).standard_normal(rate.shape)
    told = to_counts(values, Counting("estimate", offset), ("a", "b"), electronic_noise=sigma)[1]["counting"]
    assert told["gain"] == pytest.approx(GAIN, rel=0.03)
    assert told["offset"] == pytest.approx(OFFSET, abs=0.5 * GAIN)
    untold = to_counts(values, Counting("estimate"), ("a", "b"))[1]["counting"]
    assert untold["offset"] < OFFSET - 2.0 * GAIN
