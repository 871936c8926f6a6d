"""The child process: ``python -m fluorojax.foreign.child``, one request per line in, lines of JSON out.

A request is ``{"path", "kind", "mark", "memory", "skip"}``. The answers to it are ``{"at": [scene, field]}`` before
every step, ``{"step": seconds}`` where another limit of time begins, and at the end ``{"faults": {scene: [field,
problem]}}`` or ``{"refused": {"field", "problem", "errno"}}``, with ``"last": true`` where the process ends because a
library failed. Otherwise it ends with its input.
"""

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import h5py
import numpy as np  # noqa: F401  (taken into memory before the limits are set)

from fluorojax.foreign import limits
from fluorojax.foreign.identity import mark_of_open
from fluorojax.foreign.pages import check_pages
from fluorojax.foreign.pictures import check_pictures
from fluorojax.foreign.walk import FaultError, Walk


class _Limits:
    """Limits of this process, where the system knows such (everywhere but on Windows)."""

    def __init__(self) -> None:
        try:
            import resource
        except ImportError:
            self._resource: Any = None
            return
        self._resource = resource
        self._set(resource.RLIMIT_CORE, 0)

    def processor(self, seconds: float) -> None:
        """End this process after so many seconds more of processor time."""
        if self._resource is not None:
            self._set(self._resource.RLIMIT_CPU, int(time.process_time() + seconds) + 1)

    def memory(self, count: int) -> None:
        """Refuse this process more than so many bytes beyond what it has."""
        if self._resource is not None and (used := _own_bytes()) is not None:
            self._set(self._resource.RLIMIT_AS, used + count)

    def _set(self, which: int, value: int) -> None:
        _, hard = self._resource.getrlimit(which)
        if hard != self._resource.RLIM_INFINITY:
            value = min(value, hard)
        try:
            self._resource.setrlimit(which, (value, hard))
        except (ValueError, OSError):  # a system that does not limit this
            pass


def _own_bytes() -> int | None:
    try:
        with open("/proc/self/statm", encoding="ascii") as handle:
            return int(handle.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""
    bounds = _Limits()

    def answer(**values: Any) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    answer(ready=True)
    for line in requests:
        request = json.loads(line)
        bounds.memory(limits.WALK_BYTES)
        bounds.processor(limits.walk_seconds(request["mark"][2]))
        try:
            faults, damage = _KINDS[request["kind"]](request, bounds, answer)
            final: dict[str, Any] = {"faults": faults}
        except FaultError as fault:
            damage = fault.damage
            final = {"refused": {"field": fault.field or None, "problem": fault.problem, "errno": fault.code}}
        except Exception as error:  # what h5py raises where a file is damaged has many classes
            damage = True
            problem = f"the file is damaged; {error or type(error).__name__}"
            final = {"refused": {"field": None, "problem": problem, "errno": None}}
        answer(**final, last=damage)
        if damage:
            return


def _hdf5(request: dict[str, Any], bounds: _Limits, answer: Any) -> tuple[dict[str, Any], bool]:
    path, mark = request["path"], request["mark"]
    try:
        handle = h5py.File(path, "r")
    except OSError as error:
        raise FaultError(None, _why(error), code=error.errno, damage=error.errno is None) from error
    with handle:
        if mark_of_open(handle, path) != tuple(mark):
            raise FaultError(None, "was changed while it was opened; expected a file that nobody is writing")
        walk = Walk(handle, mark[2], request["memory"], set(request["skip"]), lambda *where: answer(at=where))
        walk.structure()
        bounds.memory(limits.WALK_BYTES + 4 * walk.largest_chunk)
        seconds = limits.data_seconds(walk.unpacked_bytes)
        bounds.processor(seconds)
        answer(step=seconds)
        walk.values()
        return walk.faults, walk.damage


def _why(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be read: permission denied"
    if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
        return "is being written by another process; wait for it"
    if "truncated" in str(error):
        return "truncated HDF5 file (it ends early); copy or download it again"
    return f"damaged HDF5 file; {error}"


def _unpacker(bounds: _Limits, answer: Any, seconds_of: Callable[[int], float]) -> Callable[[int], None]:
    """Called with the number of bytes that come next: sets the limits for them and tells the parent."""

    def unpack(count: int) -> None:
        seconds = seconds_of(count)
        bounds.memory(limits.WALK_BYTES + 3 * count)
        bounds.processor(seconds)
        answer(step=seconds)

    return unpack


def _tiff(request: dict[str, Any], bounds: _Limits, answer: Any) -> tuple[dict[str, Any], bool]:
    try:
        check_pages(
            request["path"], request["mark"][2], request["memory"], _unpacker(bounds, answer, limits.data_seconds)
        )
    except MemoryError as error:
        raise FaultError(None, "needs more memory than a sound file of this size would") from error
    except Exception as error:  # the decoders of a damaged file raise errors of many classes
        raise FaultError(None, f"cannot be read as a TIFF stack: {error or type(error).__name__}") from error
    return {}, False


def _dicom(request: dict[str, Any], bounds: _Limits, answer: Any) -> tuple[dict[str, Any], bool]:
    try:
        check_pictures(request["path"], request["memory"], _unpacker(bounds, answer, limits.picture_seconds))
    except MemoryError as error:
        raise FaultError("PixelData", "needs more memory than sound images would", damage=True) from error
    except Exception as error:  # the decoders raise errors of many classes
        reason = " ".join(str(error or type(error).__name__).split())[:120]
        problem = f"cannot be read as DICOM, it is damaged or truncated: {reason}"
        raise FaultError("PixelData", problem, damage=True) from error
    return {}, False


_KINDS = {"hdf5": _hdf5, "tiff": _tiff, "dicom": _dicom}

if __name__ == "__main__":
    # Ctrl-C reaches the whole group of processes; this one ends at once and without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    serve(sys.stdin, sys.stdout)
