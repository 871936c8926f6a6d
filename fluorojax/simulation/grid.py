"""Detector geometry: where the pixels are, in millimetres of the patient plane."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a detector and of a wider canvas around it, from which moving layers are drawn.

    Coordinates are (x, y) in mm: x to the right, y downwards, origin at the centre of the detector. The long side of
    the detector sees ``field_mm``, whatever its number of pixels, so that a scene looks alike at every size.
    """

    shape: tuple[int, int]
    """Detector pixels (H, W)."""
    field_mm: float
    """Field of view along the long side of the detector, mm."""

    @property
    def pixel_mm(self) -> float:
        """Pixel pitch, mm."""
        return self.field_mm / max(self.shape)

    @property
    def unit_mm(self) -> float:
        """1/128 of the field of view: the pixel pitch of the reference size, in which motion is specified."""
        return self.field_mm / 128.0

    @property
    def margin(self) -> int:
        """Canvas pixels beyond each edge of the detector: no layer is displaced by more."""
        return int(np.ceil(22.0 * self.unit_mm / self.pixel_mm)) + 2

    @property
    def canvas(self) -> tuple[int, int]:
        """Canvas pixels (H, W)."""
        return self.shape[0] + 2 * self.margin, self.shape[1] + 2 * self.margin

    @property
    def half_height_mm(self) -> float:
        """Half the height of the detector, mm."""
        return 0.5 * self.shape[0] * self.pixel_mm

    def coordinates(self, *, canvas: bool = False) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
        """Coordinates x and y, in mm, of the pixel centres of the detector or of the canvas."""
        height, width = self.canvas if canvas else self.shape
        y = (np.arange(height) - 0.5 * (height - 1)) * self.pixel_mm
        x = (np.arange(width) - 0.5 * (width - 1)) * self.pixel_mm
        xx, yy = np.meshgrid(x, y)
        return xx, yy

    def to_pixels(self, points: Float[np.ndarray, "*n 2"], *, canvas: bool = False) -> Float[np.ndarray, "*n 2"]:
        """Points (x, y) in mm as (row, column) of the detector or the canvas; pixel centres are whole numbers."""
        height, width = self.canvas if canvas else self.shape
        centre = 0.5 * (np.array([height, width]) - 1)
        return points[..., ::-1] / self.pixel_mm + centre
