"""Lag after a step in brightness: the share of the change that a method shows at once, and how the rest follows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import least_squares


@dataclass(frozen=True)
class StepResponse:
    """Response to a step of brightness; frame 0 is the first after the step. Without lag the response is always 1."""

    response: Float[np.ndarray, " n"]
    """Share of the step that is visible in frame 0, 1, …"""
    first_frame_lag: float
    """Share of the step that frame 0 does not show yet: 1 − response."""
    delay_frames: float
    """Frames by which the response is late on average: Σ(1 − response)."""
    time_constant_frames: float
    """τ of ``1 − response = a·exp(−t/τ)``, least squares; 0 where nothing lags, NaN where the lag does not decay."""


def step_response(
    sequence: Float[np.ndarray, "T *frame"],
    step_frame: int,
    *,
    before: float | None = None,
    after: float | None = None,
    mask: Bool[np.ndarray, "..."] | None = None,
) -> StepResponse:
    """Lag of a step between frames ``step_frame − 1`` and ``step_frame``, as IEC 62220-1-3 measures that of detectors.

    A recursive filter ``x̂_t = (1−α) x̂_{t−1} + α y_t`` has the first-frame lag 1 − α, the delay (1−α)/α and the time
    constant −1/ln(1−α) frames. A filter that looks ahead responds before the step as well; this function does not
    count those frames.

    **Arguments:**

    - `sequence`: (T, …), averaged over ``mask`` (pixels of one frame; all by default) in every frame.
    - `step_frame`: 0 < index < T of the first frame after the step.
    - `before`, `after`: the two levels. The defaults are the mean of the frames before the step, and the last frame.
      The second default hides a lag that is longer than the sequence.

    **Raises** ``ValueError`` for a frame out of range or two equal levels.
    """
    if not 0 < step_frame < len(sequence):
        raise ValueError(f"step_frame is {step_frame}; expected 1 to {len(sequence) - 1}")
    values = np.asarray(sequence, dtype=np.float64)
    trace = values.reshape(len(values), -1).mean(axis=1) if mask is None else values[:, mask].mean(axis=1)
    low = float(trace[:step_frame].mean()) if before is None else before
    high = float(trace[-1]) if after is None else after
    if not np.isfinite([low, high]).all() or low == high:
        raise ValueError(f"levels before and after the step are {low:g} and {high:g}; expected two different ones")
    response = (trace[step_frame:] - low) / (high - low)
    missing = 1.0 - response
    return StepResponse(response, float(missing[0]), float(missing.sum()), _time_constant(missing))


def _time_constant(missing: Float[np.ndarray, " n"]) -> float:
    if len(missing) < 2:
        return float("nan")
    if np.abs(missing).max() < 1e-12:
        return 0.0
    frames = np.arange(len(missing))
    # in the logarithm of the rate, so that every step of the search is a decay
    fit = least_squares(lambda p: p[0] * np.exp(-np.exp(p[1]) * frames) - missing, [missing[0], 0.0])
    tau = float(np.exp(-np.clip(fit.x[1], -50.0, 50.0)))
    return tau if tau < 10.0 * len(missing) else float("nan")
