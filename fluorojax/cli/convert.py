"""``fluorojax convert``: challenge files, NumPy arrays and TIFF stacks into one another."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import (
    HDF5_SUFFIXES,
    AllowLossyOption,
    CropOption,
    FpsOption,
    FramesOption,
    GainOption,
    IntensityOption,
    LogScaleOption,
    OffsetOption,
    OverwriteOption,
    PhotonsOption,
    ProtocolOption,
    QuietOption,
    SceneOption,
    TierOption,
    check_suffix,
    make_counting,
    make_notify,
    make_selection,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluorojax.data.scene import Scene
    from fluorojax.io import Selection


class Images(StrEnum):
    """What of a file is written as a stack."""

    COUNTS = "counts"
    X_TRUE = "x_true"
    X_HAT = "x_hat"
    X_STD = "x_std"


def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="File of scenes, or a reconstruction file.", show_default=False),
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write: .h5, .hdf5, .npy, .tif or .tiff.", show_default=False)
    ],
    what: Annotated[
        Images | None,
        typer.Option(
            "--what", help="Images of a stack. Default: counts, or x_hat of a reconstruction file.", show_default=False
        ),
    ] = None,
    scene: SceneOption = None,
    frames: FramesOption = None,
    crop: CropOption = None,
    fps: FpsOption = None,
    photons: PhotonsOption = None,
    protocol: ProtocolOption = None,
    tier: TierOption = None,
    gain: GainOption = None,
    offset: OffsetOption = None,
    intensity: IntensityOption = None,
    log_scale: LogScaleOption = None,
    allow_lossy: AllowLossyOption = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
) -> int:
    """Write scenes, or the images of one, in another file format.

    The formats follow from the content of IN and the ending of OUT. An HDF5 file holds all scenes with their protocol.
    A NumPy array (.npy) or a TIFF stack holds the images of one scene; choose it with --scene if there are several. A
    TIFF stack keeps the protocol in its image description. An array has no protocol: give it with --photons, --fps and
    --protocol when you use the array.
    """
    from fluorojax.io import check_output
    from fluorojax.io.stack_writer import STACK_SUFFIXES
    from fluorojax.subtraction.files import file_kind

    check_suffix("OUT", output, (*HDF5_SUFFIXES, *STACK_SUFFIXES))
    check_output(output, inputs=[source], overwrite=overwrite)
    counting = make_counting(gain, offset, intensity, log_scale, allow_lossy)
    selection = make_selection(
        scene, frames, crop, fps=fps, photons=photons, protocol=protocol, tier=tier, counting=counting
    )
    notify = make_notify(quiet)
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
        _result_to_stack(source, output, chosen, selection, overwrite)
    else:
        _scene_to_stack(source, output, chosen, selection, overwrite)
    if not quiet:
        print(f"wrote {output}")
    return 0


def _to_challenge(
    source: Path, output: Path, selection: "Selection", overwrite: bool, notify: "Callable[[str], None]"
) -> None:
    from fluorojax.io import file_sha256, open_scenes, package_versions, write_challenge
    from fluorojax.runs.files import assumptions

    def tell(scene: "Scene") -> None:
        for remark in assumptions(scene):
            notify(f"{scene.name}: {remark}")

    scenes = open_scenes(source, selection=selection)
    facts = {"versions": package_versions(), "input_file": source.name, "input_sha256": file_sha256(source)}
    write_challenge(
        output,
        scenes,
        tier=selection.tier or "public",
        overwrite=overwrite,
        provenance={**facts, "settings": selection.as_settings()},
        on_scene=tell,
    )


def _scene_to_stack(source: Path, output: Path, what: Images, selection: "Selection", overwrite: bool) -> None:
    from fluorojax.io import InputError, open_scenes, write_stack

    scenes = open_scenes(source, selection=selection)
    scene = scenes[_only(list(scenes.names), output)]
    if what is Images.COUNTS:
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
