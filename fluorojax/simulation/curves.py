"""Tubes along curves, drawn from the exact distance to the curve: sub-pixel motion stays continuous in time."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

PSF_PIXELS = 0.5
"""Standard deviation of focal spot, detector blur and pixel aperture together, in pixels."""


def spline_basis(control: Float[np.ndarray, "k 2"], count: int) -> Float[np.ndarray, "n k"]:
    """Matrix that maps control points to ``count`` points on the cubic spline through them.

    The parameter is the chord length of ``control``. Because the spline is linear in its points, moving control points
    cost one small matrix product per instant.
    """
    knots = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(control, axis=0), axis=1))])
    return CubicSpline(knots, np.eye(len(control)))(np.linspace(0.0, knots[-1], count))


def arc_length(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Length of the polyline up to each of its points, starting at 0."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def nearest_on_curve(
    points: Float[np.ndarray, "n 2"], shape: tuple[int, int], reach: float
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Pixels within ``reach`` of a polyline, their distance from it, and the arc length of the nearest point.

    **Arguments:**

    - `points`: vertices (row, column) in pixels.
    - `shape`: pixels (H, W) of the image.
    - `reach`: largest distance kept, pixels.

    **Returns:** flat pixel indices (each once), distances and arc lengths, both in pixels.
    """
    start, delta = points[:-1], np.diff(points, axis=0)
    length = np.linalg.norm(delta, axis=1)
    before = arc_length(points)[:-1]
    middle = start + 0.5 * delta
    near = np.all((middle > -reach - length[:, None]) & (middle < np.array(shape) + reach + length[:, None]), axis=1)
    near &= length > 0
    if not near.any():
        return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)
    start, delta, length, before, middle = (a[near] for a in (start, delta, length, before, middle))

    # Every segment looks at the square of pixels around its middle that holds all pixels within reach of it.
    half = int(np.ceil(reach + 0.5 * length.max() + 0.5))
    square = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    pixel = np.rint(middle).astype(np.intp)[:, None, :] + square
    row, column = pixel[..., 0], pixel[..., 1]
    from_row, from_column = row - start[:, :1], column - start[:, 1:]
    along = (from_row * delta[:, :1] + from_column * delta[:, 1:]) / length[:, None] ** 2
    np.clip(along, 0.0, 1.0, out=along)
    square_distance = (from_row - along * delta[:, :1]) ** 2 + (from_column - along * delta[:, 1:]) ** 2
    keep = (square_distance <= reach**2) & (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    if not keep.any():
        return np.empty(0, dtype=np.intp), np.empty(0), np.empty(0)

    # The nearest segment is found in the bounding box of the curve, so that a short branch costs little.
    row, column, distance = row[keep], column[keep], square_distance[keep]
    position = (before[:, None] + along * length[:, None])[keep]
    top, left, width = row.min(), column.min(), int(np.ptp(column)) + 1
    index = (row - top) * width + column - left
    closest = np.full((int(np.ptp(row)) + 1) * width, np.inf)
    np.minimum.at(closest, index, distance)
    where = np.zeros(closest.size)
    winner = distance == closest[index]
    where[index[winner]] = position[winner]
    index = np.flatnonzero(np.isfinite(closest))
    return (index // width + top) * shape[1] + index % width + left, np.sqrt(closest[index]), where[index]


class TubeProfile:
    """Optical depth across a round tube, blurred by the point spread of the detector: exact for a straight tube."""

    def __init__(self, radius: float, wall: float, wall_depth: float, core_depth: float, blur: float = PSF_PIXELS):
        """Tabulate the profile.

        **Arguments:**

        - `radius`, `wall`: outer radius and wall thickness, pixels.
        - `wall_depth`, `core_depth`: optical depth per pixel of path in the wall and inside it.
        - `blur`: standard deviation of the point spread, pixels.
        """
        self.reach = radius + 3.0 * blur
        spacing = 0.02
        count = int(np.ceil((self.reach + 4.0 * blur) / spacing))
        signed = spacing * np.arange(-count, count + 1)
        outer = 2.0 * np.sqrt(np.clip(radius**2 - signed**2, 0.0, None))
        inner = 2.0 * np.sqrt(np.clip(max(radius - wall, 0.0) ** 2 - signed**2, 0.0, None))
        depth = wall_depth * (outer - inner) + core_depth * inner
        self._distance = signed[count:]
        self._depth = gaussian_filter1d(depth, blur / spacing, mode="constant")[count:]

    def __call__(self, distance: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Optical depth at ``distance`` (pixels) from the axis of the tube."""
        return np.interp(distance, self._distance, self._depth)


def draw_tube(
    image: Float[np.ndarray, "H W"],
    points: Float[np.ndarray, "n 2"],
    profile: TubeProfile,
    along: Callable[[Float[np.ndarray, " m"]], Float[np.ndarray, " m"]] | None = None,
) -> None:
    """Add a tube to ``image`` in place; ``along`` weights it by arc length (pixels)."""
    index, distance, position = nearest_on_curve(points, (image.shape[0], image.shape[1]), profile.reach)
    depth = profile(distance)
    if along is not None:
        depth = depth * along(position)
    image.reshape(-1)[index] += depth
