"""The voxel grid of a volume, in millimetres."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

WATER_PER_MM = 0.02
"""Linear attenuation coefficient of water at about 60 keV, 1/mm (NIST XCOM: 0.0206 at 60 keV)."""
_MOST_PER_MM = 2.0  # denser than lead glass; values above are Hounsfield units or 1/m
_VOXEL_MM = (0.01, 100.0)


class VoxelGrid(eqx.Module):
    """Where the voxels of a volume (X, Y, Z) lie: ``position = origin + index · spacing``, mm.

    The axes are those of the patient as in DICOM (LPS): x towards the patient's left, y towards the back, z towards the
    head. The isocentre is the point (0, 0, 0). Values belong to voxel centres.
    """

    shape: tuple[int, int, int] = eqx.field(static=True)
    """Number of voxels along x, y and z."""
    spacing: tuple[float, float, float] = eqx.field(static=True)
    """Distance of neighbouring voxel centres along x, y and z, mm."""
    origin: tuple[float, float, float] = eqx.field(static=True)
    """Centre of the voxel (0, 0, 0), mm."""

    def __check_init__(self):
        if len(self.shape) != 3 or not all(int(n) == n and n >= 2 for n in self.shape):
            raise ValueError(f"grid shape is {self.shape}; expected three whole numbers of at least 2")
        low, high = _VOXEL_MM
        if len(self.spacing) != 3 or not all(np.isfinite(s) and low <= s <= high for s in self.spacing):
            raise ValueError(f"grid spacing is {self.spacing}; expected three numbers from {low:g} to {high:g} mm")
        if len(self.origin) != 3 or not np.isfinite(self.origin).all():
            raise ValueError(f"grid origin is {self.origin}; expected three finite numbers, mm")

    @classmethod
    def centred(cls, voxels: int | tuple[int, int, int], spacing: float) -> "VoxelGrid":
        """Cubic voxels of ``spacing`` mm around the isocentre; ``voxels`` along each axis, or one number for all."""
        shape = (voxels,) * 3 if isinstance(voxels, int) else voxels
        return cls(shape, (float(spacing),) * 3, tuple(-0.5 * (n - 1) * float(spacing) for n in shape))  # pyright: ignore[reportArgumentType]

    def axis(self, axis: int) -> Float[np.ndarray, " n"]:
        """Voxel centres along one axis, mm."""
        return self.origin[axis] + self.spacing[axis] * np.arange(self.shape[axis])

    def corners(self) -> Float[np.ndarray, "8 3"]:
        """The eight corners of the box that the voxels fill, mm."""
        low = np.asarray(self.origin) - 0.5 * np.asarray(self.spacing)
        size = np.asarray(self.spacing) * np.asarray(self.shape)
        return low + size * np.stack(np.meshgrid(*[[0.0, 1.0]] * 3, indexing="ij"), -1).reshape(8, 3)

    def as_dict(self) -> dict[str, Any]:
        """The grid as JSON values, with the unit."""
        return {"shape": list(self.shape), "spacing": list(self.spacing), "origin": list(self.origin), "unit": "mm"}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VoxelGrid":
        """Inverse of :meth:`as_dict`; raises ``ValueError`` for a mapping that is no grid in mm."""
        if (unit := values.get("unit", "mm")) != "mm":
            raise ValueError(f"grid is in {unit!r}; expected mm")
        try:
            shape = tuple(int(n) for n in values["shape"])
            spacing, origin = (tuple(float(v) for v in values[name]) for name in ("spacing", "origin"))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("grid is malformed; expected shape, spacing and origin of three numbers each") from error
        return cls(shape, spacing, origin)  # pyright: ignore[reportArgumentType]


def check_volume(volume: Float[np.ndarray, "X Y Z"], grid: VoxelGrid | None = None) -> None:
    """Raise ``ValueError`` where an array is no attenuation volume in 1/mm, or does not lie on ``grid``.

    Values outside [−2, 2] 1/mm are those of another unit (Hounsfield units, 1/m).
    """
    if volume.ndim != 3:
        raise ValueError(f"volume has shape {volume.shape}; expected (X, Y, Z)")
    if grid is not None and volume.shape != grid.shape:
        raise ValueError(f"volume has shape {volume.shape}; expected {grid.shape}, like the grid")
    if not np.isfinite(volume).all():
        raise ValueError("volume holds values that are not finite; expected attenuation in 1/mm")
    if np.abs(volume).max() > _MOST_PER_MM:
        raise ValueError(
            f"volume holds values from {volume.min():g} to {volume.max():g}; expected attenuation in 1/mm, of which "
            f"water has {WATER_PER_MM:g} (Hounsfield units and 1/m have to be converted first)"
        )
