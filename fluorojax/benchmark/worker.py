"""The process that runs one method: ``python -m fluorojax.benchmark.worker``.

A request (one line of JSON) comes on standard input, a row (JSON line) for every task goes to standard output.
Whatever a library prints goes to standard error. A method that takes the process down takes no other method with it.
Standard input stays open; where it ends, whoever asked is gone, and so is this process at once, in the middle of a row.
"""

import json
import os
import resource
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from fluorojax.io import dumps

_REPEAT_BELOW_S = 120.0
"""A first call that takes longer is not repeated to tell its compilation apart."""


def main() -> None:
    """Serve one request."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        request = json.loads(sys.stdin.readline())
        threading.Thread(target=_end_with_input, daemon=True).start()
        run = partial(run_cost, request) if request["kind"] == "cost" else ScoredRuns(request).run
        for task in request["tasks"]:
            print(dumps(run(task)), file=channel, flush=True)


def _end_with_input() -> None:
    """End the process when standard input does; nothing else notices a killed parent on every system."""
    while os.read(0, 4096):  # not through `sys.stdin`, whose lock a thread that waits would hold at the exit
        pass
    os._exit(1)


class ScoredRuns:
    """One method on scenes with truth."""

    def __init__(self, request: dict[str, Any]):
        from fluorojax.benchmark.contestants import CALIBRATION, CONTESTANTS, Contestant

        self._calibration = request["method"] == CALIBRATION
        name = request["method"]
        self._contestant = Contestant(name, name) if self._calibration else CONTESTANTS[name]
        self._seed = request["seed"]
        self._cache = Path(request["cache"])
        self._known: set[tuple[tuple[int, ...], bool]] = set()
        self._memory = Memory()
        self._size: dict[str, Any] | None = None

    def run(self, task: dict[str, Any]) -> dict[str, Any]:
        """The row of one task; an exception becomes its reason."""
        try:
            return {**self._run(task), "status": "ok"}
        except Exception as error:
            return {"status": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}

    def _run(self, task: dict[str, Any]) -> dict[str, Any]:
        from fluorojax.benchmark.scoring import score_row
        from fluorojax.benchmark.sources import source_from
        from fluorojax.data.reconstruction import Status
        from fluorojax.data.spec import Spec

        scene, device = source_from(task["source"]).load(self._cache)
        spec = None if task["spec"] is None else Spec(**task["spec"])

        def call() -> Any:
            if self._calibration:
                from fluorojax.calibration.posterior import calibrate

                return calibrate(scene)
            return self._contestant.run(scene, task["scenario"], spec, self._seed)

        # What compiles is a shape, and the calibration that engines of fluorojax do in Scenario III.
        compiled = (scene.y.shape, task["scenario"] == "III")
        self._memory.mark()
        result, times = timed(call, repeat=compiled not in self._known)
        memory = self._memory.read()
        self._known.add(compiled)
        row = {"shape": list(scene.y.shape), **times, **memory}
        if self._calibration:
            row["spec"], row["spec_std"] = result.spec.as_dict(), result.std.as_dict()
            row["spec_interval"] = result.interval
            return row
        if result.status is Status.DIVERGED:
            raise ArithmeticError(result.status.value)
        network = self._network()
        ended = {} if result.status is Status.CONVERGED else {"ended": result.status.value}
        return {**row, **ended, **network, "spec": result.spec.as_dict(), "scores": score_row(result, scene, device)}

    def _network(self) -> dict[str, Any]:
        """Size of the network of a learned method, found once."""
        if self._size is None:
            found = self._contestant.network()
            self._size = {} if found is None else {"network": found}
        return self._size


def run_cost(request: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Time and memory of one point of a cost curve: scenes of one shape through an engine, twice."""
    from fluorojax.benchmark.sources import source_from
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.runs.batches import reconstruct_scenes

    try:
        scenes = [source_from(values).load(Path(request["cache"]))[0] for values in task["sources"]]
        options = ReconstructOptions(
            method=request["method"], batch=len(scenes), seed=request["seed"], held_out=0.0, fallback=False
        )
        memory = Memory()
        memory.mark()
        results, times = timed(lambda: list(reconstruct_scenes(scenes, options)), repeat=True, always=True)
        iterations = [result.diagnostics.get("iterations") for result in results]
        return {"status": "ok", **times, **memory.read(), "iterations": iterations}
    except Exception as error:
        return {"status": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def timed(call: Any, *, repeat: bool, always: bool = False) -> tuple[Any, dict[str, float | None]]:
    """A result, and wall and processor seconds of the call.

    With ``repeat`` the first call is timed apart, as it compiles, and the second is the measurement; a first call of
    more than two minutes stands for both, unless ``always``.
    """
    first = None
    wall, processor = time.perf_counter(), time.process_time()
    result = call()
    seconds, cpu = time.perf_counter() - wall, time.process_time() - processor
    if repeat:
        first = seconds
        if always or first < _REPEAT_BELOW_S:
            wall, processor = time.perf_counter(), time.process_time()
            result = call()
            seconds, cpu = time.perf_counter() - wall, time.process_time() - processor
    return result, {"first_seconds": first, "seconds": seconds, "cpu_seconds": cpu}


class Memory:
    """Peak resident memory of this process around a call, in MB, where the system tells it."""

    def __init__(self) -> None:
        self._before = self._last = self._base = 0.0

    def mark(self) -> None:
        """Before the call. The first mark is the base: interpreter, libraries and one scene."""
        self._before = _peak_mb()
        self._base = self._base or self._before

    def read(self) -> dict[str, float]:
        """After the call. The peak of a process never falls: a call that does not raise it repeats the last reading."""
        peak = _peak_mb()
        if peak > self._before or not self._last:
            self._last = peak
        return {"peak_mb": self._last, "base_mb": self._base}


def _peak_mb() -> float:
    # On Linux ru_maxrss starts at the memory of the process that started this one; VmHWM is its own.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    main()
