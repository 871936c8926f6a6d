"""``fluorojax convert``: challenge files, NumPy arrays and TIFF stacks into one another."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import (
    HDF5_SUFFIXES,
    OverwriteOption,
    QuietOption,
    check_suffix,
    make_notify,
    takes_selection,
)
from fluorojax.cli.printing import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fluorojax.data.scene import Scene
    from fluorojax.io import Selection


DICOM_SUFFIXES = (".dcm",)


class Images(StrEnum):
    """What of a file is written as a stack."""

    COUNTS = "counts"
    X_TRUE = "x_true"
    X_HAT = "x_hat"
    X_STD = "x_std"


@takes_selection
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="File of scenes, or a reconstruction file.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="File to write: .h5, .hdf5, .npy, .tif, .tiff or .dcm.", show_default=False),
    ],
    what: Annotated[
        Images | None,
        typer.Option(
            "--what", help="Images of a stack. Default: counts, or x_hat of a reconstruction file.", show_default=False
        ),
    ] = None,
    *,
    selection: "Selection",
    dicom_source: Annotated[
        Path | None,
        typer.Option(
            "--source", metavar="RUN", help="With OUT.dcm: the DICOM run that was reconstructed.", show_default=False
        ),
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="With OUT.dcm: take the patient out, by the basic profile of DICOM.")
    ] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> int:
    """Write scenes, or the images of one, in another file format.

    The formats follow from the content of IN and the ending of OUT. An HDF5 file holds all scenes with their protocol.
    A NumPy array (.npy) or a TIFF stack holds the images of one scene; choose it with --scene if there are several. A
    TIFF stack keeps the protocol in its image description. An array has no protocol: give it with --photons, --fps and
    --protocol when you use the array.

    A DICOM run holds stored values of a detector: --gain and --offset turn them into counts. A reconstruction or
    subtraction file becomes DICOM with OUT.dcm and --source, the run it was made from: the images as a derived image,
    their standard deviation as OUT.std.dcm, and the summary of a reconstruction as OUT.summary.dcm. Patient and study
    are those of the source, or nobody with --deidentify.
    """
    from fluorojax.io import check_output
    from fluorojax.io.stack_writer import STACK_SUFFIXES

    check_suffix("OUT", output, (*HDF5_SUFFIXES, *STACK_SUFFIXES, *DICOM_SUFFIXES))
    check_output(output, inputs=[source], overwrite=overwrite)
    if output.suffix.lower() in DICOM_SUFFIXES:
        if what is not None:
            raise ValueError(f"--what is {what.value!r}; expected no --what for OUT.dcm")
        written = _to_dicom(source, output, dicom_source, selection, deidentify=deidentify, overwrite=overwrite)
    elif dicom_source is not None or deidentify:
        raise ValueError("--source or --deidentify is given; expected them for OUT.dcm only")
    else:
        _to_file(source, output, what, selection, overwrite, make_notify(quiet))
        written = [output]
    if not quiet:
        say(f"wrote {', '.join(map(str, written))}")
    return 0


def _to_dicom(
    source: Path, output: Path, run: Path | None, selection: "Selection", *, deidentify: bool, overwrite: bool
) -> "Sequence[Path]":
    """Write a result beside the DICOM run it was made from; returns the files."""
    from fluorojax.io.dicom.extra import needing

    if run is None:
        raise ValueError("OUT.dcm is written beside the run it was made from; expected that run with --source")
    if selection.frames is not None or selection.crop is not None:
        raise ValueError("--frames or --crop is given; expected neither for OUT.dcm")
    names = list(selection.scenes or ())
    if len(names) > 1:
        raise ValueError("--scene is given more than once; expected one scene for OUT.dcm")
    with needing(run):
        from fluorojax.dicom.export import export_result

        return export_result(
            source,
            output,
            run,
            scene=names[0] if names else None,
            counting=selection.of_stored_values,
            deidentify=deidentify,
            overwrite=overwrite,
        )


def _to_file(
    source: Path,
    output: Path,
    what: Images | None,
    selection: "Selection",
    overwrite: bool,
    notify: "Callable[[str], None]",
) -> None:
    """Write scenes as a challenge file, or the images of one scene as a stack."""
    from fluorojax.io import Selection
    from fluorojax.subtraction.files import file_kind

    is_result = file_kind(source) == "reconstruction"
    chosen = what or (Images.X_HAT if is_result else Images.COUNTS)
    if is_result != (chosen in (Images.X_HAT, Images.X_STD)):
        holds = "a reconstruction file, which has x_hat and x_std" if is_result else "a file of scenes, without results"
        raise ValueError(f"--what is {chosen.value!r}, but {source} is {holds}")
    if output.suffix.lower() in HDF5_SUFFIXES:
        if chosen is not Images.COUNTS:
            raise ValueError(f"OUT is {str(output)!r}; expected .npy, .tif or .tiff for the images {chosen.value}")
        _to_challenge(source, output, selection, overwrite, notify)
    elif is_result:
        if replace(selection, scenes=None, frames=None, crop=None) != Selection():
            raise ValueError(f"{source} is a reconstruction file; expected no options of protocol or gain for it")
        _result_to_stack(source, output, chosen, selection, overwrite)
    else:
        _scene_to_stack(source, output, chosen, selection, overwrite, notify)


def _to_challenge(
    source: Path, output: Path, selection: "Selection", overwrite: bool, notify: "Callable[[str], None]"
) -> None:
    from fluorojax.io import file_sha256, open_scenes, package_versions, write_challenge

    scenes = open_scenes(source, selection=selection)
    facts = {"versions": package_versions(), "input_file": source.name, "input_sha256": file_sha256(source)}
    write_challenge(
        output,
        scenes,
        tier=scenes.tier or selection.tier or "public",
        overwrite=overwrite,
        provenance={**facts, "settings": selection.as_settings()},
        on_scene=lambda scene: _tell_assumptions(scene, notify),
    )


def _tell_assumptions(scene: "Scene", notify: "Callable[[str], None]") -> None:
    from fluorojax.runs.notes import assumptions

    for remark in assumptions(scene):
        notify(f"{scene.name}: {remark}")


def _scene_to_stack(
    source: Path,
    output: Path,
    what: Images,
    selection: "Selection",
    overwrite: bool,
    notify: "Callable[[str], None]",
) -> None:
    from fluorojax.io import InputError, open_scenes, write_stack

    scenes = open_scenes(source, selection=selection)
    scene = scenes[_only(list(scenes.names), output)]
    if what is Images.COUNTS:
        if output.suffix.lower() != ".npy":  # an array holds no protocol
            _tell_assumptions(scene, notify)
        write_stack(output, scene.y, acquisition=scene.acquisition, inputs=[source], overwrite=overwrite)
        return
    if scene.x_true is None:
        raise InputError(source, scene.name, "x_true", "missing; expected the true sequence")
    write_stack(output, scene.x_true, inputs=[source], overwrite=overwrite)


def _result_to_stack(source: Path, output: Path, what: Images, selection: "Selection", overwrite: bool) -> None:
    from fluorojax.io import InputError, list_reconstructions, read_reconstruction, write_stack

    names = list_reconstructions(source)
    name = _only(list(selection.scenes or names), output)
    result = read_reconstruction(source, name)
    values = result.x_hat if what is Images.X_HAT else result.x_std
    if values is None:
        raise InputError(source, name, "x_std", "missing; expected the standard deviation")
    write_stack(output, selection.cut(values, (str(source), name)), inputs=[source], overwrite=overwrite)


def _only(names: list[str], output: Path) -> str:
    if len(names) > 1:
        shown = f"{', '.join(names[:6])}{', …' if len(names) > 6 else ''}"
        raise ValueError(f"OUT is {str(output)!r}, which takes one scene; expected --scene with one of {shown}")
    return names[0]
