"""Strips of frames for paper and for browsers without scripts: the choice of the frames and of their size."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from fluorojax.plot.display import Window, spread_frames
from fluorojax.reports.movie import block_mean
from fluorojax.reports.pictures import data_uri, encode_png

_MAX_FRAMES = 6
_MAX_SIDE = 256
_MIN_SIDE = 16

_PNG_FRAME = 1000
"""Bytes of an image in addition to its pixels: PNG headers, palette and ``data:`` prefix, 864 and a few."""


@dataclass(frozen=True)
class StripPlan:
    """The frames that a strip shows, and the side of the blocks of pixels that it averages."""

    frames: tuple[int, ...]
    block: int


def plan_strips(shape: tuple[int, ...], rows: int, budget: float | int) -> tuple[StripPlan, int] | None:
    """Choose frames and block size of ``rows`` strips so that together they stay within ``budget`` bytes of the page.

    ``shape`` is (T, H, W) or (H, W). A strip has at most 6 frames with sides of at most 256 pixels. To save bytes,
    it first loses frames (down to 3), then resolution (down to 16 pixels), and then frames again.

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
    return StripPlan(spread_frames(frames, count), block), size


def image_bytes(height: int, width: int) -> int:
    """Most bytes of one image in a page: noise does not compress, a pixel takes a byte, and base64 adds a third."""
    pixels = height * (width + 1)
    deflate = pixels // 1000 + 64  # its own overhead where nothing can be compressed
    return 4 * (_PNG_FRAME + pixels + deflate) // 3


def strip_images(
    values: Float[np.ndarray, "*shape"], plan: StripPlan, window: Window, palette: UInt8[np.ndarray, "256 3"]
) -> list[str]:
    """``data:`` addresses of the planned frames of ``values`` (T, H, W) or (H, W); NaN has the colour of ``low``."""
    stack = values if values.ndim == 3 else values[None]
    images = []
    for index in plan.frames:
        frame = block_mean(stack[index].astype(np.float32), plan.block)
        scaled = (frame - window.low) / (window.high - window.low)
        level = np.nan_to_num(np.clip(scaled, 0.0, 1.0), nan=0.0)
        images.append(data_uri(encode_png(np.rint(255 * level).astype(np.uint8), palette)))
    return images
