"""Scenes over the processes of a JAX cluster, one on each host: GPU nodes under SLURM or MPI, TPU pods.

Every process runs the same command and joins through :func:`jax.distributed.initialize`. Process 0 checks the inputs,
gives every process its scenes by its number, and gathers; all processes compute, each over its own devices, and write
their scenes into the folder that they share. Beside the devices nothing is shared: what the processes tell each other
stands in files of one run in that folder (``.fluorojax-RUN…``), which process 0 removes at the end.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from fluorojax.io import InputError, Provenance, package_versions
from fluorojax.io.atomic import write_text
from fluorojax.io.shutdown import at_stop
from fluorojax.io.waiting import wait_until
from fluorojax.runs.places import Follower, Place, Tally, ThisProcess, check_versions, until
from fluorojax.runs.progress import ProgressDisplay
from fluorojax.runs.shares import Event, Finished, Share

_POLL = 0.5  # seconds
_LONGEST_WAIT = 1e8  # seconds; JAX takes a whole number
# Longest time in which the other processes answer that they have read of an error.
_ANSWER = 10.0
_VARIABLES = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class JaxProcesses(Place):
    """The processes that joined one JAX cluster; see the module docstring.

    **Arguments:** ``address`` (HOST:PORT) of process 0, or None where JAX finds it: under SLURM, MPI, Kubernetes and on
    TPU pods, or in the environment variable ``JAX_COORDINATOR_ADDRESS``. Elsewhere, ``JAX_NUM_PROCESSES`` and
    ``JAX_PROCESS_ID`` say how many processes there are and which one this is. ``wait`` seconds for the others to join.

    Entering the context raises ``ValueError`` in one line where the processes do not find each other. It has to come
    before anything else uses JAX.
    """

    def __init__(
        self, address: str | None = None, *, wait: float = 120.0, notify: Callable[[str], None] = lambda line: None
    ):
        self._address, self._wait, self._notify = address, wait, notify
        self.index, self.count = 0, 1
        self._plan: Path | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        import jax

        count, index = (_number(name) for name in _VARIABLES)
        # it would take SIGTERM away from the run, which ends in order by itself
        jax.config.update("jax_enable_preemption_service", False)
        try:
            seconds = int(min(max(self._wait, 1.0), _LONGEST_WAIT))
            jax.distributed.initialize(self._address, count, index, initialization_timeout=seconds)
        except (RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())
            raise ValueError(
                f"the processes of the JAX cluster did not find each other ({text[:200]}); expected SLURM, MPI, a TPU "
                f"pod, or --address HOST:PORT with {' and '.join(_VARIABLES)}"
            ) from error
        self.index, self.count = jax.process_index(), jax.process_count()
        self._notify(f"process {self.index} of {self.count}, {jax.local_device_count()} device(s)")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import jax

        self._stack.close()
        if self._plan is not None and self.index == 0:
            told = [self._events(process) for process in range(1, self.count)]
            if not self._plan.exists() and error is not None:  # the others wait for it, and answer
                with suppress(InputError):
                    write_text(self._plan, json.dumps({"error": " ".join(str(error).split())}))
                wait_until(lambda: all(path.exists() for path in told), every=_POLL, seconds=_ANSWER)
            self._remove(*told, self._plan)
        elif self._plan is not None and not self._plan.exists():
            self._remove(self._events(self.index))  # told after process 0 had gathered, which it does at a time limit
        with suppress(RuntimeError):
            jax.distributed.shutdown()

    def follower(self, folder: Path) -> Follower | None:
        """See :class:`~fluorojax.runs.places.Place`: only process 0 leads."""
        from jax.experimental import multihost_utils

        own = np.frombuffer(secrets.token_bytes(8), np.uint8)
        run = bytes(np.asarray(multihost_utils.broadcast_one_to_all(own), np.uint8)).hex()
        self._plan = folder.absolute() / f".fluorojax-{run}.json"
        self.leading = self.index == 0
        if self.leading:
            told = [self._events(process) for process in range(1, self.count)]
            self._stack.enter_context(at_stop(partial(self._remove, *told, self._plan)))
        return None if self.leading else self._follow

    def run(self, shares: Iterable[Share], tally: Tally) -> Iterator[Event]:
        """See :class:`~fluorojax.runs.places.Place`.

        Raises ``ValueError`` where another process cannot go on.
        """
        assert self._plan is not None
        given = list(shares)
        scenes = [(share, name) for share in given for name in share.names]
        plan = {
            "versions": package_versions(),
            "provenance": {share.file: asdict(share.provenance) for share in given},
            "shares": [
                _grouped([(share.file, name) for share, name in scenes[process :: self.count]])
                for process in range(self.count)
            ],
        }
        write_text(self._plan, json.dumps(plan))
        by_file = {share.file: share for share in given}
        own = [by_file[file].only(*names) for file, names in plan["shares"][0]]
        read = {process: 0 for process in range(1, self.count)}
        for event in ThisProcess(self._notify).run(own, tally):
            yield event
            yield from self._come(read, tally, by_file)
        while read:
            wait_until(lambda: self._has_news(read), every=_POLL, seconds=_POLL)
            yield from self._come(read, tally, by_file)

    def _follow(self, make_share: Callable[[int, tuple[str, ...]], Share], end: float | None) -> None:
        """Compute what process 0 gives to this one, until it has gathered.

        Raises ``ValueError`` where process 0 cannot go on, or has other versions or other inputs.
        """
        assert self._plan is not None
        plan_file = self._plan
        wait_until(plan_file.exists, every=_POLL)
        plan = json.loads(self._plan.read_text(encoding="utf-8"))
        try:
            if "error" in plan:
                raise ValueError(f"process 0 could not begin: {plan['error']}")
            check_versions(f"process {self.index}", package_versions(), plan["versions"])
            shares = [make_share(file, tuple(names)) for file, names in plan["shares"][self.index]]
            for share in shares:
                if different := share.provenance.differences(Provenance(**plan["provenance"][str(share.file)])):
                    raise ValueError(f"{share.source} differs from that of process 0: {'; '.join(different)}")
            progress = Tally(ProgressDisplay())
            events = ThisProcess(self._notify).run(shares, progress)
            for event in events if end is None else until(events, end):
                self._tell(asdict(event))
        except Exception as error:
            self._tell({"error": " ".join(str(error).split()) or type(error).__name__})
            raise
        self._tell({"end": True})
        wait_until(lambda: not plan_file.exists(), every=_POLL)

    def _events(self, process: int) -> Path:
        """The file in which a process tells what became of its scenes, a line of JSON for each."""
        assert self._plan is not None
        return self._plan.with_name(f"{self._plan.stem}.{process}.jsonl")

    @staticmethod
    def _remove(*paths: Path) -> None:
        for path in paths:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _has_news(self, read: dict[int, int]) -> bool:
        """Whether a process told more than what was read of it."""
        files = {process: self._events(process) for process in read}
        return any(path.exists() and path.stat().st_size > read[process] for process, path in files.items())

    def _tell(self, line: dict[str, Any]) -> None:
        with self._events(self.index).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    def _come(self, read: dict[int, int], tally: Tally, shares: dict[int, Share]) -> Iterator[Event]:
        """What the other processes have told since; ``read`` counts the bytes known of each that has not ended."""
        for process, known in list(read.items()):
            try:
                with self._events(process).open("rb") as handle:
                    handle.seek(known)
                    new = handle.read()
            except FileNotFoundError:
                continue
            whole = new[: new.rfind(b"\n") + 1]
            read[process] = known + len(whole)
            for line in whole.splitlines():
                told = json.loads(line)
                if "error" in told:
                    raise ValueError(f"process {process} of {self.count}: {told['error']}")
                if "end" in told:
                    del read[process]
                    continue
                event = Finished(**told)
                share = shares[event.file].only(event.name)
                tally.update(share.key, share, 1, f"{event.name}: {event.standing}")
                tally.close(share.key, 1)
                yield event


def _grouped(scenes: list[tuple[int, str]]) -> list[tuple[int, list[str]]]:
    """Scenes (file, name) by file."""
    found: dict[int, list[str]] = {}
    for file, name in scenes:
        found.setdefault(file, []).append(name)
    return list(found.items())


def _number(variable: str) -> int | None:
    """The whole number in an environment variable, or None where it is not set; raises ``ValueError``."""
    text = os.environ.get(variable)
    if text is None:
        return None
    if not text.isdigit():
        raise ValueError(f"{variable} is {text!r}; expected a whole number")
    return int(text)
