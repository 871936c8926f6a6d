"""8-bit palette PNG, the smallest way to embed a grey or false-colour frame."""

import base64
import struct
import zlib

import numpy as np
from jaxtyping import UInt8


def encode_png(indices: UInt8[np.ndarray, "H W"], palette: UInt8[np.ndarray, "256 3"]) -> bytes:
    """PNG file (ISO/IEC 15948, colour type 3) whose pixel (i, j) has the RGB colour ``palette[indices[i, j]]``."""
    if indices.ndim != 2 or indices.dtype != np.uint8 or indices.size == 0:
        raise ValueError(f"indices have shape {indices.shape} and dtype {indices.dtype}; expected uint8 (H, W)")
    if palette.shape != (256, 3) or palette.dtype != np.uint8:
        raise ValueError(f"palette has shape {palette.shape} and dtype {palette.dtype}; expected uint8 (256, 3)")
    height, width = indices.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # a leading 0 in each row: no filter
    rows[:, 1:] = indices
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def data_uri(png: bytes) -> str:
    """The picture as a ``data:`` address, to stand in a page without a file beside it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
