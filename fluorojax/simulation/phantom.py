"""A patient with devices, as a function of continuous time."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates, spline_filter

from fluorojax.simulation.anatomy import Anatomy
from fluorojax.simulation.devices import Device, Whip
from fluorojax.simulation.motion import Breathing, HeartMotion
from fluorojax.simulation.vessels import Bolus, Coronaries

LAYERS = ("fixed", "soft", "heart", "vessel", "device")


@dataclass(frozen=True)
class Phantom:
    """Layers whose optical depths add, each moving in its own way.

    Moving layers are cubic-spline interpolated between canvas pixels and devices are drawn from exact distances, so the
    optical depth is a continuous function of time at every sub-pixel displacement.
    """

    anatomy: Anatomy
    breathing: Breathing
    heart_motion: HeartMotion
    coronaries: Coronaries
    bolus: Bolus
    devices: list[Device]
    whip: Whip | None
    _soft: np.ndarray = field(init=False, repr=False)
    _heart: np.ndarray = field(init=False, repr=False)
    _vessel: np.ndarray = field(init=False, repr=False)
    _rows: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, layer in (
            ("_soft", self.anatomy.soft),
            ("_heart", self.anatomy.heart),
            ("_vessel", self.coronaries.full),
        ):
            object.__setattr__(self, name, spline_filter(layer, order=3, mode="nearest"))
        grid = self.anatomy.grid
        object.__setattr__(self, "_rows", np.indices(grid.shape, dtype=np.float64) + grid.margin)

    def layers(self, time_ms: float) -> dict[str, Float[np.ndarray, "H W"]]:
        """Optical depth of every layer (:data:`LAYERS`) at a time in ms; ``soft`` is negative where lung is air."""
        heart, vessel = self._beating(time_ms)
        return {
            "fixed": self.anatomy.fixed,
            "soft": self._breathing_layer(time_ms),
            "heart": heart,
            "vessel": vessel,
            "device": self._device_layer(time_ms),
        }

    def attenuation(self, time_ms: float) -> Float[np.ndarray, "H W"]:
        """Total optical depth at a time in ms, non-negative."""
        return np.clip(np.sum(list(self.layers(time_ms).values()), axis=0), 0.0, None)

    def speeds(self, times_ms: Float[np.ndarray, " n"]) -> dict[str, float]:
        """Largest and median speed of device tips and shafts over ``times_ms``, detector pixels per ms.

        The speed of a shaft is that of the fastest point of its distal third, across its own direction: motion along
        a uniform tube cannot be seen.
        """
        pixel, step_ms = self.anatomy.grid.pixel_mm, 0.25
        summary: dict[str, float] = {}
        for device in self.devices:
            tips, shafts = [], []
            for time in times_ms:
                early, late = (
                    device.points(time + dt, self.heart_motion, self.whip) for dt in (-0.5 * step_ms, 0.5 * step_ms)
                )
                velocity = (late - early) / (step_ms * pixel)
                tangent = np.gradient(late, axis=0)
                tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
                across = np.abs(velocity[:, 0] * tangent[:, 1] - velocity[:, 1] * tangent[:, 0])
                tips.append(np.linalg.norm(velocity[-1]))
                shafts.append(across[2 * len(across) // 3 :].max())
            label = device.name.replace(" ", "_")
            for part, values in (("tip", tips), ("shaft", shafts)):
                summary[f"{label}_{part}_max"] = round(float(np.max(values)), 4)
                summary[f"{label}_{part}_median"] = round(float(np.median(values)), 4)
        return summary

    def _breathing_layer(self, time_ms: float) -> np.ndarray:
        rows, columns = self._rows
        shift = self.anatomy.follow * (self.breathing(time_ms) / self.anatomy.grid.pixel_mm)
        return map_coordinates(self._soft, [rows - shift, columns], order=3, mode="nearest", prefilter=False)

    def _beating(self, time_ms: float) -> tuple[np.ndarray, np.ndarray]:
        grid, motion = self.anatomy.grid, self.heart_motion
        matrix, translation = motion.pose(time_ms)
        centre = grid.to_pixels(motion.centre, canvas=True)
        # (x, y) in mm → (row, column): reversing both axes of the matrix.
        inverse = np.linalg.inv(matrix)[::-1, ::-1]
        moved = self._rows - (centre + translation[::-1] / grid.pixel_mm)[:, None, None]
        source = np.tensordot(inverse, moved, axes=1) + centre[:, None, None]
        # Blood is ejected: the path through the heart shortens as its silhouette does.
        thinning = np.sqrt(abs(np.linalg.det(matrix)))
        heart = thinning * map_coordinates(self._heart, source, order=3, mode="nearest", prefilter=False)
        vessel = np.zeros(grid.shape)
        if self.bolus(np.zeros(1), time_ms)[0] <= 0:
            return heart, vessel
        window = _bounding_box(source, self.coronaries.full)
        if window is not None:
            source = source[(slice(None), *window)]
            full = map_coordinates(self._vessel, source, order=3, mode="nearest", prefilter=False)
            path = map_coordinates(self.coronaries.path_mm, source, order=1, mode="nearest")
            vessel[window] = np.clip(full, 0.0, None) * self.bolus(path, time_ms)
        return heart, vessel

    def _device_layer(self, time_ms: float) -> np.ndarray:
        image = np.zeros(self.anatomy.grid.shape)
        for device in self.devices:
            device.draw(image, device.points(time_ms, self.heart_motion, self.whip), self.anatomy.grid)
        return image


def _bounding_box(source: np.ndarray, layer: np.ndarray) -> tuple[slice, slice] | None:
    """The detector rows and columns that see a non-zero part of a canvas layer."""
    rows, columns = (np.flatnonzero(layer.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return None
    seen = (source[0] > rows[0] - 3) & (source[0] < rows[-1] + 3)
    seen &= (source[1] > columns[0] - 3) & (source[1] < columns[-1] + 3)
    if not seen.any():
        return None
    high, wide = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return slice(high[0], high[-1] + 1), slice(wide[0], wide[-1] + 1)
