#!/usr/bin/env python3
"""Batch MAP reconstruction of a challenge file: what ``fluorojax reconstruct`` does, in one readable page.

    python inference/map_batch.py IN.h5 -o OUT.h5 [--model sequence|PATH.py] [--batch N] [--seed 0]

Scenes of one shape are computed together, N at a time. An interrupted run leaves OUT.h5.partial with the finished
scenes; the same command continues it. Exit codes: 0 every scene usable, 1 a scene diverged, 2 bad input.
"""

import argparse
import sys
from pathlib import Path

from fluorojax.io import InputError, Provenance, ReconstructionWriter, iter_scenes, list_scenes
from fluorojax.progress import make_progress
from fluorojax.reconstruct import reconstruct_scenes
from fluorojax.reconstruction import ReconstructOptions, Status


def reconstruct_file(source: Path, output: Path, options: ReconstructOptions, *, overwrite: bool) -> list[str]:
    """Write ``output`` scene by scene; returns the names of scenes that diverged in this run."""
    diverged = []
    provenance = Provenance.of_run(source, options)
    with (
        ReconstructionWriter(output, provenance, source=source, overwrite=overwrite) as writer,
        make_progress("map") as progress,
    ):
        pending = [name for name in list_scenes(source) if name not in writer.finished]
        if not pending:
            return diverged
        for result in reconstruct_scenes(iter_scenes(source, pending), options, progress=progress):
            writer.write(result)
            print(f"{result.name}: {result.status.value}, {result.seconds:.1f} s")
            for sentence in result.diagnostics["identifiability"].values():
                print(f"    {sentence}")
            if result.status is Status.DIVERGED:
                diverged.append(result.name)
    return diverged


def main() -> int:
    parser = argparse.ArgumentParser(description="Batch MAP reconstruction of a challenge file.")
    parser.add_argument("source", metavar="IN.h5", type=Path, help="challenge file")
    parser.add_argument("-o", "--output", metavar="OUT.h5", type=Path, required=True, help="file to write")
    parser.add_argument("--model", default="sequence", help="shipped model or path of a .py file")
    parser.add_argument("--batch", type=int, default=None, help="scenes computed together; default by memory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    arguments = parser.parse_args()
    options = ReconstructOptions(model=arguments.model, batch=arguments.batch, seed=arguments.seed)
    try:
        diverged = reconstruct_file(arguments.source, arguments.output, options, overwrite=arguments.overwrite)
    except (InputError, ValueError) as error:
        print(f"map_batch: {error}", file=sys.stderr)
        return 2
    for name in diverged:
        print(f"map_batch: {name} diverged; its result must not be used", file=sys.stderr)
    return 1 if diverged else 0


if __name__ == "__main__":
    sys.exit(main())
