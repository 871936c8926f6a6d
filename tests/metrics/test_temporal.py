"""Lag of filters whose step response is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from fluorojax.metrics import step_response


def recursive(alpha, frames=60, step=10):
    clean = np.where(np.arange(frames) >= step, 5.0, 2.0)
    return lfilter([alpha], [1.0, alpha - 1.0], clean, zi=[(1.0 - alpha) * 2.0])[0]


@pytest.mark.parametrize("alpha", [0.2, 0.3, 0.6, 0.9])
def test_recursive_filter(alpha):
    result = step_response(recursive(alpha, frames=90), 10)
    assert result.first_frame_lag == pytest.approx(1 - alpha, abs=1e-6)
    assert result.delay_frames == pytest.approx((1 - alpha) / alpha, abs=1e-5)
    assert result.time_constant_frames == pytest.approx(-1 / np.log(1 - alpha), rel=1e-4)
    np.testing.assert_allclose(result.response[:5], 1 - (1 - alpha) ** np.arange(1, 6), atol=1e-6)


def test_time_constant_in_noise():
    rng = np.random.default_rng(0)
    noisy = recursive(0.25)[:, None, None] + 0.3 * rng.standard_normal((60, 20, 20))
    result = step_response(noisy, 10, before=2.0, after=5.0)
    assert result.time_constant_frames == pytest.approx(-1 / np.log(0.75), rel=0.05)
    assert result.first_frame_lag == pytest.approx(0.75, abs=0.02)


def test_no_lag_and_no_decay():
    clean = np.where(np.arange(12) >= 4, 0.0, 1.0)
    assert step_response(clean, 4).time_constant_frames == 0.0
    assert step_response(clean, 4).delay_frames == 0.0
    assert np.isnan(step_response(np.ones(12), 4, before=1.0, after=2.0).time_constant_frames)


def test_a_mask_selects_the_edge():
    sequence = np.zeros((6, 4, 4))
    sequence[3:, 1] = 2.0
    mask = np.zeros((4, 4), bool)
    mask[1] = True
    assert step_response(sequence, 3, mask=mask).first_frame_lag == 0.0
    sequence[3:, 2] = np.arange(3)[:, None]
    assert step_response(sequence, 3, mask=~mask).first_frame_lag == 1.0


@pytest.mark.parametrize("frame", [0, 6])
def test_the_step_lies_inside(frame):
    with pytest.raises(ValueError, match="expected 1 to 5"):
        step_response(np.arange(6.0), frame)
    with pytest.raises(ValueError, match="two different"):
        step_response(np.ones(6), 3)
