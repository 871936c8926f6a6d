"""Where scenes are computed: in this process, or in processes that share a folder with it.

A place takes shares (:mod:`fluorojax.runs.shares`) and gives back what became of every scene, in any order. Checking
inputs, continuing earlier runs and gathering results are the same for all places (:mod:`fluorojax.runs.files`).
"""

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from fluorojax.runs.interrupts import computing_thread
from fluorojax.runs.progress import Progress, ProgressDisplay
from fluorojax.runs.shares import Event, Share, compute


class Tally:
    """Adds up the progress of shares that run side by side, for one display."""

    def __init__(self, progress: Progress, *, name_files: bool = False):
        self._progress, self._name_files = progress, name_files
        self._done = 0.0
        self._running: dict[object, float] = {}

    def start(self, scenes: int) -> None:
        """Begin a run over so many scenes."""
        self._progress.start(scenes)

    def before(self, scenes: int) -> None:
        """So many of the scenes turn out to be finished already."""
        self._done += scenes
        self._progress.skip(scenes)

    def update(self, key: object, share: Share, done: float, note: str) -> None:
        """``done`` scenes of the share under ``key`` are finished."""
        self._running[key] = done
        where = f"{share.source.name}: " if self._name_files else ""
        self._progress.update(self._done + sum(self._running.values()), where + note)

    def skip(self, amount: float) -> None:
        """An earlier run finished ``amount`` of a scene."""
        self._progress.skip(amount)

    def close(self, key: object, finished: int) -> None:
        """Nothing more comes of the share under ``key``; so many of its scenes need no further work."""
        self._running.pop(key, None)
        self._done += finished


Follower = Callable[[Callable[[int, tuple[str, ...]], Share], float | None], None]
"""Computes what the leading process hands out, until it has gathered. Takes what makes a share of the number of a file
and the names of scenes, and when the run ends by itself (of :func:`time.monotonic`, or None)."""


class Place(ABC):
    """Where scenes are computed; a context manager that connects and disconnects."""

    leading: bool = True
    """Whether this process checks, hands out and gathers, and tells the user."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what the place holds; by default nothing."""
        return None

    def follower(self, folder: Path) -> Follower | None:
        """What this process does in place of the run where another process leads; None where this one leads.

        Called once, with a folder that all processes share; sets :attr:`leading`.
        """
        del folder
        return None

    @abstractmethod
    def run(self, shares: Iterable[Share], tally: Tally) -> Iterator[Event]:
        """Compute the scenes of the shares and give an event for each, as they come.

        A share is taken when there is room for it. Raises what ends the whole run, such as that there are no workers.
        """


def check_versions(who: str, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raise ``ValueError`` where a process has other versions than expected: its results might differ."""
    pairs = {name: (found.get(name), version) for name, version in expected.items()}
    different = [f"{name} {its} (expected {ours})" for name, (its, ours) in pairs.items() if its != ours]
    if different:
        raise ValueError(f"{who} has {', '.join(different)}; expected the same versions everywhere")


class ThisProcess(Place):
    """One share after the other in this process, over its local devices."""

    def __init__(self, notify: Callable[[str], None] = lambda line: None):
        self._notify = notify

    def run(self, shares: Iterable[Share], tally: Tally) -> Iterator[Event]:
        """See :class:`Place`."""
        for share in shares:
            progress = _OfShare(tally, share)
            yield from compute(share, notify=self._notify, progress=progress)
            tally.close(share.key, len(share.names))


class _OfShare(ProgressDisplay):
    """The part of a share in the progress of a run."""

    def __init__(self, tally: Tally, share: Share):
        self._tally, self._share = tally, share

    def skip(self, amount: float) -> None:
        """See :class:`~fluorojax.runs.progress.Progress`."""
        self._tally.skip(amount)

    def update(self, done: float, note: str) -> None:
        """See :class:`~fluorojax.runs.progress.Progress`."""
        self._tally.update(self._share.key, self._share, done, note)


def until(events: Iterator[Event], end: float) -> Iterator[Event]:
    """The events that come before ``end`` (of :func:`time.monotonic`), drawn in a thread of their own.

    At the end the thread is left alone with what it computes, and comes to its own end with the next event.
    """
    found: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    left = threading.Event()

    def draw() -> None:
        try:
            for event in events:
                if left.is_set():
                    return
                found.put(event)
            found.put(None)
        except BaseException as error:
            found.put(error)

    computing_thread(draw)
    try:
        while (seconds := end - time.monotonic()) > 0:
            try:
                event = found.get(timeout=min(seconds, threading.TIMEOUT_MAX))
            except queue.Empty:
                return
            if event is None:
                return
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        left.set()
