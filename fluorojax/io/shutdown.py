"""What has to be finished, and what has to be put in order, before an interrupted process ends.

XLA compiles and computes for minutes without giving control back to Python, so an interrupted process does not wait
for the computation: it ends at once (:func:`fluorojax.runs.interrupts.run_interruptible`). These functions are how the
rest of the package takes part in that. A file is written inside :func:`undisturbed`, which the end of the process
waits for. Whoever holds something that a sudden end would leave behind (a temporary file, a lock, a child process, a
remark for the user) registers an action with :func:`at_stop`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_WRITING = threading.RLock()
_ACTIONS: list[Callable[[], object]] = []


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep :func:`stop` waiting until the body has ended; enter it for a short time only, to write."""
    with _WRITING:
        yield


@contextmanager
def at_stop(action: Callable[[], object]) -> Iterator[None]:
    """While the body runs, have :func:`stop` call ``action``; an end of the body in any other way does not call it."""
    _ACTIONS.append(action)
    try:
        yield
    finally:
        with suppress(ValueError):
            _ACTIONS.remove(action)


def stop() -> None:
    """Wait for what is being written, then call the actions, the latest first; errors in them are passed over.

    Nothing more can be written by another thread after this, since it never gives the lock back: the caller ends the
    process.
    """
    _WRITING.acquire()
    for action in reversed(list(_ACTIONS)):
        with suppress(Exception):
            action()
