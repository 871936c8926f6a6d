"""How sharp an edge remains: edge spread, line spread and modulation transfer, measured at a slanted edge."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares
from scipy.special import ndtr

OVERSAMPLING = 8
"""Bins of the edge spread function in a pixel."""
NYQUIST = 0.5


@dataclass(frozen=True)
class EdgeTransfer:
    """How an imaging system or a method reproduces an edge.

    Distances are in pixels across the edge, frequencies in cycles/pixel. For a linear system ``transfer`` is the
    modulation transfer function; for a nonlinear one it is the task transfer function at the contrast and noise of that
    edge (Richard et al., Med. Phys. 39:4115, 2012).
    """

    frequency: Float[np.ndarray, " f"]
    transfer: Float[np.ndarray, " f"]
    """``|MTF|``, one at zero frequency."""
    distance: Float[np.ndarray, " q"]
    """Distance from the edge, positive on the brighter side."""
    edge_spread: Float[np.ndarray, " q"]
    angle_deg: float
    """Direction of rising values from the row axis (the +x direction), degrees."""
    contrast: float
    """Step height as measured."""

    def at(self, frequency: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Transfer at spatial frequencies ≥ 0, linear between those computed, constant beyond the last."""
        return np.interp(frequency, self.frequency, self.transfer)

    def frequency_at(self, level: float) -> float:
        """Frequency (cycles/pixel) at which the transfer first falls to ``level``; NaN where it does not."""
        below = np.flatnonzero(self.transfer <= level)
        if below.size == 0 or below[0] == 0:
            return float("nan")
        i = int(below[0])
        f, m = self.frequency[i - 1 : i + 1], self.transfer[i - 1 : i + 1]
        return float(f[0] + (m[0] - level) / (m[0] - m[1]) * (f[1] - f[0]))


def edge_transfer(
    image: Float[np.ndarray, "H W"],
    *,
    half_width: float | None = None,
    points: int = 51,
    highest: float = NYQUIST,
) -> EdgeTransfer:
    """Modulation transfer from the image of one straight edge that is slanted against the rows and columns of pixels.

    The slanted-edge method of ISO 12233 and IEC 62220-1-1: pixels are sorted by their distance from the edge into bins
    of 1/8 pixel (edge spread), differences of these are the line spread, and the modulus of its Fourier transform,
    normalised at zero frequency, is the transfer. The result is corrected for the bins and differences, but not for the
    pixel aperture, which belongs to the system. Angle and place of the edge are fitted with a blurred step by least
    squares.

    Noise raises the modulus at high frequencies. Average many frames or repeats before you measure.

    **Arguments:**

    - `image`: a region with the edge through its middle and little else, slanted against the grid, best by 3–12°.
    - `half_width`: pixels that enter on either side of the edge; at most, and by default, half the image.
    - `points`, `highest`: number of frequencies from 0 to ``highest``, cycles/pixel.

    **Raises** ``ValueError`` for an image without an edge, or one whose angle leaves bins empty, as along the grid.
    """
    if image.ndim != 2 or min(image.shape) < 8:
        raise ValueError(f"image has shape {image.shape}; expected (H, W) of at least 8×8 pixels")
    values = np.asarray(image, dtype=np.float64)
    low, high, angle, offset = _fit_edge(values)
    distance = _distance(values.shape, angle) - offset
    half = 0.5 * min(image.shape) - 2.0
    count = int(min(half, half_width or half) * OVERSAMPLING)
    bins = np.floor(distance * OVERSAMPLING).astype(np.intp) + count
    inside = (bins >= 0) & (bins < 2 * count)
    pixels = np.bincount(bins[inside], minlength=2 * count)
    if not pixels.all():
        raise ValueError(
            f"edge at {np.rad2deg(angle):.2f}° leaves bins empty; expected it 2–40° off the rows or columns, at "
            "another angle than 18.4 or 26.6°, or more pixels"
        )
    spread, place = (np.bincount(bins[inside], v[inside], minlength=2 * count) / pixels for v in (values, distance))
    frequency = np.linspace(0.0, highest, points)
    # Steps of the edge spread lie between the mean distances of the pixels in two bins, which are not equally far.
    middle, width = 0.5 * (place[1:] + place[:-1]), np.diff(place)
    kernel = np.exp(-2j * np.pi * frequency[:, None] * middle) / np.sinc(frequency[:, None] * width)
    modulus = np.abs(kernel @ np.diff(spread)) / np.sinc(frequency / OVERSAMPLING)
    if not modulus[0] > 0:
        raise ValueError("image has no edge; expected a step")
    return EdgeTransfer(
        frequency=frequency,
        transfer=modulus / modulus[0],
        distance=place,
        edge_spread=spread,
        angle_deg=float(np.rad2deg(angle)),
        contrast=high - low,
    )


def slanted_edge(
    shape: tuple[int, int], angle_deg: float, blur: float = 0.0, *, offset: float = 0.0
) -> Float[np.ndarray, "H W"]:
    """A step from 0 to 1 through the middle of an image, rising at ``angle_deg`` from the +x direction.

    ``blur`` is the standard deviation of a Gaussian, pixels; without it the step is averaged over the width of a pixel
    along its normal. ``offset`` moves it along the normal, pixels.
    """
    distance = _distance(shape, np.deg2rad(angle_deg)) - offset
    return ndtr(distance / blur) if blur > 0 else np.clip(distance + 0.5, 0.0, 1.0)


def _distance(shape: tuple[int, ...], angle: float) -> Float[np.ndarray, "H W"]:
    """Signed distance of pixel centres from the line through the middle of the image with this normal."""
    y, x = (np.arange(n) - 0.5 * (n - 1) for n in shape)
    return np.cos(angle) * x + np.sin(angle) * y[:, None]


def _fit_edge(values: np.ndarray) -> tuple[float, float, float, float]:
    """Low and high level, direction (radians) and offset (pixels) of a blurred step, by least squares."""
    rows, columns = np.gradient(values)
    # Values on both sides give the direction, whatever the noise: slopes of a plane through all pixels.
    y, x = (np.arange(n) - 0.5 * (n - 1) for n in values.shape)
    start = float(np.arctan2(np.sum(values * y[:, None]) / np.sum(y**2), np.sum(values * x) / np.sum(x**2)))
    if not (np.isfinite(values).all() and np.hypot(rows, columns).max() > 0):
        raise ValueError("image has no edge, or values that are not finite; expected a step")
    side = _distance(values.shape, start)
    low, high = float(values[side < -2].mean()), float(values[side > 2].mean())
    if not high > low:
        raise ValueError("image has no edge; expected a step")

    def misfit(parameters: np.ndarray) -> np.ndarray:
        bottom, top, angle, offset, blur = parameters
        step = ndtr((_distance(values.shape, angle) - offset) / np.hypot(blur, 0.2))
        return ((bottom + (top - bottom) * step - values) / (high - low)).ravel()

    fit = least_squares(misfit, [low, high, start, 0.0, 1.0], x_scale=[high - low, high - low, 0.05, 1.0, 1.0])
    bottom, top, angle, offset, _ = (float(value) for value in fit.x)
    return bottom, top, angle, offset
