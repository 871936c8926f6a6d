"""The part of the detector that the beam reached: within collimator and display shutter."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from fluorojax.io.dicom.checks import frame_groups
from fluorojax.io.dicom.files import Instance, real, reals, tag_of, texts
from fluorojax.io.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

Window = tuple[tuple[int, int], tuple[int, int]]
_EDGES = ("UpperHorizontalEdge", "LowerHorizontalEdge", "LeftVerticalEdge", "RightVerticalEdge")


def open_pixels(instance: Instance, rows: int, columns: int) -> Bool[np.ndarray, "H W"]:
    """Pixels that no collimator and no shutter covers in any frame; raises :class:`InputError` where none is left.

    Edges and centres are rows and columns of the image, from 1. Of an enhanced image the shutters of all frames count.
    """
    mask = np.ones((rows, columns), bool)
    groups = [(instance.header, "Shutter"), (instance.header, "Collimator")]
    groups += [(item, "Shutter") for item in frame_groups(instance.header, "FrameDisplayShutterSequence")]
    groups += [(item, "Collimator") for item in frame_groups(instance.header, "CollimatorShapeSequence")]
    for holder, kind in groups:
        for shape in texts(holder, f"{kind}Shape"):
            mask &= _opening(instance, holder, kind, shape, mask.shape)
    if not mask.any():
        raise InputError(
            instance.path, None, "ShutterShape", f"{tag_of('ShutterShape')} and collimator cover the whole image"
        )
    return mask


def _opening(instance: Instance, holder: "Dataset", kind: str, shape: str, size: tuple[int, int]) -> np.ndarray:
    path = instance.path
    row, column = np.mgrid[1 : size[0] + 1, 1 : size[1] + 1]
    if shape == "RECTANGULAR":
        edges = [real(holder, kind + name, path) for name in _EDGES]
        top, bottom, left, right = edges
        if top is None or bottom is None or left is None or right is None:
            return np.ones(size, bool)
        # the edge itself is the last covered row or column, or lies outside the image
        return (row > top) & (row < bottom) & (column > left) & (column < right)
    if shape == "CIRCULAR":
        centre, radius = reals(holder, f"CenterOfCircular{kind}", path), real(holder, f"RadiusOfCircular{kind}", path)
        if len(centre) != 2 or radius is None:
            return np.ones(size, bool)
        return (row - centre[0]) ** 2 + (column - centre[1]) ** 2 <= radius**2
    if shape == "POLYGONAL":
        corners = reals(holder, f"VerticesOfThePolygonal{kind}", path)
        if len(corners) < 6 or len(corners) % 2:
            return np.ones(size, bool)
        return _inside(np.array(corners).reshape(-1, 2), row, column)
    return np.ones(size, bool)  # BITMAP shutters are overlays for the display


def _inside(corners: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Whether points lie within a polygon of (row, column) corners, by the number of edges to one side of them."""
    inside = np.zeros(row.shape, bool)
    for (r0, c0), (r1, c1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if r0 == r1:
            continue
        crosses = (row >= min(r0, r1)) & (row < max(r0, r1))
        inside ^= crosses & (column < c0 + (row - r0) * (c1 - c0) / (r1 - r0))
    return inside


def largest_window(mask: Bool[np.ndarray, "H W"]) -> Window:
    """The largest rectangle of pixels that are all true, as ((first row, past the last), (columns likewise))."""
    best, found = 0, ((0, 1), (0, 1))
    heights = np.zeros(mask.shape[1], int)
    for row in range(mask.shape[0]):
        heights = np.where(mask[row], heights + 1, 0)
        open_at: list[tuple[int, int]] = []  # first column and height of rectangles that end in this row
        for column, height in enumerate([*heights.tolist(), 0]):
            first = column
            while open_at and open_at[-1][1] >= height:
                first, tall = open_at.pop()
                if (area := tall * (column - first)) > best:
                    best, found = area, ((row + 1 - tall, row + 1), (first, column))
            open_at.append((first, height))
    return found
