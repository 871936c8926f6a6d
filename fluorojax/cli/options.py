"""Options that several commands share."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fluorojax.data.choices import MAX_SEED
from fluorojax.methods.registry import method_names


class SpecSource(StrEnum):
    """Which specification the reconstruction uses."""

    CALIBRATED = "calibrated"
    JOINT = "joint"
    NOMINAL = "nominal"
    TRUE = "true"


InputArgument = Annotated[Path, typer.Argument(metavar="IN.h5", help="Challenge file.", show_default=False)]
ResultArgument = Annotated[Path, typer.Argument(metavar="OUT.h5", help="Reconstruction file.", show_default=False)]
ModelOption = Annotated[str, typer.Option(help="Shipped model (see `fluorojax models`) or path of your own .py file.")]
MethodOption = Annotated[
    str,
    typer.Option(
        help=f"Inference method: {', '.join(method_names())}, or a classical one (see `fluorojax benchmark`)."
    ),
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Scenes computed together; default one per device on a CPU, else as many as fit in 2 GiB per device.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=MAX_SEED, metavar="INTEGER", help="Seed of all randomness, below 2^63.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every progress report.")]


def make_notify(quiet: bool) -> Callable[[str], None]:
    """Where remarks to the user go: standard error, or nowhere when ``quiet``."""

    def notify(line: str) -> None:
        if not quiet:
            print(f"fluorojax: {line}", file=sys.stderr)

    return notify
