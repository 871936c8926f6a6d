"""Spine and ribs of a frontal view, as optical depth."""

import numpy as np
from jaxtyping import Float

from fluorojax.simulation.curves import TubeProfile, draw_tube, spline_basis
from fluorojax.simulation.grid import Grid
from fluorojax.simulation.texture import blob, chord, power_law_noise, step


def draw_spine(
    rng: np.random.Generator, texture: np.random.Generator, grid: Grid, spine_mm: float, view: float
) -> tuple[Float[np.ndarray, "Hc Wc"], Float[np.ndarray, " levels"]]:
    """Thoracic spine on the canvas: bodies with endplates, discs, pedicles, spinous and transverse processes.

    **Arguments:**

    - `rng`, `texture`: generators of the shape and of its grain, whose draws depend on the number of pixels.
    - `spine_mm`: x of the spine, mm.
    - `view`: view angle, radians; an oblique view shifts the posterior elements sideways.

    **Returns:** optical depth, and the heights y (mm) at which ribs join the spine.
    """
    x, y = grid.coordinates(canvas=True)
    pitch, width = rng.uniform(26.0, 31.0), rng.uniform(16.0, 20.0)
    start = rng.uniform(-pitch, 0.0) - 0.75 * grid.field_mm - pitch
    level = (y - start) / pitch
    number = np.floor(level).astype(int)
    levels = number.max() + 2
    body = level - number
    vary = 1.0 + 0.06 * rng.standard_normal((5, levels))
    curve = rng.uniform(2.0, 7.0) * np.sin(y / rng.uniform(60.0, 110.0) + rng.uniform(0, 2 * np.pi))
    x = x - spine_mm - curve
    tilt = 0.05 * rng.standard_normal(levels)
    body = body + tilt[number] * x / pitch

    # Bodies are waisted; endplates are seen edge-on, a little concave and slightly different at every level.
    inside = np.clip((body - 0.12) / 0.76, 0.0, 1.0)
    half = width * vary[0, number] * (1.0 - 0.13 * np.sin(np.pi * inside))
    across = np.abs(x) / half
    vertebra = step(body - 0.12, 0.012) * step(0.88 - body, 0.012)
    rim = np.exp(-0.5 * ((across - 0.93) / 0.06) ** 2)
    plates = sum(
        np.exp(-0.5 * ((body - edge - bend * (1.0 - across**2)) / 0.022) ** 2)
        for edge, bend in ((0.13, 0.025), (0.87, -0.025))
    )
    flat = chord(np.clip(across, 0.0, 1.0) ** 1.6)
    depth = (0.55 * vertebra + 0.30 * (1.0 - vertebra)) * flat * vary[1, number]
    depth += vertebra * rim * 0.22 + 0.26 * plates * (across < 1.0) * np.sqrt(flat)

    # Pedicles are rings; posterior elements shift with the view angle because they lie behind the bodies.
    mm = body * pitch
    shift = 22.0 * np.sin(view)
    for side in (-1.0, 1.0):
        radius = np.hypot((x - shift - side * 0.58 * half) / 0.85, (mm - 0.36 * pitch) / 1.25)
        depth += 0.26 * np.exp(-0.5 * ((radius - 4.2) / 1.2) ** 2) + 0.08 * (radius < 4.2)
        tip = side * (x - shift)
        transverse = step(tip - 0.7 * half, 1.0) * step(half + 15.0 - tip, 1.2)
        depth += 0.20 * transverse * np.exp(-0.5 * ((mm - 0.33 * pitch + 0.12 * tip) / 3.6) ** 2)
        depth += 0.13 * blob(tip, mm, (9.0, 0.92 * pitch), (3.5, 5.0)) * vary[2, number]
    depth += 0.34 * blob(x - 1.6 * shift, mm, (0.0, 0.80 * pitch), (2.4, 5.0)) * vary[3, number]

    trabecular = power_law_noise(texture, grid.canvas, grid.pixel_mm, exponent=1.6, longest_mm=15.0)
    joints = start + pitch * (np.arange(levels) + 0.22)
    return depth * np.clip(1.0 + 0.11 * trabecular, 0.4, None), joints


def draw_ribs(
    rng: np.random.Generator,
    texture: np.random.Generator,
    grid: Grid,
    spine_mm: float,
    chest_mm: float,
    joints: Float[np.ndarray, " levels"],
) -> Float[np.ndarray, "Hc Wc"]:
    """Ribs on the canvas: posterior arcs from the spine, turning at the chest wall into steep anterior arcs.

    ``chest_mm`` is the half width of the rib cage, ``joints`` the heights where ribs leave the spine, both mm.
    """
    depth = np.zeros(grid.canvas)
    drop, slope = rng.uniform(26.0, 42.0), rng.uniform(0.9, 1.25)
    thickness, cortex = rng.uniform(5.0, 6.8), rng.uniform(0.75, 1.0)
    above = np.arange(-6, 0) * np.diff(joints).mean() + joints[0]
    for joint in np.concatenate([above, joints]):
        for side in (-1.0, 1.0):
            end = rng.uniform(2.35, 2.70)
            turn = np.linspace(0.08, end, 14)
            reach = chest_mm * rng.uniform(0.97, 1.02)
            wobble = np.cumsum(0.5 * rng.standard_normal(turn.size))
            x = spine_mm + side * (8.0 + (reach - 8.0) * np.sin(turn))
            fall = np.where(turn < np.pi / 2, 1.0 - np.cos(turn), 1.0 - slope * 1.7 * np.cos(turn))
            y = joint - 9.0 * np.sin(turn) ** 2 * (turn < np.pi / 2) + drop * fall - 9.0 * (turn >= np.pi / 2) + wobble
            points = np.stack([x, y], axis=1)
            line = spline_basis(points, 90) @ points
            radius = thickness * rng.uniform(0.88, 1.12)
            profile = TubeProfile(
                radius / grid.pixel_mm, cortex / grid.pixel_mm, 0.062 * grid.pixel_mm, 0.022 * grid.pixel_mm
            )
            pixels = grid.to_pixels(line, canvas=True)
            total = np.linalg.norm(np.diff(pixels, axis=0), axis=1).sum()
            fade = rng.uniform(4.0, 9.0) / grid.pixel_mm
            draw_tube(depth, pixels, profile, lambda s, total=total, fade=fade: step(total - 2.5 * fade - s, fade))
    grain = power_law_noise(texture, grid.canvas, grid.pixel_mm, exponent=1.8, longest_mm=12.0)
    return depth * np.clip(1.0 + 0.10 * grain, 0.4, None)
