"""What the first scene of a process costs beyond the scene itself: tracing and compiling, by method.

Prints a Markdown table. Each case is a process of its own without stored programs, then one with those that the first
one stored. Processor seconds, so that other work on the machine matters little. Run it from the repository root:
``python -m benchmarks.compile_times [--methods map,mgvi,learned] [--frames T] [--size N]``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

CHILD = """
import json, sys, time
from dataclasses import replace

import jax

method, frames, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
spent = {"compile": 0.0, "trace": 0.0, "programs": 0}


def listen(event, seconds, **facts):
    if event == "/jax/core/compile/backend_compile_duration":
        spent["compile"] += seconds
        spent["programs"] += 1
    elif event in ("/jax/core/compile/jaxpr_trace_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration"):
        spent["trace"] += seconds


jax.monitoring.register_event_duration_secs_listener(listen)

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.cache import enable_compilation_cache
from fluorojax.simulation import SimulationOptions, simulate_scenes

enable_compilation_cache()
first, second = simulate_scenes(2, 0, SimulationOptions(frames=frames, size=size))
cpu = []
for scene in (first, replace(second, name="again")):
    begin = time.process_time()
    list(reconstruct_scenes([scene], ReconstructOptions(method=method, held_out=0.0)))
    cpu.append(time.process_time() - begin)
print(json.dumps({**spent, "first": cpu[0], "second": cpu[1]}))
"""


def run(method: str, frames: int, size: int, cache: str) -> dict[str, float]:
    """One process: processor seconds of its first and second scene, and what compilation and tracing took."""
    environment = {**os.environ, "FLUOROJAX_CACHE_DIR": cache}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-c", CHILD, method, str(frames), str(size)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    alarms = done.stderr.count("slow compile") + done.stderr.count("constant fold")
    return {**json.loads(done.stdout.splitlines()[-1]), "alarms": alarms}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="map,mgvi,learned")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    print("| method | process | first scene, CPU s | next scene | beyond it | compiler | tracing | programs | alarms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for method in arguments.methods.split(","):
        with tempfile.TemporaryDirectory() as cache:
            for process in ("first", "second"):
                found = run(method, arguments.frames, arguments.size, cache)
                print(
                    f"| {method} | {process} | {found['first']:.1f} | {found['second']:.1f} | "
                    f"{found['first'] - found['second']:.1f} | {found['compile']:.1f} | {found['trace']:.1f} | "
                    f"{found['programs']} | {found['alarms']} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
