"""Motion between two images: known shifts, at any share of the gap, and none where there is none."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluorojax.between.flow import flow_between, warped

SIZE = 64


def scene(row, column):
    y, x = np.indices((SIZE, SIZE), dtype=np.float64)
    blob = np.exp(-((y - 30 - row) ** 2 + (x - 28 - column) ** 2) / (2 * 6.0**2))
    return (2.0 + blob + 0.5 * np.exp(-((y - 42 - row) ** 2 + (x - 40 - column) ** 2) / 18.0)).astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("shift", [(1.5, -2.0), (-5.0, 6.0)])
def test_a_shift_is_found_where_the_blob_is_at_that_time(share, shift):
    here = scene(share * shift[0], share * shift[1])
    flow = flow_between(scene(0, 0), scene(*shift), share, 0.005)
    weight = (here - 2.0) / np.sum(here - 2.0)
    np.testing.assert_allclose(np.sum(flow * weight, axis=(1, 2)), shift, atol=0.35)
    blend = (1 - share) * warped(scene(0, 0), -share * flow) + share * warped(scene(*shift), (1 - share) * flow)
    linear = (1 - share) * scene(0, 0) + share * scene(*shift)
    assert np.mean((blend - here) ** 2) <= 0.1 * np.mean((linear - here) ** 2) + 1e-7


def test_reversed_time_reverses_the_motion():
    a, b = scene(0, 0), scene(2.0, 1.0)
    np.testing.assert_allclose(flow_between(a, b, 0.3, 0.01), -flow_between(b, a, 0.7, 0.01), atol=2e-3)


def test_noise_does_not_move():
    rng = np.random.default_rng(0)
    a, b = (scene(0, 0) + 0.02 * gaussian_filter(rng.normal(size=(SIZE, SIZE)), 1.0) * 3.5 for _ in range(2))
    assert np.sqrt(np.mean(flow_between(a, b, 0.5, 0.02) ** 2)) < 0.3


@pytest.mark.parametrize("shape", [(16, 16), (25, 61), (24, 7)])
def test_any_size_serves(shape):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, *shape)).astype(np.float32)
    flow = flow_between(a, b, 0.5, 1.0)
    assert flow.shape == (2, *shape)
    assert flow.dtype == np.float32
    assert np.isfinite(flow).all()
