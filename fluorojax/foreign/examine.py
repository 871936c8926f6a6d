"""Having a file examined by the child process, once for each file and process."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import Any

from fluorojax.foreign import limits
from fluorojax.foreign.identity import Mark, mark_of
from fluorojax.foreign.memory import free_bytes


class Refusal(Exception):
    """Why a file as a whole is not read; ``code`` is the number of the system's error, where there is one."""

    def __init__(self, field: str | None, problem: str, code: int | None = None):
        super().__init__(field, problem)
        self.field, self.problem, self.code = field, problem, code


@dataclass(frozen=True)
class Report:
    """What the child found in a file that is not refused as a whole."""

    mark: Mark
    faults: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    """Field and problem of every scene that must not be read, by its name."""


def examine(path: str | os.PathLike[str], kind: str) -> Report:
    """Have the child process walk through a file of ``kind`` ``hdf5``, ``tiff`` or ``dicom``; raises :class:`Refusal`.

    A file that has not changed since this process examined or wrote it is not examined again. Raises ``OSError`` where
    the file cannot be found.
    """
    path = os.path.abspath(path)
    mark = mark_of(path)
    with _LOCK:
        known = _KNOWN.get((kind, mark))
        if known is None:
            try:
                known = _examine(path, kind, mark)
            except Refusal as refusal:
                known = refusal
            if not (isinstance(known, Refusal) and known.code is not None):  # what the system refuses may pass
                _KNOWN[kind, mark] = known
    if isinstance(known, Refusal):
        raise Refusal(known.field, known.problem, known.code)
    return known


def vouch(path: str | os.PathLike[str]) -> None:
    """Take a file as it is now for sound, because this process has just written it."""
    mark = mark_of(path)
    with _LOCK:
        _KNOWN["hdf5", mark] = _KNOWN["tiff", mark] = Report(mark)


def stop_child() -> None:
    """End the child process, whatever it is doing."""
    _CHILD.stop()


class _Child:
    """The child process, started when it is first needed. One request at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send a request and return the final answer; raises :class:`_EndedError` where the child ends before it."""
        process = self._started()
        where: list[str | None] = [None, None]
        assert process.stdin is not None
        assert process.stdout is not None
        watch = _Watch(process, limits.wall_seconds(seconds))
        try:
            with suppress(OSError):  # a child that has ended says so below
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if "at" in answer:
                    where = answer["at"]
                elif "step" in answer:
                    watch.restart(limits.wall_seconds(answer["step"]))
                else:
                    if answer["last"]:
                        self.stop()
                    return answer
        finally:
            watch.stop()
        code = process.wait()
        raise _EndedError(where[0], where[1], "does not end" if watch.fired else _reason(code))

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.stop()
        # The child finds the packages where this process does, and nothing beside the file it looks at.
        folders = [str(Path(__file__).parents[2]), *(folder for folder in sys.path if folder)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "PYTHONIOENCODING": "utf-8"}
        environment |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment["HDF5_PLUGIN_PRELOAD"] = "::"  # no filter of a plugin is loaded
        program = os.fsdecode(get_executable() or sys.executable)
        try:
            process = subprocess.Popen(
                [program, "-P", "-m", "fluorojax.foreign.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
                encoding="utf-8",
            )
        except (OSError, ValueError) as error:
            raise Refusal(None, f"cannot be examined: a child process cannot be started ({error})", 0) from error
        self._process, self._owner = process, os.getpid()
        watch = _Watch(process, limits.START_SECONDS)
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
        finally:
            watch.stop()
        if not ready:
            reason = "it took too long" if watch.fired else _reason(process.wait())
            self.stop()
            raise Refusal(None, f"cannot be examined: the child process did not start ({reason})", 0)
        return process

    def stop(self) -> None:
        """End the child. A process that was forked from the owner of the child leaves it alone."""
        process, self._process = self._process, None
        if process is None:
            return
        if self._owner != os.getpid():
            _INHERITED.append(process)
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


class _EndedError(Exception):
    """The child ended before it answered; ``where`` it was, and how it ended."""

    def __init__(self, scene: str | None, field: str | None, how: str):
        super().__init__(scene, field, how)
        self.scene, self.field, self.how = scene, field, how


class _Watch:
    """Kills a process when its time is over."""

    def __init__(self, process: "subprocess.Popen[str]", seconds: float):
        self._process = process
        self.fired = False
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        """Begin to count anew."""
        self.stop()
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Count no longer."""
        if timer := getattr(self, "_timer", None):
            timer.cancel()

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()


_LOCK = threading.Lock()
_KNOWN: dict[tuple[str, Mark], Report | Refusal] = {}
_CHILD = _Child()
_INHERITED: list[Any] = []  # children of the process that this one was forked from; they must not be waited for


@atexit.register
def _at_exit() -> None:
    _CHILD.stop()


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the other process may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _examine(path: str, kind: str, mark: Mark) -> Report:
    free = free_bytes()
    memory = limits.MEMORY_UNKNOWN if free is None else free
    ended: dict[str, tuple[str | None, str]] = {}
    while True:
        request = {"path": path, "kind": kind, "mark": mark, "memory": memory, "skip": sorted(ended)}
        try:
            answer = _CHILD.ask(request, limits.walk_seconds(mark[2]))
        except _EndedError as end:
            problem = f"the file is damaged: reading it {end.how}"
            if end.scene is None or end.scene in ended or len(ended) == limits.RESTARTS:
                raise Refusal(end.field, problem) from end
            ended[end.scene] = (end.field, problem)
            continue
        if (refused := answer.get("refused")) is not None:
            raise Refusal(refused["field"], refused["problem"], refused["errno"])
        faults = {scene: (found[0], found[1]) for scene, found in answer["faults"].items()}
        return Report(mark, faults | ended)


def _reason(code: int) -> str:
    """How a process ended, in words that follow "reading it"."""
    if code == -getattr(signal, "SIGXCPU", 0):
        return "does not end"
    if code < 0:
        with suppress(ValueError):
            return f"crashes the library ({signal.Signals(-code).name})"
    return f"ends the child process (exit code {code})"
