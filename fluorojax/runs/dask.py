"""Scenes over a Dask cluster: workers read from and write to a folder that all machines share.

The cluster is the user's own, started with ``dask scheduler`` and ``dask worker``. A task is one share
(:mod:`fluorojax.runs.shares`) of one scene, or of as many as ``batch`` says; only names and sentences travel over the
network. Dask gives a task to another worker when its worker dies, as often as the scheduler's setting
``allowed-failures`` says. A scene counts once it stands in the shared folder: a worker that gets a task a second time
leaves finished scenes as they are, and of two workers that compute the same scene one file remains.
"""

import os
import queue
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fluorojax.io.errors import InputError
from fluorojax.io.shutdown import at_stop
from fluorojax.runs.places import Place, Tally, check_versions
from fluorojax.runs.progress import ProgressDisplay
from fluorojax.runs.shares import Event, Failed, Finished, Share, compute, finished_before

if TYPE_CHECKING:
    from distributed import Future

WAIT = 120.0
"""Seconds that a run waits for a worker, at its start and where all workers are gone."""
_ANSWER = 5.0  # least seconds in which a scheduler may answer
_POLL, _REPORT = 0.25, 0.5  # seconds between two looks at the tasks, and between two reports of a worker


@dataclass(frozen=True)
class _Task:
    """A share on its way to a worker."""

    number: int
    share: Share
    versions: dict[str, str]
    topic: str
    cache: bool


