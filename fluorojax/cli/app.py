"""Assembling the commands, and turning whatever goes wrong into one line and an exit code.

Exit codes: 0 success; 1 finished, but a scene diverged, has not converged (nuts) or was skipped; 2 bad input; 3 an
unexpected error; 130 interrupted; 141 whoever read the standard output has ended; 143 terminated. Heavy imports (JAX,
matplotlib) happen inside the commands, so that ``--help`` answers at once.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from fluorojax.cli.backend import SETTINGS
from fluorojax.cli.benchmark import benchmark
from fluorojax.cli.calibrate_check import calibrate_check
from fluorojax.cli.convert import convert
from fluorojax.cli.demo import demo
from fluorojax.cli.detectors import detectors
from fluorojax.cli.display import display
from fluorojax.cli.dose import dose
from fluorojax.cli.info import info
from fluorojax.cli.models import models
from fluorojax.cli.plan_dose import plan_dose
from fluorojax.cli.printing import tell
from fluorojax.cli.reconstruct import reconstruct
from fluorojax.cli.renamed import with_new_names
from fluorojax.cli.report import report
from fluorojax.cli.scenarios import scenarios
from fluorojax.cli.score import score
from fluorojax.cli.simulate import simulate
from fluorojax.cli.stream import stream
from fluorojax.cli.subtract import subtract
from fluorojax.cli.train import train
from fluorojax.cli.validate import validate
from fluorojax.runs.interrupts import run_interruptible

app = typer.Typer(
    name="fluorojax",
    help="Probabilistic reconstruction of X-ray fluoroscopy: clean sequences, a corrected imaging chain, error bars.",
    add_completion=True,
    pretty_exceptions_enable=False,
)
for _command in (
    simulate,
    reconstruct,
    score,
    report,
    info,
    convert,
    scenarios,
    subtract,
    display,
    stream,
    dose,
    plan_dose,
    benchmark,
    calibrate_check,
    validate,
    train,
    demo,
    models,
):
    app.command()(_command)
app.add_typer(detectors, name="detectors")


def _show_version(wanted: bool | None) -> None:
    if wanted:
        from fluorojax.io import package_versions

        print(", ".join(f"{name} {version}" for name, version in package_versions().items()))
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool | None, typer.Option("--version", help="Show versions and exit.", callback=_show_version, is_eager=True)
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (in any position).")] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Neither read nor keep compiled programs (in any position); FLUOROJAX_CACHE_DIR=off does the same.",
        ),
    ] = False,
) -> None:
    """Declares the options that stand before a command; :func:`main` acts on them."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are one line on standard error.

    The command runs in a thread of its own, so that Ctrl-C and SIGTERM end the process at once
    (:func:`fluorojax.runs.interrupts.run_interruptible`).
    """
    arguments = with_new_names(sys.argv[1:] if args is None else args, tell)
    debug = "--debug" in arguments
    if not debug:
        # XLA tells of a compilation that takes minutes on a busy machine in a banner that asks for a bug report. What
        # goes wrong is raised as an exception as well. Read when JAX is imported, which no command has done yet.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    SETTINGS.no_cache = "--no-cache" in arguments
    arguments = [argument for argument in arguments if argument not in ("--debug", "--no-cache")]
    return run_interruptible(lambda: _run(arguments or ["--help"], debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(arguments, prog_name="fluorojax", standalone_mode=False)
        sys.stdout.flush()  # while an error of it can still be told
    except BrokenPipeError:
        code = 141
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except SystemExit as end:  # how the script for shell completion ends, and how click answers a broken pipe
        code = 141 if isinstance(end.__context__, BrokenPipeError) else end.code
    except Exception as error:
        if debug:
            traceback.print_exc()
        code, message = _explain(error)
        tell(message)
    _drop_unwritten()
    if code == 130:
        tell("interrupted")
    return code if isinstance(code, int) else 0


def _drop_unwritten() -> None:
    """Have the end of the process not try again to write what the standard output has refused."""
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError):  # where it is no file of the system
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and line for an exception that ended a command."""
    from fluorojax.io.errors import InputError

    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, OSError):
        # What is written goes through fluorojax.io; this is of the rest, such as a folder or the standard output.
        from fluorojax.io.disk import disk_problem

        if problem := disk_problem(error, error.filename):
            return 2, f"{error.filename or 'standard output'}: cannot be written: {problem}"
    if isinstance(error, ValueError):
        return 2, _one_line(str(error))
    if isinstance(error, MemoryError):
        return 2, f"there is not enough memory: {_one_line(str(error)) or 'what the file asks for cannot be held'}"
    # usage errors of the option parser, whose classes differ between versions of typer
    usage = getattr(error, "format_message", None)
    if usage is not None:
        context = getattr(error, "ctx", None)
        command = "fluorojax" if context is None else context.command_path
        where = command.removeprefix("fluorojax").strip()
        return 2, f"{where + ': ' if where else ''}{_one_line(usage())} (see {command} --help)"
    return 3, f"unexpected {type(error).__name__}: {_one_line(str(error))} (--debug shows the traceback)"


def _one_line(text: str) -> str:
    return " ".join(text.split())
