#!/usr/bin/env python3
"""Entry point for blind evaluation: reconstruct every .h5 file of a folder into a file of the same name in another.

    python inference/blind_entry.py [INPUT_DIR OUTPUT_DIR] [--model sequence] [--seed 0]

Without arguments the folders come from the environment variables FLUOROJAX_INPUT and FLUOROJAX_OUTPUT, so that a
container needs no command line. A file that fails is reported in one line and the others go on; a bad scene is skipped
and recorded in its file. Started again, it leaves finished files alone, continues an interrupted one, and exits with
the same code: what was skipped or diverged before still counts.

Exit codes: 0 every scene of every file is usable; 1 some file failed, or a scene diverged or was skipped; 2 there was
nothing to work on.
"""

import argparse
import os
import sys
from pathlib import Path

from fluorojax.cli import main as fluorojax
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import InputError, Provenance, read_provenance
from fluorojax.runs.files import read_outcome
from fluorojax.runs.interrupts import run_interruptible


def is_finished(source: Path, output: Path, options: ReconstructOptions) -> bool:
    """Whether ``output`` is the complete result of the same run on the same input."""
    if not output.is_file():
        return False
    try:
        return not Provenance.of_run(source, options).differences(read_provenance(output))
    except (InputError, ValueError):  # the run itself says what is wrong
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description="Reconstruct every .h5 file of a folder.")
    parser.add_argument("input", nargs="?", default=os.environ.get("FLUOROJAX_INPUT"), help="or FLUOROJAX_INPUT")
    parser.add_argument("output", nargs="?", default=os.environ.get("FLUOROJAX_OUTPUT"), help="or FLUOROJAX_OUTPUT")
    parser.add_argument("--model", default="sequence", help="shipped model or path of a .py file")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not arguments.input or not arguments.output:
        print("blind_entry: no folders; expected INPUT_DIR OUTPUT_DIR, or both environment variables", file=sys.stderr)
        return 2
    folder, target = Path(arguments.input), Path(arguments.output)
    files = sorted(path for path in folder.glob("*.h5") if path.is_file())
    if not files:
        print(f"blind_entry: {folder}: holds no .h5 files; expected at least one", file=sys.stderr)
        return 2
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"blind_entry: {target}: cannot be created: {error.strerror}", file=sys.stderr)
        return 2

    try:
        options = ReconstructOptions(model=arguments.model, seed=arguments.seed)
    except ValueError as error:
        print(f"blind_entry: {error}", file=sys.stderr)
        return 2
    failed = []
    for number, source in enumerate(files, 1):
        output = target / source.name
        done = "done"
        if is_finished(source, output, options):
            code, done = read_outcome(output).exit_code, "finished before"
        else:
            settings = ["--model", options.model, "--seed", str(options.seed), "--keep-going"]
            code = fluorojax(["reconstruct", str(source), "-o", str(output), *settings])
        if code == 130:
            return code
        what = {0: done, 1: f"{done}, but a scene diverged or was skipped"}.get(code, f"exit code {code}")
        print(f"blind_entry: {number}/{len(files)} {source.name}: {what}")
        if code != 0:
            failed.append(source.name)
    if failed:
        print(f"blind_entry: not fully usable: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_interruptible(main, "blind_entry"))
