"""``fluorojax detectors``: the detectors that ship with the package, and files of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import OverwriteOption, check_suffix
from fluorojax.cli.printing import print_json, say

if TYPE_CHECKING:
    from fluorojax.detectors.detector import Detector, Figure

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME|FILE.toml", help="Detector by name, or its file.", show_default=False)
]
TOML_SUFFIXES = (".toml",)

detectors = typer.Typer(
    help="Show, copy and measure detectors, which --detector of other commands takes. Without a command: list them.",
    invoke_without_command=True,
)


@detectors.callback()
def _list_them(context: typer.Context) -> int | None:
    if context.invoked_subcommand is not None:
        return None
    from fluorojax.detectors.detector import load_detector, preset_names

    names = preset_names()
    width = max(map(len, names), default=0)
    for name in names:
        say(f"{name:<{width}}  {load_detector(name).title}")
    say("Figures of presets are typical of a kind of detector: `fluorojax detectors show NAME` tells their sources.")
    return 0


@detectors.command()
def show(
    name: NameArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> int:
    """Show every figure of a detector with its unit, its range and its source."""
    from fluorojax.detectors.detector import load_detector

    detector = load_detector(name)
    if as_json:
        print_json(detector.as_settings())
        return 0
    for line in _lines(detector):
        say(line)
    return 0


@detectors.command()
def copy(
    name: NameArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT.toml", help="File to write.", show_default=False)],
    overwrite: OverwriteOption = False,
) -> int:
    """Copy a detector into a file of your own. Edit it, and give it to --detector."""
    from fluorojax.detectors.detector import load_detector

    detector = load_detector(name)
    _write(detector, output, [Path(name)] if name.lower().endswith(".toml") else [], overwrite)
    say(f"wrote {output}")
    return 0


def _write(detector: "Detector", output: Path, inputs: list[Path], overwrite: bool) -> None:
    from fluorojax.io import atomic_output, check_output, writing

    check_suffix("OUT.toml", output, TOML_SUFFIXES)
    check_output(output, inputs=inputs, overwrite=overwrite)
    with atomic_output(output, inputs=inputs, overwrite=overwrite) as temporary, writing(output):
        temporary.write_text(detector.to_toml(), encoding="utf-8")


def _lines(detector: "Detector") -> list[str]:
    from fluorojax.detectors.detector import FIGURES

    lines = [f"{detector.name}: {detector.title}"]
    lines += [detector.note] if detector.note else []
    for name, figure in detector.figures.items():
        kind = FIGURES[name]
        unit = f" {kind.unit}" if kind.unit else ""
        lines += ["", f"{name} {_number(figure)}{unit}: {kind.meaning}", f"  {figure.source}"]
    absent = [name for name in ("gain", "offset") if detector.value(name) is None]
    if absent:
        lines += ["", f"{' and '.join(absent)} not known: give them with --gain and --offset for stored values"]
    return lines


def _number(figure: "Figure") -> str:
    text = f"{figure.value:.6g}"
    if figure.std is not None:
        text += f" ± {figure.std:.2g}"
    if figure.low is not None and figure.high is not None:
        text += f" ({figure.low:g} … {figure.high:g})"
    return text
