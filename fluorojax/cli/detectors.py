"""``fluorojax detectors``: the detectors that ship with the package, and files of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import (
    AllowLossyOption,
    FpsOption,
    IntensityOption,
    LogScaleOption,
    OverwriteOption,
    check_suffix,
)
from fluorojax.cli.printing import print_json, say, tell

if TYPE_CHECKING:
    from fluorojax.data.scene import Scene
    from fluorojax.detectors.detector import Detector, Figure
    from fluorojax.io.counting import Counting

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


@detectors.command()
def fit(
    flat: Annotated[
        Path, typer.Argument(metavar="FLAT", help="Run of the open beam at a constant dose.", show_default=False)
    ],
    dark: Annotated[Path, typer.Argument(metavar="DARK", help="Run without any beam.", show_default=False)],
    edge: Annotated[
        Path | None, typer.Argument(metavar="[EDGE]", help="Image of a slanted edge.", show_default=False)
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.toml", help="Detector file to write.", show_default=False)
    ],
    step: Annotated[
        Path | None,
        typer.Option("--step", metavar="RUN", help="Run in which the beam ends, for the lag.", show_default=False),
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", help="What the detector is called.", show_default=False)
    ] = None,
    pixel_mm: Annotated[
        float | None,
        typer.Option("--pixel-mm", help="Distance of the pixels, in place of that of FLAT, mm.", show_default=False),
    ] = None,
    fps: FpsOption = None,
    intensity: IntensityOption = None,
    log_scale: LogScaleOption = None,
    allow_lossy: AllowLossyOption = False,
    overwrite: OverwriteOption = False,
) -> int:
    """Measure a detector: offset, gain, electronic noise and defects from a flat and a dark run.

    EDGE, the image of a slanted edge, adds the frequency at which the modulation transfer is one half. --step adds the
    time constant of the lag. All runs are DICOM, NumPy, TIFF or HDF5 files of stored values of one mode of the
    detector; nothing may have been smoothed, and no offset or gain may have been corrected differently between them.
    """
    from fluorojax.data.acquisition import Acquisition
    from fluorojax.detectors.detector import Detector, Figure
    from fluorojax.detectors.fitting import fit_edge, fit_flat, fit_lag
    from fluorojax.io import check_output
    from fluorojax.io.counting import Counting

    check_suffix("OUT.toml", output, TOML_SUFFIXES)
    given = [path for path in (flat, dark, edge, step) if path is not None]
    check_output(output, inputs=given, overwrite=overwrite)
    if pixel_mm is not None and not 0 < pixel_mm < float("inf"):
        raise ValueError(f"--pixel-mm is {pixel_mm:g}; expected a positive distance")
    counting = Counting(1.0, None, intensity, log_scale, allow_lossy)  # pyright: ignore[reportArgumentType]
    flat_scene, dark_scene = _stored(flat, counting), _stored(dark, counting)
    bright, black = (scene.y if scene.y.ndim == 3 else scene.y[None] for scene in (flat_scene, dark_scene))
    found = fit_flat(bright, black)
    figures, remarks = dict(found.figures), list(found.remarks)
    known = flat_scene.metadata.get("pixel_mm") if pixel_mm is None else pixel_mm
    if known is not None:
        source = f"{flat.name} states it" if pixel_mm is None else "given by hand"
        figures = {"pixel_mm": Figure(float(known), source), **figures}
    if edge is not None:
        if known is None:
            raise ValueError(f"{flat} does not state the distance of the pixels; expected --pixel-mm for the edge")
        sharpness = fit_edge(_stored(edge, counting).y, bright, black, float(known))
        figures, remarks = figures | sharpness.figures, remarks + sharpness.remarks
    if step is not None:
        run = _stored(step, counting, fps)
        if "frame_time_ms" in run.metadata.get("assumed", {}):
            raise ValueError(f"{step} does not state its frame period; expected --fps")
        period, delay = run.acquisition.as_dict()["frame_time_ms"], Acquisition().as_dict()["readout_delay_ms"]
        lag = fit_lag(run.y, black, frame_time_ms=period, readout_delay_ms=delay)
        figures, remarks = figures | lag.figures, remarks + lag.remarks
    detector = Detector(output.stem, title or output.stem, figures)
    _write(detector, output, given, overwrite)
    for line in _lines(detector):
        say(line)
    for remark in remarks:
        tell(remark)
    say(f"wrote {output}")
    return 0


@detectors.command()
def grid(
    image: Annotated[Path, typer.Argument(metavar="GRID", help="Image of a square grid of beads.", show_default=False)],
    flat: Annotated[Path, typer.Argument(metavar="FLAT", help="The same beam without the grid.", show_default=False)],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.toml", help="Detector file to write.", show_default=False)
    ],
    detector: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="Detector whose other figures are kept.", show_default=False),
    ] = None,
    degree: Annotated[int, typer.Option(min=1, max=7, help="Degree of the polynomials of the map.")] = 5,
    intensity: IntensityOption = None,
    log_scale: LogScaleOption = None,
    allow_lossy: AllowLossyOption = False,
    overwrite: OverwriteOption = False,
) -> int:
    """Measure how a detector bends the image (pincushion, S), from the image of a grid of beads.

    The map becomes a part of the detector file, and --detector puts it into the imaging chain: counts are not
    resampled.
    """
    from dataclasses import replace

    from fluorojax.detectors.detector import Detector, load_detector
    from fluorojax.detectors.grid import fit_grid
    from fluorojax.io import check_output
    from fluorojax.io.counting import Counting

    check_suffix("OUT.toml", output, TOML_SUFFIXES)
    inputs = [image, flat, *([Path(detector)] if detector is not None and detector.endswith(".toml") else [])]
    check_output(output, inputs=inputs, overwrite=overwrite)
    counting = Counting(1.0, None, intensity, log_scale, allow_lossy)  # pyright: ignore[reportArgumentType]
    shown, bright = _stored(image, counting).y, _stored(flat, counting).y
    found = fit_grid(shown, bright, degree=degree)
    known = Detector(output.stem, output.stem, {}) if detector is None else load_detector(detector)
    _write(replace(known, distortion=found.distortion), output, inputs, overwrite)
    say(
        f"{found.beads} beads, {found.pitch:.4g} pixels apart; the map leaves {found.residual:.2g} pixels (root mean "
        "square) and moves the corners by "
        f"{found.distortion.largest_shift(shown.shape[-2:]):.3g} pixels"
    )
    say(f"wrote {output}")
    return 0


def _stored(path: Path, counting: "Counting", fps: float | None = None) -> "Scene":
    """The only scene of a file with its values as they are stored, linear in the dose."""
    from fluorojax.io import InputError, Selection, open_scenes
    from fluorojax.io.counting import AS_THEY_ARE
    from fluorojax.io.hdf5_scenes import Hdf5Reader

    holds_counts = path.is_file() and Hdf5Reader.recognises(path)  # nothing is subtracted and divided there
    protocol = {"photons_per_pixel": 1.0}
    if fps is not None:
        if not 0 < fps < float("inf"):
            raise ValueError(f"--fps is {fps:g}; expected a positive number of frames per second")
        protocol["frame_time_ms"] = 1000.0 / fps
    chosen = Selection(protocol=protocol, counting=AS_THEY_ARE if holds_counts else counting)
    scenes = open_scenes(path, selection=chosen)
    if len(scenes) != 1:
        raise InputError(path, None, None, f"has {len(scenes)} scenes; expected one run")
    return next(iter(scenes))


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
