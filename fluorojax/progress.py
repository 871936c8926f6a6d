"""Progress of long runs: a live bar on a terminal, plain lines elsewhere, nothing when asked to be quiet."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TextIO


class Progress(Protocol):
    """What an engine reports to; the unit is scenes.

    An engine calls ``start`` once and ``update`` as often as it likes; both are cheap.
    """

    def start(self, total: int) -> None:
        """Begin a run over ``total`` scenes."""
        ...

    def update(self, done: float | int, note: str) -> None:
        """``done`` of the total are finished (fractions count work inside a scene); ``note`` says what goes on."""
        ...


class ProgressDisplay:
    """A :class:`Progress` that shows nothing, and the base of those that do; a context manager."""

    def start(self, total: int) -> None:
        """See :class:`Progress`."""

    def update(self, done: float | int, note: str) -> None:
        """See :class:`Progress`."""

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to tear down."""


class LineProgress(ProgressDisplay):
    """Plain lines for logs: ``label 3/8 (0.21 scenes/s, 24 s left): note``.

    At most one line per ``interval`` seconds, and always one at the end. ``clock`` counts seconds.
    """

    def __init__(
        self, label: str, stream: TextIO, *, interval: float = 5.0, clock: Callable[[], float] = time.monotonic
    ):
        self._label, self._stream, self._interval, self._clock = label, stream, interval, clock
        self._total = 0
        self._begin = self._last = clock()

    def start(self, total: int) -> None:
        """See :class:`Progress`."""
        self._total = total
        self._begin = self._last = self._clock()

    def update(self, done: float | int, note: str) -> None:
        """See :class:`Progress`."""
        now = self._clock()
        if done < self._total and now - self._last < self._interval:
            return
        self._last = now
        elapsed = now - self._begin
        rate = done / elapsed if elapsed > 0 else 0.0
        timing = f" ({rate:.2g} scenes/s, {(self._total - done) / rate:.0f} s left)" if rate > 0 else ""
        print(f"{self._label} {done:.4g}/{self._total}{timing}: {note}", file=self._stream, flush=True)


class BarProgress(ProgressDisplay):
    """A live bar with rate, time left and the latest note."""

    def __init__(self, label: str, stream: TextIO):
        # rich is only wanted on a terminal, and its import takes as long as the whole of `fluorojax --help`
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(file=stream),
            transient=True,
        )
        self._task = self._bar.add_task(label, total=None, rate="", note="")

    def start(self, total: int) -> None:
        """See :class:`Progress`."""
        self._bar.reset(self._task, total=total, rate="", note="")

    def update(self, done: float | int, note: str) -> None:
        """See :class:`Progress`."""
        elapsed = self._bar.tasks[0].elapsed or 0.0
        rate = f"{done / elapsed:.2g} scenes/s" if elapsed > 0 and done > 0 else ""
        self._bar.update(self._task, completed=done, note=note, rate=rate)

    def __enter__(self) -> "BarProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


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
