"""Are the patterns of a scene like those that the networks were trained on?

Anatomy is smooth: seen through any device, most of an image has far less contrast from pixel to pixel than over some
pixels. Grids, text, resolution targets and the like have it the other way round. The test compares the two in the
middle one of all blocks of the image, so that a device, an edge or a label in a corner does not count. The variance of
Poisson counts is known and taken off, so that the test works on the counts themselves, at any dose.

The limits were set on 120 runs of the scenes on which standard deviations are calibrated, of which one exceeds them. Of
120 validation runs none does; see ``benchmarks/RESULTS.md``.
"""

import numpy as np
from jaxtyping import Float

BLOCK = 16
"""Side of a block, pixels."""
MIN_BLOCKS = 4
"""Fewest blocks that have a middle one; smaller images are not judged."""
# Limits: contrast of pixels over that of 4 × 4 pixels (with a floor of the latter), and the contrast itself.
_RATIO, _FLOOR, _LEAST, _STRONG = 0.55, 0.004, 0.003, 0.08
_COARSE = 4
# Most frames that are looked at, and standard errors that are taken off.
_FRAMES, _CHANCE = 32, 4.0


def pixel_contrast(counts: Float[np.ndarray, "T H W"], side: int) -> Float[np.ndarray, " blocks"]:
    """Mean square of the second differences of ``side`` × ``side`` pixels along rows and columns, relative to the
    squared counts, less that of Poisson noise: one value for each block. ``side`` divides :data:`BLOCK`.
    """
    rows, columns = (n // BLOCK for n in counts.shape[1:])
    cells = BLOCK // side
    energy, power = np.zeros((rows * cells, columns * cells)), np.zeros((rows, columns))
    floor = 0.05 * float(counts.mean()) + 1e-6
    for frame in counts:
        part = frame[: rows * BLOCK, : columns * BLOCK].astype(np.float64)
        level = part.reshape(rows, BLOCK, columns, BLOCK).mean((1, 3))
        power += np.maximum(level, floor) ** 2
        cell = part.reshape(rows * cells, side, columns * cells, side).mean((1, 3))
        for axis in (0, 1):
            c = np.moveaxis(cell, axis, 0)
            difference = c[1:-1] - 0.5 * (c[:-2] + c[2:])
            noise = (c[1:-1] + 0.25 * (c[:-2] + c[2:])) / side**2
            excess = np.pad(difference**2 - noise, ((1, 1), (0, 0)), mode="edge")
            energy += np.moveaxis(excess, 0, axis)
    return (energy.reshape(rows, cells, columns, cells).mean((1, 3)) / power).ravel()


def unfamiliar(counts: Float[np.ndarray, "T H W"]) -> list[str]:
    """Clauses on what of the patterns is unlike any scene of the training; empty where nothing is, or too little is
    there to tell: fewer than four blocks of 16 × 16 pixels, or contrast within four standard errors of the noise.
    """
    blocks = (counts.shape[1] // BLOCK) * (counts.shape[2] // BLOCK)
    if blocks < MIN_BLOCKS:
        return []
    chosen = counts[np.unique(np.linspace(0, len(counts) - 1, min(len(counts), _FRAMES)).astype(int))]
    level = max(float(chosen.mean()), 1e-6)
    # Squared second differences of noise have the mean 1.5 λ in each direction; the median scatters 1.25 times as much
    # as the mean.
    error = 1.25 * 1.5 * np.sqrt(2.0) / (level * BLOCK * np.sqrt(len(chosen) * blocks))
    fine = float(np.median(pixel_contrast(chosen, 1))) - _CHANCE * error
    coarse = float(np.median(pixel_contrast(chosen, _COARSE)))
    if fine > _STRONG or (fine > _LEAST and fine > _RATIO * max(coarse, _FLOOR)):
        return [
            f"the images have a contrast of {100 * np.sqrt(max(fine, 0.0)):.0f} % from pixel to pixel and "
            f"{100 * np.sqrt(max(coarse, 0.0)):.0f} % over {_COARSE} pixels in most places, unlike any anatomy of the "
            "training"
        ]
    return []
