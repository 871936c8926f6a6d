"""Scenes over the workers of a Dask cluster on one machine: scenes per second, and what a killed worker costs.

    python benchmarks/cluster.py [--scenes 12] [--frames 8] [--size 32] [--method map] [--workers 1 2] [--output FILE]

Every run starts a cluster of its own. Each worker computes one scene first, so that it has its compiled programs. Those
stand in a cache that the workers share, as they do in practice. From then on, wall time and the processor seconds of
all processes are counted. The first row is one process without Dask. The run with the most workers is repeated, and one
worker is killed (SIGKILL) while it computes. What the killed worker costs is the processor time beyond that of the
undisturbed run: the work that was lost, and the start of the worker that takes its place. Wall times say something only
where the machine has a free core for every worker; processor seconds do in any case.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Scenes over a Dask cluster on one machine.")
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--method", default="map")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the workers inherit it
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLUOROJAX_CACHE_DIR"] = str(Path(folder) / "cache")
        bench = Bench(Path(folder), given.scenes, given.frames, given.size, given.method)
        rows: list[Row] = []

        def add(row: Row) -> None:
            rows.append(row)
            print(json.dumps(row), flush=True)
            if given.output is not None:
                given.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

        add(bench.alone())
        for workers in given.workers:
            add(bench.over(workers))
        if (workers := max(given.workers)) > 1:
            add(bench.over(workers, kill=True))
            undisturbed, killed = rows[-2:]
            add({"run": "cost of the killed worker", "cpu": killed["cpu"] - undisturbed["cpu"]})


class Bench:
    """Two files of the same scenes: one to warm up, one to measure."""

    def __init__(self, folder: Path, scenes: int, frames: int, size: int, method: str):
        from fluorojax.data.reconstruction import ReconstructOptions
        from fluorojax.io import write_challenge
        from fluorojax.simulation import SimulationOptions, simulate_scenes

        self._folder, self._scenes = folder, scenes
        self._options = ReconstructOptions(method=method)
        self._file, self._count = folder / "in.h5", 0
        write_challenge(self._file, simulate_scenes(scenes, 0, SimulationOptions(frames=frames, size=size)))

    def _run(self, count: int, place: Any = None, on_result: Callable[[Any], None] = lambda result: None) -> None:
        from fluorojax.io import Selection
        from fluorojax.runs.files import reconstruct_file

        self._count += 1
        outcome = reconstruct_file(
            self._file,
            self._folder / f"out{self._count}.h5",
            self._options,
            selection=Selection(scenes=tuple(f"sample_{i:02d}" for i in range(count))),
            place=place,
            on_result=on_result,
        )
        assert not outcome.skipped, outcome

    def alone(self) -> Row:
        """All scenes in this process."""
        from fluorojax.runs.cache import enable_compilation_cache

        enable_compilation_cache()
        self._run(self._scenes)  # the first run compiles, for the batch of scenes that the second has, too
        begin, cpu = time.monotonic(), time.process_time()
        self._run(self._scenes)
        return self._row("one process, no Dask", time.monotonic() - begin, time.process_time() - cpu)

    def over(self, workers: int, *, kill: bool = False) -> Row:
        """All scenes over so many workers of one thread each; with ``kill`` one of them is killed on the way."""
        from fluorojax.runs.dask import DaskCluster

        name = f"{workers} worker{'' if workers == 1 else 's'}{', one killed' if kill else ''}"
        with _cluster(workers) as cluster:

            def place() -> DaskCluster:
                return DaskCluster(cluster.scheduler_address, wait=600)

            self._run(workers, place())
            clock = _ProcessorTime(cluster)
            victim = _Victim(clock, self._scenes // 3) if kill else None
            begin = time.monotonic()
            self._run(self._scenes, place(), (lambda result: None) if victim is None else victim)
            wall = time.monotonic() - begin
            row = self._row(name, wall, clock.total()) | {"cpu of this process": clock.own()}
            if victim is not None:
                row |= {"lost": victim.lost, "cpu of the new worker": clock.of_new_workers()}
        return row

    def _row(self, name: str, wall: float, cpu: float) -> Row:
        return {
            "run": name,
            "scenes": self._scenes,
            "wall": wall,
            "cpu": cpu,
            "scenes per second": self._scenes / wall,
            "cpu per scene": cpu / self._scenes,
        }


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    import dask
    import distributed

    # a nanny gives up on a worker that takes longer to start, as it may on a busy machine
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "300s"}),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,  # pyright: ignore[reportArgumentType]
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster


class _ProcessorTime:
    """Processor seconds of this process and of the workers of a cluster since it was made."""

    def __init__(self, cluster: Any):
        self._cluster = cluster
        self._own = time.process_time()
        self._begin = {pid: _seconds(pid) for pid in self.pids()}
        self.ended: dict[int, float] = {}

    def pids(self) -> list[int]:
        """The processes of the workers that live."""
        return [nanny.pid for nanny in self._cluster.workers.values() if nanny.pid is not None]

    def since(self, pid: int) -> float:
        """What a worker has used."""
        return _seconds(pid) - self._begin.get(pid, 0.0)

    def own(self) -> float:
        """What this process has used, which runs the scheduler, too."""
        return time.process_time() - self._own

    def of_new_workers(self) -> float:
        """What workers have used that started later."""
        return sum(_seconds(pid) for pid in self.pids() if pid not in self._begin)

    def total(self) -> float:
        """What all have used together."""
        return self.own() + sum(map(self.since, self.pids())) + sum(self.ended.values())


class _Victim:
    """Called with each result, kills a worker that is in the middle of a scene, once so many scenes are finished."""

    def __init__(self, clock: _ProcessorTime, after: int):
        self._clock, self._after = clock, after
        self._times: list[float] = []
        self.lost = float("nan")
        """Processor seconds that the killed worker had spent since the last scene was finished."""

    def __call__(self, result: Any) -> None:
        self._times.append(time.monotonic())
        if len(self._times) == self._after:
            pace = (self._times[-1] - self._times[0]) / (self._after - 1)
            threading.Thread(target=self._kill, args=(pace,), daemon=True).start()

    def _kill(self, pace: float) -> None:
        import psutil

        pid = self._clock.pids()[0]
        before = self._clock.since(pid)
        time.sleep(pace)  # half of what a scene takes with two workers
        self._clock.ended[pid] = self._clock.since(pid)
        self.lost = self._clock.ended[pid] - before
        psutil.Process(pid).kill()


def _seconds(pid: int) -> float:
    import psutil

    try:
        used = psutil.Process(pid).cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return used.user + used.system


if __name__ == "__main__":
    main()
