#!/usr/bin/env python3
"""Entry point for blind evaluation: reconstruct every .h5 file of a folder into a file of the same name in another.

    python inference/blind_entry.py [INPUT_DIR OUTPUT_DIR] [--model sequence] [--method map] [--seed 0]
                                    [--time-limit SECONDS]

Without arguments the folders come from the environment variables FLUOROJAX_INPUT and FLUOROJAX_OUTPUT, so that a
container needs no command line; FLUOROJAX_TIME_LIMIT stands for --time-limit. A file that fails is reported in one line
and the others go on; a bad scene is skipped and recorded in its file. Started again, it leaves finished files alone,
continues an interrupted one, and exits with the same code: what was skipped or diverged before still counts.

With a time limit the entry ends by itself before so many seconds have passed: the files hold the scenes that were
finished until then and record the others as skipped, and a line names them. Started again, it computes those. The last
twentieth of the time (at least 5 s, at most 60 s) is left for writing.

Nothing but the output folder is written to. Compiled programs are kept for the next start where the user's cache folder
(or FLUOROJAX_CACHE_DIR) can be written; where it cannot, one line says so.

Exit codes: 0 every scene of every file is usable; 1 some file failed, or a scene diverged or was skipped; 2 there was
nothing to work on, or no file could be read; 130 and 143 interrupted and terminated.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from fluorojax.data.printable import MESSAGE, printable
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import InputError
from fluorojax.runs.cache import enable_compilation_cache
from fluorojax.runs.files import reconstruct_files
from fluorojax.runs.inputs import FilePair
from fluorojax.runs.interrupts import run_interruptible
from fluorojax.runs.outcomes import Outcome
from fluorojax.runs.progress import make_progress


def tell(line: object) -> None:
    """A line on standard error."""
    print(f"blind_entry: {printable(str(line), MESSAGE)}", file=sys.stderr, flush=True)


def computing_time(limit: float) -> float:
    """Seconds that are left to compute, of a limit that counts from the start of the process."""
    try:  # imports come before any line of this file that could look at a clock
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # not Linux
        age = time.process_time()
    return limit - min(max(5.0, limit / 20), 60.0) - age


def arguments() -> argparse.Namespace:
    """The command line; raises ``SystemExit`` with code 2 for one that cannot be used."""
    parser = argparse.ArgumentParser(description="Reconstruct every .h5 file of a folder.")
    parser.add_argument("input", nargs="?", default=os.environ.get("FLUOROJAX_INPUT"), help="or FLUOROJAX_INPUT")
    parser.add_argument("output", nargs="?", default=os.environ.get("FLUOROJAX_OUTPUT"), help="or FLUOROJAX_OUTPUT")
    parser.add_argument("--model", default="sequence", help="shipped model or path of a .py file")
    parser.add_argument("--method", default="", help="inference method, as in fluorojax reconstruct")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        default=os.environ.get("FLUOROJAX_TIME_LIMIT") or None,
        help="end by itself so long after the start, with what is finished; or FLUOROJAX_TIME_LIMIT",
    )
    return parser.parse_args()


def main() -> int:
    given = arguments()
    if not given.input or not given.output:
        tell("no folders; expected INPUT_DIR OUTPUT_DIR, or both environment variables")
        return 2
    folder, target = Path(given.input), Path(given.output)
    pairs = [FilePair(path, target / path.name) for path in sorted(folder.glob("*.h5")) if path.is_file()]
    if not pairs:
        tell(f"{folder}: holds no .h5 files; expected at least one")
        return 2
    limit: float | None = given.time_limit
    if limit is not None and not limit > 0:
        tell(f"--time-limit is {limit:g}; expected a positive number of seconds")
        return 2
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        tell(f"{target}: cannot be created: {error.strerror}")
        return 2
    enable_compilation_cache(notify=tell)

    seen: list[FilePair] = []

    def done(pair: FilePair, outcome: Outcome, before: bool) -> None:
        seen.append(pair)
        what = "finished before" if before else "done"
        if outcome.exit_code:
            what += ", but a scene diverged or was skipped"
        if outcome.exit_code and not pair.output.exists():
            what = "no scene was finished"
        name = printable(pair.source.name, MESSAGE)
        print(f"blind_entry: {len(seen)}/{len(pairs)} {name}: {what}", flush=True)
        for name, reason in outcome.skipped.items():
            tell(f"{pair.source.name}: {name}: {reason}")
        for name in (*outcome.diverged, *outcome.unconverged, *outcome.prior_only):
            tell(f"{pair.source.name}: {name}: has no result to rely on")

    try:
        options = ReconstructOptions(model=given.model, method=given.method, seed=given.seed)
        with make_progress("blind_entry") as progress:
            outcomes = reconstruct_files(
                pairs,
                options,
                time_limit=None if limit is None else computing_time(limit),
                on_error=lambda error: None,  # a skipped scene is told with its file
                on_bad_file=tell,
                on_file=done,
                progress=progress,
                notify=tell,
            )
    except (InputError, ValueError) as error:
        tell(error)
        return 2
    failed = [
        pair.source.name
        for pair, outcome in zip(pairs, outcomes, strict=True)
        if outcome is None or outcome.exit_code != 0
    ]
    if failed:
        tell(f"not fully usable: {', '.join(failed)}")
    if all(outcome is None for outcome in outcomes):
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(run_interruptible(main, "blind_entry"))
