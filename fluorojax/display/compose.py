"""From a file to what a screen shows: windows, enhancement, overlays and standard deviation put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np

from fluorojax.display.enhancement import Enhancement, enhance
from fluorojax.display.export import FASTEST, SLOWEST, check_pictures, write_pictures
from fluorojax.display.overlays import Overlay, blend, dsa_overlay, read_overlay, road_map_overlay
from fluorojax.display.pictures import Pictures, What, read_pictures
from fluorojax.display.screen import Pane, arrange
from fluorojax.display.windows import grey_levels, level_window, percentile_window
from fluorojax.io import InputError, Selection
from fluorojax.io.selection import NO_SELECTION
from fluorojax.plot.display import Window, spread_window
from fluorojax.reports.palettes import palette_of
from fluorojax.subtraction.dsa import CountRun, SubtractOptions
from fluorojax.subtraction.files import FIRST_FRAMES

OVERLAYS = ("dsa", "road map")


@dataclass(frozen=True)
class DisplayOptions:
    """How pictures are shown. Raises ``ValueError`` for options that exclude each other or are out of range."""

    width: float | None = None
    """Width of the window in the unit of the picture, together with ``level``."""
    level: float | None = None
    percentiles: tuple[float, float] | None = None
    """Percentiles between which the window lies."""
    dicom_window: int | None = None
    """Number of the window of a DICOM file that is taken, from 1. By default the first one, where the file has any,
    else the percentiles 0.5 and 99.5."""
    invert: bool = False
    """Show high values dark, as fluoroscopy shows contrast agent; for a DICOM file, the other way than it says."""
    enhancement: Enhancement = field(default_factory=Enhancement)
    correlation: float | None = None
    """Width in pixels over which the errors of the picture are correlated; by default that of
    :attr:`Pictures.correlation`: 0 for counts, whose errors are independent, and 0.75 for reconstructions."""
    show_sd: bool = False
    """Show the standard deviation of the picture beside it, as the enhancement amplifies it."""
    overlay: str | Path | None = None
    """``dsa``, ``road map``, or a file of ``fluorojax subtract``."""
    mask: tuple[int, ...] | None = None
    """Frames before contrast; by default those that the file names, else the first four."""
    peak: tuple[int, ...] | None = None
    """Opacified frames of the road map; found where not given."""
    opacity: float = 0.8
    least_sd: float = 3.0
    """Contrast below so many of its standard deviations is not coloured."""
    magnify: int = 1
    rate: float | None = None
    """Frames per second of a movie; by default that of the run, else 15."""

    def __post_init__(self) -> None:
        given = [self.width is not None or self.level is not None, self.percentiles, self.dicom_window is not None]
        if sum(map(bool, given)) > 1:
            raise ValueError(
                "several windows are given; expected a window with its level, percentiles, or one of DICOM"
            )
        if (self.width is None) != (self.level is None):
            raise ValueError("one of window and level is missing; expected both")
        if self.width is not None and self.level is not None:
            level_window(self.level, self.width)
        if self.percentiles is not None:
            percentile_window(np.zeros(1, np.float32), *self.percentiles)
        if self.overlay not in ("dsa", "road map") and (self.mask is not None or self.peak is not None):
            raise ValueError("mask or peak frames are given; expected them with an overlay of DSA or road map only")
        if self.overlay == "dsa" and self.peak is not None:
            raise ValueError("peak frames are given; expected them with a road map only")
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity is {self.opacity:g}; expected 0 to 1")
        if not self.least_sd >= 0:
            raise ValueError(f"least_sd is {self.least_sd:g}; expected at least 0")
        if not 1 <= self.magnify <= 32:
            raise ValueError(f"magnify is {self.magnify}; expected 1 to 32")
        if self.rate is not None and not SLOWEST <= self.rate <= FASTEST:
            raise ValueError(f"rate is {self.rate:g}; expected {SLOWEST:g} to {FASTEST:g} frames per second")


@dataclass(frozen=True)
class Shown:
    """What was made of the pictures of one scene."""

    panes: tuple[Pane, ...]
    pictures: Pictures
    """The frames and pixels that are shown, enhanced; ``sd`` is the amplified one."""
    window: Window
    amplification: float | None
    """Median ratio of the amplified standard deviation to that before, where both are known."""


def show(
    pictures: Pictures,
    options: DisplayOptions = DisplayOptions(),
    *,
    selection: Selection = NO_SELECTION,
    file: str = "",
) -> Shown:
    """Put a scene on the screen. Overlays use all frames, then frames and pixels of ``selection`` are cut out.

    Raises ``ValueError`` where a standard deviation is needed and not known, and where a run cannot be subtracted;
    :class:`~fluorojax.io.InputError` for frames or pixels outside the pictures. ``file`` is its name in messages.
    """
    overlay = _overlay(pictures, options)
    whole = pictures
    pictures = pictures.cut(selection, file)
    if overlay is not None:
        overlay = overlay.cut(selection, whole, file)
    needs = "enhancement" if options.enhancement.amplifies else "show_sd" if options.show_sd else ""
    if needs and pictures.sd is None:
        raise ValueError(
            f"{needs} needs the standard deviation of the picture, and nothing tells it for {pictures.unit}s of "
            f"{pictures.name}; expected a reconstruction with x_std, or counts (of DICOM: --gain and --photons)"
        )
    amplification = None
    if pictures.sd is not None and options.enhancement.amplifies:
        before = pictures.sd
        correlation = pictures.correlation if options.correlation is None else options.correlation
        made = enhance(pictures.values, before, replace(options.enhancement, correlation=correlation))
        pictures = replace(pictures, values=made.values, sd=made.sd)
        known = np.isfinite(made.sd) & (before > 0)
        amplification = float(np.median(made.sd[known] / before[known])) if known.any() else None
    window = _window(pictures, options)
    levels = grey_levels(pictures.values, window, invert=options.invert != pictures.inverted)
    grey = palette_of("image")
    colours = grey[levels] if overlay is None else blend(levels, overlay.strength(options.least_sd), options.opacity)
    scale = grey[::-1] if options.invert != pictures.inverted else grey
    panes = [Pane(colours, pictures.unit, window, scale)]
    if options.show_sd and pictures.sd is not None:
        spread = spread_window(pictures.sd)
        title = "amplified sd" if options.enhancement.amplifies else "sd"
        false = palette_of("spread")
        panes.append(Pane(false[grey_levels(pictures.sd, spread)], title, spread, false))
    return Shown(tuple(panes), pictures, window, amplification)


def display_file(
    path: str | PathLike[str],
    output: str | PathLike[str],
    options: DisplayOptions = DisplayOptions(),
    *,
    what: What | None = None,
    selection: Selection = NO_SELECTION,
    overwrite: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Show one scene of a file in pictures or a movie (:func:`~fluorojax.display.write_pictures`).

    ``selection`` chooses scene, frames and pixels, and how counts are read. ``notify`` is told what is shown. Returns
    the files that were written, all or none of them. Raises :class:`~fluorojax.io.InputError` and ``ValueError`` as the
    functions that it calls.
    """
    inputs = [path, *([options.overlay] if isinstance(options.overlay, Path) else [])]
    check_pictures(output, [0], overwrite=True)
    names = list(selection.scenes or ())
    if len(names) > 1:
        raise ValueError("several scenes are given; expected one")
    pictures = read_pictures(path, names[0] if names else None, what, selection)
    _check_frames(pictures, selection, str(path))
    count = len(pictures.values) if selection.frames is None else selection.frames[1] - selection.frames[0]
    first = 0 if selection.frames is None else selection.frames[0]
    numbers = range(first, first + count)
    check_pictures(output, numbers, inputs=inputs, overwrite=overwrite)
    try:
        shown = show(pictures, options, selection=selection, file=str(path))
    except ValueError as error:
        raise InputError(path, pictures.name, None, str(error)) from error
    notify(
        f"{pictures.name}: {shown.pictures.unit} from {shown.window.low:.4g} to {shown.window.high:.4g}, window "
        f"{shown.window.high - shown.window.low:.4g}, level {0.5 * (shown.window.low + shown.window.high):.4g}"
    )
    if shown.amplification is not None:
        notify(
            f"{pictures.name}: the enhancement multiplies the standard deviation by {shown.amplification:.3g} (median)"
        )
    real = None if pictures.frame_time_ms is None else 1000.0 / pictures.frame_time_ms
    rate = options.rate or (15.0 if real is None else min(max(real, SLOWEST), FASTEST))
    return write_pictures(
        output, arrange(shown.panes, magnify=options.magnify), rate=rate, numbers=numbers, inputs=inputs,
        overwrite=overwrite,
    )  # fmt: skip


