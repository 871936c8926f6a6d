"""Images that procedural body parts are made of, as optical depth: tissue, bones, organs, vessels, implants."""

import numpy as np
from jaxtyping import Float

from fluorojax.simulation.curves import TubeProfile, draw_tube, nearest_on_curve, spline_basis
from fluorojax.simulation.texture import blob, chord, power_law_noise, step


def _grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices(size, dtype=np.float64)
    return x - 0.5 * (size[1] - 1), y - 0.5 * (size[0] - 1)


def tissue(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Soft tissue of power-law texture with a gradient, at times with the outline of a limb or head."""
    x, y = _grid(size)
    image = np.exp(rng.uniform(np.log(0.03), np.log(0.35))) * power_law_noise(
        rng, size, 1.0, exponent=rng.uniform(2.7, 4.2), longest_mm=rng.uniform(20.0, 100.0)
    )
    image += rng.normal(0.0, 0.6) * x / size[1] + rng.normal(0.0, 0.6) * y / size[0]
    if rng.random() < 0.4:  # the outline of a limb or head against air
        angle, width = rng.uniform(0.0, np.pi), rng.uniform(0.35, 0.9) * min(size)
        along = x * np.cos(angle) + y * np.sin(angle) - rng.normal(0.0, 0.15) * size[0]
        other = rng.uniform(1.0, 4.0) * width
        across = np.hypot(along / width, (y * np.cos(angle) - x * np.sin(angle)) / other)
        image += rng.uniform(1.0, 2.5) * chord(across) ** rng.uniform(0.5, 1.0)
    return image


def bone(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """A long bone with cortex and marrow, a rib or a skull-like shell."""
    image = np.zeros(size)
    grain = np.clip(
        1.0
        + rng.uniform(0.03, 0.15) * power_law_noise(rng, size, 1.0, exponent=rng.uniform(1.6, 2.6), longest_mm=12.0),
        0.4,
        None,
    )
    if rng.random() < 0.2:
        x, y = _grid(size)
        centre, axes = rng.normal(0.0, 25.0, 2), rng.uniform(30.0, 90.0, 2)
        radius = np.hypot((x - centre[0]) / axes[0], (y - centre[1]) / axes[1])
        inner = 1.0 - rng.uniform(0.02, 0.1)
        return rng.uniform(0.5, 1.5) * (chord(radius) - inner * chord(radius / inner)) * grain * 2.5
    angle = rng.uniform(0.0, 2.0 * np.pi)
    heading = np.array([np.sin(angle), np.cos(angle)])
    extent = np.array(size, float)
    line = np.linspace(-0.8, 0.8 if rng.random() < 0.7 else rng.uniform(-0.2, 0.5), 5)[:, None] * heading * extent.max()
    control = 0.5 * extent + line + rng.normal(0.0, 0.18, 2) * extent + rng.normal(0.0, 5.0, (5, 2))
    radius = np.exp(rng.uniform(np.log(2.5), np.log(18.0)))
    cortex = radius * rng.uniform(0.12, 0.45)
    wall = rng.uniform(0.25, 1.0) / np.sqrt(radius * cortex)
    draw_tube(image, spline_basis(control, 40) @ control, TubeProfile(radius, cortex, wall * 0.5, wall * 0.15))
    return image * grain


def spine(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Vertebral bodies with sharp endplates and round pedicles, at any angle."""
    x, y = _grid(size)
    angle, pitch, half = rng.normal(0.0, 0.5), rng.uniform(16.0, 36.0), rng.uniform(9.0, 20.0)
    across = x * np.cos(angle) - y * np.sin(angle) - rng.normal(0.0, 25.0)
    along = x * np.sin(angle) + y * np.cos(angle) + 3.0 * np.sin(across / 9.0)
    level = (along / pitch) % 1.0
    inside = step(level - 0.12, 0.015) * step(0.88 - level, 0.015) * step(half - np.abs(across), 0.6)
    plates = np.exp(-0.5 * ((np.abs(level - 0.5) - 0.38) / 0.03) ** 2) * step(half - np.abs(across), 0.6)
    pedicles = sum(
        np.exp(-0.5 * ((np.hypot(across - s * 0.6 * half, (level - 0.35) * pitch) - 3.2) / 0.9) ** 2) for s in (-1, 1)
    )
    return rng.uniform(0.3, 0.8) * inside + rng.uniform(0.1, 0.4) * plates + rng.uniform(0.1, 0.35) * pedicles


def organ(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """A soft organ with texture, sharp gas bubbles or lung-like vessels."""
    x, y = _grid(size)
    image = rng.uniform(0.01, 0.12) * power_law_noise(rng, size, 1.0, exponent=rng.uniform(2.6, 3.8), longest_mm=30.0)
    for _ in range(rng.integers(1, 6)):
        centre, axes = rng.normal(0.0, 0.25, 2) * size[0], np.exp(rng.uniform(np.log(4.0), np.log(50.0), 2))
        radius = np.hypot((x - centre[0]) / axes[0], (y - centre[1]) / axes[1])
        image += rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.8) * chord(radius) ** rng.uniform(0.3, 1.2)
    if rng.random() < 0.3:
        image += rng.uniform(0.1, 0.5) * vessel_tree(rng, size)[0]
    return image + (beads(rng, size) if rng.random() < 0.3 else 0.0)


def vessel_tree(
    rng: np.random.Generator, size: tuple[int, int]
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Depth of a filled tree (about 1 through the trunk) and the distance from its root along the vessels."""
    full, path = np.zeros(size), np.full(size, np.inf)
    trunk = np.exp(rng.uniform(np.log(1.0), np.log(4.5)))
    angle = rng.uniform(0.0, 2.0 * np.pi)
    root = 0.5 * np.array(size) - 0.45 * np.array(size) * np.array([np.sin(angle), np.cos(angle)])
    stack, branches = [(root, angle + rng.normal(0.0, 0.3), trunk, 0.0)], 0
    while stack and branches < 45:
        start, heading, radius, before = stack.pop(0)
        branches += 1
        length = rng.uniform(5.0, 13.0) * np.sqrt(radius) + 5.0
        bend = rng.normal(0.0, 0.5, 2)
        s = np.linspace(0.0, 1.0, 12)
        angles = heading + bend[0] * s + bend[1] * np.sin(2.0 * np.pi * s)
        legs = length / 12.0 * np.stack([np.sin(angles), np.cos(angles)], axis=1)
        line = np.concatenate([start[None], start + np.cumsum(legs, axis=0)])
        profile = TubeProfile(radius, radius, 0.5 / trunk, 0.5 / trunk)
        index, distance, position = nearest_on_curve(line, size, profile.reach)
        flat, way = full.reshape(-1), path.reshape(-1)
        flat[index] = np.maximum(flat[index], profile(distance))
        way[index] = np.minimum(way[index], before + position)
        if radius < 0.4:
            continue
        share = rng.uniform(0.12, 0.5)
        fork, turn = rng.uniform(0.4, 1.1), rng.choice([-1.0, 1.0])
        for part, side in ((1.0 - share, share), (share, share - 1.0)):
            stack.append((line[-1], angles[-1] + turn * fork * side, radius * part ** (1 / 3), before + length))
    path[~np.isfinite(path)] = 0.0
    return full, path


def beads(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Calcifications and markers: small discs, and at times a stent of crossing wires."""
    image = np.zeros(size)
    x, y = _grid(size)
    for _ in range(rng.integers(1, 10)):
        centre, radius = rng.uniform(-0.45, 0.45, 2) * np.array(size)[::-1], np.exp(rng.uniform(-0.5, 1.1))
        image += np.exp(rng.uniform(np.log(0.04), np.log(0.9))) * blob(x, y, tuple(centre), (radius, radius))
    if rng.random() < 0.4:
        centre, angle = rng.uniform(0.25, 0.75, 2) * np.array(size), rng.uniform(0.0, np.pi)
        s = np.linspace(-1.0, 1.0, 120) * rng.uniform(12.0, 28.0)
        swing, pitch = rng.uniform(2.5, 7.0), rng.uniform(4.0, 9.0)
        profile = TubeProfile(0.4, 0.4, *[rng.uniform(0.2, 1.0)] * 2)
        for phase in (0.0, np.pi):
            across = swing * np.sin(2.0 * np.pi * s / pitch + phase)
            rows = centre[0] + s * np.sin(angle) + across * np.cos(angle)
            columns = centre[1] + s * np.cos(angle) - across * np.sin(angle)
            draw_tube(image, np.stack([rows, columns], axis=1), profile)
    return image


def implants(rng: np.random.Generator, size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """Dense plates, screws and straight wires that do not move by themselves."""
    image = np.zeros(size)
    for _ in range(rng.integers(1, 5)):
        centre, angle = rng.uniform(0.2, 0.8, 2) * np.array(size), rng.uniform(0.0, np.pi)
        half = rng.uniform(8.0, 60.0) * np.array([np.sin(angle), np.cos(angle)])
        radius = np.exp(rng.uniform(np.log(0.5), np.log(5.0)))
        depth = rng.uniform(0.3, 2.0) / (2.0 * radius)
        points = centre + np.linspace(-1.0, 1.0, 30)[:, None] * half
        draw_tube(image, points, TubeProfile(radius, radius, depth, depth))
    return image


def collimator(rng: np.random.Generator, shape: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """A straight edge behind which the beam is blocked or weakened."""
    x, y = _grid(shape)
    angle = rng.choice([0.0, 0.5, 1.0, 1.5]) * np.pi + rng.normal(0.0, 0.05)
    inside = 0.5 * min(shape) * rng.uniform(0.5, 0.95) - (x * np.cos(angle) + y * np.sin(angle))
    return rng.uniform(0.5, 3.0) * step(-inside, rng.uniform(0.3, 1.5))
