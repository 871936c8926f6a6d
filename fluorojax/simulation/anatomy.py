"""The layers a thorax is split into, whether it is drawn or projected from a CT volume."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fluorojax.simulation.grid import Grid

WATER_PER_MM = 0.022
"""Attenuation of water behind 0.3 mm Cu at 75 kVp, 1/mm."""


@dataclass(frozen=True)
class HeartShape:
    """Where the heart lies at rest: centre (x, y) and semi-axes in mm, long and short direction as rows of ``axes``."""

    centre: Float[np.ndarray, " 2"]
    axes: Float[np.ndarray, "2 2"]
    radii: Float[np.ndarray, " 2"]

    def normalised(
        self, x: Float[np.ndarray, "*n"], y: Float[np.ndarray, "*n"]
    ) -> tuple[Float[np.ndarray, "*n"], Float[np.ndarray, "*n"]]:
        """Coordinates along the long and the short axis, in semi-axes."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        long, short = self.axes
        return (dx * long[0] + dy * long[1]) / self.radii[0], (dx * short[0] + dy * short[1]) / self.radii[1]

    def to_mm(self, normalised: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Points (x, y) in mm from coordinates in semi-axes."""
        return self.centre + (normalised * self.radii) @ self.axes


@dataclass(frozen=True)
class Anatomy:
    """Layers of optical depth whose sum is the patient at rest; ``fixed`` never moves.

    ``soft`` follows the diaphragm, displaced downwards by ``follow`` times the diaphragm's displacement; ``heart``
    beats. Moving layers live on the canvas of the grid, the others on the detector.
    """

    grid: Grid
    fixed: Float[np.ndarray, "H W"]
    soft: Float[np.ndarray, "Hc Wc"]
    heart: Float[np.ndarray, "Hc Wc"]
    follow: Float[np.ndarray, "H W"]
    heart_shape: HeartShape
    spine_mm: float
    """x of the spine, mm."""
    description: str
