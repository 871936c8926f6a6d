"""The times of images: what a user asks for, checked against the frames of a run.

Times are in ms from the middle of the first exposure. A run of T frames with the period Δ was looked at from 0 to
(T − 1)Δ; the scene at other times is not asked for.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.foreign.memory import free_bytes

ON_FRAME = 1e-4
"""Times within this share of the frame period of a frame are those of the frame."""
_ARRAYS = 12  # float32 arrays of all images that a result takes while it is made and written


@dataclass(frozen=True)
class Place:
    """Where an image stands between the frames."""

    gap: int
    """The frame before it, or that it is."""
    share: float
    """Share of the gap to the next frame, 0 ≤ share < 1; 0 is the frame itself."""


def times_of(options: ReconstructOptions, shape: tuple[int, ...], frame_time_ms: float) -> Float[np.ndarray, " n"]:
    """The times that ``options`` ask for of a run of counts of ``shape``, ms, float64.

    **Raises:** ``ValueError`` where :func:`check_times` does.
    """
    check_times(options, shape, frame_time_ms)
    if options.times is not None:
        return np.array(options.times, np.float64)
    assert options.to_fps is not None
    return np.arange(_number(options, shape, frame_time_ms)) * (1000.0 / options.to_fps)


def check_times(options: ReconstructOptions, shape: tuple[int, ...], frame_time_ms: float) -> None:
    """Refuse times that a run of counts of ``shape``, (T, H, W) or (H, W), cannot serve.

    **Raises:** ``ValueError`` in one line: for a single frame, for times outside of the run, and for more images than
    memory holds.
    """
    if not options.between:
        return
    if len(shape) != 3 or shape[0] < 2:
        raise ValueError("times are asked for of a single frame; expected a run of at least two")
    last, slack = (shape[0] - 1) * frame_time_ms, ON_FRAME * frame_time_ms
    for time in options.times or ():
        if not -slack <= time <= last + slack:
            raise ValueError(f"the time {time:g} ms is outside of the run; expected 0 to {last:g} ms")
    needed = 4.0 * _ARRAYS * math.prod(shape[1:]) * _number(options, shape, frame_time_ms)
    free = free_bytes()
    if free is not None and needed > free:
        raise ValueError(
            f"{_number(options, shape, frame_time_ms)} images of {shape[1]} × {shape[2]} pixels need about "
            f"{needed / 1e9:.3g} GB of memory and {free / 1e9:.3g} GB are free; expected fewer times or a smaller part "
            "(--crop, --frames)"
        )


def places(times: Float[np.ndarray, " n"], frames: int, frame_time_ms: float) -> list[Place]:
    """Where each time stands between the frames."""
    found = []
    for at in (np.asarray(times, np.float64) / frame_time_ms).tolist():
        nearest = min(max(round(at), 0), frames - 1)
        if abs(at - nearest) <= ON_FRAME:
            found.append(Place(nearest, 0.0))
        else:
            gap = min(max(math.floor(at), 0), frames - 2)
            found.append(Place(gap, at - gap))
    return found


def _number(options: ReconstructOptions, shape: tuple[int, ...], frame_time_ms: float) -> int:
    if options.times is not None:
        return len(options.times)
    assert options.to_fps is not None
    return math.floor((shape[0] - 1) * frame_time_ms * options.to_fps / 1000.0 + ON_FRAME) + 1
