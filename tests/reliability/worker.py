"""A warm process that runs command lines for the fuzzer: one JSON request per line in, one JSON answer out.

A request is ``{"args": [...]}`` for a command of fluorojax, or ``{"state": PATH}`` for resuming Markov chains. The
answer has the exit code, standard error, the traceback of an unexpected error, the processor time of this process, and
the largest memory that it had meanwhile.
"""

import contextlib
import io
import json
import os
import resource
import sys
import time
import traceback
from importlib import import_module
from typing import Any

# Answers go to a copy of standard output: the commands print to the other one.
_ANSWERS = os.fdopen(os.dup(1), "w", encoding="utf-8")


def main() -> None:
    """Answer requests until there are no more."""
    app = import_module("fluorojax.cli.app")  # the package has an attribute of that name
    found: dict[str, Any] = {}
    explain = app._explain

    def noting(error: Exception) -> tuple[int, str]:
        code, line = explain(error)
        if code == 3:
            found["traceback"] = "".join(traceback.format_exception(error))
        return code, line

    app._explain = noting  # pyright: ignore[reportAttributeAccessIssue]
    _limit(6 * 2**30)
    print(json.dumps({"ready": True}), file=_ANSWERS, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        found.clear()
        _forget_peak()
        out, err, begin = io.StringIO(), io.StringIO(), time.process_time()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            if "state" in request:
                code = _resume(request["state"], err, found)
            else:
                code = app._run(request["args"], False)
        answer = {"code": code, "err": err.getvalue(), "out": out.getvalue()[-2000:], **found}
        print(json.dumps(answer | {"seconds": time.process_time() - begin, "peak": _peak()}), file=_ANSWERS, flush=True)


def like() -> dict[str, Any]:
    """The structure of the state that the fuzzer damages."""
    import numpy as np

    return {
        "z": np.zeros((2, 8), np.float32),
        "draws": np.zeros((2, 0, 3), np.float32),
        "count": np.zeros((), np.int32),
    }


MARKS = {"model": "ab" * 32, "seed": "cd" * 32}


def _resume(path: str, err: Any, found: dict[str, Any]) -> int:
    from fluorojax.engines.nuts.state_file import load_state

    try:
        load_state(path, like(), MARKS)
    except ValueError as error:
        print(f"fluorojax: {error}", file=err)
        return 2
    except Exception as error:
        found["traceback"] = "".join(traceback.format_exception(error))
        return 3
    return 0


def _limit(count: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as handle:
        used = int(handle.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + count, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as handle:
        handle.write("5")


def _peak() -> int:
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="ascii") as handle:
        for line in handle:
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
