"""The imaging chain, step by step in time: exposure window, charge traps, gain, scatter, counting.

It is written as a recursion over frames and as sums over exposure sub-steps. The inference operator is a matrix along
time, and a truth made by the same matrix would hide the errors of the operator.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

SLOW_TAIL_FRAMES = (9.0, 47.0, 303.0)
"""Time constants of the slow traps, frames."""
SLOW_TAIL_SHARE = 0.011
"""Signal in the first dark frame after a long exposure that the slow traps release, relative to the exposure."""
# Mirror images of the field to either side that a long-tailed kernel is summed over.
_IMAGES = 8


def expose(
    attenuation: Callable[[float], Float[np.ndarray, "H W"]],
    times_ms: Float[np.ndarray, " T"],
    window_ms: float,
    step_ms: float = 1.0,
) -> Float[np.ndarray, "T H W"]:
    """Mean transmission over the exposure window centred on each frame time.

    ``s_t = (1/w) ∫_{−w/2}^{w/2} exp(−OD(t+u)) du``, midpoint rule with the fewest equal sub-steps ≤ ``step_ms``.

    **Arguments:**

    - `attenuation`: optical depth OD (H, W) at a time in ms.
    - `times_ms`: frame times, ms.
    - `window_ms`: exposure window w, ms, positive.
    - `step_ms`: longest sub-step, ms.
    """
    if window_ms <= 0:
        raise ValueError(f"window_ms is {window_ms:g}; expected a positive exposure window")
    count = max(1, int(np.ceil(window_ms / step_ms - 1e-9)))
    offsets = ((np.arange(count) + 0.5) / count - 0.5) * window_ms
    return np.stack([np.mean([np.exp(-attenuation(t + u)) for u in offsets], axis=0) for t in times_ms])


def lag(
    signal: Float[np.ndarray, "T *frame"],
    tau_ms: float,
    frame_time_ms: float,
    readout_delay_ms: float,
    *,
    from_dark: bool = False,
) -> Float[np.ndarray, "T *frame"]:
    """Detector lag: charge trapped at exposure is released with the time constant ``tau_ms``.

    ``y_t = (1−e^{−t_r/τ}) s_t + (1−e^{−Δ/τ}) u_{t−1}``, ``u_t = e^{−Δ/τ} u_{t−1} + e^{−t_r/τ} s_t``. The impulse
    response sums to one. The traps start in the steady state of the first frame (so ``y_0 = s_0``), or empty when
    ``from_dark``.
    """
    if tau_ms <= 0:
        raise ValueError(f"tau_ms is {tau_ms:g}; expected a positive time constant")
    kept, trapped = np.exp(-frame_time_ms / tau_ms), np.exp(-readout_delay_ms / tau_ms)
    return _trap(signal, kept, trapped, from_dark)


def slow_tails(
    signal: Float[np.ndarray, "T *frame"],
    *,
    from_dark: bool = False,
    share: float = SLOW_TAIL_SHARE,
    frames: tuple[float, ...] = SLOW_TAIL_FRAMES,
) -> Float[np.ndarray, "T *frame"]:
    """Slow lag of real panels: more traps in series, which share ``share`` equally.

    Each trap k takes the share a_k of a frame and releases it over ``frames`` frames, so that charge is conserved and
    the frame after a long exposure shows 1 − Π(1 − a_k) of it, 1.1 % by default.
    """
    each = 1.0 - (1.0 - share) ** (1.0 / len(frames))
    for tau in frames:
        signal = _trap(signal, np.exp(-1.0 / tau), each, from_dark)
    return signal


def _trap(signal: np.ndarray, kept: float, trapped: float, from_dark: bool) -> np.ndarray:
    charge = np.zeros_like(signal[0]) if from_dark else trapped / (1.0 - kept) * signal[0]
    out = np.empty_like(signal)
    for t, frame in enumerate(signal):
        out[t] = (1.0 - trapped) * frame + (1.0 - kept) * charge
        charge = kept * charge + trapped * frame
    return out


def add_scatter(
    primary: Float[np.ndarray, "T H W"], fraction: float, width_pixels: float, tail: float = 0.0
) -> Float[np.ndarray, "T H W"]:
    """Add scatter: ``fraction/(1 − fraction)`` times the primary blurred by a kernel of scale ``width_pixels``.

    The kernel is a Gaussian, and for the share ``tail`` of it the kernel ``b/(2π)·(r² + b²)^{−3/2}``, whose tail is
    long, b the scale. In a flat field S/(S+P) is ``fraction`` everywhere; behind a patient it is higher where the
    primary is low.
    """
    if fraction == 0:
        return primary
    blurred = gaussian_filter(primary, (0, width_pixels, width_pixels), mode="reflect")
    if tail > 0:
        blurred = (1.0 - tail) * blurred + tail * _long_tailed(primary, width_pixels)
    return primary + fraction / (1.0 - fraction) * blurred


def _long_tailed(primary: Float[np.ndarray, "T H W"], scale: float) -> Float[np.ndarray, "T H W"]:
    """A direct convolution with the long-tailed kernel, the field continued by its mirror images."""
    height, width = primary.shape[1:]
    tiles = np.pad(primary, ((0, 0), (height, height), (width, width)), mode="symmetric")
    # A period of the mirrored field is two fields; the circular kernel is the sum of its images over many periods.
    tiles = tiles[:, : 2 * height, : 2 * width]
    rows, columns = (np.arange(2 * size) for size in (height, width))
    kernel = np.zeros((2 * height, 2 * width))
    images = range(-_IMAGES, _IMAGES + 1)
    for down in images:
        for across in images:
            squared = (rows[:, None] - 2 * height * down) ** 2 + (columns - 2 * width * across) ** 2
            kernel += (squared + scale**2) ** -1.5
    kernel /= kernel.sum()
    spectrum = np.fft.rfft2(tiles) * np.fft.rfft2(kernel)
    return np.fft.irfft2(spectrum, s=tiles.shape[1:])[:, height:, width:]


def rate(signal: Float[np.ndarray, "T H W"], photons: float, gain_drift: float) -> Float[np.ndarray, "T H W"]:
    """Expected quanta ``λ_t = I_0 (1 + gain_drift/100)^t`` times the signal."""
    gain = (1.0 + gain_drift / 100.0) ** np.arange(len(signal))
    return photons * gain[:, None, None] * signal


def count(
    rng: np.random.Generator, expected: Float[np.ndarray, "T H W"], read_noise: float = 0.0
) -> Float[np.ndarray, "T H W"]:
    """Poisson counts, float32; with ``read_noise`` (quanta rms) real values, some of them negative."""
    counts = rng.poisson(expected).astype(np.float64)
    if read_noise > 0:
        counts = counts + read_noise * rng.standard_normal(counts.shape)
    return counts.astype(np.float32)
