"""Faults at the system calls that change the disk: every one of them, before it and after it.

All that the package writes goes through functions of the module ``os`` (libhdf5 writes through a Python file), so that
wrapping those functions reaches every call. A process that is to be killed is a fork, which ends with ``os._exit``
without any clean-up, as after SIGKILL.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CALLS = ("open", "write", "pwrite", "truncate", "ftruncate", "fsync", "replace", "rename", "link", "unlink", "remove")
CALLS += ("mkdir", "rmdir")
KILLED = 97
ENDED_BY_ITSELF = 0


def changes_disk(name: str, args: tuple) -> bool:
    """Whether a call of ``os.name`` changes the disk; opening does so where it creates or cuts."""
    if name == "open":
        return bool(args[1] & (os.O_CREAT | os.O_TRUNC)) if len(args) > 1 else False
    return not (name == "write" and args[0] in (1, 2))


@contextmanager
def watched(on_call: Callable[[int, str, bool], None]) -> Iterator[list[str]]:
    """Call ``on_call(number, name, after)`` before and after every call that changes the disk; yields their names."""
    found: list[str] = []
    real = {name: getattr(os, name) for name in CALLS}

    def wrap(name: str):
        def call(*args, **kwargs):
            if not changes_disk(name, args):
                return real[name](*args, **kwargs)
            number = len(found)
            found.append(name)
            on_call(number, name, False)
            try:
                return real[name](*args, **kwargs)
            finally:
                on_call(number, name, True)

        return call

    for name in CALLS:
        setattr(os, name, wrap(name))
    try:
        yield found
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def count_calls(work: Callable[[], object]) -> list[str]:
    """The calls that ``work`` makes, by name."""
    with watched(lambda number, name, after: None) as found:
        work()
    return found


def killed_at(point: int, after: bool, work: Callable[[], object]) -> bool:
    """Run ``work`` in a fork that ends before or after call number ``point``; returns whether it got there."""

    def kill(number: int, name: str, is_after: bool) -> None:
        if number == point and is_after == after:
            os._exit(KILLED)

    # JAX of other tests may have threads in this process; the child uses none of them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        code = 1
        try:
            with watched(kill):
                work()
            code = ENDED_BY_ITSELF
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (KILLED, ENDED_BY_ITSELF), f"the run ended with {code} without being killed"
    return code == KILLED


@contextmanager
def refused_at(point: int, error: int) -> Iterator[list[str]]:
    """From call number ``point`` on, every write, truncation, fsync and creation fails with an error number."""

    def refuse(number: int, name: str, after: bool) -> None:
        if not after and number >= point and name not in ("unlink", "remove", "rmdir"):
            raise OSError(error, os.strerror(error))

    with watched(refuse) as found:
        yield found
