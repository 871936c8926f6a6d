"""Strips of frames: which frames are shown, at what size, in which colours."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from fluorojax.report.png import data_uri, encode_png

_MAX_FRAMES = 6
_MAX_SIDE = 256
_MIN_SIDE = 16

_PNG_FRAME = 1000
"""Bytes of an image beside its pixels: PNG headers, palette, ``data:`` prefix; 864 and a few."""


@dataclass(frozen=True)
class StripPlan:
    """Frames shown of a scene and the blocks of pixels averaged for display."""

    frames: tuple[int, ...]
    block: int


@dataclass(frozen=True)
class Window:
    """Values mapped to the two ends of a palette; what lies outside takes the colour of the nearer end."""

    low: float
    high: float


def plan_strips(shape: tuple[int, ...], rows: int, budget: float | int) -> tuple[StripPlan, int] | None:
    """Choose frames and block size of ``rows`` strips so that together they stay within ``budget`` bytes of the page.

    ``shape`` is (T, H, W) or (H, W). At most 6 frames, sides of at most 256 pixels; first frames are dropped (down
    to 3), then resolution (down to 16 pixels), then frames again.

    **Returns:** the plan and what its images take at most, bytes; None where a single frame of each strip takes more
    than the budget.
    """
    frames, (height, width) = (shape[0], shape[1:]) if len(shape) == 3 else (1, shape)
    count = min(frames, _MAX_FRAMES)
    block = min(-(-max(height, width) // _MAX_SIDE), height, width)
    while (size := rows * count * image_bytes(height // block, width // block)) > budget:
        if count > 3:
            count -= 1
        elif min(height, width) // (block + 1) >= _MIN_SIDE:
            block += 1
        elif count > 1:
            count -= 1
        else:
            return None
    chosen = np.linspace(0, frames - 1, count).round().astype(int)
    return StripPlan(tuple(int(index) for index in chosen), block), size


def image_bytes(height: int, width: int) -> int:
    """What one image takes in a page at most: noise does not compress, so a pixel costs a byte, and base64 a third."""
    pixels = height * (width + 1)
    deflate = pixels // 1000 + 64  # its own overhead where nothing can be compressed
    return 4 * (_PNG_FRAME + pixels + deflate) // 3


def robust_window(values: Float[np.ndarray, "..."], low: float, high: float) -> Window:
    """The window between two quantiles of the finite values; never empty."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return Window(0.0, 1.0)
    start, end = (float(value) for value in np.quantile(finite, [low, high]))
    return Window(start, end if end > start else start + 1.0)


def strip_images(
    values: Float[np.ndarray, "*shape"], plan: StripPlan, window: Window, palette: UInt8[np.ndarray, "256 3"]
) -> list[str]:
    """``data:`` addresses of the planned frames of ``values`` (T, H, W) or (H, W); NaN shows as ``low``."""
    stack = values if values.ndim == 3 else values[None]
    images = []
    for index in plan.frames:
        frame = _block_mean(stack[index].astype(np.float32), plan.block)
        scaled = (frame - window.low) / (window.high - window.low)
        level = np.nan_to_num(np.clip(scaled, 0.0, 1.0), nan=0.0)
        images.append(data_uri(encode_png(np.rint(255 * level).astype(np.uint8), palette)))
    return images


def _block_mean(frame: np.ndarray, block: int) -> np.ndarray:
    height, width = (side // block * block for side in frame.shape)
    return frame[:height, :width].reshape(height // block, block, width // block, block).mean(axis=(1, 3))


def grey_palette() -> UInt8[np.ndarray, "256 3"]:
    """Dark where little is absorbed, as the stored attenuation reads."""
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def heat_palette() -> UInt8[np.ndarray, "256 3"]:
    """A perceptually uniform sequential palette for standard deviations."""
    from matplotlib import colormaps

    return np.rint(255 * colormaps["magma"](np.arange(256))[:, :3]).astype(np.uint8)


def gradient(palette: UInt8[np.ndarray, "256 3"]) -> str:
    """The palette as a CSS gradient, for a colour scale."""
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*palette[i]) for i in range(0, 256, 51))
    return f"linear-gradient(to right, {stops})"
