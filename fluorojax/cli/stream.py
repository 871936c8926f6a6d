"""``fluorojax stream``: an estimate of every frame before the next one comes."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluorojax.cli.backend import use_cache
from fluorojax.cli.options import (
    HDF5_SUFFIXES,
    FpsOption,
    OverwriteOption,
    PhotonsOption,
    ProtocolOption,
    QuietOption,
    TierOption,
    VerboseOption,
    check_suffix,
    make_selection,
)
from fluorojax.cli.printing import print_json, say, tell

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fluorojax.data.acquisition import Acquisition
    from fluorojax.io import Selection
    from fluorojax.streaming import Dropped, Frame, LivePage, Summary


class Pace(StrEnum):
    """How fast the frames of a scene are played."""

    FAST = "fast"
    LIVE = "live"


@dataclass(frozen=True)
class Opened:
    """A source that is ready to be read."""

    title: str
    """Name of the source in messages."""
    arriving: "Iterable[Frame | Dropped]"
    acquisition: "Acquisition"
    scene: str
    """Name of the scene in the output."""
    shape: tuple[int, int] | None = None
    """Rows and columns of a frame, where they are known before the first one comes."""
    frames: int | None = None
    """Number of frames, where it is known."""
    sha256: str = ""
    """Digest of the file, where it is complete."""


def stream(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="File of scenes; a folder that frames are written into; a file of raw frames with --follow; or - for "
            "raw frames on standard input.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT.h5", help="Reconstruction file to write.", show_default=False),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show a live page in the browser, on this machine only.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the live page; 0 takes a free one.")] = 0,
    pace: Annotated[
        Pace,
        typer.Option(
            help="Speed of a file of scenes: as fast as it is computed, or live at its frame rate, where frames that "
            "come too early are dropped."
        ),
    ] = Pace.FAST,
    follow: Annotated[
        bool, typer.Option("--follow", help="SOURCE is a file of raw frames that another process appends to.")
    ] = False,
    scene: Annotated[
        str | None, typer.Option(metavar="NAME", help="Scene of the file. Default: the first.", show_default=False)
    ] = None,
    delay: Annotated[
        int, typer.Option(min=0, max=2, help="Frames that a result may be late: 1 and 2 smooth with later frames.")
    ] = 0,
    filter_alone: Annotated[
        bool, typer.Option("--filter-alone", help="Leave out the network, at a fifth of the computing time.")
    ] = False,
    frames: Annotated[
        int | None, typer.Option(min=1, help="End after this number of frames. Default: all.", show_default=False)
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a frame after which the stream ends.")
    ] = 10.0,
    lag: Annotated[
        float | None,
        typer.Option(
            help="Offset of the time constant of the detector lag, ms, from a calibration. Default: the middle of the "
            "range of the tier.",
            show_default=False,
        ),
    ] = None,
    fps: FpsOption = None,
    photons: PhotonsOption = None,
    protocol: ProtocolOption = None,
    tier: TierOption = None,
    gather: Annotated[
        bool,
        typer.Option("--gather", help="Only make SOURCE, the output of a stream that was killed, from its frames."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures of the stream as JSON.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Estimate every frame and its standard deviation before the next one comes.

    The memory does not grow with the stream. A frame of another shape or kind, a missing frame, a step of dose, a new
    frame rate and a moving table are told, and the stream goes on. Raw frames are arrays in the .npy format one after
    another, as numpy.save writes them; a folder holds one .npy or TIFF file for each frame. For those, --photons gives
    the counts of the open beam.

    A stream that ends early (time-out, Ctrl-C) leaves a complete output; one that was killed leaves its frames in
    OUT.h5.parts, from which `fluorojax stream OUT.h5 --gather` makes the output. The exit code is 1 if the source
    stalled or no frame could be used.
    """
    if gather:
        return _gather(source, overwrite, quiet)
    if output is not None:
        check_suffix("--output", output, HDF5_SUFFIXES)
        from fluorojax.io import check_output

        check_output(output, inputs=[] if source == "-" else [source], overwrite=overwrite)
    if follow and (source == "-" or Path(source).is_dir()):
        raise ValueError("--follow is given for a source that is no file; expected a file of raw frames")
    use_cache(quiet)
    selection = make_selection(
        None if scene is None else [scene], fps=fps, photons=photons, protocol=protocol, tier=tier
    )
    opened = _open(source, selection, follow, pace, timeout)
    from fluorojax.runs.progress import make_progress
    from fluorojax.streaming import FileSink, Stream, live_network, shipped_sha256
    from fluorojax.streaming import stream as run_stream

    settings: dict[str, Any] = {"delay": delay, "pace": pace.value, **selection.as_settings()}
    settings["network"] = None if filter_alone else shipped_sha256()
    if lag is not None:
        settings["lag"] = lag
    chosen_tier = tier or "public"
    running = Stream(
        opened.acquisition,
        opened.shape,
        tier=chosen_tier,
        delay=delay,
        lag=lag,
        network=None if filter_alone else live_network(),
        on_event=lambda event: tell(f"{opened.title}: {event.text}"),
    )
    with ExitStack() as stack:
        sinks: list[Any] = []
        if output is not None:
            sink = FileSink(
                output,
                opened.acquisition,
                tier=chosen_tier,
                scene=opened.scene,
                source=opened.title,
                source_sha256=opened.sha256,
                settings=settings,
                overwrite=overwrite,
            )
            sinks.append(stack.enter_context(sink))
        if serve:
            page = stack.enter_context(_page(port, opened.title))
            sinks.append(page)
            tell(f"the live page is at {page.address}")
        total = frames if opened.frames is None else min(opened.frames, frames or opened.frames)
        progress = stack.enter_context(make_progress("stream", quiet=quiet or total is None, verbose=verbose))
        progress.start(total or 1, "frame")
        results = run_stream(opened.arriving, opened.acquisition, sinks=sinks, limit=frames, run=running)
        for done, result in enumerate(results, 1):
            progress.update(done, f"latency {result.latency_ms:.1f} ms")
    summary = running.summary
    if as_json:
        print_json(summary.as_dict())
    elif not quiet:
        for line in _lines(summary):
            say(line)
        if output is not None and output.exists():
            say(f"wrote {output}")
    return 1 if summary.stalled or not summary.frames else 0