def _check_frames(pictures: Pictures, selection: Selection, file: str) -> None:
    """A file of one frame is no sequence, but its frame has the number 0."""
    if selection.frames is not None and selection.frames[1] > len(pictures.values):
        count = len(pictures.values)
        problem = f"has {count} frames; expected --frames within 0:{count}, not {':'.join(map(str, selection.frames))}"
        raise InputError(file, pictures.name, None, problem)


def _window(pictures: Pictures, options: DisplayOptions) -> Window:
    if options.width is not None and options.level is not None:
        return level_window(options.level, options.width)
    if options.dicom_window is not None:
        count = len(pictures.windows)
        if not 1 <= options.dicom_window <= count:
            held = f"holds {count} windows that are linear" if count else "holds no window that is linear"
            raise ValueError(f"the file {held}, and number {options.dicom_window} is asked for; expected --window")
        return pictures.windows[options.dicom_window - 1]
    if options.percentiles is None and pictures.windows:
        return pictures.windows[0]
    return percentile_window(pictures.values, *(options.percentiles or (0.5, 99.5)))


def _overlay(pictures: Pictures, options: DisplayOptions) -> Overlay | None:
    if options.overlay is None:
        return None
    if options.overlay not in OVERLAYS:
        return read_overlay(options.overlay, pictures)
    if pictures.run is None:
        raise ValueError("cannot be subtracted; expected a sequence of counts, or a reconstruction with x_std")
    mask: Sequence[int] = options.mask or pictures.mask_frames or FIRST_FRAMES
    # gain drift moves the brightness of counts; in a reconstruction it is corrected
    settings = SubtractOptions(match_level=isinstance(pictures.run, CountRun))
    if options.overlay == "dsa":
        return dsa_overlay(pictures.run, mask, settings)
    return road_map_overlay(pictures.run, mask, options.peak, settings)
