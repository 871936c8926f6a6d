"""Digital subtraction and road-mapping: the change since a mask, with the standard deviation of its noise.

``D_t = x_t − m(· − s_t) − b_t``: the attenuation of frame t minus the mask m, moved by the sub-pixel shift s_t, minus a
brightness offset b_t. Attenuation is the logarithm of the counts, so that D is what contrast agent (or a device) adds
to the line integral, whatever lies in front of or behind it. It has the unit of ``x``; times the attenuation scale it
is an optical depth.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter

from fluorojax.data.acquisition import Acquisition
from fluorojax.subtraction.registration import (
    SMOOTHING,
    CountImage,
    EstimatedImage,
    Image,
    Registration,
    register,
    shift_image,
)


class Run(ABC):
    """A run of T frames that can be subtracted: single frames, and several pooled into one image."""

    shape: tuple[int, int, int]

    @abstractmethod
    def frame(self, index: int) -> Image:
        """One frame."""

    @abstractmethod
    def pooled(self, frames: Sequence[int]) -> Image:
        """The mean image of several frames."""

    @abstractmethod
    def shared(self, frame: Image, count: int) -> Float[np.ndarray, "H W"]:
        """Covariance of a frame with a pool of ``count`` frames it is one of, pixel by pixel."""


class CountRun(Run):
    """Counts, whose noise is independent from pixel to pixel and frame to frame: its variance is exact.

    A mask is the logarithm of the summed counts. Scatter, lag and drift are left in: scatter lowers the contrast.
    """

    def __init__(self, y: Float[np.ndarray, "T H W"], acquisition: Acquisition):
        """``y`` counts, quanta per pixel and frame; ``acquisition`` gives I₀ and the attenuation scale."""
        nominal = acquisition.as_dict()
        self.shape = _checked_shape("y", y)
        self._y, self._open_beam, self._scale = y, nominal["photons_per_pixel"], nominal["attenuation_scale"]
        self._electronic = nominal["electronic_noise"] ** 2

    def frame(self, index: int) -> CountImage:
        """See :class:`Run`."""
        return CountImage(self._y[index], self._open_beam, self._scale, self._electronic)

    def pooled(self, frames: Sequence[int]) -> CountImage:
        """See :class:`Run`."""
        total = self._y[list(frames)].sum(axis=0, dtype=np.float64)
        return CountImage(total, len(frames) * self._open_beam, self._scale, len(frames) * self._electronic)

    def shared(self, frame: Image, count: int) -> Float[np.ndarray, "H W"]:
        """``cov(log y_t, log Σy) = 1/Σλ``, taken as ``1/(n λ_t)``, which never exceeds the variances."""
        return frame.variance / count


class EstimateRun(Run):
    """A reconstruction with its standard deviation. The correlation of its errors between frames is not known.

    The variance of a difference is therefore an upper bound for errors that are not negatively correlated: those of the
    mask frames are taken as fully correlated (averaging does not lower them), those of mask and frame as independent.
    """

    def __init__(self, x_hat: Float[np.ndarray, "T H W"], x_std: Float[np.ndarray, "T H W"]):
        """``x_hat`` attenuation, ``x_std`` its standard deviation, positive."""
        self.shape = _checked_shape("x_hat", x_hat)
        if x_std.shape != x_hat.shape:
            raise ValueError(f"x_std has shape {x_std.shape}; expected {x_hat.shape}, like x_hat")
        self._x, self._std = x_hat, x_std

    def frame(self, index: int) -> EstimatedImage:
        """See :class:`Run`."""
        return EstimatedImage(self._x[index], np.square(self._std[index], dtype=np.float64))

    def pooled(self, frames: Sequence[int]) -> EstimatedImage:
        """See :class:`Run`."""
        chosen = list(frames)
        spread = self._std[chosen].mean(axis=0, dtype=np.float64)
        return EstimatedImage(self._x[chosen].mean(axis=0, dtype=np.float64), spread**2)

    def shared(self, frame: Image, count: int) -> Float[np.ndarray, "H W"]:
        """Zero, which keeps the bound."""
        return np.zeros(frame.value.shape)


def _checked_shape(name: str, values: np.ndarray) -> tuple[int, int, int]:
    if values.ndim != 3 or len(values) < 2:
        raise ValueError(f"{name} has shape {values.shape}; expected a sequence (T, H, W) of at least 2 frames")
    return values.shape[0], values.shape[1], values.shape[2]


@dataclass(frozen=True)
class SubtractOptions:
    """How the mask is aligned with the frames before the subtraction."""

    register: bool = True
    """Shift the mask to each frame (:func:`fluorojax.subtraction.registration.register`)."""
    match_level: bool = True
    """Remove a brightness offset from each frame, which gain drift or exposure control cause."""
    region: Bool[np.ndarray, "H W"] | None = None
    """Pixels that register and match; all by default."""


@dataclass(frozen=True)
class Subtraction:
    """A run minus a mask, float32. Pixels whose mask lies outside the image after the shift hold NaN."""

    contrast: Float[np.ndarray, "T H W"]
    """Positive where attenuation was added."""
    std: Float[np.ndarray, "T H W"]
    """Standard deviation from the noise of frame and mask, the interpolation, and the uncertainty of shift and offset.
    It does not contain motion that is no translation of the whole frame."""
    shift: Float[np.ndarray, "T 2"]
    """(rows, columns) by which the mask was moved, pixels."""
    shift_std: Float[np.ndarray, "T 2"]
    level: Float[np.ndarray, " T"]
    """Offsets that were removed, in the unit of x."""
    registered: Bool[np.ndarray, " T"]
    """False where no shift could be found, and none was applied."""


def subtract(run: Run, mask_frames: Sequence[int], options: SubtractOptions = SubtractOptions()) -> Subtraction:
    """Digital subtraction of the mean of ``mask_frames`` (indices, before contrast arrives) from every frame.

    The variance is that of the frame, plus that of the mask after interpolation (squared spline weights), minus twice
    their covariance where the frame is part of the mask, plus the covariance of shift and offset times the gradient of
    the mask. These terms come from the same noise, which would make the variance slightly smaller; the formula ignores
    this. Where the mask was shifted, neighbouring pixels share its noise.

    **Raises** ``ValueError`` for mask frames that are none, repeated or outside the run.
    """
    frames = check_frames("mask", mask_frames, run.shape[0])
    mask = run.pooled(frames)
    parts = [
        _difference(run, run.frame(t), mask, len(frames) if t in frames else 0, options) for t in range(run.shape[0])
    ]
    fits = [fit for _, _, fit in parts]
    return Subtraction(
        contrast=np.stack([value for value, _, _ in parts]).astype(np.float32),
        std=np.stack([std for _, std, _ in parts]).astype(np.float32),
        shift=np.stack([fit.shift for fit in fits]),
        shift_std=np.stack([fit.shift_std for fit in fits]),
        level=np.array([fit.level for fit in fits]),
        registered=np.array([fit.converged for fit in fits]),
    )


@dataclass(frozen=True)
class RoadMap:
    """A run after subtraction of its own opacified vessels."""

    vessels: Float[np.ndarray, "H W"]
    """Contrast of the peak frames against the mask, float32."""
    vessels_std: Float[np.ndarray, "H W"]
    peak_frames: tuple[int, ...]
    live: Subtraction
    """Every frame minus the mean of the peak frames: vessels that have emptied are negative, devices positive."""


def road_map(
    run: Run,
    mask_frames: Sequence[int],
    peak_frames: Sequence[int] | None = None,
    *,
    count: int = 3,
    options: SubtractOptions = SubtractOptions(),
) -> RoadMap:
    """Road map: the most opacified frames serve as the mask of the live ones, and show the vessels once.

    ``peak_frames`` default to the ``count`` consecutive frames in which :func:`peak` finds most contrast; none may be a
    mask frame. Raises ``ValueError`` as :func:`subtract`, and where the two sets overlap or no frame is left.
    """
    frames = check_frames("mask", mask_frames, run.shape[0])
    if peak_frames is None:
        peak_frames = peak(subtract(run, frames, options), frames, count)
    chosen = check_frames("peak", peak_frames, run.shape[0])
    if both := sorted(set(frames) & set(chosen)):
        raise ValueError(f"frame {both[0]} is both mask and peak; expected the mask before contrast arrives")
    value, std, _ = _difference(run, run.pooled(chosen), run.pooled(frames), 0, options)
    return RoadMap(value.astype(np.float32), std.astype(np.float32), chosen, subtract(run, chosen, options))


def peak(subtraction: Subtraction, mask_frames: Sequence[int], count: int = 3) -> tuple[int, ...]:
    """The ``count`` consecutive frames after the last mask frame with most contrast, fewer where the run is shorter.

    Contrast of a frame is the sum over pixels of what, smoothed over a pixel, exceeds three standard deviations: a sum
    over the frame, so that choosing its largest does not select noise as a maximum per pixel would.
    """
    after = max(mask_frames) + 1
    frames = len(subtraction.contrast) - after
    if frames < 1 or count < 1:
        raise ValueError(f"{frames} frames follow the mask, count is {count}; expected at least 1 of each")
    noise = subtraction.std[after:] / np.sqrt(4.0 * np.pi)  # what smoothing over a pixel leaves of white noise
    smooth = gaussian_filter(np.nan_to_num(subtraction.contrast[after:]), (0, SMOOTHING, SMOOTHING))
    amount = np.where(smooth > 3.0 * noise, smooth, 0.0).sum(axis=(1, 2), dtype=np.float64)
    count = min(count, frames)
    start = after + int(np.argmax(np.convolve(amount, np.ones(count), mode="valid")))
    return tuple(range(start, start + count))


def overlay(
    frames: Float[np.ndarray, "T H W"], vessels: Float[np.ndarray, "H W"], opacity: float = 0.5
) -> Float[np.ndarray, "T H W"]:
    """Live frames (attenuation) on which the vessels of a road map show bright: ``x − opacity · max(vessels, 0)``."""
    return frames - np.float32(opacity) * np.nan_to_num(np.maximum(vessels, 0.0))


def check_frames(name: str, frames: Sequence[int], total: int) -> tuple[int, ...]:
    """The indices as a tuple; ``ValueError`` where there are none, or one is repeated or not in 0 … ``total − 1``."""
    chosen = tuple(int(index) for index in frames)
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 <= index < total for index in chosen):
        raise ValueError(f"{name} frames are {list(chosen)}; expected some of 0 … {total - 1}, each once")
    return chosen


def _difference(
    run: Run, live: Image, mask: Image, among: int, options: SubtractOptions
) -> tuple[np.ndarray, np.ndarray, Registration]:
    """Contrast and standard deviation of one image against the mask.

    ``among`` is the number of frames in the mask where the image is one of them, else zero.
    """
    fit = register(mask, live, translate=options.register, level=options.match_level, region=options.region)
    moved = shift_image(mask.value, mask.variance, fit.shift)
    variance = live.variance + moved.variance
    if among:
        variance = variance - 2.0 * moved.own * run.shared(live, among)
    if fit.covariance.any():
        # of the mask as it is: smoothing would flatten thin objects; noise of a slope is weighted with that of a shift
        slopes = np.gradient(moved.value)
        design = np.nan_to_num(np.stack([-slopes[0], -slopes[1], np.ones(slopes[0].shape)]))
        variance = variance + np.einsum("ihw,ij,jhw->hw", design, fit.covariance, design)
    # A frame that is all of its mask differs from it by nothing, without noise.
    return live.value - moved.value - fit.level, np.sqrt(np.maximum(variance, 0.0)), fit
