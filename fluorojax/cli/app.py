"""Assembling the commands, and turning whatever goes wrong into one line and an exit code.

Exit codes: 0 success; 1 finished, but a scene diverged, has not converged (nuts) or was skipped; 2 bad input; 3 an
unexpected error; 130 interrupted. Heavy imports (JAX, matplotlib) happen inside the commands, so that ``--help``
answers at once.
"""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from fluorojax.cli.benchmark import benchmark
from fluorojax.cli.calibrate_check import calibrate_check
from fluorojax.cli.demo import demo
from fluorojax.cli.models import models
from fluorojax.cli.reconstruct import reconstruct
from fluorojax.cli.report import report
from fluorojax.cli.scenarios import scenarios
from fluorojax.cli.score import score
from fluorojax.cli.simulate import simulate
from fluorojax.cli.subtract import subtract

app = typer.Typer(
    name="fluorojax",
    help="Probabilistic reconstruction of X-ray fluoroscopy: clean sequences, a corrected chain, error bars.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (simulate, reconstruct, score, scenarios, benchmark, report, subtract, calibrate_check, demo, models):
    app.command()(_command)


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
) -> None:
    """Declares the options that stand before a command; :func:`main` acts on ``--debug``."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors are one line on standard error."""
    arguments = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in arguments
    try:
        code = app([a for a in arguments if a != "--debug"] or ["--help"], prog_name="fluorojax", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        code, message = _explain(error)
        print(f"fluorojax: {message}", file=sys.stderr)
    if code == 130:
        print("fluorojax: interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> tuple[int, str]:
    """Exit code and line for an exception that ended a command."""
    from fluorojax.io.errors import InputError

    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, ValueError):
        return 2, _one_line(str(error))
    # usage errors of the option parser, whose classes differ between versions of typer
    usage = getattr(error, "format_message", None)
    if usage is not None:
        return 2, f"{_one_line(usage())} (see fluorojax --help)"
    return 3, f"unexpected {type(error).__name__}: {_one_line(str(error))} (--debug shows the traceback)"


def _one_line(text: str) -> str:
    return " ".join(text.split())
