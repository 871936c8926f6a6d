"""DICOM files as scenes: runs of X-ray angiography (XA) and radiofluoroscopy (XRF), or a folder of single frames."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from fluorojax.data.scene import Scene
from fluorojax.io.counting import Counting, to_counts
from fluorojax.io.dicom.checks import check_instance
from fluorojax.io.dicom.exposure import relative_dose
from fluorojax.io.dicom.files import (
    Instance,
    damage,
    items_of,
    read_header,
    read_pixels,
    reals,
    recognised,
    tag_of,
    texts,
    whole,
)
from fluorojax.io.dicom.intensity import linear_signal
from fluorojax.io.dicom.shutters import Window, largest_window, open_pixels
from fluorojax.io.dicom.timing import frame_time_ms, pulse_ms
from fluorojax.io.errors import InputError
from fluorojax.io.reader import SceneReader
from fluorojax.io.selection import Selection
from fluorojax.io.stacks import scene_of_stack
from fluorojax.physics.dose import FrameDose
from fluorojax.physics.exposure import ExposureWindow
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator

_MOST_FILES = 100_000


class DicomReader(SceneReader):
    """Every multi-frame file is a scene, and so are the single-frame files of a series together."""

    title = "DICOM (XA, XRF)"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """See :class:`SceneReader`; a folder is one of DICOM files where any file in it is."""
        if path.is_dir():
            return any(recognised(file) for file in _files(path))
        return recognised(path)

    def names(self) -> list[str]:
        """See :class:`SceneReader`."""
        with damage(self.path):
            return list(self._runs())

    def read(self, name: str, selection: Selection) -> Scene:
        """See :class:`SceneReader`."""
        # headers are decoded when they are looked at, so that damage may show anywhere
        with damage(self.path):
            return self._read(name, selection)

    def _read(self, name: str, selection: Selection) -> Scene:
        run = self._runs()[name]
        for instance in run:
            check_instance(instance, selection.of_stored_values)
        signal = _signal(run, selection.of_stored_values, str(self.path), name)
        facts = _facts(run, len(signal.values), selection)
        where = (str(self.path), name)
        known = {**facts.known, **selection.protocol}
        _check_complete(where, known, signal, selection)
        scene = scene_of_stack(
            str(self.path), signal.values, selection, name=name, known=facts.known, saturation=signal.saturation
        )
        metadata = {**scene.metadata, **facts.metadata, "scene": f"DICOM {facts.modality}"}
        metadata["window"] = [list(bounds) for bounds in signal.window]
        if remarks := [*facts.remarks, *signal.remarks, *scene.metadata.get("remarks", [])]:
            metadata["remarks"] = remarks
        operator = scene.operator if facts.dose is None else _with_dose(facts.dose)
        return replace(scene, metadata=metadata, operator=operator)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """See :class:`SceneReader`."""
        with damage(self.path):
            return self._shape(self._runs()[name])

    def _shape(self, run: tuple[Instance, ...]) -> tuple[int, ...]:
        frames = sum(instance.frames for instance in run)
        (top, bottom), (left, right) = _window(run)
        size = (bottom - top, right - left)
        return size if frames == 1 else (frames, *size)

    def _runs(self) -> dict[str, tuple[Instance, ...]]:
        if not hasattr(self, "_found"):
            paths = [self.path]
            if self.path.is_dir():
                paths = [path for path in _files(self.path) if recognised(path)]
            instances = [read_header(path) for path in paths]
            if self.path.is_dir():
                # directories, dose reports and presentation states stand beside the images of a series
                images = [instance for instance in instances if instance.start]
                instances = images or instances
            runs = _grouped(instances)
            self._found = {f"sample_{index:02d}": run for index, run in enumerate(runs)}
        return self._found


@dataclass(frozen=True)
class _Signal:
    values: np.ndarray
    saturation: float
    window: Window
    remarks: list[str]


@dataclass(frozen=True)
class _Facts:
    known: dict[str, float]
    metadata: dict[str, Any]
    remarks: list[str]
    dose: tuple[float, ...] | None
    modality: str


def source_instances(path: Path) -> dict[str, tuple[Instance, ...]]:
    """The files of every scene of a DICOM file or folder, by the names of the scenes."""
    return DicomReader(path)._runs()


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(folder, None, None, f"cannot be read: {error.strerror}") from error
    if len(found) > _MOST_FILES:
        raise InputError(folder, None, None, f"has {len(found)} files; expected the folder of one series")
    return found


def _grouped(instances: list[Instance]) -> list[tuple[Instance, ...]]:
    """Runs in the order of their files: multi-frame files alone, single frames by series and acquisition."""
    if len(instances) == 1:
        return [tuple(instances)]
    runs: dict[tuple[str, ...], list[Instance]] = {}
    for instance in instances:
        header = instance.header
        key = ("file", str(instance.path))
        if instance.frames == 1:
            words = (str(header.get(name, "")) for name in ("SeriesInstanceUID", "AcquisitionNumber"))
            key = ("series", *words)
        runs.setdefault(key, []).append(instance)
    return [_ordered(run) for run in runs.values()]


def _ordered(run: list[Instance]) -> tuple[Instance, ...]:
    """Single frames in the order of their instance numbers, none of which may be missing or stand twice."""
    if len(run) == 1:
        return tuple(run)
    numbered = sorted(((whole(i.header, "InstanceNumber", i.path), i) for i in run), key=lambda pair: pair[0])
    numbers = [number for number, _ in numbered]
    for (number, _), (after, instance) in pairwise(numbered):
        if after == number:
            problem = f"{tag_of('InstanceNumber')} is {after}, as that of another file; expected each once"
            raise InputError(instance.path, None, "InstanceNumber", problem)
    steps = set(np.diff(numbers).tolist())
    if len(steps) > 1:
        missing = sorted(set(range(numbers[0], numbers[-1] + 1, min(steps))) - set(numbers))
        problem = f"the series has no instance {missing[0] if missing else '?'}; expected a run without gaps"
        raise InputError(run[0].path.parent, None, "InstanceNumber", problem)
    return tuple(instance for _, instance in numbered)


def _signal(run: tuple[Instance, ...], counting: Counting, file: str, name: str) -> _Signal:
    parts, remarks, saturation = [], [], np.inf
    size: tuple[int, ...] | None = None
    for instance in run:
        stored = read_pixels(instance)
        if size is not None and stored.shape[1:] != size:
            problem = f"has {stored.shape[1:]} rows and columns; expected {size}, as the other frames of the series"
            raise InputError(instance.path, None, "Rows", problem)
        size = stored.shape[1:]
        values, clips, said = linear_signal(stored, instance, counting)
        saturation = min(saturation, clips)
        remarks += [remark for remark in said if remark not in remarks]
        parts.append(values)
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    window = _window(run)
    (top, bottom), (left, right) = window
    if (bottom - top, right - left) != values.shape[1:]:
        remarks.append(
            f"rows {top}:{bottom} and columns {left}:{right} are taken, the largest rectangle that collimator and "
            f"shutter leave open, of {values.shape[1]} × {values.shape[2]}"
        )
        values = np.ascontiguousarray(values[:, top:bottom, left:right])
    return _Signal(values, float(saturation), window, remarks)


def _window(run: tuple[Instance, ...]) -> Window:
    first = run[0]
    size = whole(first.header, "Rows", first.path), whole(first.header, "Columns", first.path)
    masks = [open_pixels(instance, *size) for instance in run]
    return largest_window(np.logical_and.reduce(masks))


def _facts(run: tuple[Instance, ...], frames: int, selection: Selection) -> _Facts:
    header, path = run[0].header, run[0].path
    known: dict[str, float] = {}
    metadata: dict[str, Any] = {}
    told = "frame_time_ms" in selection.protocol
    period, remarks = frame_time_ms(run, frames, told=told) if frames > 1 else (None, [])
    if period is not None:
        known["frame_time_ms"] = period
    width, said = pulse_ms(run, frames, selection.protocol.get("frame_time_ms", period))
    if width is not None:
        known["pulse_width_ms"] = width
    if "pulse_width_ms" not in selection.protocol:
        remarks += said
    dose, said = relative_dose(run, frames)
    remarks += said
    spacing = reals(header, "ImagerPixelSpacing", path)
    if len(spacing) == 2 and min(spacing) > 0:
        metadata["pixel_mm"] = float(np.mean(spacing))
        if abs(spacing[0] - spacing[1]) > 1e-3 * max(spacing):
            remarks.append(f"pixels are {spacing[0]:g} × {spacing[1]:g} mm; their mean is taken as their distance")
    if mask := _mask_frames(run[0], frames):
        metadata["mask_frames"] = mask
    for keyword, what in (("PositionerMotion", "the gantry"), ("TableMotion", "the table")):
        if texts(header, keyword) == ["DYNAMIC"]:
            remarks.append(f"{what} moves during the run: everything in the images moves, and no pixel is still")
    if texts(header, "BurnedInAnnotation") == ["YES"]:
        remarks.append(
            "text or graphics are burned into the images; those pixels are no counts: leave them out by --crop"
        )
    return _Facts(known, metadata, remarks, dose, (texts(header, "Modality") or ["XA"])[0])


def _mask_frames(instance: Instance, frames: int) -> list[int]:
    """Mask frames that the file names for the display, from 0; none where it names none."""
    for item in items_of(instance.header, "MaskSubtractionSequence"):
        if texts(item, "MaskOperation") == ["AVG_SUB"]:
            numbers = [int(number) - 1 for number in reals(item, "MaskFrameNumbers", instance.path)]
            if numbers and all(0 <= number < frames for number in numbers) and len(set(numbers)) == len(numbers):
                return numbers
            problem = f"{tag_of('MaskFrameNumbers')} names frames that are none of the {frames} of the run"
            raise InputError(instance.path, None, "MaskFrameNumbers", problem)
    return []


def _check_complete(where: tuple[str, str], known: dict[str, float], signal: _Signal, selection: Selection) -> None:
    """Refuse a run that lacks what no default can stand for, all of it in one line with the options that give it."""
    missing = []
    if len(signal.values) > 1 and "frame_time_ms" not in known:
        missing.append(f"the frame period (FrameTime {tag_of('FrameTime')}, or --fps)")
    if "pulse_width_ms" not in known:
        missing.append(
            f"the exposure time (AveragePulseWidth {tag_of('AveragePulseWidth')}, or --protocol pulse_width_ms=MS)"
        )
    if selection.of_stored_values.gain is None:
        missing.append("the stored values per quantum (--gain with --offset, or --gain estimate)")
    if "photons_per_pixel" not in known:
        hint = ""
        if selection.of_stored_values.gain is not None:
            counts, facts = to_counts(
                _sequence(signal.values),
                selection.of_stored_values,
                where,
                saturation=signal.saturation,
                electronic_noise=known.get("electronic_noise", 0.0),
            )
            hint = f"; the brightest thousandth of the pixels has {np.quantile(counts, 0.999):.4g}"
            hint += "".join(f"; {remark}" for remark in facts.get("remarks", ()))
        missing.append(f"the counts of a pixel in the open beam (--photons{hint})")
    if missing:
        raise InputError(*where, None, f"lacks {'; '.join(missing)}")


def _sequence(values: np.ndarray) -> np.ndarray:
    return values[0] if len(values) == 1 else values


def _with_dose(dose: tuple[float, ...]) -> FluoroscopyOperator:
    """The published imaging chain with the dose of every frame, after the exposure window."""
    stages = PUBLISHED_OPERATOR.stages
    after = 1 + next(index for index, stage in enumerate(stages) if isinstance(stage, ExposureWindow))
    return FluoroscopyOperator((*stages[:after], FrameDose(dose), *stages[after:]), PUBLISHED_OPERATOR.attenuation)
