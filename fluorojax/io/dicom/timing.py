"""Frame period and exposure time of a run, from its headers."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from fluorojax.io.dicom.checks import frame_groups
from fluorojax.io.dicom.files import Instance, real, reals, tag_of, texts
from fluorojax.io.errors import InputError

UNEVEN = 0.02
"""Relative deviation of a frame period from the mean that is told."""
TOO_UNEVEN = 0.25
"""Relative deviation from which on a run is refused."""


def frame_time_ms(run: Sequence[Instance], frames: int, *, told: bool) -> tuple[float | None, list[str]]:
    """The frame period in ms, None where the files do not say, and remarks.

    FrameIncrementPointer chooses between FrameTime and FrameTimeVector; further sources are CineRate, and the times of
    acquisition of the frames of an enhanced image or of single-frame files. Periods that differ from their mean by more
    than 2 % are told, and the mean is used; by more than a quarter they are refused unless the period is ``told`` by
    the user. Raises :class:`InputError` for times that contradict each other.
    """
    first = run[0]
    vector = _vector(first, frames) if len(run) == 1 else None
    if vector is None:
        period = real(first.header, "FrameTime", first.path)
        if period is not None and not period > 0:
            raise InputError(
                first.path, None, "FrameTime", f"{tag_of('FrameTime')} is {period:g}; expected more than 0 ms"
            )
        if period is not None:
            return period, []
        vector = _periods(_clock(run), first)
    if vector is None:
        rate = real(first.header, "CineRate", first.path)
        return (1000.0 / rate, []) if rate is not None and rate > 0 else (None, [])
    mean = float(vector.mean())
    uneven = float(np.abs(vector / mean - 1.0).max())
    if uneven <= UNEVEN or told:
        return mean, []
    words = f"the frames are {vector.min():.4g} to {vector.max():.4g} ms apart"
    if uneven > TOO_UNEVEN:
        raise InputError(
            first.path,
            None,
            "FrameTimeVector",
            f"{words}; expected an even run: take an even part with --frames and give its rate with --fps",
        )
    return mean, [f"{words}; {mean:.4g} ms, their mean, is taken for all of them"]


def _vector(instance: Instance, frames: int) -> np.ndarray | None:
    """The periods between frames by FrameTimeVector, where that is what counts."""
    header, path = instance.header, instance.path
    values = reals(header, "FrameTimeVector", path)
    if not values:
        if _points_to(instance, 0x00181065):
            problem = "is missing, and FrameIncrementPointer points to it; expected it, or --fps"
            raise InputError(path, None, "FrameTimeVector", f"{tag_of('FrameTimeVector')} {problem}")
        return None
    if "FrameTime" in header and _points_to(instance, 0x00181063):
        return None
    at = f"{tag_of('FrameTimeVector')} "
    if len(values) != frames:
        problem = f"has {len(values)} values for {frames} frames; expected one for each frame"
        raise InputError(path, None, "FrameTimeVector", at + problem)
    periods = np.array(values[1:])
    if values[0] < 0 or (periods <= 0).any():
        problem = "holds periods that are not positive; expected 0 for the first frame, and more for the others"
        raise InputError(path, None, "FrameTimeVector", at + problem)
    return periods if len(periods) else None


def _points_to(instance: Instance, tag: int) -> bool:
    pointer = instance.header.get("FrameIncrementPointer")
    if pointer is None or pointer == "":
        return False
    values = [pointer] if isinstance(pointer, int) else list(pointer)
    return any(int(value) == tag for value in values)


def _clock(run: Sequence[Instance]) -> list[datetime] | None:
    """Times of the frames, where all of them have one."""
    if len(run) == 1:
        groups = frame_groups(run[0].header, "FrameContentSequence")
        stamps = [group.get("FrameAcquisitionDateTime") or group.get("FrameReferenceDateTime") for group in groups]
        times = [_moment(str(stamp)) if stamp else None for stamp in stamps]
    else:
        times = [_of_instance(instance) for instance in run]
    if len(times) < 2 or any(time is None for time in times):
        return None
    return [time for time in times if time is not None]


def _of_instance(instance: Instance) -> datetime | None:
    header = instance.header
    if stamp := header.get("AcquisitionDateTime"):
        return _moment(str(stamp))
    for kind in ("Acquisition", "Content"):
        if time := header.get(kind + "Time"):
            return _moment(f"{header.get(kind + 'Date') or '19000101'}{time}")
    return None


def _moment(text: str) -> datetime | None:
    text = text.strip().split("+")[0].split("-")[0]
    whole, _, fraction = text.partition(".")
    try:
        moment = datetime.strptime(whole, "%Y%m%d%H%M%S")
        return moment + timedelta(seconds=float(f"0.{fraction or 0}"))
    except ValueError:
        return None


def _periods(times: list[datetime] | None, first: Instance) -> np.ndarray | None:
    if times is None:
        return None
    periods = np.diff([(time - times[0]).total_seconds() * 1000.0 for time in times])
    if (periods == 0).all():  # whole seconds only, or the time of the series
        return None
    if (periods <= 0).any():
        problem = "does not grow from frame to frame; expected times in the order of the frames, or --fps"
        raise InputError(first.path, None, "AcquisitionTime", f"{tag_of('AcquisitionTime')} {problem}")
    return periods


def pulse_ms(run: Sequence[Instance], frames: int, period_ms: float | None) -> tuple[float | None, list[str]]:
    """Length of one exposure in ms, None where the files do not say, and remarks.

    AveragePulseWidth; in continuous radiation the frame period; else the exposure time of the run shared among its
    frames.
    """
    first, header = run[0], run[0].header
    width = real(header, "AveragePulseWidth", first.path)
    if width is not None and width > 0:
        return width, []
    if texts(header, "RadiationMode") == ["CONTINUOUS"] and period_ms is not None:
        return period_ms, ["the radiation is continuous: the exposure window is the whole frame period"]
    durations = [
        value
        for group in frame_groups(header, "FrameContentSequence")
        if (value := real(group, "FrameAcquisitionDuration", first.path))
    ]
    if durations:
        return float(np.mean(durations)), []
    for keyword, unit in (("ExposureTimeInms", 1.0), ("ExposureTimeInuS", 1e-3), ("ExposureTime", 1.0)):
        value = real(header, keyword, first.path)
        if value is not None and value > 0:
            share = unit * value / (first.frames if len(run) == 1 else 1)
            if period_ms is None or share <= 1.05 * period_ms:
                return share, [f"the exposure window is {keyword} for each frame, {share:.4g} ms"]
    return None, []
