"""Options that several commands share."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluorojax.cli.printing import tell
from fluorojax.data.choices import CHAIN_EXTENSIONS, MAX_SEED
from fluorojax.methods.registry import method_names

if TYPE_CHECKING:
    from fluorojax.detectors.detector import Detector
    from fluorojax.io.selection import Selection


class SpecSource(StrEnum):
    """Which specification the reconstruction uses."""

    CALIBRATED = "calibrated"
    JOINT = "joint"
    NOMINAL = "nominal"
    TRUE = "true"


InputArgument = Annotated[Path, typer.Argument(metavar="IN.h5", help="File of scenes.", show_default=False)]
ResultArgument = Annotated[Path, typer.Argument(metavar="OUT.h5", help="Reconstruction file.", show_default=False)]
ModelOption = Annotated[
    str, typer.Option(help="Shipped model (see `fluorojax models`) or path of your own .py file, whose code is run.")
]


def _complete_method(incomplete: str) -> list[str]:
    """Names of methods for shell completion."""
    return [name for name in method_names() if name.startswith(incomplete)]


MethodOption = Annotated[
    str,
    typer.Option(
        autocompletion=_complete_method,
        help=f"Inference method: {', '.join(method_names())}, or a classical one or learned peer (see "
        "`fluorojax benchmark`).",
        show_default="learned, or map with another --model than sequence",
    ),
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of scenes computed together. Default: one per device on a CPU, otherwise as many as fit in 2 GiB.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=MAX_SEED, metavar="INTEGER", help="Seed of all randomness, below 2^63.")
]
SceneOption = Annotated[
    list[str] | None,
    typer.Option("--scene", metavar="NAME", help="Scene to use; repeat the option for several. Default: all."),
]
FramesOption = Annotated[
    str | None, typer.Option("--frames", metavar="A:B", help="Frames to use, B excluded. Default: all.")
]
CropOption = Annotated[
    str | None,
    typer.Option("--crop", metavar="R0:R1,C0:C1", help="Rows and columns to use, R1 and C1 excluded. Default: all."),
]
FpsOption = Annotated[
    float | None,
    typer.Option("--fps", help="Frames per second, in place of the value in the file.", show_default=False),
]
PhotonsOption = Annotated[
    float | None,
    typer.Option(
        "--photons",
        help="Quanta per pixel and frame with nothing in the beam, in place of the value in the file.",
        show_default=False,
    ),
]
ProtocolOption = Annotated[
    list[str] | None,
    typer.Option(
        "--protocol",
        metavar="NAME=VALUE",
        help="Another protocol value, e.g. pulse_width_ms=5; repeat the option for several.",
        show_default=False,
    ),
]
TierOption = Annotated[
    str | None,
    typer.Option("--tier", help="Spec ranges for a file that has none: public, dev or hidden.", show_default=False),
]
GainOption = Annotated[
    str | None,
    typer.Option(
        "--gain",
        metavar="NUMBER|estimate",
        help="Stored values per quantum of a file that holds no counts (DICOM); `estimate` fits them to still pixels.",
        show_default=False,
    ),
]
OffsetOption = Annotated[
    float | None,
    typer.Option("--offset", help="Stored value at no quanta, with --gain; default 0.", show_default=False),
]
DetectorOption = Annotated[
    str | None,
    typer.Option(
        "--detector",
        metavar="NAME|FILE.toml",
        help="Detector whose lag, electronic noise, glare, pixel size, gain and offset are used (see "
        "`fluorojax detectors`).",
        show_default=False,
    ),
]
StageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stage",
        metavar="NAME",
        help="Extension of the imaging chain: "
        + "; ".join(f"{name}, {words}" for name, words in CHAIN_EXTENSIONS.items())
        + ". Repeat the option for several.",
        show_default=False,
    ),
]
IntensityOption = Annotated[
    str | None,
    typer.Option(
        "--intensity", metavar="lin|log", help="Scale of DICOM pixels whose file does not say it.", show_default=False
    ),
]
LogScaleOption = Annotated[
    float | None,
    typer.Option(
        "--log-scale",
        help="Stored values per unit of the natural logarithm, for LOG pixels of DICOM without a lookup table.",
        show_default=False,
    ),
]
AllowLossyOption = Annotated[
    bool, typer.Option("--allow-lossy", help="Take DICOM images that were compressed with loss.")
]
AllowOtherTruthOption = Annotated[
    bool,
    typer.Option("--allow-other-truth", help="Accept a file other than the one that was reconstructed."),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every progress report.")]


def make_selection(
    scene: SceneOption = None,
    frames: FramesOption = None,
    crop: CropOption = None,
    fps: FpsOption = None,
    photons: PhotonsOption = None,
    protocol: ProtocolOption = None,
    tier: TierOption = None,
    detector: DetectorOption = None,
    stage: StageOption = None,
    gain: GainOption = None,
    offset: OffsetOption = None,
    intensity: IntensityOption = None,
    log_scale: LogScaleOption = None,
    allow_lossy: AllowLossyOption = False,
) -> "Selection":
    """The part of a file, and how it is read, that options describe; raises ``ValueError`` naming the option."""
    from fluorojax.io.counting import Counting
    from fluorojax.io.selection import Selection, parse_range, parse_window

    values = dict(_protocol_value(entry) for entry in protocol or ())
    if fps is not None:
        if not 0 < fps < float("inf"):
            raise ValueError(f"--fps is {fps:g}; expected a positive number of frames per second")
        values["frame_time_ms"] = 1000.0 / fps
    if photons is not None:
        values["photons_per_pixel"] = photons
    number: float | str | None = gain
    if gain is not None:
        with suppress(ValueError):
            number = float(gain)
    return Selection(
        scenes=tuple(scene) if scene else None,
        frames=None if frames is None else parse_range("--frames", frames),
        crop=None if crop is None else parse_window("--crop", crop),
        protocol=values,
        tier=tier,
        # any word may be typed for the scale; a wrong one is refused here
        counting=Counting(number, offset, intensity, log_scale, allow_lossy),  # pyright: ignore[reportArgumentType]
        detector=make_detector(detector),
        chain=tuple(stage or ()),
    )


def make_detector(detector: str | None) -> "Detector | None":
    """The detector of the option ``--detector``; raises ``ValueError`` or ``InputError`` for one that is none."""
    if detector is None:
        return None
    from fluorojax.detectors.detector import load_detector

    return load_detector(detector)


def takes_selection(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that :func:`make_selection` has for parameters, in place of its own ``selection``.

    The command gets what :func:`make_selection` makes of them.
    """
    options = inspect.signature(make_selection).parameters

    @wraps(command)
    def run(**values: Any) -> int:
        chosen = {name: values.pop(name) for name in options}
        return command(**values, selection=make_selection(**chosen))

    found: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        found += options.values() if parameter.name == "selection" else [parameter]
    # read by typer, which calls a command with all of its parameters by name
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in found]
    run.__signature__ = inspect.Signature(parameters, return_annotation=int)  # pyright: ignore[reportAttributeAccessIssue]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _protocol_value(entry: str) -> tuple[str, float]:
    name, equals, value = entry.partition("=")
    try:
        number = float(value)
    except ValueError:
        equals, number = "", 0.0
    if not equals:
        raise ValueError(f"--protocol is {entry!r}; expected NAME=VALUE, such as pulse_width_ms=5")
    return name.strip(), number


def check_suffix(option: str, path: Path, expected: tuple[str, ...]) -> None:
    """Raise ``ValueError`` where the name of an output does not end as its format does."""
    if path.suffix.lower() not in expected and not path.is_dir():
        names = " or ".join(expected) if len(expected) < 3 else f"one of {', '.join(expected)}"
        raise ValueError(f"{option} is {str(path)!r}; expected a file name that ends in {names}")


def numbers_of(option: str, text: str, expected: str = "numbers") -> tuple[float, ...]:
    """The numbers of an option that are separated by commas. Raises ``ValueError`` where they are none."""
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{option} is {text!r}; expected {expected} separated by commas, e.g. 3,30,300") from error


HDF5_SUFFIXES = (".h5", ".hdf5")
"""How the names of the files end that the commands write as HDF5."""


def make_notify(quiet: bool) -> Callable[[str], None]:
    """Where remarks to the user go: standard error, or nowhere when ``quiet``."""

    def notify(line: str) -> None:
        if not quiet:
            tell(line)

    return notify
