"""Image sequences in the form that the player of a page reads: quantised, delta-coded, deflated, and in base64.

A value is ``low + (level − 1)·step``; level 0 stands for a value that is not finite. A level takes one byte or two.
Where it takes two, all low bytes come before all high bytes, because this compresses better.
"""

import base64
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fluorojax.plot.display import image_window, spread_window
from fluorojax.reports.palettes import SIGNED_LIMIT

_MAX_SIDE = 256
_DEEPEST = 65534

# Shapes of the movie that are tried in turn: the longest side and the most frames.
_SMALLER = ((_MAX_SIDE, 256), (128, 64), (128, 24), (64, 24), (64, 12), (32, 12), (32, 4))
_LEAST_BYTES = 0.35
"""Fewest bytes of base64 that a value takes unless it has no noise. The number only saves futile attempts."""


@dataclass(frozen=True)
class Layer:
    """One sequence of a scene."""

    title: str
    values: Float[np.ndarray, "*shape"]
    kind: str = "image"
    """``image``, shown in the window of all images, ``spread``, shown in false colours from zero, or ``signed``, shown
    in blue to red about zero."""
    noisy: bool = False
    """Whether the values are so noisy that 254 levels suffice, and that neighbours predict them badly."""


@dataclass(frozen=True)
class MoviePlan:
    """Every ``stride``-th frame, averaged over blocks of ``block``×``block`` pixels."""

    stride: int
    block: int

    def apply(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "T H W"]:
        """The frames that are kept, at the size they are kept."""
        stack = values if values.ndim == 3 else values[None]
        return block_mean(stack[:: self.stride].astype(np.float32), self.block)


@dataclass(frozen=True)
class Movie:
    """The data of a scene in a page, and the number of bytes that they take there."""

    plan: MoviePlan
    data: Mapping[str, Any]
    """JSON-serialisable."""
    size: int


def make_movie(layers: Mapping[str, Layer], budget: float, *, frame_time_ms: float | None = None) -> Movie | None:
    """The layers of a scene, by name, in at most ``budget`` bytes of the page; None where they do not fit.

    One layer has to be called ``estimate``; it determines the window and the first pixel whose curve is shown. Images
    are averaged so that no side has more than 256 pixels. Where the result is still too large, the number of pixels and
    of frames is reduced in turn, down to sides of 32 pixels and 4 frames.
    """
    shape = layers["estimate"].values.shape
    for plan in _plans(shape):
        frames = -(-(shape[0] if len(shape) == 3 else 1) // plan.stride)
        pixels = (shape[-2] // plan.block) * (shape[-1] // plan.block)
        if _LEAST_BYTES * len(layers) * frames * pixels > budget:
            continue
        data = _encode(layers, plan, frame_time_ms)
        size = sum(len(layer["data"]) for layer in data["layers"].values()) + 200 * len(layers) + 8 * frames
        if size <= budget:
            return Movie(plan, data, size)
    return None


def _plans(shape: tuple[int, ...]) -> Iterator[MoviePlan]:
    frames, (height, width) = (shape[0] if len(shape) == 3 else 1), shape[-2:]
    seen = set()
    for side, count in _SMALLER:
        plan = MoviePlan(-(-frames // count), min(-(-max(height, width) // side), height, width))
        if plan not in seen:
            seen.add(plan)
            yield plan


def _encode(layers: Mapping[str, Layer], plan: MoviePlan, frame_time_ms: float | None) -> dict[str, Any]:
    shown = {name: plan.apply(layer.values) for name, layer in layers.items()}
    estimate = shown["estimate"]
    spread = shown.get("spread")
    fine = None if spread is None else _typical(spread)
    window = image_window(layers["estimate"].values)
    steps = {name: _step(shown[name], layer, fine) for name, layer in layers.items()}
    return {
        "shape": list(estimate.shape),
        "stride": plan.stride,
        "block": plan.block,
        "frameTime": frame_time_ms,
        "window": [window.low, window.high],
        "spreadMax": 1.0 if spread is None else spread_window(layers["spread"].values).high,
        "signedMax": SIGNED_LIMIT,
        "start": list(_start(estimate)),
        "layers": {
            name: {"title": layer.title, "kind": layer.kind, **encode_layer(shown[name], steps[name], not layer.noisy)}
            for name, layer in layers.items()
        },
    }


def _typical(spread: np.ndarray) -> float | None:
    """The median of the positive standard deviations."""
    known = spread[np.isfinite(spread) & (spread > 0)]
    return float(np.median(known)) if known.size else None


def _step(values: np.ndarray, layer: Layer, fine: float | None) -> float:
    """Distance of two levels, so small that rounding stays far below the noise or the standard deviation."""
    finite = values[np.isfinite(values)]
    extent = float(np.ptp(finite)) if finite.size else 0.0
    if layer.noisy:
        wanted = extent / 253
    elif fine is None:
        wanted = extent / 4000
    else:
        wanted = (0.01 if layer.kind == "spread" else 0.05) * fine
    return max(wanted, extent / (_DEEPEST - 1), 1e-12)


def encode_layer(values: Float[np.ndarray, "T H W"], step: float, delta: bool) -> dict[str, Any]:
    """A sequence as levels of ``step``: the fields that the player needs, with the data in base64.

    With ``delta`` each frame is stored as its difference from the one before, the first one from its left neighbour.
    """
    finite = np.isfinite(values)
    low = float(values[finite].min()) if finite.any() else 0.0
    levels = np.where(finite, 1 + np.rint((np.where(finite, values, low) - low) / step), 0).astype(np.int64)
    depth = 1 if levels.max() < 256 else 2
    if delta:
        levels = _differences(levels)
    levels %= 256**depth
    planes = b"".join((levels >> 8 * plane & 255).astype(np.uint8).tobytes() for plane in range(depth))
    data = base64.b64encode(zlib.compress(planes, 6)).decode("ascii")
    return {"low": low, "step": step, "depth": depth, "delta": delta, "data": data}


def _differences(levels: Integer[np.ndarray, "T H W"]) -> Integer[np.ndarray, "T H W"]:
    return np.concatenate([np.diff(levels[:1], axis=2, prepend=0), np.diff(levels, axis=0)])


def _start(estimate: Float[np.ndarray, "T H W"]) -> tuple[int, int]:
    """The pixel whose curve the page shows first: the one that moves most, or the middle one where nothing moves."""
    height, width = estimate.shape[1:]
    values = np.nan_to_num(estimate)
    largest = np.abs(values).max()
    # The square of a value that a file may hold can be too large for its type.
    deviation = (values / largest).std(axis=0) if largest > 0 else np.zeros((height, width))
    if not deviation.max() > 0:
        return height // 2, width // 2
    row, column = np.unravel_index(int(np.argmax(deviation)), deviation.shape)
    return int(row), int(column)


def block_mean(values: Float[np.ndarray, "*lead H W"], block: int) -> Float[np.ndarray, "*lead h w"]:
    """Means over blocks of pixels; rows and columns at the edge that do not fill a block are left out."""
    *lead, height, width = values.shape
    rows, columns = height // block, width // block
    cut = values[..., : rows * block, : columns * block]
    return cut.reshape(*lead, rows, block, columns, block).mean(axis=(-3, -1))
