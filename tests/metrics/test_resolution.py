"""Edges with a known transfer."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fluorojax.metrics import edge_transfer, slanted_edge


def gaussian(frequency, blur):
    return np.exp(-2.0 * (np.pi * blur * frequency) ** 2)


@pytest.mark.parametrize("angle", [5.0, -7.0, 83.0, 171.0, 262.0, -95.0])
@pytest.mark.parametrize("blur", [0.6, 1.3])
def test_a_gaussian_blurred_edge(angle, blur):
    result = edge_transfer(3.0 + 2.0 * slanted_edge((64, 72), angle, blur, offset=1.3))
    np.testing.assert_allclose(result.transfer, gaussian(result.frequency, blur), atol=0.001)
    assert np.cos(np.deg2rad(result.angle_deg - angle)) == pytest.approx(1.0, abs=1e-8)
    assert result.contrast == pytest.approx(2.0, rel=1e-4)
    half = np.sqrt(np.log(2) / 2) / (np.pi * blur)
    assert result.frequency_at(0.5) == pytest.approx(half, rel=0.01)
    np.testing.assert_allclose(result.at(half), 0.5, atol=0.005)


def test_blurring_multiplies_the_transfer():
    edge = slanted_edge((96, 96), 6.0, 0.7)
    blurred = gaussian_filter(edge, 1.0, mode="nearest")
    ratio = edge_transfer(blurred, half_width=30).transfer / edge_transfer(edge, half_width=30).transfer
    frequency = edge_transfer(edge).frequency
    np.testing.assert_allclose(ratio[frequency < 0.35], gaussian(frequency, 1.0)[frequency < 0.35], atol=0.01)


def test_a_sharpened_edge_exceeds_one():
    edge = slanted_edge((64, 64), 6.0, 1.5)
    sharp = edge + (edge - gaussian_filter(edge, 1.5, mode="nearest"))
    expected = lambda f: gaussian(f, 1.5) * (2.0 - gaussian(f, 1.5))  # noqa: E731
    result = edge_transfer(sharp)
    np.testing.assert_allclose(result.transfer, expected(result.frequency), atol=0.01)


def test_an_edge_in_noise():
    rng = np.random.default_rng(0)
    image = slanted_edge((128, 128), 7.0, 1.0) + 0.05 * rng.standard_normal((128, 128))
    result = edge_transfer(image, half_width=8)
    low = result.frequency < 0.3
    np.testing.assert_allclose(result.transfer[low], gaussian(result.frequency, 1.0)[low], atol=0.05)
    assert result.angle_deg == pytest.approx(7.0, abs=0.1)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (np.ones((32, 32)), "no edge"),
        (slanted_edge((32, 32), 0.0, 1.0), "leaves bins empty"),
        (np.ones((4, 4)), "expected \\(H, W\\) of at least"),
    ],
    ids=["flat", "along the grid", "small"],
)
def test_what_is_no_slanted_edge(image, named):
    with pytest.raises(ValueError, match=named):
        edge_transfer(image)
