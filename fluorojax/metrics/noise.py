"""Noise power spectra in space and time: at which spatial and temporal frequencies an image sequence is noisy."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

DETRENDS = ("none", "mean", "linear")
WINDOWS = ("rectangular", "hann")


@dataclass(frozen=True)
class NoisePower:
    """Noise power spectrum W(f): its integral over all frequencies is the variance of the noise."""

    power: Float[np.ndarray, "t y x"]
    """Noise variance per unit of frequency volume, zero frequency in the middle; even in f = (f_t, f_y, f_x)."""
    temporal: Float[np.ndarray, " t"]
    """f_t, ascending: cycles/frame, or cycles per unit of ``frame_time``."""
    vertical: Float[np.ndarray, " y"]
    """f_y, ascending: cycles/pixel, or cycles per unit of ``pixel``."""
    horizontal: Float[np.ndarray, " x"]
    """f_x, like f_y."""
    steps: tuple[float, float, float]
    """Distance of neighbouring frequencies along each axis: 1/(samples × sampling distance)."""
    periodograms: int
    """How many blocks were averaged; the relative standard error of ``power`` is 1/√n where they are independent."""

    @property
    def variance(self) -> float:
        """The integral over all frequencies."""
        return float(self.power.sum() * np.prod(self.steps))

    def spatial(self) -> Float[np.ndarray, "y x"]:
        """Spectrum of a single frame: the integral over f_t."""
        return self.power.sum(axis=0) * self.steps[0]

    def over_time(self) -> Float[np.ndarray, " t"]:
        """Spectrum along time of a single pixel: the integral over f_y and f_x."""
        return self.power.sum(axis=(1, 2)) * self.steps[1] * self.steps[2]

    def radial(self, bins: int = 16) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
        """Frequency and mean of :meth:`spatial` in ``bins`` rings ``|f|`` up to the Nyquist frequency.

        The zero frequency, which detrending removes, is left out; empty rings hold NaN.
        """
        radius = np.hypot(self.vertical[:, None], self.horizontal)
        edges = np.linspace(0.0, min(abs(self.vertical[0]), abs(self.horizontal[0])), bins + 1)
        ring = np.digitize(radius, edges, right=True)  # (edge, next edge]: the zero frequency falls below the first
        count = np.bincount(ring.ravel(), minlength=bins + 2)[1:-1]
        total = np.bincount(ring.ravel(), self.spatial().ravel(), minlength=bins + 2)[1:-1]
        mean = np.full(bins, np.nan)
        np.divide(total, count, out=mean, where=count > 0)
        return 0.5 * (edges[1:] + edges[:-1]), mean


def ensemble_noise(repeats: Float[np.ndarray, "R *shape"]) -> Float[np.ndarray, "R *shape"]:
    """Noise of R ≥ 2 repeats of one acquisition: their deviation from the mean, times √(R/(R−1)).

    The factor restores the variance that the subtraction of the mean removes. Everything that is the same in every run
    (anatomy, fixed pattern, bias of a method) is not noise, and it cancels.
    """
    if len(repeats) < 2:
        raise ValueError(f"{len(repeats)} repeat; expected at least 2, whose deviations are the noise")
    values = np.asarray(repeats, dtype=np.float64)
    return (values - values.mean(axis=0)) * np.sqrt(len(values) / (len(values) - 1))


def noise_power(
    noise: Float[np.ndarray, "*shape"],
    *,
    block: tuple[int, int, int] | None = None,
    detrend: str = "mean",
    window: str = "rectangular",
    pixel: float = 1.0,
    frame_time: float = 1.0,
) -> NoisePower:
    """Noise power spectrum by Welch's method: the mean periodogram of half-overlapping blocks.

    ``W(f) = ΔxΔyΔt/(N_x N_y N_t) · ⟨|Σ w·n·exp(−2πi f·r)|²⟩ / ⟨w²⟩``, IEC 62220-1-1 extended to time. White noise of
    variance σ² in pixels and frames has W = σ² (Δx = Δt = 1). With one block, no detrending and no window the integral
    is exactly the mean square of ``noise``; a mean subtracted from every block lowers it by one part in the number of
    samples.

    **Arguments:**

    - `noise`: (H, W) an image, (T, H, W) a sequence, or (R, T, H, W) repeats of a sequence; of a flat field, of static
      parts after detrending, or from :func:`ensemble_noise`.
    - `block`: frames, rows and columns of a block; all by default.
    - `detrend`: what is subtracted from every block: nothing (``none``), its ``mean``, or a plane that is ``linear`` in
      t, y and x.
    - `window`: ``rectangular``, or ``hann`` for spectra that fall by orders of magnitude.
    - `pixel`, `frame_time`: pixel pitch and frame period. Values of 1 give frequencies in cycles/pixel and
      cycles/frame; values in mm and s give cycles/mm and Hz.

    **Raises** ``ValueError`` for another number of dimensions, a block that does not fit, or an unknown option.
    """
    for name, value, allowed in (("detrend", detrend, DETRENDS), ("window", window, WINDOWS)):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")
    if noise.ndim not in (2, 3, 4):
        raise ValueError(f"noise has shape {noise.shape}; expected (H, W), (T, H, W) or (R, T, H, W)")
    runs = np.asarray(noise, dtype=np.float64).reshape(-1, *((1,) * (3 - noise.ndim)), *noise.shape[-3:])
    shape = runs.shape[1:]
    size = shape if block is None else tuple(block)
    if len(size) != 3 or any(not 1 <= n <= whole for n, whole in zip(size, shape, strict=True)):
        raise ValueError(f"block is {block}; expected (frames, rows, columns) from 1 to {shape}")

    weight = np.ones(size)
    if window == "hann":
        for axis, n in enumerate(size):
            if n > 2:  # symmetric about the middle, and nowhere zero
                weight *= np.hanning(n + 2)[1:-1].reshape([-1 if a == axis else 1 for a in range(3)])
    corners = list(product(*(range(0, whole - n + 1, max(n // 2, 1)) for whole, n in zip(shape, size, strict=True))))
    total = np.zeros(size)
    for run in runs:
        for corner in corners:
            cut = run[tuple(slice(start, start + n) for start, n in zip(corner, size, strict=True))]
            total += np.abs(np.fft.fftn(weight * _detrended(cut, detrend))) ** 2
    count = len(runs) * len(corners)
    spacing = (frame_time, pixel, pixel)
    scale = np.prod(spacing) / (np.prod(size) * np.mean(weight**2) * count)
    temporal, vertical, horizontal = (
        np.fft.fftshift(np.fft.fftfreq(n, step)) for n, step in zip(size, spacing, strict=True)
    )
    return NoisePower(
        power=np.fft.fftshift(total) * scale,
        temporal=temporal,
        vertical=vertical,
        horizontal=horizontal,
        steps=(1 / (size[0] * frame_time), 1 / (size[1] * pixel), 1 / (size[2] * pixel)),
        periodograms=count,
    )


def _detrended(values: Float[np.ndarray, "t y x"], kind: str) -> Float[np.ndarray, "t y x"]:
    if kind == "none":
        return values
    residual = values - values.mean()
    if kind == "linear":
        for axis, n in enumerate(values.shape):
            if n > 1:
                # Centred coordinates of a grid are orthogonal, so that each slope is fitted on its own.
                ramp = (np.arange(n) - 0.5 * (n - 1)).reshape([-1 if a == axis else 1 for a in range(3)])
                slope = np.sum(residual * ramp) / (np.sum(ramp**2) * values.size / n)
                residual = residual - slope * ramp
    return residual
