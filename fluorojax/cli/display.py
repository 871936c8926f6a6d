"""``fluorojax display``: pictures and movies of a file, as a screen shows them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import OverwriteOption, QuietOption, check_suffix, make_notify, takes_selection
from fluorojax.cli.printing import say

if TYPE_CHECKING:
    from fluorojax.io import Selection


@takes_selection
def display(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Reconstruction, subtraction, file of scenes, or DICOM run.", show_default=False
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Picture or movie to write: .png, .gif or .mp4.", show_default=False
        ),
    ],
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            help="Images to show: x_hat, counts, x_true, subtraction, vessel_map or stored. Default: x_hat of a "
            "reconstruction, counts of scenes, stored of DICOM without --gain.",
            show_default=False,
        ),
    ] = None,
    *,
    selection: "Selection",
    window: Annotated[
        float | None,
        typer.Option("--window", metavar="WIDTH", help="Width of the window, with --level.", show_default=False),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option("--level", metavar="VALUE", help="Middle of the window, with --window.", show_default=False),
    ] = None,
    percentiles: Annotated[
        str | None,
        typer.Option(
            "--percentiles",
            metavar="LOW:HIGH",
            help="Percentiles of the pixels between which the window lies. Default: the window of a DICOM file, else "
            "0.5:99.5.",
            show_default=False,
        ),
    ] = None,
    dicom_window: Annotated[
        int | None,
        typer.Option("--dicom-window", metavar="N", help="Number of the window of a DICOM file.", show_default=False),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="Show high attenuation dark, as on a fluoroscopy screen.")
    ] = False,
    sharpen: Annotated[float, typer.Option(help="Gain of the edges (unsharp masking); 0 for none, 20 at most.")] = 0.0,
    sharpen_width: Annotated[
        float, typer.Option(metavar="PIXELS", help="Standard deviation of what counts as an edge.")
    ] = 1.5,
    contrast: Annotated[
        float, typer.Option(help="Gain of the details of all sizes (Laplacian pyramid); 0 for none, 20 at most.")
    ] = 0.0,
    levels: Annotated[int, typer.Option(help="Levels of the pyramid: sizes from 1 to 2^(levels-1) pixels.")] = 4,
    limit: Annotated[
        float, typer.Option(help="Details below so many of their standard deviations are not enhanced; 1 or more.")
    ] = 2.0,
    correlation: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS",
            help="Width over which the errors of the picture are correlated. Default: 0 for counts, 0.75 for "
            "reconstructions.",
            show_default=False,
        ),
    ] = None,
    show_sd: Annotated[
        bool, typer.Option("--show-sd", help="Show beside the picture its standard deviation, amplified as it is.")
    ] = False,
    dsa: Annotated[bool, typer.Option("--dsa", help="Show contrast agent in colour: subtraction of a mask.")] = False,
    road_map: Annotated[
        bool, typer.Option("--road-map", help="Show the vessels of the most opacified frames in colour.")
    ] = False,
    overlay: Annotated[
        Path | None,
        typer.Option(
            "--overlay", metavar="SUB.h5", help="Show a file of `fluorojax subtract` in colour.", show_default=False
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            metavar="FRAMES",
            help="Frames before contrast: A:B (B excluded) or indices 0,1,2. Default: those that the file names, else "
            "0:4.",
            show_default=False,
        ),
    ] = None,
    peak: Annotated[
        str | None,
        typer.Option(
            "--peak", metavar="FRAMES", help="Opacified frames of --road-map. Default: found.", show_default=False
        ),
    ] = None,
    opacity: Annotated[float, typer.Option(help="Opacity of the colour where there is most contrast, 0 to 1.")] = 0.8,
    least_sd: Annotated[
        float, typer.Option(help="Contrast below so many of its standard deviations is not coloured.")
    ] = 3.0,
    magnify: Annotated[int, typer.Option(help="Side of the square that shows a pixel.")] = 1,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            metavar="FPS",
            help="Frames per second of a movie. Default: those of the run, else 15.",
            show_default=False,
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> int:
    """Show the frames of a scene as a screen shows them, in pictures or a movie.

    Details are enhanced only where they stand out of the noise, and the standard deviation is amplified along:
    --show-sd shows it. Several frames as .png become OUT-0000.png and so on. A movie as .mp4 needs the extra `movie`.
    """
    from fluorojax.display.compose import DisplayOptions, display_file
    from fluorojax.display.enhancement import Enhancement
    from fluorojax.display.export import SUFFIXES
    from fluorojax.display.pictures import What
    from fluorojax.subtraction.files import parse_frames

    check_suffix("--output", output, SUFFIXES)
    if sum((dsa, road_map, overlay is not None)) > 1:
        raise ValueError("several of --dsa, --road-map and --overlay are given; expected one")
    if what is not None and what not in list(What):
        raise ValueError(f"--what is {what!r}; expected one of {', '.join(What)}")
    options = DisplayOptions(
        width=window,
        level=level,
        percentiles=None if percentiles is None else _percentiles(percentiles),
        dicom_window=dicom_window,
        invert=invert,
        enhancement=Enhancement(sharpen, sharpen_width, contrast, levels, limit),
        correlation=correlation,
        show_sd=show_sd,
        overlay="dsa" if dsa else "road map" if road_map else overlay,
        mask=None if mask is None else parse_frames("--mask", mask),
        peak=None if peak is None else parse_frames("--peak", peak),
        opacity=opacity,
        least_sd=least_sd,
        magnify=magnify,
        rate=rate,
    )
    files = display_file(
        source,
        output,
        options,
        what=None if what is None else What(what),
        selection=selection,
        overwrite=overwrite,
        notify=make_notify(quiet),
    )
    if not quiet:
        names = f"{files[0]}" if len(files) == 1 else f"{files[0]} … {files[-1].name}"
        say(f"wrote {names}")
    return 0


def _percentiles(text: str) -> tuple[float, float]:
    low, colon, high = text.partition(":")
    try:
        found = float(low), float(high)
    except ValueError:
        colon, found = "", (0.0, 100.0)
    if not colon:
        raise ValueError(f"--percentiles is {text!r}; expected LOW:HIGH, such as 1:99")
    return found
