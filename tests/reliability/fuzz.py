"""Damaged files through the commands: how each ended, and what it took.

``PYTHONPATH=tests python tests/reliability/fuzz.py COMMAND COUNT FIRST_SEED SUMMARY.json`` writes a summary after every
file.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from reliability.mutations import mutate
from reliability.worker import MARKS, like

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.digest import counts_digest
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.nuts.state_file import save_state
from fluorojax.io import Provenance, ReconstructionWriter, write_challenge
from fluorojax.io.texts import as_text

SHAPE = (4, 16, 16)
WALL_SECONDS = 1800.0
"""After this a command counts as hung; the machine may be busy with other things."""
COMMANDS = ("info", "info of results", "reconstruct", "subtract", "convert", "score", "report", "state")


def make_bases(folder: Path) -> dict[str, list[Path]]:
    """Sound files to be damaged, by kind: as written, with text of variable length, and in the latest HDF5 format."""
    rng = np.random.default_rng(5)
    scenes = []
    for index in range(2):
        x = rng.uniform(0.2, 0.8, SHAPE).astype(np.float32)
        y = rng.poisson(200 * np.exp(-2 * x)).astype(np.float32)
        acquisition = Acquisition(photons_per_pixel=200.0, attenuation_scale=2.0)
        scene = Scene(f"sample_{index:02d}", y, acquisition, SpecRanges.for_tier("public"), {"scene": "x"}, x)
        scenes.append(scene)
    source = folder / "counts.h5"
    write_challenge(source, scenes)
    provenance = Provenance.of_run(source, ReconstructOptions(method="raw"))
    result = folder / "result.h5"
    with ReconstructionWriter(result, provenance, source=source) as writer:
        for scene in scenes:
            estimate = Reconstruction(
                name=scene.name,
                x_hat=np.clip(scene.x_true + 0.05, 0, 1) if scene.x_true is not None else scene.y,
                x_std=np.full(SHAPE, 0.1, np.float32),
                spec=Spec(1.0, 0.5, 0.25),
                spec_std=Spec(0.5, 0.25, 0.125),
                spec_interval={"motion_blur": (0.0, 2.0), "lag": (0.0, 1.0), "gain_drift": (0.0, 0.5)},
                status=Status.CONVERGED,
                seconds=1.5,
                diagnostics={
                    "model": "sequence",
                    "iterations": 12,
                    "identifiability": ["motion_blur: well determined"],
                    "contraction": {"motion_blur": 0.9, "lag": 0.2, "gain_drift": 0.5},
                    "variance_share_of_chain": 0.1,
                    "variance_factor": 1.1,
                    "mean_squared_residual": 1.02,
                    "information_in_counts": 0.5,
                    "verdict": "converged",
                },
                nominal=scene.acquisition.as_dict(),
                prior_ranges=scene.ranges.as_dict(),
            )
            writer.write(replace(estimate, counts_sha256=counts_digest(scene.y)))
    state = folder / "chains.state"
    save_state(state, like() | {"draws": np.ones((2, 5, 3), np.float32)}, MARKS, 5)
    return {kind: list(_variants(path)) for kind, path in (("counts", source), ("result", result), ("state", state))}


def _variants(path: Path) -> Iterator[Path]:
    yield path
    for name, variable, version in (("variable", True, "earliest"), ("latest", True, "latest")):
        copy = path.with_name(f"{path.stem}_{name}{path.suffix}")
        with h5py.File(path, "r") as source, h5py.File(copy, "w", libver=version) as target:
            _copy(source, target, variable)
        yield copy


def _copy(source: h5py.Group, target: h5py.Group, variable: bool) -> None:
    for name, value in source.attrs.items():
        target.attrs[name] = as_text(value) if variable else value
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy(item, target.create_group(name), variable)
        else:
            source.copy(item, target, name)


@dataclass
class Summary:
    """How the damaged files of one command ended."""

    command: str
    files: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    """Tracebacks, crashes, hangs, lines that cannot be printed, and files left behind, each with its seed."""
    largest_seconds: float = 0.0
    largest_wall: float = 0.0
    largest_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "codes": dict(sorted(self.codes.items()))}


class Worker:
    """The process that runs the commands, started again when it ends."""

    def __init__(self, cache: Path):
        self._cache = cache
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a request; None where the process crashed or hung."""
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        timer = threading.Timer(WALL_SECONDS, process.kill)
        timer.start()
        try:
            line = self._line(process)
        finally:
            timer.cancel()
        if not line:
            self.stop()
            return None
        return json.loads(line)

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            root = Path(__file__).parents[2]
            path = os.pathsep.join([str(root), str(root / "tests"), *filter(None, sys.path)])
            environment = os.environ | {"PYTHONPATH": path, "FLUOROJAX_CACHE_DIR": str(self._cache)}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "reliability.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
            )
            if not self._line(self._process):
                raise RuntimeError("the worker did not start")
        return self._process

    @staticmethod
    def _line(process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def running(cache: Path) -> Iterator[Worker]:
    """A worker that ends with the body."""
    worker = Worker(cache)
    try:
        yield worker
    finally:
        worker.stop()


def fuzz(
    worker: Worker,
    bases: dict[str, list[Path]],
    command: str,
    seeds: range,
    folder: Path,
    on_file: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Run one command on as many damaged files as there are seeds; ``on_file`` is called after each."""
    summary = Summary(command)
    kind = {"info of results": "result", "score": "result", "report": "result", "state": "state"}.get(command, "counts")
    for seed in seeds:
        case = folder / f"{command.replace(' ', '_')}_{seed}"
        case.mkdir()
        path = case / "damaged.h5"
        variants = bases[kind] + (bases["result"] if command == "subtract" else [])
        shutil.copy(variants[seed % len(variants)], path)
        way = mutate(path, seed)
        begin = time.monotonic()
        answer = worker.ask(_request(command, path, bases, case))
        _note(summary, seed, way, answer, time.monotonic() - begin, case)
        shutil.rmtree(case)
        on_file(summary)
    return summary


def _request(command: str, path: Path, bases: dict[str, list[Path]], case: Path) -> dict[str, Any]:
    out = str(case / "out.h5")
    args = {
        "info": ["info", str(path)],
        "info of results": ["info", str(path)],
        "reconstruct": ["reconstruct", str(path), "-o", out, "--method", "raw", "-q", "--ignore-memory"],
        "subtract": ["subtract", str(path), "-o", out, "--mask", "0:2", "-q"],
        "convert": ["convert", str(path), out, "-q"],
        "score": ["score", str(path), "--truth", str(bases["counts"][0])],
        "report": ["report", str(path), "-o", str(case / "page.html"), "--input", str(bases["counts"][0])],
    }
    return {"state": str(path)} if command == "state" else {"args": args[command]}


def _note(summary: Summary, seed: int, way: str, answer: dict[str, Any] | None, wall: float, case: Path) -> None:
    summary.files += 1
    summary.largest_wall = max(summary.largest_wall, wall)
    where = f"{summary.command}, seed {seed} ({way})"
    if answer is None:
        summary.codes["ended"] += 1
        summary.problems.append(f"{where}: the process crashed or hung")
        return
    summary.codes[str(answer["code"])] += 1
    summary.largest_seconds = max(summary.largest_seconds, answer["seconds"])
    summary.largest_bytes = max(summary.largest_bytes, answer["peak"])
    lines = answer["err"].splitlines()
    if answer["code"] not in (0, 1, 2):
        summary.problems.append(f"{where}: {answer['err']} {answer.get('traceback', '')}")
    elif not all(line.startswith("fluorojax: ") and line.isprintable() for line in lines):
        summary.problems.append(f"{where}: not every line is printable: {answer['err']!r}")
    elif answer["code"] == 2 and len(lines) != 1:
        summary.problems.append(f"{where}: {len(lines)} lines: {answer['err']!r}")
    if left := [path.name for path in case.rglob("*") if ".tmp" in path.name]:
        summary.problems.append(f"{where}: left {', '.join(left)}")
    if answer["code"] == 2 and any((case / name).exists() for name in ("out.h5", "page.html")):
        summary.problems.append(f"{where}: exit code 2, but there is an output")


def main() -> None:
    """Run from the command line."""
    command, count, first, output = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])

    def keep(summary: Summary) -> None:
        output.write_text(json.dumps(summary.as_dict(), indent=1), encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bases").mkdir()
        bases = make_bases(folder / "bases")
        with running(folder / "cache") as worker:
            fuzz(worker, bases, command, range(first, first + count), folder, keep)


if __name__ == "__main__":
    main()
