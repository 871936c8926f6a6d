"""Progress of long runs: a live bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TextIO


class Progress(Protocol):
    """What an engine reports to.

    An engine calls ``start`` once and the others as often as it likes; all are cheap.
    """

    def start(self, total: int, unit: str = "scene") -> None:
        """Begin a run over ``total`` pieces of work; ``unit`` is what one of them is called, in the singular."""
        ...

    def skip(self, amount: float) -> None:
        """``amount`` of the total was there before this run: rate and time left do not count it."""
        ...

    def update(self, done: float, note: str) -> None:
        """``done`` of the total are finished, what was skipped included (fractions count work inside a piece).

        ``note`` tells the quantity by which a user judges the run: the energy, R-hat so far.
        """
        ...


class ProgressDisplay:
    """A :class:`Progress` that shows nothing, and the base of those that do; a context manager."""

    def start(self, total: int, unit: str = "scene") -> None:
        """See :class:`Progress`."""

    def skip(self, amount: float) -> None:
        """See :class:`Progress`."""

    def update(self, done: float, note: str) -> None:
        """See :class:`Progress`."""

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to tear down."""


class _Pace:
    """Rate and time left as text, from the mean over the run; the time left falls between two updates."""

    def __init__(self, total: int, unit: str, clock: Callable[[], float]):
        self.total, self._unit, self._clock = total, unit, clock
        self._begin = self._last = clock()
        self._skipped = self._done = 0.0

    def skip(self, amount: float) -> None:
        self._skipped += amount

    def update(self, done: float) -> None:
        self._done, self._last = done, self._clock()

    def __str__(self) -> str:
        elapsed, worked = self._last - self._begin, self._done - self._skipped
        if elapsed <= 0 or worked <= 0:
            return ""
        rate = worked / elapsed
        speed = f"{rate:.3g} {self._unit}s/s" if rate >= 1 else f"{_duration(1 / rate)}/{self._unit}"
        if self._done >= self.total:
            return f"{speed}, took {_duration(elapsed)}"
        left = (self.total - self._done) / rate - (self._clock() - self._last)
        return f"{speed}, {_duration(max(left, 0.0))} left"


def _duration(seconds: float) -> str:
    """Seconds in the largest unit that leaves a number above one."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


class LineProgress(ProgressDisplay):
    """Plain lines for logs: ``label 3/8 (4.8 s/scene, 24 s left): note``.

    At most one line per ``interval`` seconds, and always one at the end. ``clock`` counts seconds.
    """

    def __init__(
        self, label: str, stream: TextIO, *, interval: float = 5.0, clock: Callable[[], float] = time.monotonic
    ):
        self._label, self._stream, self._interval, self._clock = label, stream, interval, clock
        self.start(0)

    def start(self, total: int, unit: str = "scene") -> None:
        """See :class:`Progress`."""
        self._pace = _Pace(total, unit, self._clock)
        self._last = self._clock()

    def skip(self, amount: float) -> None:
        """See :class:`Progress`."""
        self._pace.skip(amount)

    def update(self, done: float, note: str) -> None:
        """See :class:`Progress`."""
        now = self._clock()
        self._pace.update(done)
        if done < self._pace.total and now - self._last < self._interval:
            return
        self._last = now
        pace = str(self._pace)
        timing = f" ({pace})" if pace else ""
        print(f"{self._label} {done:.4g}/{self._pace.total}{timing}: {note}", file=self._stream, flush=True)


class BarProgress(ProgressDisplay):
    """A live bar with rate and time left, and the latest note below it."""

    def __init__(self, label: str, stream: TextIO):
        # rich is only wanted on a terminal, and its import takes as long as the whole of `fluorojax --help`
        from rich.console import Console, Group
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        # The pace becomes text whenever the bar is drawn; a column of rich shows none for pieces that take minutes.
        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), "{task.fields[pace]}")
        self._bar = RichProgress(*columns)
        self._note = ""
        self._live = Live(
            get_renderable=lambda: Group(self._bar, Text(self._note)), console=Console(file=stream), transient=True
        )
        self._pace = _Pace(0, "scene", time.monotonic)
        self._task = self._bar.add_task(label, total=None, pace=self._pace)

    def start(self, total: int, unit: str = "scene") -> None:
        """See :class:`Progress`."""
        self._note, self._pace = "", _Pace(total, unit, time.monotonic)
        self._bar.reset(self._task, total=total, pace=self._pace)

    def skip(self, amount: float) -> None:
        """See :class:`Progress`."""
        self._pace.skip(amount)

    def update(self, done: float, note: str) -> None:
        """See :class:`Progress`."""
        self._note = note
        self._pace.update(done)
        self._bar.update(self._task, completed=done)

    def __enter__(self) -> "BarProgress":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def make_progress(
    label: str, *, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None
) -> ProgressDisplay:
    """The display that fits: nothing when ``quiet``, a bar when ``stream`` (default standard error) is a terminal,
    lines otherwise. ``verbose`` prints a line for every update.
    """
    out: TextIO = stream or sys.stderr
    if quiet:
        return ProgressDisplay()
    if verbose:
        return LineProgress(label, out, interval=0.0)
    return BarProgress(label, out) if out.isatty() else LineProgress(label, out)
