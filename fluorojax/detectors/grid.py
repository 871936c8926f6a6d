"""The map of a distorting detector from the image of a grid of beads."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num
from scipy.ndimage import gaussian_filter, maximum_filter

from fluorojax.physics.distortion import Distortion, powers

_FEWEST, _NEAR, _CONTRAST = 25, 0.35, 0.2


@dataclass(frozen=True)
class GridFit:
    """A map of the distortion and what it rests on."""

    distortion: Distortion
    beads: int
    """Beads that the map was fitted to."""
    residual: float
    """Root mean square distance of the beads from the map, pixels."""
    pitch: float
    """Distance of neighbouring beads in the undistorted image, pixels."""


def fit_grid(image: Num[np.ndarray, "*T H W"], flat: Num[np.ndarray, "*U H W"], *, degree: int = 5) -> GridFit:
    """The distortion that bends a square grid of absorbing beads into its ``image``.

    The beads are found to parts of a pixel, put in order from the centre of the field outwards, and their places fitted
    by a polynomial map of the detector to the lattice. Scale, rotation and place of the lattice are free: those of the
    fitted map at the centre of the field are taken as undistorted.

    **Arguments:** ``image`` one frame or more with the grid in place; ``flat`` the same beam without it; ``degree`` of
    the polynomials. **Raises** ``ValueError`` where fewer than 25 beads form a grid, or fewer than the map needs.
    """
    if image.shape[-2:] != flat.shape[-2:]:
        raise ValueError(f"the grid has pixels {image.shape[-2:]}, the flat run {flat.shape[-2:]}; expected the same")
    frames = [np.asarray(run, np.float64).reshape(-1, *run.shape[-2:]).mean(axis=0) for run in (image, flat)]
    depth = -np.log(np.maximum(frames[0], 1e-3 * frames[1].mean()) / np.maximum(frames[1], 1e-3 * frames[1].mean()))
    beads = _beads(depth)
    lattice = _ordered(beads, frames[0].shape)
    places, index = beads[list(lattice)], np.array(list(lattice.values()), float)
    need = max(_FEWEST, 2 * len(powers(degree)))
    if len(places) < need:
        raise ValueError(f"the image holds a grid of {len(places)} beads; expected at least {need}")
    half, centre = 0.5 * max(depth.shape), 0.5 * (np.array(depth.shape) - 1)
    v, u = ((places - centre) / half).T
    terms = np.stack([v**i * u**j for i, j in powers(degree)], axis=1)
    values = np.linalg.lstsq(terms, index, rcond=None)[0]
    at = {pair: k for k, pair in enumerate(powers(degree))}
    linear = np.stack([values[at[1, 0]], values[at[0, 1]]])
    pitch = half / np.sqrt(abs(np.linalg.det(linear)))
    # A turned and scaled lattice that agrees with the map at the centre.
    angle = np.arctan2(linear[0, 1] - linear[1, 0], linear[0, 0] + linear[1, 1])
    turn = pitch / half * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shown = (values - np.eye(len(values))[:, [0]] * values[0]) @ turn
    residual = float(np.sqrt(np.mean(np.sum(((terms @ values - index) * pitch) ** 2, axis=1))))
    shown[at[1, 0], 0] -= 1.0
    shown[at[0, 1], 1] -= 1.0
    return GridFit(Distortion(tuple(shown[:, 0]), tuple(shown[:, 1])), len(places), residual, float(pitch))


def _beads(depth: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "N 2"]:
    """Places of the beads: local maxima of the smoothed depth, and the centre of mass around each."""
    smooth = gaussian_filter(depth, 1.5)
    smooth -= np.median(smooth)
    top = np.quantile(smooth, 0.995)
    peaks = np.argwhere((smooth == maximum_filter(smooth, 7)) & (smooth > _CONTRAST * top))
    found = []
    offsets = np.indices((7, 7)).reshape(2, -1).T - 3
    for row, column in peaks:
        if not (3 <= row < depth.shape[0] - 3 and 3 <= column < depth.shape[1] - 3):
            continue
        weights = np.maximum(smooth[row - 3 : row + 4, column - 3 : column + 4].ravel(), 0.0) ** 2
        found.append(np.array([row, column]) + weights @ offsets / weights.sum())
    return np.array(found).reshape(-1, 2)


def _ordered(beads: Float[np.ndarray, "N 2"], shape: tuple[int, ...]) -> dict[int, tuple[int, int]]:
    """Lattice indices by number of the bead, grown from the centre of the field from neighbour to neighbour."""
    if len(beads) < _FEWEST:
        return {}
    first = int(np.argmin(np.sum((beads - 0.5 * np.array(shape)) ** 2, axis=1)))
    steps = beads - beads[first]
    near = steps[np.argsort(np.sum(steps**2, axis=1))[1:5]]
    down = near[np.argmax(near[:, 0] - np.abs(near[:, 1]))]
    right = near[np.argmax(near[:, 1] - np.abs(near[:, 0]))]
    found, local = {first: (0, 0)}, {first: np.array([down, right])}
    queue = [first]
    while queue:
        here = queue.pop(0)
        for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
            step = sign * local[here][axis]
            distance = np.linalg.norm(beads - beads[here] - step, axis=1)
            other = int(np.argmin(distance))
            if other in found or distance[other] > _NEAR * np.linalg.norm(step):
                continue
            index = list(found[here])
            index[axis] += sign
            found[other], local[other] = (index[0], index[1]), local[here].copy()
            local[other][axis] = sign * (beads[other] - beads[here])
            queue.append(other)
    return found
