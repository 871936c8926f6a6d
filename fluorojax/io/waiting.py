"""Waiting for files that other processes write."""

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], *, every: float, seconds: float | None = None) -> bool:
    """Look until ``condition`` holds, at least once and at most for so many seconds; whether it came to hold.

    Folders that are shared over a network, and files that grow, tell nobody of a change on every system, so there is
    nothing else to wait for. ``every`` is the time between two looks, seconds.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while not condition():
        if end is not None and time.monotonic() >= end:
            return False
        time.sleep(every)
    return True
