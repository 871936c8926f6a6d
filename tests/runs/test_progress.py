"""Progress displays."""

import io

import pytest

from fluorojax.runs.progress import BarProgress, LineProgress, ProgressDisplay, make_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(clock):
    """A display of lines, and what it has written."""
    stream = io.StringIO()
    return LineProgress("reconstruct", stream, interval=5.0, clock=clock), lambda: stream.getvalue().splitlines()


def test_lines_give_rate_time_left_and_note(lines, clock):
    progress, written = lines
    with progress:
        progress.start(4)
        for seconds, done, note in (
            (1, 0.5, "too soon to tell"),
            (9, 2, "iteration 40"),
            (2, 2.5, "too soon again"),
            (8, 4, "sample_03"),
        ):
            clock.now += seconds
            progress.update(done, note)
    assert written() == [
        "reconstruct 2/4 (5 s/scene, 10 s left): iteration 40",
        "reconstruct 4/4 (5 s/scene, took 20 s): sample_03",
    ]


@pytest.mark.parametrize(
    ("unit", "seconds", "text"),
    [
        ("scene", 0.5, "4 scenes/s, 1.5 s left"),
        ("replicate", 2.0, "1 replicates/s, 6 s left"),
        ("row", 100.0, "50 s/row, 5 min left"),
        ("scene", 3600.0, "30 min/scene, 3 h left"),
        ("scene", 86_400.0, "12 h/scene, 3 d left"),
    ],
)
def test_rates_have_the_unit_of_the_work_and_times_one_that_can_be_read(clock, unit, seconds, text):
    stream = io.StringIO()
    progress = LineProgress("run", stream, interval=0.0, clock=clock)
    progress.start(8, unit)
    clock.now += seconds
    progress.update(2, "note")
    assert stream.getvalue() == f"run 2/8 ({text}): note\n"


def test_what_an_earlier_run_did_does_not_make_this_one_fast(lines, clock):
    progress, written = lines
    progress.start(2)
    progress.skip(0.8)
    clock.now += 10
    progress.update(0.8, "continued")
    clock.now += 40
    progress.update(0.9, "draw 20/200")
    assert written() == [
        "reconstruct 0.8/2: continued",
        "reconstruct 0.9/2 (8.3 min/scene, 9.2 min left): draw 20/200",
    ]


@pytest.mark.parametrize(
    ("stream", "options", "kind"),
    [
        (Terminal(), {}, BarProgress),
        (io.StringIO(), {}, LineProgress),
        (Terminal(), {"verbose": True}, LineProgress),
        (Terminal(), {"quiet": True}, ProgressDisplay),
    ],
    ids=["terminal", "log", "verbose", "quiet"],
)
def test_the_display_fits_the_stream(stream, options, kind):
    assert type(make_progress("run", stream=stream, **options)) is kind


def test_verbose_prints_every_update(capsys):
    with make_progress("run", verbose=True) as progress:
        progress.start(2)
        for note in ("first", "second"):
            progress.update(0.5, note)
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()] == ["first", "second"]


def test_bar_shows_count_pace_and_note(clock):
    """The pace also of pieces that take minutes."""
    stream = Terminal()
    with BarProgress("reconstruct", stream, clock=clock) as progress:
        progress.start(4)
        clock.now += 1800
        progress.update(3, "residual [12]")
        clock.now += 150
    text = stream.getvalue()
    assert "reconstruct" in text
    assert "3/4" in text
    assert "10 min/scene, 7.5 min left" in text  # of ten, when the bar was last drawn
    assert "residual [12]" in text


def test_quiet_prints_nothing(capsys):
    with make_progress("run", quiet=True) as progress:
        progress.start(2)
        progress.skip(1)
        progress.update(2, "done")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_second_run_begins_anew(lines, clock):
    progress, written = lines
    progress.start(2)
    progress.skip(1)
    clock.now += 10
    progress.update(2, "first")
    progress.start(4, "row")
    clock.now += 6
    progress.update(3, "second")
    assert written() == [
        "reconstruct 2/2 (10 s/scene, took 10 s): first",
        "reconstruct 3/4 (2 s/row, 2 s left): second",
    ]


def test_the_bar_counts_no_resumed_work_and_leaves_nothing_behind(clock):
    stream = Terminal()
    with BarProgress("reconstruct", stream, clock=clock) as progress:
        progress.start(4)
        progress.skip(2)
        clock.now += 1200
        progress.update(3, "note")
    assert "20 min/scene, 20 min left" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")  # the lines are erased
