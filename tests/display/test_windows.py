"""Window and level: which value is black and which is white."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.pixels import apply_windowing

from fluorojax.display import dicom_window, grey_levels, level_window, percentile_window


def test_level_and_width_are_middle_and_extent():
    window = level_window(0.4, 0.2)
    assert (window.low, window.high) == pytest.approx((0.3, 0.5))
    values = np.array([-1.0, 0.3, 0.45, 0.5, 2.0, np.nan], np.float32)
    assert grey_levels(values, window).tolist() == [0, 0, 191, 255, 255, 0]
    assert grey_levels(values, window, invert=True)[:5].tolist() == [255, 255, 64, 0, 0]


def test_grey_levels_are_linear_inside_the_window():
    values = np.linspace(-1, 3, 1001, dtype=np.float32)
    levels = grey_levels(values, level_window(1.0, 4.0)).astype(float)
    np.testing.assert_allclose(levels, 255 * (values + 1) / 4, atol=0.51)


def test_percentiles_leave_out_their_share_of_the_pixels():
    values = np.arange(1001.0, dtype=np.float32)
    window = percentile_window(values, 5, 90)
    assert (window.low, window.high) == pytest.approx((50, 900))
    assert percentile_window(np.full(5, 2.0, np.float32)).high > 2.0  # never empty


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize(("centre", "width"), [(100, 40), (128, 256), (50.5, 11)])
def test_dicom_windows_are_those_of_pydicom(function, centre, width):
    stored = np.arange(256, dtype=np.uint8)
    header = Dataset()
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 8, 0
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = centre, width, function
    expected = apply_windowing(stored, header)
    levels = grey_levels(stored.astype(np.float32), dicom_window(centre, width, function)).astype(float)
    np.testing.assert_allclose(levels, expected, atol=0.51)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: level_window(0.5, -1), "window is -1; expected a positive width"),
        (lambda: level_window(0.5, 0), "window is 0; expected a positive width"),
        (lambda: level_window(np.nan, 1), "expected finite numbers"),
        (lambda: percentile_window(np.zeros(3), 60, 40), "percentiles are 60:40; expected LOW:HIGH"),
        (lambda: percentile_window(np.zeros(3), -1, 40), "expected LOW:HIGH"),
        (lambda: dicom_window(10, 20, "SIGMOID"), "VOILUTFunction is SIGMOID; expected LINEAR"),
        (lambda: dicom_window(10, 0.5), "WindowWidth is 0.5; expected at least 1"),
    ],
)
def test_windows_that_are_none(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()
