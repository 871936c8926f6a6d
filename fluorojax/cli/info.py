"""``fluorojax info``: what a file holds, in plain words."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluorojax.cli.options import takes_selection
from fluorojax.cli.printing import print_json, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluorojax.data.scene import Scene
    from fluorojax.io import ResultSummary, Selection


@takes_selection
def info(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File of scenes, or a reconstruction file.", show_default=False)
    ],
    *,
    selection: "Selection",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> int:
    """Show the content of a file: scenes, shapes, counts, protocol, spec ranges, truth; or method, results, provenance.

    A file of scenes is a challenge file, a DICOM run, a NumPy array (.npy) or a TIFF stack. Nothing is computed.
    """
    from fluorojax.io import Selection
    from fluorojax.subtraction.files import file_kind

    if file_kind(file) == "reconstruction":
        if selection != Selection(scenes=selection.scenes):
            raise ValueError(f"{file} is a reconstruction file; expected no options for it but --scene and --json")
        document, lines = _of_reconstruction(file, selection.scenes)
    else:
        document, lines = _of_scenes(file, selection)
    if as_json:
        print_json(document)
    else:
        for line in lines:
            say(line)
    return 0


def _of_scenes(file: Path, selection: "Selection") -> tuple[dict[str, Any], list[str]]:
    from fluorojax.io import open_scenes

    scenes = open_scenes(file, selection=selection)
    document: dict[str, Any] = {"file": str(file), "format": scenes.format, "scenes": {}}
    lines = [f"{file}: {scenes.format}, {_several(len(scenes), 'scene')}"]
    for scene in scenes:
        document["scenes"][scene.name] = _facts(scene)
        lines += ["", f"{scene.name}: {_shape_words(scene.y.shape)}", *(f"  {line}" for line in _scene_lines(scene))]
    return document, lines


def _facts(scene: "Scene") -> dict[str, Any]:
    return {
        "shape": list(scene.y.shape),
        "counts": {"min": scene.y.min(), "mean": scene.y.mean(dtype="f8"), "max": scene.y.max()},
        "acquisition": scene.acquisition.as_dict(),
        "spec_ranges": scene.ranges.as_dict(),
        "truth": scene.x_true is not None,
        "true_spec": None if scene.true_spec is None else scene.true_spec.as_dict(),
        "stages": [type(stage).__name__ for stage in _stages(scene)],
        "metadata": scene.metadata,
    }


def _stages(scene: "Scene") -> list[Any]:
    return list(getattr(scene.operator, "stages", ()))


def _scene_lines(scene: "Scene") -> list[str]:
    from fluorojax.runs.notes import assumptions

    counts, protocol = scene.y, scene.acquisition.as_dict()
    lines = [
        f"counts from {counts.min():.4g} to {counts.max():.4g} per pixel and frame, {counts.mean(dtype='f8'):.4g} on "
        f"average; {protocol['photons_per_pixel']:.6g} in the open beam",
        f"{1000 / protocol['frame_time_ms']:.4g} frames per second ({protocol['frame_time_ms']:.4g} ms each)",
        f"exposure window {protocol['pulse_width_ms']:g} ms nominal, detector lag {protocol['lag_ms']:g} ms nominal "
        f"(time constant), readout {protocol['readout_delay_ms']:.4g} ms after the exposure",
        f"optical depth {protocol['attenuation_scale']:g} at x = 1, scattered share {protocol['scatter_fraction']:g}",
    ]
    if protocol["electronic_noise"] > 0:
        lines.append(f"electronic noise {protocol['electronic_noise']:g} quanta (standard deviation in each pixel)")
    units = {parameter.name: parameter.unit for parameter in scene.operator.parameters}
    for name, (low, high) in scene.ranges.as_dict().items():
        unit = units.get(name, "")
        lines.append(f"{name} is unknown within {low:g} … {high:g}{f' {unit}' if unit else ''}")
    if scene.true_spec is None:
        spec = "no true specification"
    else:
        values = (f"{name} {value:g}" for name, value in scene.true_spec.as_dict().items())
        spec = f"true specification: {', '.join(values)}"
    lines.append(f"{'the true sequence is in the file' if scene.x_true is not None else 'no true sequence'}; {spec}")
    return lines + assumptions(scene)


def _of_reconstruction(file: Path, names: "Sequence[str] | None") -> tuple[dict[str, Any], list[str]]:
    from dataclasses import asdict

    from fluorojax.io import InputError, read_provenance, read_skipped, read_summaries

    provenance, skipped = read_provenance(file), read_skipped(file)
    found = {summary.name: summary for summary in read_summaries(file)}
    if missing := [name for name in names or () if name not in found]:
        raise InputError(file, missing[0], None, f"no such scene in this file; expected one of {', '.join(found)}")
    chosen = [found[name] for name in names or found]
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    lines = [
        f"{file}: reconstruction of {_several(len(found), 'scene')}",
        f"method {provenance.method or 'not recorded'}, model {provenance.model or 'not recorded'}, seed "
        f"{provenance.seed if provenance.seed >= 0 else 'not recorded'}",
        f"made from {provenance.input_file or 'a file that is not recorded'}"
        + (f" (SHA-256 {provenance.input_sha256[:12]}…)" if provenance.input_sha256 else ""),
    ]
    if versions:
        lines.append(f"versions: {versions}")
    settings = ", ".join(f"{name} {value}" for name, value in provenance.settings.items() if value is not None)
    if settings:
        lines.append(f"settings: {settings}")
    document = {"file": str(file), "provenance": asdict(provenance), "skipped": skipped, "scenes": {}}
    for summary in chosen:
        shape = _result_shape(file, summary.name)
        document["scenes"][summary.name] = {
            "shape": list(shape),
            "status": summary.status.name.lower(),
            "seconds": summary.seconds,
            "corrected_spec": summary.spec.as_dict(),
            "corrected_spec_std": summary.spec_std.as_dict(),
            **({} if summary.times_ms is None else {"times_ms": summary.times_ms.tolist()}),
        }
        lines += ["", f"{summary.name}: {_shape_words(shape)}", *(f"  {line}" for line in _result_lines(summary))]
    lines += [f"{name} was skipped: {reason}" for name, reason in skipped.items()]
    return document, lines


def _result_lines(summary: "ResultSummary") -> list[str]:
    from fluorojax.data.wording import in_words, nominal_value, times_words
    from fluorojax.reports.numbers import number

    values, std = summary.spec.as_dict(), summary.spec_std.as_dict()
    lines = [f"{summary.status.value}; {number(summary.seconds, 1)} s"]
    if summary.times_ms is not None:
        lines.append(times_words(summary.times_ms, summary.nominal.get("frame_time_ms")))
    for parameter in summary.parameters:
        name = parameter.name
        prior, nominal = summary.prior_ranges.get(name), nominal_value(parameter, summary.nominal)
        lines.append(in_words(parameter, values[name], std[name], prior=prior, nominal=nominal))
    return lines


def _result_shape(file: Path, name: str) -> tuple[int, ...]:
    from fluorojax.io.hdf5 import numeric_dataset, open_hdf5, scene_group

    with open_hdf5(file) as handle:
        return numeric_dataset(scene_group(handle, name), "x_hat", (str(file), name), "an array of images").shape


def _shape_words(shape: tuple[int, ...]) -> str:
    rows, columns = shape[-2:]
    frames = f"{shape[0]} frames of " if len(shape) == 3 else "a single frame of "
    return f"{frames}{rows} × {columns} pixels"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
