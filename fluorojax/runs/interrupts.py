"""Ending a run at once on Ctrl-C or SIGTERM, whatever is being computed."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn
from weakref import WeakSet

_POLL = 0.05  # seconds
_STACK = 64 * 1024 * 1024  # bytes; the compiler recurses deeply, and threads get half a megabyte on some systems
_THREADS: "WeakSet[threading.Thread]" = WeakSet()
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


def run_interruptible(work: Callable[[], int], name: str = "fluorojax") -> int:
    """Run ``work`` in a thread of its own and return its exit code; its exceptions pass.

    The main thread waits for signals meanwhile. On SIGINT (Ctrl-C) or SIGTERM the process ends within a fraction of a
    second, even while XLA compiles or computes, with exit code 130 or 143: what is being written is finished first,
    temporary files and locks are removed, and the remarks about what is kept are printed
    (``fluorojax.io.shutdown``), followed by ``name: interrupted`` on standard error. A signal that was ignored when
    the process started stays ignored. Called outside of the main thread, ``work`` simply runs.

    Where ``work`` leaves a computation behind, as a run does at its time limit, the process ends with the exit code
    here: the interpreter cannot shut down around a thread that computes.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    received: list[int] = []
    codes: list[int] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def body() -> None:
        try:
            codes.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    with _noting(received):
        thread = computing_thread(body)
        while not done.wait(_POLL):
            if received:
                _end(received[0], name)
    thread.join()
    if errors:
        raise errors[0]
    if any(thread.is_alive() for thread in _THREADS):
        end_without_waiting(codes[0])
    return codes[0]


def computing_thread(body: Callable[[], None]) -> threading.Thread:
    """Start ``body`` in a thread that can compile and compute, and that the end of the process does not wait for."""
    previous = threading.stack_size(_STACK)
    try:
        thread = threading.Thread(target=body, name="fluorojax run", daemon=True)
        thread.start()
    finally:
        threading.stack_size(previous)
    _THREADS.add(thread)
    return thread


def end_without_waiting(code: int) -> NoReturn:
    """End the process at once with an exit code, whatever its other threads compute, once all output is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def _noting(received: list[int]) -> Iterator[None]:
    """Append the number of a signal to ``received`` instead of acting on it."""

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    found = {number: signal.getsignal(number) for number in _WORDS}
    replaced = {number: handler for number, handler in found.items() if handler not in (signal.SIG_IGN, None)}
    for number in replaced:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _end(number: int, name: str) -> None:
    """End the process; the thread that computes is not waited for."""
    try:
        # imported by whatever writes files; importing it here could wait for an import in the other thread
        shutdown = sys.modules.get("fluorojax.io.shutdown")
        if shutdown is not None:
            shutdown.stop()
        if sys.stderr.isatty():  # a live bar hides the cursor
            print("\x1b[?25h", file=sys.stderr)
        print(f"{name}: {_WORDS[signal.Signals(number)]}", file=sys.stderr)
        end_without_waiting(128 + number)
    finally:
        os._exit(128 + number)
