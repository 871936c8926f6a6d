"""Running the rows that are missing, each method in a process of its own."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fluorojax.benchmark.contestants import CALIBRATION, CONTESTANTS, SPEC_CODE, Contestant
from fluorojax.benchmark.matrix import Matrix
from fluorojax.benchmark.rows import RowStore, code_digest, row_key
from fluorojax.benchmark.sources import SimulatedSource, Source, with_matched
from fluorojax.io import dumps, package_versions
from fluorojax.runs.progress import Progress

WORKER = (sys.executable, "-m", "fluorojax.benchmark.worker")
DEFAULT_LIMIT_S = 900.0

_SCORING = (
    "benchmark/scoring",
    *(f"metrics/{name}" for name in ("interval_coverage", "contrast", "image", "scene_score", "scores")),
)


@dataclass(frozen=True)
class Task:
    """One row to be made."""

    method: str
    scenario: str
    source: Source
    made_with: dict[str, Any] = field(hash=False, compare=False)
    """Parameters, versions and hashes of the code."""
    key: str

    def row(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The row, from what the worker measured."""
        return {
            "key": self.key,
            "method": self.method,
            "scenario": self.scenario,
            "cell": self.source.cell,
            "scene": self.source.scene,
            "source": self.source.identity(),
            **self.made_with,
            **facts,
        }


@dataclass(frozen=True)
class Benchmark:
    """The tasks of a matrix and how to run them."""

    matrix: Matrix
    sources: tuple[Source, ...]
    """Scenes of Scenarios II and III; I takes their matched counterparts."""
    cache: Path
    limit_s: float = DEFAULT_LIMIT_S
    """Longest time for one row; a method that needs more is a row that says so."""
    worker: tuple[str, ...] = WORKER

    def tasks(self) -> list[Task]:
        """Every row, methods in the order of the tables, the calibration first."""
        digest = cache(code_digest)  # within one call: the sources may change between calls
        tasks = []
        everyone = [Contestant(CALIBRATION, CALIBRATION), *(CONTESTANTS[name] for name in self.matrix.methods)]
        for contestant in everyone:
            calibration = contestant.name == CALIBRATION
            parameters = contestant.parameters(self.matrix.seed)
            versions = {**package_versions(), **contestant.versions()}
            sources = self.matrix.limited(list(self.sources)) if contestant.slow else self.sources
            for scenario in ("III",) if calibration else self.matrix.scenarios:
                for source in sources:
                    scene = with_matched(source, scenario == "I")
                    code = [digest(SPEC_CODE if calibration else contestant.code)]
                    code += [digest(("simulation",))] if isinstance(source, SimulatedSource) else []
                    code += [] if calibration else [digest(_SCORING)]
                    code += [digest(SPEC_CODE)] if scenario == "III" else []
                    made_with = {"parameters": parameters, "versions": versions, "code": code}
                    names = {"method": contestant.name, "scenario": scenario, "source": scene.identity()}
                    key = row_key({**names, **made_with})
                    tasks.append(Task(contestant.name, scenario, scene, made_with, key))
        if "III" not in self.matrix.scenarios:
            return [task for task in tasks if task.method != CALIBRATION]
        return tasks

    def run(self, store: RowStore, progress: Progress, *, retry_failed: bool = False) -> list[Task]:
        """Make the rows that the store lacks, and return all tasks."""
        tasks = self.tasks()
        missing = [task for task in tasks if _is_due(store.rows.get(task.key), retry_failed)]
        progress.start(len(missing), "row")
        done = 0
        self.cache.mkdir(parents=True, exist_ok=True)
        for source in dict.fromkeys(task.source for task in missing):
            progress.update(done, f"scene {source.cell}, {source.scene}")
            source.load(self.cache)
        calibrations = {task.source: task.key for task in tasks if task.method == CALIBRATION}
        for method in dict.fromkeys(task.method for task in missing):
            mine = [task for task in missing if task.method == method]
            for task, facts in self._rows(method, mine, store, calibrations):
                store.add(task.row(facts))
                done += 1
                place = f"{method}, {task.scenario}, {task.source.cell}, {task.source.scene}"
                progress.update(done, f"{place}: {_outcome(facts)}")
        return tasks

    def _rows(
        self, method: str, tasks: list[Task], store: RowStore, calibrations: dict[Source, str]
    ) -> Iterator[tuple[Task, dict[str, Any]]]:
        """Rows of one method; tasks that cannot start are rows, too."""
        contestant = CONTESTANTS.get(method)
        reason = None if contestant is None else contestant.missing()
        ready: list[tuple[Task, Any]] = []
        for task in tasks:
            spec, why = None, reason
            if contestant is not None and not contestant.calibrates and task.scenario == "III" and why is None:
                calibration = store.rows[calibrations[task.source]]
                spec = calibration.get("spec")
                why = None if spec is not None else f"calibration failed: {calibration.get('reason')}"
            if why is None:
                ready.append((task, spec))
            else:
                yield task, {"status": "failed", "reason": why}
        request = {"kind": "score", "method": method, "seed": self.matrix.seed, "cache": str(self.cache)}
        payload = [{"scenario": t.scenario, "source": asdict(t.source), "spec": spec} for t, spec in ready]
        for (task, _), facts in zip(ready, run_worker(request, payload, self.limit_s, self.worker), strict=True):
            yield task, facts


