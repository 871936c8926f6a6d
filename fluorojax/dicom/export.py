"""A reconstruction or subtraction file of this package as DICOM objects beside the run it was made from."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fluorojax.io import (
    InputError,
    Selection,
    atomic_output,
    check_output,
    file_sha256,
    list_reconstructions,
    open_scenes,
    read_provenance,
    read_reconstruction,
    recorded_selection,
    writing,
)
from fluorojax.io.counting import AS_THEY_ARE, Counting
from fluorojax.io.dicom.extra import needing
from fluorojax.io.dicom.reader import DicomReader, source_instances
from fluorojax.io.hdf5 import numeric_dataset, open_hdf5, read_array, scene_group
from fluorojax.io.matching import check_same_counts
from fluorojax.io.texts import as_text

if TYPE_CHECKING:
    from pydicom import Dataset

    from fluorojax.dicom.source import Source

_FIRST_SERIES = 9001


def export_result(
    path: str | PathLike[str],
    output: str | PathLike[str],
    source: str | PathLike[str],
    *,
    scene: str | None = None,
    counting: Counting = AS_THEY_ARE,
    deidentify: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write a scene of a reconstruction or subtraction file as DICOM objects; returns the files, all or none of them.

    ``OUT.dcm`` holds the images as a derived XA or XRF image, ``OUT.std.dcm`` their standard deviation as
    floating-point pixels, and of a reconstruction ``OUT.summary.dcm`` the structured summary. ``source`` is the DICOM
    file or folder that was reconstructed: patient and study come from it, and its counts are compared with those
    recorded in the result. ``counting`` is needed where the result was made from counts that had been converted before.

    Raises :class:`~fluorojax.io.InputError` where the files do not belong together or cannot be used.
    """
    path, output, source = Path(path), Path(output), Path(source)
    if not source.exists() or not DicomReader.recognises(source):
        raise InputError(source, None, None, "is no DICOM file or folder; expected the run that was reconstructed")
    with needing(source):
        import dicomanonymizer  # noqa: F401
        import highdicom  # noqa: F401  (needed in the end: better told before anything is done)
    name = _scene_name(path, scene, output)
    is_result = _is_reconstruction(path, name)
    files = [output, output.with_suffix(".std.dcm")] + ([output.with_suffix(".summary.dcm")] if is_result else [])
    for file in files:
        check_output(file, inputs=[path, source], overwrite=overwrite)
    from fluorojax.dicom.source import Source

    runs = source_instances(source)
    if name not in runs:
        raise InputError(source, name, None, f"no such run in it; expected one of {', '.join(runs)}")
    run = runs[name]
    if deidentify and any(str(instance.header.get("BurnedInAnnotation", "")).upper() == "YES" for instance in run):
        problem = "(0028,0301) is YES: text in the images may name the patient, and is not taken out; expected NO"
        raise InputError(source, name, "BurnedInAnnotation", problem)
    origin = Source([instance.path for instance in run])
    objects = (
        _of_reconstruction(path, name, source, origin, counting)
        if is_result
        else _of_subtraction(path, name, source, origin, counting)
    )
    if deidentify:
        from fluorojax.dicom.deidentify import deidentify as clean

        clean(objects)
    _write_all(zip(files, objects, strict=False), [path, source], overwrite)
    return files[: len(objects)]


def _of_reconstruction(path: Path, name: str, source: Path, origin: "Source", counting: Counting) -> "list[Dataset]":
    from pydicom.uid import generate_uid

    from fluorojax.dicom.derived import derived_image, parametric_map
    from fluorojax.dicom.summary import summary_report

    result, provenance = read_reconstruction(path, name), read_provenance(path)
    if provenance.input_sha256 != file_sha256(source):
        chosen = recorded_selection(path)
        chosen = Selection(
            frames=chosen.frames,
            crop=chosen.crop,
            counting=chosen.counting if counting == AS_THEY_ARE else counting,
            detector=chosen.detector,
        )
        _check_counts(path, name, result.counts_sha256, source, chosen, result.nominal)
    said = f"Normalised attenuation by fluorojax, method {provenance.method}"
    first = derived_image(
        origin,
        result.x_hat,
        series=generate_uid(),
        number=_FIRST_SERIES,
        description="fluorojax attenuation",
        derivation=said,
        frame_time_ms=result.frame_time_ms,
        times_ms=result.times_ms,
    )
    if result.x_std is None:
        raise InputError(path, name, "x_std", "missing; expected the standard deviation")
    second = parametric_map(
        origin,
        result.x_std,
        series=generate_uid(),
        number=_FIRST_SERIES + 1,
        description="fluorojax standard deviation",
        derivation=said,
        quantity="Posterior standard deviation of the normalised attenuation",
    )
    third = summary_report(origin, result, provenance, series=generate_uid(), number=_FIRST_SERIES + 2)
    return [first, second, third]


