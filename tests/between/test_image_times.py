"""Times that a user asks for: which are taken, which are refused, and where they stand between the frames."""

import numpy as np
import pytest

from fluorojax.between import times as module
from fluorojax.between.times import Place, check_times, places, times_of
from fluorojax.data.reconstruction import ReconstructOptions, matching_times

SHAPE, PERIOD = (5, 8, 8), 100.0


def asked(**values):
    return ReconstructOptions(**values)


def test_a_rate_counts_from_the_first_frame_to_the_last():
    np.testing.assert_allclose(times_of(asked(to_fps=30.0), SHAPE, PERIOD), np.arange(13) * 1000 / 30)
    # rounding of the period loses no image at the end
    assert len(times_of(asked(to_fps=30.0), SHAPE, 1000 / 7.5)) == 17
    assert len(times_of(asked(to_fps=30.0), SHAPE, np.float32(1000 / 7.5))) == 17


def test_times_are_those_that_are_given():
    times = times_of(asked(times=(0, 12.5, 400)), SHAPE, PERIOD)
    assert times.tolist() == [0.0, 12.5, 400.0]
    assert places(times, 5, PERIOD) == [Place(0, 0.0), Place(0, 0.125), Place(4, 0.0)]
    assert times_of(asked(times=np.array([1.0, 2.0])), SHAPE, PERIOD).tolist() == [1.0, 2.0]


def test_rounding_does_not_leave_a_frame():
    (place,) = places(np.array([300.0 + 1e-9]), 5, PERIOD)
    assert place == Place(3, 0.0)
    (place,) = places(np.array([400.0 + 1e-9]), 5, PERIOD)
    assert place == Place(4, 0.0)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((), "times are empty"),
        ((0.0, float("nan")), "times has nan at position 1"),
        ((0.0, float("inf")), "times has inf at position 1"),
        ((5.0, 5.0), "times has 5 after 5 at position 1"),
        ((5.0, 4.0), "times has 4 after 5 at position 1"),
        (("a",), "expected ascending times in ms"),
        ("12", "expected ascending times in ms"),
        (3.0, "times has|^$"),
        ((True,), "expected ascending times in ms"),
    ],
)
def test_times_that_are_none_are_refused(times, words):
    if times == 3.0:  # a single number is a list of one
        assert asked(times=times).times == (3.0,)
        return
    with pytest.raises(ValueError, match=words):
        asked(times=times)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan"), "30", True])
def test_rates_that_are_none_are_refused(rate):
    with pytest.raises(ValueError, match="to_fps is"):
        asked(to_fps=rate)


def test_options_that_exclude_each_other():
    with pytest.raises(ValueError, match="both given"):
        asked(times=(1.0,), to_fps=30.0)
    with pytest.raises(ValueError, match="block_frames is 24"):
        asked(to_fps=30.0, block_frames=24)


def test_times_outside_of_the_run_are_refused():
    for time in (-1.0, 401.0):
        with pytest.raises(ValueError, match="is outside of the run; expected 0 to 400 ms"):
            check_times(asked(times=(time,)), SHAPE, PERIOD)


def test_a_single_frame_has_nothing_between():
    for shape in ((8, 8), (1, 8, 8)):
        with pytest.raises(ValueError, match="single frame"):
            check_times(asked(to_fps=30.0), shape, PERIOD)
    check_times(asked(), (8, 8), PERIOD)


def test_more_images_than_memory_holds_are_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda: 1e6)
    with pytest.raises(ValueError, match=r"400000001 images of 8 × 8 pixels need about .* GB of memory"):
        times_of(asked(to_fps=1e9), SHAPE, PERIOD)


def test_the_same_times_are_found():
    times = np.array([0.0, 33.333333, 66.7])
    assert matching_times(times, np.array([0.0, 1000 / 30, 2000 / 30, 99.0])).tolist() == [0, 1, -1, -1]
