"""Progress of long runs: a live bar on a terminal, plain lines elsewhere, and nothing in a quiet run."""

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

from fluorojax.data.printable import MESSAGE, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import Task, TaskID


class Progress(Protocol):
    """The display that a long run reports to.

    A run calls ``start`` once, and the other methods as often as it likes; all of them are cheap.
    """

    def start(self, total: int, unit: str = "scene") -> None:
        """Begin a run over ``total`` pieces of work; ``unit`` is what one of them is called, in the singular."""
        ...

    def skip(self, amount: float) -> None:
        """An earlier run finished ``amount`` of the total; rate and time left do not count it."""
        ...

    def update(self, done: float, note: str) -> None:
        """``done`` of the total are finished, what was skipped included (fractions count work inside a piece).

        ``note`` tells what a user judges the run by: how well a scene agrees with its counts, R-hat so far.
        """
        ...


class ProgressDisplay:
    """A :class:`Progress` that shows nothing. It is the base class of the displays, and a context manager."""

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
        """Do nothing."""


class LineProgress(ProgressDisplay):
    """Plain lines for logs: ``label 3/8 (4.8 s/scene, 24 s left): note``.

    It prints at most one line per ``interval`` seconds, and always one at the end. ``clock`` counts seconds.
    """

    def __init__(
        self, label: str, stream: TextIO, *, interval: float = 5.0, clock: Callable[[], float] = time.monotonic
    ):
        # rich takes as long to import as the whole of `fluorojax --help`
        from rich.progress import Progress as RichProgress

        self._label, self._stream, self._interval, self._clock = label, stream, interval, clock
        self._tasks = RichProgress(disable=True, get_time=clock)  # keeps count and time, and draws nothing
        self._task = _add_task(self._tasks, label)
        self.start(0)

    def start(self, total: int, unit: str = "scene") -> None:
        """See :class:`Progress`."""
        _restart(self._tasks, self._task, total, unit)
        self._last = self._clock()

    def skip(self, amount: float) -> None:
        """See :class:`Progress`."""
        _skip(self._tasks, self._task, amount)

    def update(self, done: float, note: str) -> None:
        """See :class:`Progress`."""
        now = self._clock()
        _advance(self._tasks, self._task, done, note)
        task = self._tasks.tasks[0]
        if done < (task.total or 0) and now - self._last < self._interval:
            return
        self._last = now
        told = pace(task)
        timing = f" ({told})" if told else ""
        print(
            f"{self._label} {done:.4g}/{task.total:g}{timing}: {printable(note, MESSAGE)}",
            file=self._stream,
            flush=True,
        )


class BarProgress(ProgressDisplay):
    """A live bar of rich with rate and time left, and the latest note below it; it disappears at the end."""

    def __init__(self, label: str, stream: TextIO, *, clock: Callable[[], float] = time.monotonic):
        from rich.console import Console, RenderableType
        from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        class PaceColumn(ProgressColumn):
            """Rate and time left of the whole run: those of rich forget pieces that take minutes."""

            def render(self, task: Task) -> Text:
                return Text(pace(task))

        class Bar(RichProgress):
            def get_renderables(self) -> Iterable[RenderableType]:
                yield self.make_tasks_table(self.tasks)
                for task in self.tasks:
                    yield Text(printable(task.fields["note"], MESSAGE))

        columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), PaceColumn())
        self._bar = Bar(*columns, console=Console(file=stream), transient=True, get_time=clock)
        self._task = _add_task(self._bar, label)

    def start(self, total: int, unit: str = "scene") -> None:
        """See :class:`Progress`."""
        _restart(self._bar, self._task, total, unit)

    def skip(self, amount: float) -> None:
        """See :class:`Progress`."""
        _skip(self._bar, self._task, amount)

    def update(self, done: float, note: str) -> None:
        """See :class:`Progress`."""
        _advance(self._bar, self._task, done, note)

    def __enter__(self) -> "BarProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def pace(task: "Task") -> str:
    """Rate and time left of a task as text, from the mean over the run; the time left falls between two updates.

    The rate counts neither what was skipped nor the time since the last update. Empty where nothing was done yet.
    """
    skipped, unit = task.fields["skipped"], task.fields["unit"]
    begin, last = task.start_time, task.fields["last"]
    worked, total = task.completed - skipped, task.total or 0
    if begin is None or last is None or last <= begin or worked <= 0:
        return ""
    rate = worked / (last - begin)
    speed = f"{rate:.3g} {unit}s/s" if rate >= 1 else f"{_duration(1 / rate)}/{unit}"
    if task.completed >= total:
        return f"{speed}, took {_duration(last - begin)}"
    left = (total - task.completed) / rate - (task.get_time() - last)
    return f"{speed}, {_duration(max(left, 0.0))} left"


def _add_task(tasks: "RichProgress", label: str) -> "TaskID":
    return tasks.add_task(label, total=None, skipped=0.0, unit="scene", last=None, note="")


def _restart(tasks: "RichProgress", task: "TaskID", total: int, unit: str) -> None:
    tasks.reset(task, total=total, skipped=0.0, unit=unit, last=None, note="")


def _skip(tasks: "RichProgress", task: "TaskID", amount: float) -> None:
    tasks.update(task, skipped=tasks.tasks[0].fields["skipped"] + amount)


def _advance(tasks: "RichProgress", task: "TaskID", done: float, note: str) -> None:
    tasks.update(task, completed=done, last=tasks.get_time(), note=note)


def _duration(seconds: float) -> str:
    """Seconds in the largest unit that leaves a number above one."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def make_progress(
    label: str, *, quiet: bool = False, verbose: bool = False, stream: TextIO | None = None
) -> ProgressDisplay:
    """The display for a stream (default: standard error): a bar on a terminal, and plain lines elsewhere.

    With ``quiet`` it shows nothing; with ``verbose`` it prints a line for every update.
    """
    out: TextIO = stream or sys.stderr
    if quiet:
        return ProgressDisplay()
    if verbose:
        return LineProgress(label, out, interval=0.0)
    return BarProgress(label, out) if out.isatty() else LineProgress(label, out)
