"""A procedural thorax: chest wall, lungs above moving diaphragm domes, mediastinum, heart, bones."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from fluorojax.simulation.anatomy import WATER_PER_MM, Anatomy, HeartShape
from fluorojax.simulation.bones import draw_ribs, draw_spine
from fluorojax.simulation.curves import PSF_PIXELS
from fluorojax.simulation.grid import Grid
from fluorojax.simulation.texture import blob, bump, chord, power_law_noise, step
from fluorojax.simulation.vessels import draw_lung_vessels


def draw_thorax(rng: np.random.Generator, shape: tuple[int, int]) -> Anatomy:
    """Draw a frontal or slightly oblique thorax as seen in cardiac fluoroscopy, field of view 120–195 mm.

    Every call on the same generator state gives the same patient. The mean transmission at rest is 1.3–4.5 %.
    """
    grid = Grid(shape, rng.uniform(120.0, 195.0))
    x, y = grid.coordinates(canvas=True)
    view = np.deg2rad(rng.uniform(-28.0, 28.0))
    spine = rng.uniform(-0.24, 0.04) * grid.field_mm - 25.0 * np.sin(view)
    chest = rng.uniform(118.0, 136.0) * np.cos(0.5 * view)
    dome_left = rng.uniform(0.08, 0.40) * grid.field_mm
    heart_shape = _place_heart(rng, spine, dome_left, view)

    # Noise and trees draw more numbers for more pixels: streams of their own keep the patient the same at every size.
    texture, spine_stream, rib_stream, tree_stream = rng.spawn(4)
    lungs, below = _lungs(rng, grid, spine, chest, dome_left)
    mediastinum, airway = _mediastinum(rng, grid, spine, dome_left)
    air = lungs * (1.0 - mediastinum)
    deficit = rng.uniform(1.7, 2.2)
    vessels = sum(
        draw_lung_vessels(
            tree_stream, grid, (spine + side * rng.uniform(26.0, 34.0), dome_left - rng.uniform(80.0, 95.0)), side, 4.0
        )
        for side in (-1.0, 1.0)
    )
    soft = (
        -deficit
        * air
        * (1.0 + 0.03 * power_law_noise(texture, grid.canvas, grid.pixel_mm, exponent=2.6, longest_mm=30.0))
    )
    soft += np.clip(air * 1.3, 0.0, 1.0) * vessels
    soft += below * (0.30 + 0.07 * power_law_noise(texture, grid.canvas, grid.pixel_mm))
    gas = rng.uniform(0.0, 0.9) * blob(x, y, (spine + rng.uniform(35, 60), dome_left + 24), (rng.uniform(9, 17), 8.0))
    soft -= gas * below

    wall = 0.10 * power_law_noise(texture, grid.canvas, grid.pixel_mm, exponent=3.2, longest_mm=90.0)
    wall += rng.uniform(-0.15, 0.15) * x / grid.field_mm + rng.uniform(0.0, 0.3) * y / grid.field_mm
    wall += 0.10 * mediastinum - airway
    bone, joints = draw_spine(spine_stream, texture, grid, spine, view)
    bone = bone + draw_ribs(rib_stream, texture, grid, spine, chest, joints)

    # The heart displaces lung, so it shows fully beside the mediastinum and only faintly in front of it.
    along, across = heart_shape.normalised(x, y)
    radius = np.hypot(along * (1.0 + 0.10 * across), across * (1.0 + 0.22 * along))
    muscle = 1.0 + 0.04 * power_law_noise(texture, grid.canvas, grid.pixel_mm, exponent=2.8, longest_mm=40.0)
    heart = (
        rng.uniform(1.5, 2.0)
        * chord(radius) ** 0.8
        * muscle
        * (0.30 + 0.70 * gaussian_filter(air, 3.0 / grid.pixel_mm))
    )

    blur = PSF_PIXELS
    soft, heart = gaussian_filter(soft, blur), gaussian_filter(heart, blur + 0.2)
    inner = (slice(grid.margin, -grid.margin),) * 2
    fixed = gaussian_filter(wall + bone, blur)[inner]
    # Chest-wall thickness is what sets the dose behind a patient: it is chosen for a mean transmission.
    target = np.exp(rng.uniform(np.log(0.013), np.log(0.045)))
    fixed = fixed + np.log(np.exp(-(fixed + soft[inner] + heart[inner])).mean() / target)

    xd, yd = grid.coordinates()
    return Anatomy(
        grid=grid,
        fixed=fixed,
        soft=soft,
        heart=heart,
        follow=_follow(xd, yd, spine, chest, dome_left),
        heart_shape=heart_shape,
        spine_mm=spine,
        description=f"procedural thorax, {np.rad2deg(view):+.0f} deg",
    )


def _place_heart(rng: np.random.Generator, spine: float, dome_left: float, view: float) -> HeartShape:
    tilt = np.deg2rad(rng.uniform(28.0, 46.0))
    long = np.array([np.cos(tilt), np.sin(tilt)])
    return HeartShape(
        centre=np.array([spine + rng.uniform(24.0, 36.0) + 42.0 * np.sin(view), dome_left - rng.uniform(30.0, 40.0)]),
        axes=np.stack([long, np.array([-long[1], long[0]])]),
        radii=np.array([rng.uniform(60.0, 72.0), rng.uniform(44.0, 53.0)]),
    )


def _follow(x: np.ndarray, y: np.ndarray, spine: float, chest: float, dome_left: float) -> np.ndarray:
    """Share of the diaphragm's displacement: full from the domes down, none at the apex, less at the chest wall."""
    height = np.clip((y - (dome_left - 150.0)) / 150.0, 0.0, 1.0)
    lateral = np.clip(np.abs(x - spine) / chest, 0.0, 1.0)
    return height**2 * (3.0 - 2.0 * height) * (1.0 - 0.35 * lateral**4)


