"""Dense motion between two images, found at the time between them that is asked for.

A point that stands at p at the share u of the gap was at ``p − u·d`` in the first image and will be at
``p + (1 − u)·d`` in the second. The displacement d(p) over the gap is found at p itself, so that no motion has to be
carried from the grid of one image to that of another. Every step linearises the difference of the two warped images and
solves least squares over a Gaussian window (Lucas and Kanade, IJCAI 1981), on a pyramid of resolutions (Bouguet, Intel
2001).
"""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

WINDOW = 4.0
"""Standard deviation of the window of least squares, pixels of a level."""
LEAST_SIDE = 12
"""Shortest side of the coarsest level, pixels."""
_LEVELS, _STEPS, _PRE = 4, 4, 0.7
_LONGEST = 2.0  # pixels of a level that one step may move
_STIFF = 20.0


def flow_between(
    first: Float[np.ndarray, "H W"], second: Float[np.ndarray, "H W"], share: float, noise: float
) -> Float[np.ndarray, "2 H W"]:
    """Displacement (rows, columns) over the gap of what stands at a pixel at the ``share`` of it, float32, pixels.

    **Arguments:** ``share`` u of the gap, 0 … 1; ``noise`` the standard deviation of the two images, in their unit:
    where the contrast is not above it, the motion stays that of the surroundings, and in the end zero.
    """
    pairs = [(first.astype(np.float32), second.astype(np.float32))]
    while len(pairs) < _LEVELS and min(pairs[-1][0].shape) >= 2 * LEAST_SIDE:
        pairs.append(tuple(gaussian_filter(image, 1.0, mode="nearest")[::2, ::2] for image in pairs[-1]))  # pyright: ignore[reportArgumentType]
    flow = np.zeros((2, *pairs[-1][0].shape), np.float32)
    for level in reversed(range(len(pairs))):
        a, b = (gaussian_filter(image, _PRE, mode="nearest") for image in pairs[level])
        if flow.shape[1:] != a.shape:
            flow = 2.0 * _enlarged(flow, a.shape)
        stiffness = _STIFF * (noise / 2.0**level) ** 2 + 1e-12
        for _ in range(_STEPS):
            flow = _step(a, b, flow, share, stiffness)
    return flow


def warped(image: Float[np.ndarray, "H W"], by: Float[np.ndarray, "2 H W"]) -> Float[np.ndarray, "H W"]:
    """The image at ``p + by(p)``, linear between pixels; beyond the edge it has the value of the edge."""
    rows, columns = np.indices(image.shape, dtype=np.float32)
    return map_coordinates(image, (rows + by[0], columns + by[1]), order=1, mode="nearest")


def _step(a: np.ndarray, b: np.ndarray, flow: np.ndarray, share: float, stiffness: float) -> np.ndarray:
    before, after = warped(a, -share * flow), warped(b, (1.0 - share) * flow)
    middle = share * before + (1.0 - share) * after
    down, right = np.gradient(middle)
    rest = after - before
    products = (down * down, down * right, right * right, down * rest, right * rest)
    rr, rc, cc, rd, cd = (gaussian_filter(v, WINDOW, mode="nearest") for v in products)
    rr, cc = rr + stiffness, cc + stiffness
    scale = 1.0 / (rr * cc - rc * rc)
    change = np.stack([-(cc * rd - rc * cd) * scale, -(rr * cd - rc * rd) * scale])
    change *= np.minimum(1.0, _LONGEST / np.maximum(np.hypot(*change), 1e-6))
    found = flow + change
    return gaussian_filter(found, (0.0, _PRE, _PRE), mode="nearest").astype(np.float32)


def _enlarged(flow: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    found = np.asarray(zoom(flow, (1, 2, 2), order=1, mode="nearest", grid_mode=True))
    lacking = [(0, max(0, wanted - size)) for wanted, size in zip(shape, found.shape[1:], strict=True)]
    return np.pad(found, ((0, 0), *lacking), mode="edge")[:, : shape[0], : shape[1]]
