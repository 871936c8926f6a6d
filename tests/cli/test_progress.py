"""Progress displays."""

import io

import pytest

from fluorojax.progress import BarProgress, LineProgress, ProgressDisplay, make_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_give_rate_time_left_and_note():
    times = iter([0.0, 0.0, 1.0, 10.0, 12.0, 20.0])
    stream = io.StringIO()
    with LineProgress("reconstruct", stream, interval=5.0, clock=lambda: next(times)) as progress:
        progress.start(4)
        progress.update(0.5, "too soon to tell")
        progress.update(2, "iteration 40")
        progress.update(2.5, "too soon again")
        progress.update(4, "sample_03")
    assert stream.getvalue().splitlines() == [
        "reconstruct 2/4 (0.2 scenes/s, 10 s left): iteration 40",
        "reconstruct 4/4 (0.2 scenes/s, 0 s left): sample_03",
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


def test_bar_shows_count_and_note():
    stream = Terminal()
    with BarProgress("reconstruct", stream) as progress:
        progress.start(4)
        progress.update(3, "energy [12]")
    assert "reconstruct" in stream.getvalue()
    assert "3/4" in stream.getvalue()
    assert "energy [12]" in stream.getvalue()


def test_quiet_prints_nothing(capsys):
    with make_progress("run", quiet=True) as progress:
        progress.start(2)
        progress.update(2, "done")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
