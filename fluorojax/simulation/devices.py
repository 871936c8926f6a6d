"""Catheters and guidewires: flexible tubes whose control points move continuously in time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from fluorojax.simulation.anatomy import Anatomy
from fluorojax.simulation.curves import PSF_PIXELS, TubeProfile, arc_length, draw_tube, spline_basis
from fluorojax.simulation.grid import Grid
from fluorojax.simulation.motion import HeartMotion

NODES = 110


@dataclass(frozen=True)
class Whip:
    """Lateral swing of a device that grows towards its tip: two tones, so that the speed varies."""

    amplitude_mm: float
    frequency_per_ms: float
    direction: Float[np.ndarray, " 2"]
    centre_ms: float
    phase: float
    travel: float
    """Phase by which the base of the device leads its tip, radians."""

    def __call__(self, reach: Float[np.ndarray, " k"], time_ms: float) -> Float[np.ndarray, "k 2"]:
        """Displacement, mm, of points at a relative distance ``reach`` from the fixed base (0) to the tip (1)."""
        turn = 2.0 * np.pi * self.frequency_per_ms * (time_ms - self.centre_ms) + self.phase + self.travel * (1 - reach)
        swing = np.sin(turn) + 0.12 * np.sin(2.0 * turn)
        sideways = 0.35 * (np.cos(turn + 0.7) + 0.2 * np.sin(3.0 * turn))
        across = np.array([-self.direction[1], self.direction[0]])
        grow = self.amplitude_mm * reach**1.5
        return (grow * swing)[:, None] * self.direction + (grow * sideways)[:, None] * across


@dataclass(frozen=True)
class Device:
    """One tube. Lengths in mm; control points run from the fixed base to the tip.

    ``beat_share`` and ``breathing_share`` say how much of the heart's and the diaphragm's motion each control point
    takes part in; ``length_mm`` gives the visible length from the base at a time, ``None`` shows all.
    """

    name: str
    control: Float[np.ndarray, "k 2"]
    beat_share: Float[np.ndarray, " k"]
    breathing_share: Float[np.ndarray, " k"]
    whip_reach: Float[np.ndarray, " k"]
    radius_mm: float
    depth: float
    """Optical depth through the middle of the tube."""
    wall_share: float
    """Wall thickness over radius; 1 is solid."""
    marks_mm: tuple[tuple[float, float, float], ...] = ()
    """Radiopaque parts: (start, end) behind the tip in mm, and depth relative to the tube."""
    length_mm: Callable[[float], float] | None = None
    bend_mm: float = 0.0
    """Deflection of the preshaped last 14 mm, seen at the angle ``roll``."""
    roll: Callable[[float], float] | None = None
    _basis: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_basis", spline_basis(self.control, NODES))

    def points(self, time_ms: float, heart: HeartMotion, whip: Whip | None) -> Float[np.ndarray, "n 2"]:
        """Centre line (x, y) in mm at a time, from the base to the visible tip."""
        control = self.control + self.beat_share[:, None] * (heart.forward(self.control, time_ms) - self.control)
        control[:, 1] += self.breathing_share * heart.breathing(time_ms)
        if whip is not None:
            control += whip(self.whip_reach, time_ms)
        points = self._basis @ control
        if self.length_mm is not None:
            points = _cut(points, self.length_mm(time_ms))
        if self.roll is not None:
            points = _bend(points, self.bend_mm * np.cos(self.roll(time_ms)))
        return points

    def draw(self, image: Float[np.ndarray, "H W"], points: Float[np.ndarray, "n 2"], grid: Grid) -> None:
        """Add the optical depth of the device along ``points`` (mm) to a detector image, in place."""
        pixels = grid.to_pixels(points)
        total = arc_length(pixels)[-1]
        pixel = grid.pixel_mm

        def along(position: np.ndarray) -> np.ndarray:
            behind, weight = total - position, np.ones_like(position)
            for start, end, relative in self.marks_mm:
                band = ndtr((behind - start / pixel) / PSF_PIXELS) - ndtr((behind - end / pixel) / PSF_PIXELS)
                weight += (relative - 1.0) * band
            return weight

        draw_tube(image, pixels, self.profile(grid), along if self.marks_mm else None)

    def profile(self, grid: Grid) -> TubeProfile:
        """Cross-section on a grid."""
        return _profile(self.radius_mm / grid.pixel_mm, self.wall_share, self.depth)


@lru_cache(maxsize=64)
def _profile(radius: float, wall_share: float, depth: float) -> TubeProfile:
    """The table is needed at every instant of a run, so it is kept."""
    per_pixel = depth / (2.0 * radius)
    return TubeProfile(radius, wall_share * radius, per_pixel, per_pixel if wall_share >= 1 else 0.75 * per_pixel)


def _cut(points: np.ndarray, length: float) -> np.ndarray:
    """Resample a line to its first ``length`` mm, so that its tip moves continuously."""
    position = arc_length(points)
    at = np.linspace(0.0, min(length, position[-1]), len(points))
    return np.stack([np.interp(at, position, points[:, i]) for i in range(2)], axis=1)


def _bend(points: np.ndarray, deflection: float, length: float = 14.0) -> np.ndarray:
    position = arc_length(points)
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    share = np.clip(1.0 - (position[-1] - position) / length, 0.0, 1.0)
    return points + deflection * (share**2)[:, None] * normal


def draw_whip(rng: np.random.Generator, grid: Grid, direction: Float[np.ndarray, " 2"], duration_ms: float) -> Whip:
    """A swing of 6–12 reference pixels at 2–4 Hz whose tip passes 0.13 px/ms near the middle of the run."""
    frequency = rng.uniform(2.0, 4.0) / 1000.0
    least = 0.14 / (2.0 * np.pi * frequency)
    amplitude = rng.uniform(max(6.0, least), 12.0) if least < 12.0 else least
    return Whip(
        amplitude_mm=amplitude * grid.unit_mm,
        frequency_per_ms=frequency,
        direction=direction,
        centre_ms=0.5 * duration_ms,
        phase=rng.uniform(-0.25, 0.25) + np.pi * rng.integers(2),
        travel=rng.uniform(0.4, 0.9),
    )


def draw_devices(
    rng: np.random.Generator, anatomy: Anatomy, trunk: Float[np.ndarray, "k 2"], motion: str, duration_ms: float
) -> tuple[list[Device], Whip | None]:
    """A catheter to the ostium, a guidewire through it along ``trunk``, and in fast scenes an electrode catheter.

    ``duration_ms`` is the length of the run. Returns the devices and the whip they share (``None`` in slow scenes).
    """
    grid, fast = anatomy.grid, motion == "fast"
    ostium, unit = trunk[0], grid.unit_mm
    approach = _approach(rng, anatomy, ostium, from_below=bool(fast and rng.random() < 0.5))
    count, total = len(approach), len(approach) + len(trunk) - 1
    rise = np.linspace(0.0, 1.0, count) ** 2
    catheter = Device(
        name="catheter",
        control=approach,
        beat_share=0.6 * rise,
        breathing_share=0.1 * rise,
        whip_reach=np.linspace(0.0, 1.0, count),
        radius_mm=max(1.35, (1.3 if fast else 0.95) * unit),
        depth=rng.uniform(0.75, 1.05) if fast else rng.uniform(0.55, 0.8),
        wall_share=0.35,
        marks_mm=((0.0, 4.0, 1.6), (7.0, 8.6, 1.45), (12.0, 13.6, 1.45)) if fast else ((0.0, 1.5, 1.3),),
    )
    reach = np.concatenate([np.linspace(0.0, 1.0, count), np.linspace(1.0, 1.15, len(trunk))[1:]])
    line = np.concatenate([approach, trunk[1:]])
    inside = arc_length(spline_basis(line, 200) @ line)[-1]
    ahead = arc_length(spline_basis(trunk, 100) @ trunk)[-1]
    base = inside - ahead
    first, speed = rng.uniform(0.15, 0.4) * ahead, rng.uniform(*((0.03, 0.06) if fast else (0.008, 0.02)))
    last = min(first + speed * duration_ms, 0.95 * ahead)
    push = rng.uniform(0.0, 2.0 * np.pi)
    spin, roll = rng.uniform(0.002, 0.005) * (2.0 if fast else 0.4), rng.uniform(0.0, 2.0 * np.pi)

    def length(time_ms: float) -> float:
        advance = (last - first) * np.clip(time_ms / duration_ms, -0.1, 1.1)
        return base + first + advance + 0.8 * np.sin(0.006 * time_ms + push)

    wire = Device(
        name="guidewire",
        control=line,
        beat_share=np.concatenate([0.6 * rise, np.linspace(0.6, 1.0, len(trunk))[1:]]),
        breathing_share=np.concatenate([0.1 * rise, np.linspace(0.1, 0.0, len(trunk))[1:]]),
        whip_reach=reach if fast else np.linspace(0.0, 1.0, total),
        radius_mm=max(0.42, 0.36 * unit),
        depth=rng.uniform(0.6, 0.9),
        wall_share=1.0,
        marks_mm=((0.0, rng.uniform(18.0, 28.0), 1.7),),
        length_mm=length,
        bend_mm=rng.uniform(2.5, 4.5),
        roll=lambda time_ms: roll + spin * time_ms,
    )
    devices = [catheter, wire]
    if not fast:
        return devices, None
    devices.append(_electrode_catheter(rng, anatomy))
    chord = approach[-1] - approach[-3]
    direction = np.array([-chord[1], chord[0]]) / np.linalg.norm(chord)
    return devices, draw_whip(rng, grid, direction, duration_ms)


def _approach(rng: np.random.Generator, anatomy: Anatomy, ostium: np.ndarray, *, from_below: bool) -> np.ndarray:
    """Control points from outside the field to the ostium: down the aorta, or up the inferior vena cava."""
    half = 0.5 * anatomy.grid.field_mm
    edge = max(half, anatomy.grid.half_height_mm) + 25.0
    if from_below:
        x = anatomy.spine_mm - rng.uniform(8.0, 18.0)
        gap = edge - ostium[1]
        points = [(x, edge), (x - 2.0, edge - 0.33 * gap), (x + 1.0, edge - 0.70 * gap), (x + 7.0, ostium[1] + 10.0)]
    else:
        x = anatomy.spine_mm + rng.uniform(2.0, 16.0)
        gap = ostium[1] + edge
        points = [(x, -edge), (x - 5.0, -edge + 0.35 * gap), (x - 9.0, -edge + 0.72 * gap), (x - 7.0, ostium[1] - 9.0)]
    inner = np.array(points) + np.array([0.0, 1.0])[None] * rng.normal(0.0, 1.5, (4, 1))
    lean = np.linspace(0.0, 1.0, 4)[:, None] ** 2 * np.array([ostium[0] - inner[-1, 0], 0.0]) * 0.75
    return np.concatenate([inner + lean, ostium[None]])


def _electrode_catheter(rng: np.random.Generator, anatomy: Anatomy) -> Device:
    """A decapolar catheter that lies across the heart and moves with it only."""
    heart = anatomy.heart_shape
    top = np.array([[anatomy.spine_mm - rng.uniform(8.0, 16.0), -0.5 * anatomy.grid.field_mm - 25.0]])
    inner = np.array([(-0.85, -0.05), (-0.60, 0.45), (-0.20, 0.66), (0.25, 0.62)]) + 0.05 * rng.standard_normal((4, 2))
    control = np.concatenate([top, heart.to_mm(inner)])
    share = np.array([0.0, 0.4, 0.8, 1.0, 1.0])
    return Device(
        name="electrode catheter",
        control=control,
        beat_share=share,
        breathing_share=np.zeros(5),
        whip_reach=np.zeros(5),
        radius_mm=max(0.95, 0.7 * anatomy.grid.unit_mm),
        depth=rng.uniform(0.4, 0.6),
        wall_share=1.0,
        marks_mm=tuple((start, start + 2.0, 2.6) for pair in range(5) for start in (8.0 * pair, 8.0 * pair + 3.5)),
    )