class DaskCluster(Place):
    """The workers of a scheduler; see the module docstring.

    **Arguments:** ``address`` of the scheduler, such as ``tcp://node17:8786``, or the scheduler file that
    ``dask scheduler --scheduler-file`` writes; ``wait`` seconds for the first worker; ``cache`` says whether workers
    keep compiled programs (:func:`fluorojax.runs.cache.enable_compilation_cache`).

    Entering the context raises ``ValueError`` in one line where the package is missing, nothing answers at the address,
    no worker comes in time, or a worker has other versions of fluorojax, JAX or NumPyro.
    """

    def __init__(
        self,
        address: str,
        *,
        wait: float = WAIT,
        cache: bool = True,
        notify: Callable[[str], None] = lambda line: None,
    ):
        self.address, self._wait, self._cache, self._notify = address, wait, cache, notify
        self._topic = f"fluorojax-{secrets.token_hex(6)}"
        self._reports: queue.SimpleQueue[tuple[int, str, float, str]] = queue.SimpleQueue()
        self._running: dict[Future, _Task] = {}
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Self:
        try:
            import distributed
        except ModuleNotFoundError as error:
            if error.name not in ("distributed", "dask"):
                raise
            raise ValueError(
                "the scheduler 'dask' needs the package distributed, which is not installed; "
                "install it with: pip install 'fluorojax[dask]'"
            ) from error
        from fluorojax.io import package_versions

        self._versions = package_versions()
        where: dict[str, Any] = {"scheduler_file" if os.path.isfile(self.address) else "address": self.address}
        try:
            self._client: Any = distributed.Client(**where, timeout=max(self._wait, _ANSWER), set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise ValueError(
                f"no Dask scheduler answers at {self.address} ({_line(error)}); expected the address that "
                "`dask scheduler` prints, or its scheduler file"
            ) from error
        try:
            self._begin()
        except BaseException:
            self._client.close(timeout=2)
            raise
        return self

    def _begin(self) -> None:
        if not self._workers():
            self._notify(f"waiting up to {self._wait:.0f} s for a worker at {self.address}")
            with suppress(TimeoutError):
                self._client.wait_for_workers(1, timeout=max(self._wait, _POLL))  # zero would mean for ever
        workers = self._workers()
        if not workers:
            raise ValueError(self._no_workers())
        found = self._client.run(_versions, on_error="return")
        for worker, versions in found.items():
            if isinstance(versions, BaseException):
                raise ValueError(f"worker {worker} cannot run fluorojax: {_line(versions)}")
            check_versions(f"worker {worker}", versions, self._versions)
        if several := [worker for worker, threads in workers.items() if threads > 1]:
            self._notify(
                f"{len(several)} of {len(workers)} workers run several scenes at once in one process, which then share "
                "its cores; `dask worker --nthreads 1` is faster"
            )
        self._notify(f"{len(workers)} worker{'' if len(workers) == 1 else 's'} at {self.address}")
        self._client.subscribe_topic(self._topic, lambda event: self._reports.put(event[1]))
        self._stack.enter_context(at_stop(self._cancel))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._cancel()
        with suppress(Exception):  # the scenes are on disk; whether the scheduler takes leave does not matter
            self._client.unsubscribe_topic(self._topic)
        self._client.close(timeout=5)

    def run(self, shares: Iterable[Share], tally: Tally) -> Iterator[Event]:
        """See :class:`~fluorojax.runs.places.Place`.

        A scene whose workers die is :class:`~fluorojax.runs.shares.Failed`. Raises ``ValueError`` where no worker is
        left for too long, and what a worker raises; an error that is none of input or settings names the scene.
        """
        source, again = iter(shares), deque[Share]()
        small = (part for share in source for part in _parts(share.absolute()))
        idle_since: float | None = None
        while True:
            workers = self._workers()
            # A worker never holds a task that waits: when the worker dies, only what it ran counts as suspicious.
            while len(self._running) < sum(workers.values()):
                share = again.popleft() if again else next(small, None)
                if share is None:
                    break
                self._submit(share)
            if not self._running and workers:
                return
            idle_since = None if workers else (idle_since or time.monotonic())
            if idle_since is not None and time.monotonic() - idle_since > self._wait:
                raise ValueError(self._no_workers())
            for future in self._ended():
                task = self._running.pop(future)
                yield from self._events(future, task, again, tally)
            self._report(tally)

    def _workers(self) -> dict[str, int]:
        """Threads of every worker, by address."""
        return dict(self._client.nthreads())

    def _no_workers(self) -> str:
        return (
            f"the scheduler at {self.address} has had no workers for {self._wait:.0f} s; start some with "
            f"`dask worker {self.address} --nthreads 1`, and repeat the command"
        )

    def _submit(self, share: Share) -> None:
        self._count += 1
        task = _Task(self._count, share, self._versions, self._topic, self._cache)
        key = f"{self._topic}-{self._count}-{share.source.name}-{share.names[0]}"
        self._running[self._client.submit(_work, task, key=key, pure=False)] = task

    def _ended(self) -> "list[Future]":
        import distributed

        if not self._running:
            with suppress(TimeoutError):
                self._client.wait_for_workers(1, timeout=_POLL)
            return []
        with suppress(TimeoutError, distributed.CancelledError), self._client.as_current():
            distributed.wait(list(self._running), timeout=_POLL, return_when="FIRST_COMPLETED")
        return [future for future in self._running if future.done()]

    def _events(self, future: "Future", task: _Task, again: deque[Share], tally: Tally) -> Iterator[Event]:
        """What became of the scenes of a task; those of a share that has to be tried in parts go to ``again``."""
        from distributed.scheduler import KilledWorker

        share = task.share
        if future.cancelled() or future.status == "lost":
            raise ValueError(f"the scheduler at {self.address} was lost; repeat the command to continue the run")
        error: Any = future.exception() if future.status == "error" else None
        if isinstance(error, KilledWorker):
            deaths = error.allowed_failures + 1
            reason = f"its worker died {deaths} times; out of memory, perhaps (the logs of the workers say more)"
            events: list[Event] = [Failed(share.file, name, reason) for name in share.names]
        elif isinstance(error, InputError | ValueError):
            raise error
        elif error is not None:
            raise RuntimeError(f"{', '.join(share.names)}: {type(error).__name__}: {_line(error)}") from error
        else:
            events = future.result()
        finished = [event for event in events if isinstance(event, Finished)]
        failed = [event for event in events if isinstance(event, Failed)]
        if failed and len(share.names) > 1:
            again.extend(share.only(event.name) for event in failed)
            failed = []
        for done, event in enumerate(finished, 1):
            tally.update(task.number, share, done, f"{event.name}: {event.standing}")
        tally.close(task.number, len(finished) + len(failed))
        yield from finished
        yield from failed

    def _report(self, tally: Tally) -> None:
        """Hand on what the workers have told of their scenes."""
        tasks = {task.number: task.share for task in self._running.values()}
        with suppress(queue.Empty):
            while True:
                number, kind, amount, note = self._reports.get_nowait()
                if number not in tasks:
                    continue
                if kind == "skip":
                    tally.skip(amount)
                else:
                    tally.update(number, tasks[number], amount, note)

    def _cancel(self) -> None:
        """Take back what runs; a worker stops at its next report."""
        if self._running:
            with suppress(Exception):
                self._client.cancel(list(self._running), force=True)
        self._running.clear()


def _parts(share: Share) -> Iterator[Share]:
    """The share in pieces of one scene, or as many as its options say."""
    size = share.options.batch or 1
    for first in range(0, len(share.names), size):
        yield share.only(*share.names[first : first + size])


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


# What runs in the worker.


def _versions() -> dict[str, str]:
    from fluorojax.io import package_versions

    return package_versions()


class _Withdrawn(BaseException):
    """The coordinator has ended or no longer wants the task."""


class _ToCoordinator(ProgressDisplay):
    """Sends the progress of a share to the process that asked for it."""

    def __init__(self, task: _Task):
        from distributed import get_worker
        from distributed.worker import thread_state

        self._task, self._worker, self._key = task, get_worker(), thread_state.key
        self._last = -_REPORT

    def skip(self, amount: float) -> None:
        """See :class:`~fluorojax.runs.progress.Progress`."""
        self._send("skip", amount, "")

    def update(self, done: float, note: str) -> None:
        """See :class:`~fluorojax.runs.progress.Progress`; raises where the task was withdrawn."""
        state: Any = self._worker.state.tasks.get(self._key)
        if state is None or state.state == "cancelled":
            raise _Withdrawn
        if time.monotonic() - self._last >= _REPORT:
            self._last = time.monotonic()
            self._send("update", done, note)

    def _send(self, kind: str, amount: float, note: str) -> None:
        self._worker.log_event(self._task.topic, (self._task.number, kind, amount, note))


def _work(task: _Task) -> list[Event]:
    """Compute a share in a worker."""
    from distributed import get_worker

    from fluorojax.io import package_versions

    worker, share = get_worker().address, task.share
    check_versions(f"worker {worker}", package_versions(), task.versions)
    for path in (share.source, share.folder):
        if not path.exists():
            raise ValueError(
                f"worker {worker} does not see {path}; expected a folder that all machines share under one name"
            )
    if task.cache:
        from fluorojax.runs.cache import enable_compilation_cache

        enable_compilation_cache()
    events: list[Event] = list(finished_before(share))  # by a worker that died before it could say so
    left = [name for name in share.names if name not in {event.name for event in events}]
    if left:
        events += compute(share.only(*left), progress=_ToCoordinator(task))
    return events
