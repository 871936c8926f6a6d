"""Vessel trees: the pulmonary vessels, always visible against air, and coronary arteries that fill with contrast."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fluorojax.simulation.anatomy import WATER_PER_MM, HeartShape
from fluorojax.simulation.curves import TubeProfile, arc_length, draw_tube, nearest_on_curve, spline_basis
from fluorojax.simulation.grid import Grid

IODINE_PER_MM = 0.24
"""Attenuation of undiluted contrast agent (about 350 mg iodine per ml) at 75 kVp, 1/mm."""


def draw_lung_vessels(
    rng: np.random.Generator, grid: Grid, hilum: tuple[float, float], side: float, radius_mm: float
) -> Float[np.ndarray, "Hc Wc"]:
    """Pulmonary vessels of one lung on the canvas, before they are masked to the lung.

    A random binary tree from the ``hilum`` (x, y in mm) towards ``side`` (−1 or +1); radii obey Murray's law,
    r³ = r₁³ + r₂³.
    """
    depth = np.zeros(grid.canvas)
    outside = 0.75 * grid.field_mm
    stack = [
        (
            np.array(hilum) + rng.normal(0.0, (2.5, 8.0)),
            np.arctan2(np.sin(angle), side * np.cos(angle)),
            radius_mm * rng.uniform(0.8, 1.1),
        )
        for angle in (-1.25, -0.7, -0.2, 0.3, 0.7, 1.05, 1.4)
    ]
    while stack:
        start, heading, radius = stack.pop()
        length = rng.uniform(4.0, 9.0) * np.sqrt(radius) + 3.0
        bend = rng.normal(0.0, 0.18)
        angles = heading + bend * np.linspace(0.0, 1.0, 5)
        legs = length / 5.0 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        line = np.concatenate([start[None], start + np.cumsum(legs, axis=0)])
        # Thinner vessels than that vanish in the blur of the detector.
        if radius > 0.25 * grid.pixel_mm:
            mu = 1.3 * WATER_PER_MM * grid.pixel_mm
            draw_tube(depth, grid.to_pixels(line, canvas=True), TubeProfile(radius / grid.pixel_mm, 0.0, mu, mu))
        if radius < 0.85 or np.abs(line[-1]).max() > outside:
            continue
        share = rng.uniform(0.12, 0.5)
        fork = rng.uniform(0.35, 0.95)
        turn = rng.choice([-1.0, 1.0])
        stack.append((line[-1], angles[-1] + turn * fork * share, radius * (1.0 - share) ** (1 / 3) * 0.97))
        stack.append((line[-1], angles[-1] - turn * fork * (1.0 - share), radius * share ** (1 / 3) * 0.97))
    return depth


@dataclass(frozen=True)
class Coronaries:
    """Coronary arteries of the heart at rest, on the canvas."""

    full: Float[np.ndarray, "Hc Wc"]
    """Optical depth when filled with undiluted contrast."""
    path_mm: Float[np.ndarray, "Hc Wc"]
    """Distance along the vessels from the ostium, mm."""
    trunk: Float[np.ndarray, "k 2"]
    """Control points (x, y), mm, of the branch a wire follows; the first is the ostium."""


@dataclass(frozen=True)
class Bolus:
    """Contrast agent injected at the ostium, carried along the vessels."""

    start_ms: float
    speed_mm_per_ms: float
    rise_ms: float
    washout_ms: float
    strength: float

    def __call__(self, path_mm: Float[np.ndarray, "*n"], time_ms: float) -> Float[np.ndarray, "*n"]:
        """Concentration relative to undiluted contrast; smooth in time and along the vessel."""
        since = np.clip(time_ms - self.start_ms - path_mm / self.speed_mm_per_ms, 0.0, None)
        return self.strength * (1.0 - np.exp(-((since / self.rise_ms) ** 2))) * np.exp(-since / self.washout_ms)

    @classmethod
    def draw(cls, rng: np.random.Generator, duration_ms: float) -> "Bolus":
        """An injection around the start of the run, so that filling is seen."""
        return cls(
            start_ms=rng.uniform(-350.0, 0.25 * min(duration_ms, 2000.0)),
            speed_mm_per_ms=rng.uniform(0.12, 0.25),
            rise_ms=rng.uniform(90.0, 180.0),
            washout_ms=rng.uniform(1500.0, 3000.0),
            strength=rng.uniform(0.55, 0.95),
        )


# Courses in semi-axes of the heart (along, across), and where branches leave them: (share of the course, target).
_TRUNK = ((-0.45, -0.14), (-0.32, -0.33), (-0.05, -0.47), (0.35, -0.45), (0.70, -0.27), (0.93, 0.02))
_CIRCUMFLEX = ((-0.45, -0.14), (-0.50, 0.12), (-0.38, 0.40), (-0.05, 0.66), (0.32, 0.72))
_BRANCHES = {
    "trunk": ((0.28, (0.30, -0.75)), (0.42, (0.40, -0.10)), (0.60, (0.72, -0.52)), (0.75, (0.75, 0.10))),
    "circumflex": ((0.35, (0.25, 0.20)), (0.60, (0.45, 0.45)), (0.50, (-0.62, 0.62))),
}


def draw_coronaries(rng: np.random.Generator, grid: Grid, heart: HeartShape) -> Coronaries:
    """Left coronary artery with two main branches and their side branches, tapering from 1.9 mm to 0.6 mm radius."""
    full, path = np.zeros(grid.canvas), np.full(grid.canvas, np.inf)
    mirror = np.array([1.0, rng.choice([1.0, -1.0])])
    ostium = np.array(_TRUNK[0]) * mirror + 0.04 * rng.standard_normal(2)
    trunk = np.empty((0, 2))
    for name, course in (("trunk", _TRUNK), ("circumflex", _CIRCUMFLEX)):
        control = np.array(course) * mirror + 0.05 * rng.standard_normal((len(course), 2))
        control[0] = ostium
        line = heart.to_mm(spline_basis(control, 120) @ control)
        wiggle = np.cumsum(rng.standard_normal((120, 2)), axis=0) * 0.35
        line = line + wiggle - wiggle[0]
        _draw_branch(full, path, grid, line, rng.uniform(1.6, 2.0), 0.75, 0.0)
        if name == "trunk":
            trunk = line[::17]
        for share, target in _BRANCHES[name]:
            at = int(120 * np.clip(share + rng.normal(0.0, 0.05), 0.1, 0.9))
            end = heart.to_mm((np.array(target) * mirror + 0.08 * rng.standard_normal(2))[None])[0]
            tangent = line[at + 4] - line[at]
            middle = 0.5 * (line[at] + end) + 2.2 * tangent + rng.normal(0.0, 2.0, 2)
            points = np.stack([line[at], middle, end])
            branch = spline_basis(points, 50) @ points
            _draw_branch(full, path, grid, branch, rng.uniform(0.95, 1.3), 0.55, arc_length(line)[at])
    path[~np.isfinite(path)] = 0.0
    return Coronaries(full=full, path_mm=path, trunk=trunk)


def _draw_branch(
    full: np.ndarray, path: np.ndarray, grid: Grid, line: np.ndarray, radius_mm: float, taper: float, before_mm: float
) -> None:
    pixels = grid.to_pixels(line, canvas=True)
    length = np.linalg.norm(np.diff(pixels, axis=0), axis=1).sum()
    wide = TubeProfile(radius_mm / grid.pixel_mm, 0.0, *[IODINE_PER_MM * grid.pixel_mm] * 2)
    index, distance, position = nearest_on_curve(pixels, grid.canvas, wide.reach)
    # A tapered tube: the profile is stretched and scaled with the local radius.
    narrowing = 1.0 - taper * position / length
    depth = wide(distance / np.maximum(narrowing, 0.3)) * narrowing
    # Where branches overlap, one path length must be chosen: the shorter, as contrast arrives there first.
    flat = full.reshape(-1)
    flat[index] = np.maximum(flat[index], depth)
    flat_path = path.reshape(-1)
    flat_path[index] = np.minimum(flat_path[index], before_mm + position * grid.pixel_mm)