def run_worker(
    request: dict[str, Any], tasks: Sequence[dict[str, Any]], limit_s: float, worker: Sequence[str] = WORKER
) -> Iterator[dict[str, Any]]:
    """The facts of every task, in order, from as many processes as it takes.

    A process that dies or exceeds the limit costs the task it was at; the next one goes on with the rest. A worker
    takes its request, one line, from standard input, which stays open as long as this process lives: where it ends, the
    worker ends, too.
    """
    done = 0
    while done < len(tasks):
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(worker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
            try:
                lines = _reader(process, dumps({**request, "tasks": list(tasks[done:])}) + "\n")
                while done < len(tasks):
                    try:
                        line = lines.get(timeout=limit_s)
                    except queue.Empty:
                        process.kill()
                        yield {"status": "failed", "reason": f"stopped after the limit of {limit_s:g} s"}
                        done += 1
                        break
                    if line is None:
                        process.wait()
                        yield {"status": "failed", "reason": _obituary(process.returncode, log)}
                        done += 1
                        break
                    yield json.loads(line)
                    done += 1
            finally:
                process.kill()
                process.wait()


def _reader(process: subprocess.Popen, text: str) -> "queue.Queue[str | None]":
    """Lines of a process as they come, None at its end."""
    lines: queue.Queue[str | None] = queue.Queue()

    def serve() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # a process that is gone says why by its return code
            with process.stdout, suppress(OSError), process.stdin:
                with suppress(OSError):
                    process.stdin.write(text.encode())
                    process.stdin.flush()
                for line in process.stdout:
                    lines.put(line.decode())
        finally:
            lines.put(None)

    threading.Thread(target=serve, daemon=True).start()
    return lines


def _obituary(code: int, log: Any) -> str:
    if code == -9:
        return "process killed (signal 9), most often for want of memory"
    if code < 0:
        return f"process ended by signal {-code}"
    log.seek(0)
    last = log.read().decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    return f"process ended with code {code}: {last[0][:200]}"


def _outcome(facts: dict[str, Any]) -> str:
    """The quality of a finished row, its time, or why there is none."""
    if facts["status"] != "ok":
        return facts["reason"]
    psnr = facts.get("scores", {}).get("psnr")
    return ("" if psnr is None else f"PSNR {psnr:.2f} dB, ") + f"{facts['seconds']:.2g} s"


def _is_due(row: dict[str, Any] | None, retry_failed: bool) -> bool:
    return row is None or (retry_failed and row["status"] == "failed")
