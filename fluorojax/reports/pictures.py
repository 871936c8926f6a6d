"""Frames as PNG pictures with a palette of 256 colours, written by Pillow."""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def encode_png(indices: UInt8[np.ndarray, "H W"], palette: UInt8[np.ndarray, "256 3"]) -> bytes:
    """A PNG file whose pixel (i, j) has the RGB colour ``palette[indices[i, j]]``.

    Raises ``ValueError`` for an empty image, another number of dimensions, or values that are not bytes.
    """
    if indices.ndim != 2 or indices.dtype != np.uint8 or indices.size == 0:
        raise ValueError(f"indices have shape {indices.shape} and dtype {indices.dtype}; expected uint8 (H, W)")
    if palette.shape != (256, 3) or palette.dtype != np.uint8:
        raise ValueError(f"palette has shape {palette.shape} and dtype {palette.dtype}; expected uint8 (256, 3)")
    picture = Image.fromarray(np.ascontiguousarray(indices)).convert("P")
    picture.putpalette(palette.tobytes())
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=9)
    return stream.getvalue()


def data_uri(png: bytes) -> str:
    """The picture as a ``data:`` address, which a page can hold without a file beside it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
