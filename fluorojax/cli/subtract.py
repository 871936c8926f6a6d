"""``fluorojax subtract``: digital subtraction and road maps of the scenes of a file."""

from pathlib import Path
from typing import Annotated

import typer

from fluorojax.cli.backend import use_cache
from fluorojax.cli.options import (
    HDF5_SUFFIXES,
    AllowOtherTruthOption,
    OverwriteOption,
    QuietOption,
    VerboseOption,
    check_suffix,
)
from fluorojax.cli.printing import say, tell


def subtract(
    input_file: Annotated[
        Path, typer.Argument(metavar="IN.h5", help="Challenge file or reconstruction.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.h5", help="File to write.", show_default=False)
    ],
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FRAMES",
            help="Frames before contrast: A:B (B excluded) or indices 0,1,2. Default: the mask frames that the file "
            "names (DICOM), else 0:4.",
            show_default=False,
        ),
    ] = None,
    road_map: Annotated[
        bool,
        typer.Option("--road-map", help="Subtract the most opacified frames instead, and store them as vessel_map."),
    ] = False,
    peak: Annotated[
        str | None,
        typer.Option(
            metavar="FRAMES",
            help="Opacified frames of the road map. Default: found from the counts.",
            show_default=False,
        ),
    ] = None,
    register: Annotated[bool, typer.Option(help="Shift the mask to each frame, by fractions of a pixel.")] = True,
    match_level: Annotated[
        bool | None,
        typer.Option(help="Remove a brightness offset from each frame. Default: for counts only.", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="SIM.h5", help="Simulated challenge file: print scores on its vessels.", show_default=False
        ),
    ] = None,
    allow_other_truth: AllowOtherTruthOption = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Subtract a mask from every frame, with the standard deviation of the difference.

    The output has the groups of the input, with `subtraction` and `subtraction_std` in the unit of x (times the
    attenuation scale: optical depth of contrast agent). The standard deviation contains noise, but not the motion of
    organs. The exit code is 1 if a reconstruction that diverged was left out.
    """
    from fluorojax.runs.progress import make_progress
    from fluorojax.subtraction.files import SubtractSettings, parse_frames, subtract_file

    check_suffix("--output", output, HDF5_SUFFIXES)
    notify = use_cache(quiet)
    settings = SubtractSettings(
        mask=None if mask is None else parse_frames("--mask", mask),
        mode="road map" if road_map else "subtraction",
        peak=None if peak is None else parse_frames("--peak", peak),
        register=register,
        match_level=match_level,
    )
    if truth is not None:
        from fluorojax.subtraction.score import check_truth

        check_truth(input_file, truth, allow_other=allow_other_truth, notify=notify)
    with make_progress("subtract", quiet=quiet, verbose=verbose) as progress:
        skipped = subtract_file(input_file, output, settings, overwrite=overwrite, progress=progress)
    for name, reason in skipped.items():
        tell(f"{input_file}: {name}: left out, {reason}")
    if truth is not None:
        print_scores(output, truth)
    elif not quiet:
        say(f"wrote {output}")
    return 1 if skipped else 0


def print_scores(output: Path, truth: Path) -> None:
    """Print how the vessels of a simulated file show in its subtraction (:class:`fluorojax.metrics.VesselScore`)."""
    from fluorojax.cli.tables import print_table
    from fluorojax.reports.numbers import number
    from fluorojax.subtraction.score import score_subtractions

    digits = {"recovery": 3, "rmse": 4, "noise": 4, "cnr": 2, "z_vessels": 2, "z_background": 2}
    rows = [
        [name, *(number(getattr(score, field), places) for field, places in digits.items())]
        for name, score in score_subtractions(output, truth).items()
    ]
    columns = ["scene", "recovery", "RMSE", "background sd", "CNR", "error/sd vessels", "error/sd background"]
    print_table(f"{output}: contrast of the vessels", columns, rows)
