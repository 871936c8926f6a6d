#!/usr/bin/env python3
"""Batch MAP reconstruction of a challenge file from Python: what ``fluorojax reconstruct`` does, result by result.

    python inference/map_batch.py IN.h5 -o OUT.h5 [--model sequence|PATH.py] [--batch N] [--seed 0] [--keep-going]

Scenes of one shape are computed together, N at a time. An interrupted run keeps the finished scenes in the folder
OUT.h5.parts; the same command continues it. Exit codes: 0 every scene usable, 1 a scene diverged or was skipped, in
this part of the run or an earlier one, 2 bad input, 130 interrupted.
"""

import argparse
import sys
from pathlib import Path

from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions
from fluorojax.io import InputError
from fluorojax.runs.cache import enable_compilation_cache
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.interrupts import run_interruptible
from fluorojax.runs.progress import make_progress


def tell(line: object) -> None:
    """A line on standard error."""
    print(f"map_batch: {line}", file=sys.stderr)


def show(result: Reconstruction) -> None:
    """What is known about a scene once it is written."""
    print(f"{result.name}: {result.status.value}, {result.seconds:.1f} s")
    for sentence in result.diagnostics["identifiability"].values():
        print(f"    {sentence}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Batch MAP reconstruction of a challenge file.")
    parser.add_argument("source", metavar="IN.h5", type=Path, help="challenge file")
    parser.add_argument("-o", "--output", metavar="OUT.h5", type=Path, required=True, help="file to write")
    parser.add_argument("--model", default="sequence", help="shipped model or path of a .py file")
    parser.add_argument("--batch", type=int, default=None, help="scenes computed together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep-going", action="store_true", help="skip bad scenes instead of stopping")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    arguments = parser.parse_args()
    enable_compilation_cache(notify=tell)
    try:
        options = ReconstructOptions(method="map", model=arguments.model, batch=arguments.batch, seed=arguments.seed)
        with make_progress("map") as progress:
            outcome = reconstruct_file(
                arguments.source,
                arguments.output,
                options,
                overwrite=arguments.overwrite,
                on_error=(lambda error: tell(f"skipped: {error}")) if arguments.keep_going else None,
                on_result=show,
                progress=progress,
                notify=tell,
            )
    except (InputError, ValueError) as error:
        tell(error)
        return 2
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    for name in outcome.diverged:
        tell(f"{name} diverged; its result must not be used")
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(run_interruptible(main, "map_batch"))