def _lungs(
    rng: np.random.Generator, grid: Grid, spine: float, chest: float, dome_left: float
) -> tuple[Float[np.ndarray, "Hc Wc"], Float[np.ndarray, "Hc Wc"]]:
    """Relative path length in air (0–1) and the share of the beam that passes below the diaphragm (0–1)."""
    x, y = grid.coordinates(canvas=True)
    lungs, below = np.zeros(grid.canvas), np.zeros(grid.canvas)
    for side, dome in ((1.0, dome_left), (-1.0, dome_left - rng.uniform(6.0, 16.0))):
        out = side * (x - spine)
        peak, half = rng.uniform(0.44, 0.56) * chest, rng.uniform(0.50, 0.58) * chest
        bend = (out - peak) / half
        edge = dome + rng.uniform(20.0, 30.0) * bend**2 * np.where(bend > 0, 1.25, 0.75)
        # Sharp where the beam is tangent to the dome, gradual where lung lies behind it in the posterior recess.
        sharp = rng.uniform(0.62, 0.75)
        depth = y - edge
        tissue = sharp * step(depth, 0.8) + (1.0 - sharp) * np.clip(depth / rng.uniform(40.0, 60.0), 0.0, 1.0) ** 0.8
        apex = dome_left - rng.uniform(190.0, 215.0)
        width = (chest - 6.0) * np.sqrt(np.clip(1.0 - np.clip((apex + 120.0 - y) / 120.0, 0.0, 1.0) ** 2, 0.02, None))
        path = chord(np.clip((out - 0.42 * width) / (0.60 * width), -1.0, 1.0)) ** 0.7
        here = (out > 0).astype(float)
        lungs += here * path * (1.0 - tissue) * step(y - apex, 3.0)
        below += here * tissue
    return lungs, below


def _mediastinum(
    rng: np.random.Generator, grid: Grid, spine: float, dome_left: float
) -> tuple[Float[np.ndarray, "Hc Wc"], Float[np.ndarray, "Hc Wc"]]:
    """The share of lung that the mediastinum replaces (0–1), and the optical depth missing in trachea and bronchi."""
    x, y = grid.coordinates(canvas=True)
    out = x - spine
    hila = dome_left - rng.uniform(84.0, 92.0)
    right = 20.0 + 10.0 * bump(y, hila + 55.0, 32.0)
    left = 20.0 + 9.0 * bump(y, hila - 30.0, 11.0) + 5.0 * step(y - hila, 10.0)
    body = step(out + right, 1.6) * step(left - out, 1.6)
    for side, size in ((-1.0, 11.0), (1.0, 10.0)):
        body = np.maximum(body, 0.55 * blob(out, y, (side * 28.0, hila + 4.0), (size, 14.0)))
    carina = hila - 12.0
    airway = _airway(x - spine + 3.0, y - carina, rng.uniform(6.5, 8.5))
    return np.clip(body, 0.0, 1.0), airway


def _airway(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
    """Optical depth missing in the trachea and the two main bronchi; x from the axis, y from the carina, mm."""
    trachea = chord(x / radius) * step(-y, 2.0)
    bronchi = np.zeros_like(x)
    along = y + 4.0
    for slope, reach in ((-0.55, 34.0), (1.0, 42.0)):
        offset = (x - slope * along) * np.cos(np.arctan(slope))
        tube = chord(offset / (0.68 * radius)) * step(along, 2.0) * step(reach - np.abs(x), 3.0)
        bronchi = np.maximum(bronchi, tube * step(38.0 - along, 3.0))
    return 2.0 * radius * WATER_PER_MM * np.maximum(trachea, 0.68 * bronchi)