def _gather(source: str, overwrite: bool, quiet: bool) -> int:
    from fluorojax.streaming import gather_blocks

    check_suffix("SOURCE", Path(source), HDF5_SUFFIXES)
    count = gather_blocks(source, overwrite=overwrite)
    if not quiet:
        say(f"wrote {source}, {count} frames")
    return 0


def _open(source: str, selection: "Selection", follow: bool, pace: Pace, timeout: float) -> Opened:
    """The source that the arguments name; raises :class:`~fluorojax.io.InputError`."""
    from fluorojax.streaming import growing_file, paced, raw_frames, scene_frames, watched_folder, with_timeout
    from fluorojax.streaming.sinks import SCENE

    path = Path(source)
    if source != "-" and not follow and not path.is_dir():
        from fluorojax.io import file_sha256, open_scenes

        scenes = open_scenes(path, selection=selection)
        scene = scenes[next(iter(scenes.names))]
        counts = scene.y if scene.y.ndim == 3 else scene.y[None]
        arriving: Any = scene_frames(scene)
        if pace is Pace.LIVE:
            arriving = paced(arriving, 1000.0 / scene.acquisition.as_dict()["frame_time_ms"])
        return Opened(
            path.name, arriving, scene.acquisition, scene.name, counts.shape[1:], len(counts), file_sha256(path)
        )
    if pace is Pace.LIVE:
        raise ValueError(
            "--pace is live for a source whose frames come by themselves; expected it for a file of scenes"
        )
    if source == "-":
        title, read = "standard input", raw_frames(sys.stdin.buffer)
    elif follow:
        title, read = path.name, growing_file(path)
        if not path.is_file():
            from fluorojax.io import InputError

            raise InputError(path, None, None, "no such file; expected a file of raw frames")
    else:
        title, read = path.name, watched_folder(path)
    acquisition = _protocol(source, selection)
    return Opened(title, with_timeout(read, timeout), acquisition, SCENE)


def _protocol(source: str, selection: "Selection") -> "Acquisition":
    """The protocol of a source that has none; raises :class:`~fluorojax.io.InputError`."""
    from fluorojax.data.acquisition import Acquisition
    from fluorojax.data.spec import SpecRanges
    from fluorojax.io import InputError
    from fluorojax.io.stacks import narrowed_ranges
    from fluorojax.physics.operator import PUBLISHED_OPERATOR

    name = "standard input" if source == "-" else source
    if "photons_per_pixel" not in selection.protocol:
        problem = (
            "lacks photons_per_pixel, the counts of a pixel in the open beam; expected it as an option (--photons)"
        )
        raise InputError(name, None, "acquisition", problem)
    acquisition = Acquisition.from_dict(selection.protocol)
    tier = SpecRanges.for_tier(selection.tier or "public")
    try:
        acquisition.check(narrowed_ranges(tier, acquisition, PUBLISHED_OPERATOR.parameters)[0])
    except ValueError as error:
        raise InputError(name, None, "acquisition", str(error)) from error
    return acquisition


def _page(port: int, title: str) -> "LivePage":
    from fluorojax.streaming import LivePage

    try:
        return LivePage(port, title=f"{title} – fluorojax stream")
    except OSError as error:
        raise ValueError(
            f"--port is {port}, which cannot be had: {error.strerror}; expected a free port or 0"
        ) from error


def _lines(summary: "Summary") -> list[str]:
    """The figures of a stream in words."""
    latency = summary.latency()
    lost = [
        f"{count} {word}" for word, count in vars(summary).items() if word in ("bad", "dropped", "missing") and count
    ]
    lines = [f"{summary.frames} frames{''.join(f', {entry}' for entry in lost)}"]
    if summary.frames:
        lines.append(
            f"latency: median {latency['median']:.1f} ms, 99 % {latency['p99']:.1f} ms, worst {latency['worst']:.1f} ms"
        )
        lines.append(f"gain drift: {summary.gain_drift:+.3f} ± {summary.gain_drift_std:.3f} %/frame")
    return lines