def _of_subtraction(path: Path, name: str, source: Path, origin: "Source", counting: Counting) -> "list[Dataset]":
    from pydicom.uid import generate_uid

    from fluorojax.dicom.derived import derived_image, parametric_map

    with open_hdf5(path) as handle:
        group, where = scene_group(handle, name), (str(path), name)
        images, spread = (
            read_array(numeric_dataset(group, field, where, "images (T, H, W)"), field, where).astype(np.float32)
            for field in ("subtraction", "subtraction_std")
        )
        digest = str(as_text(group.attrs.get("counts_sha256", ""))) or None
    _check_counts(path, name, digest, source, Selection(counting=counting), {})
    said = "Digital subtraction of a mask by fluorojax, in units of the normalised attenuation"
    period = _period(source, name)
    first = derived_image(
        origin,
        images,
        series=generate_uid(),
        number=_FIRST_SERIES + 3,
        description="fluorojax subtraction",
        derivation=said,
        subtracted=True,
        frame_time_ms=period,
    )
    second = parametric_map(
        origin,
        spread,
        series=generate_uid(),
        number=_FIRST_SERIES + 4,
        description="fluorojax subtraction, standard deviation",
        derivation=said,
        quantity="Standard deviation of the subtracted attenuation",
    )
    return [first, second]


def _period(source: Path, name: str) -> float | None:
    """The frame period of a run in ms by its headers, None where they do not tell."""
    from fluorojax.io.dicom.timing import frame_time_ms

    run = source_instances(source)[name]
    frames = sum(instance.frames for instance in run)
    return frame_time_ms(run, frames, told=True)[0] if frames > 1 else None


def _check_counts(
    path: Path, name: str, digest: str | None, source: Path, chosen: Selection, nominal: dict[str, float]
) -> None:
    """Refuse a source whose counts are not those with the recorded digest, whatever the protocol around them."""
    if digest is None:
        raise InputError(path, name, None, f"does not record its counts, and {source} is another file than its input")
    protocol = {"photons_per_pixel": 1.0, "frame_time_ms": 1.0, "pulse_width_ms": 1.0, **nominal}
    known = {field: value for field, value in protocol.items() if value > 0}
    check_same_counts(open_scenes(source, selection=replace(chosen, protocol=known))[name], digest, source, path)


def _scene_name(path: Path, scene: str | None, output: Path) -> str:
    names = list(list_reconstructions(path))
    if scene is None and len(names) > 1:
        shown = f"{', '.join(names[:6])}{', …' if len(names) > 6 else ''}"
        raise ValueError(f"OUT is {str(output)!r}, which takes one scene; expected --scene with one of {shown}")
    if scene is not None and scene not in names:
        raise InputError(path, scene, None, f"no such scene in this file; expected one of {', '.join(names[:8])}")
    return names[0] if scene is None else scene


def _is_reconstruction(path: Path, name: str) -> bool:
    with open_hdf5(path) as handle:
        group = scene_group(handle, name)
        if "x_hat" in group:
            return True
        if "subtraction" in group:
            return False
    raise InputError(path, name, None, "holds neither x_hat nor a subtraction; expected a file of results")


def _write_all(pairs: "Iterable[tuple[Path, Dataset]]", inputs: list[Path], overwrite: bool) -> None:
    with ExitStack() as stack:
        for file, made in pairs:
            temporary = stack.enter_context(atomic_output(file, inputs=inputs, overwrite=overwrite))
            with writing(file):
                made.save_as(temporary, enforce_file_format=True, implicit_vr=False, little_endian=True)
