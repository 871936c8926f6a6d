"""Procedural body parts for training: transparent layers of bone, soft tissue, vessels and devices, each in motion.

They complement the chest of :mod:`fluorojax.simulation` with what it does not show: limbs, skulls, abdomen, implants,
calcifications, filling vessel trees, panning tables and collimator edges. Lengths are in pixels, times in ms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

from fluorojax.simulation.curves import TubeProfile, arc_length, draw_tube, nearest_on_curve, spline_basis
from fluorojax.simulation.texture import blob, chord, power_law_noise, step

Layer = Callable[[float], Float[np.ndarray, "H W"]]
MARGIN = 28
"""Canvas pixels beyond each edge of the detector."""
_MOST = 0.9 * MARGIN


@dataclass(frozen=True)
class Path:
    """A displacement (row, column) in pixels and a rotation in radians as smooth functions of time."""

    drift: Float[np.ndarray, " 2"]
    amplitude: Float[np.ndarray, "k 3"]
    frequency: Float[np.ndarray, " k"]
    phase: Float[np.ndarray, "k 3"]

    def __call__(self, time_ms: float) -> Float[np.ndarray, " 3"]:
        """Displacement of rows, displacement of columns, and angle."""
        turn = 2.0 * np.pi * self.frequency[:, None] * time_ms + self.phase
        pose = np.sum(self.amplitude * np.sin(turn), axis=0)
        pose[:2] += self.drift * time_ms
        pose[:2] = np.clip(pose[:2], -_MOST, _MOST)
        return pose

    @classmethod
    def draw(cls, rng: np.random.Generator, duration_ms: float, kind: str | None = None) -> "Path":
        """A path of a kind: ``still``, ``breath``, ``beat``, ``shake`` or ``pan``; None draws the kind too."""
        name = str(rng.choice(["still", "breath", "beat", "shake", "pan"])) if kind is None else kind
        bands = {
            "still": (0.1, 0.2, 0.0),
            "breath": (0.2, 0.45, 9.0),
            "beat": (0.9, 2.0, 4.0),
            "shake": (2.0, 4.5, 5.0),
        }
        low, high, size = bands.get(name, (0.1, 0.3, 0.5))
        first = rng.uniform(low, high) / 1000.0
        strength = size * rng.uniform(0.15, 1.0) * np.array([1.0, 0.45, 0.1])[:, None]
        amplitude = strength * rng.normal(0.0, 0.7, (3, 3)) * np.array([1.0, 1.0, 0.012])
        reach = rng.uniform(4.0, _MOST) if name == "pan" else 0.0
        speed = min(reach / max(duration_ms, 1.0), 0.05)
        angle = rng.uniform(0.0, 2.0 * np.pi)
        return cls(
            drift=speed * np.array([np.sin(angle), np.cos(angle)]),
            amplitude=amplitude,
            frequency=first * np.array([1.0, 2.0, 3.0]),
            phase=rng.uniform(0.0, 2.0 * np.pi, (3, 3)),
        )


class MovingImage:
    """An image on the canvas that is displaced and turned along a path; cubic splines keep the motion continuous."""

    def __init__(self, canvas: Float[np.ndarray, "Hc Wc"], path: Path, shape: tuple[int, int]):
        self._coefficients = spline_filter(canvas, order=3, mode="nearest")
        self._rows = np.indices(shape, dtype=np.float64)
        self._centre = 0.5 * (np.array(shape, float) - 1.0)[:, None, None]
        self._path = path

    def source(self, time_ms: float) -> Float[np.ndarray, "2 H W"]:
        """Canvas coordinates that the pixels of the detector see."""
        down, right, angle = self._path(time_ms)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.array([down, right])[:, None, None]
        return np.tensordot(turn, self._rows - self._centre, axes=1) + self._centre - shift + MARGIN

    def __call__(self, time_ms: float) -> Float[np.ndarray, "H W"]:
        """The image at a time."""
        return map_coordinates(self._coefficients, self.source(time_ms), order=3, mode="nearest", prefilter=False)


class FillingVessels:
    """A vessel tree that moves as an image and fills with contrast along its length."""

    def __init__(self, rng: np.random.Generator, path: Path, shape: tuple[int, int], duration_ms: float):
        size = canvas_shape(shape)
        full, reach = _vessel_tree(rng, size)
        self._image = MovingImage(gaussian_filter(full, 0.35), path, shape)
        self._reach = reach
        self._start = rng.uniform(-0.8, 0.6) * duration_ms
        self._speed = rng.uniform(0.03, 0.25)
        self._rise, self._washout = rng.uniform(40.0, 250.0), rng.uniform(600.0, 4000.0)
        self._strength = np.exp(rng.uniform(np.log(0.06), np.log(1.1)))

    def __call__(self, time_ms: float) -> Float[np.ndarray, "H W"]:
        """Optical depth of the contrast at a time."""
        reach = map_coordinates(self._reach, self._image.source(time_ms), order=1, mode="nearest")
        since = np.clip(time_ms - self._start - reach / self._speed, 0.0, None)
        filled = self._strength * (1.0 - np.exp(-((since / self._rise) ** 2))) * np.exp(-since / self._washout)
        return np.clip(self._image(time_ms), 0.0, None) * filled


class Wire:
    """A catheter, guidewire or needle whose control points swing and whose visible length grows or shrinks."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], duration_ms: float):
        self._shape = shape
        extent = np.array(shape, float)
        angle = rng.uniform(0.0, 2.0 * np.pi)
        heading = np.array([np.sin(angle), np.cos(angle)])
        base = 0.5 * extent - heading * 0.75 * extent.max() + rng.normal(0.0, 0.2, 2) * extent
        straight = rng.random() < 0.2
        wander = np.cumsum(rng.normal(0.0, 0.0 if straight else rng.uniform(3.0, 14.0), (6, 2)), axis=0)
        self._control = base + heading * np.linspace(0.0, rng.uniform(0.7, 1.5), 6)[:, None] * extent.max() + wander
        self._basis = spline_basis(self._control, 100)
        self._share = np.linspace(0.0, 1.0, 6)[:, None] ** rng.uniform(0.3, 2.0)
        self._path = Path.draw(rng, duration_ms, rng.choice(["breath", "beat", "shake", "shake", "pan"]))
        self._gain = rng.uniform(0.3, 2.2)
        radius = np.exp(rng.uniform(np.log(0.35), np.log(2.6)))
        depth = np.exp(rng.uniform(np.log(0.12), np.log(1.8)))
        hollow = radius > 0.9 and rng.random() < 0.6
        per_pixel = depth / (2.0 * radius)
        self._profile = TubeProfile(
            radius, 0.35 * radius if hollow else radius, per_pixel, (0.6 if hollow else 1.0) * per_pixel
        )
        self._length = rng.uniform(0.5, 1.0), rng.uniform(-0.3, 0.3) / max(duration_ms, 1.0)
        period = rng.uniform(4.0, 14.0)
        self._marks = (period, rng.uniform(0.15, 0.5) * period, rng.uniform(0.4, 2.0)) if rng.random() < 0.4 else None
        self._marked = rng.uniform(5.0, 60.0)

    def __call__(self, time_ms: float) -> Float[np.ndarray, "H W"]:
        """Optical depth at a time."""
        image = np.zeros(self._shape)
        control = self._control + self._gain * self._share * self._path(time_ms)[:2]
        points = self._basis @ control
        position = arc_length(points)
        length = np.clip(self._length[0] + self._length[1] * time_ms, 0.1, 1.0) * position[-1]
        at = np.linspace(0.0, length, len(points))
        points = np.stack([np.interp(at, position, points[:, i]) for i in range(2)], axis=1)

        def along(where: np.ndarray) -> np.ndarray:
            assert self._marks is not None
            period, width, extra = self._marks
            behind = length - where
            ring = step(0.5 * width - np.abs(behind % period - 0.5 * period), 0.3)
            return 1.0 + extra * ring * (behind < self._marked)

        draw_tube(image, points, self._profile, along if self._marks else None)
        return image


def canvas_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Pixels of the canvas around a detector."""
    return shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN


def draw_body(rng: np.random.Generator, shape: tuple[int, int], duration_ms: float) -> list[Layer]:
    """Layers of one body part with devices; their sum, shifted by a constant, is the optical depth of the patient."""
    size = canvas_shape(shape)
    whole = Path.draw(rng, duration_ms, rng.choice(["still"] * 6 + ["pan", "breath", "shake"]))
    static = _tissue(rng, size)
    for _ in range(rng.integers(0, 4)):
        static += _bone(rng, size)
    if rng.random() < 0.35:
        static += _spine(rng, size)
    if rng.random() < 0.3:
        static += _implants(rng, size)
    layers: list[Layer] = [MovingImage(gaussian_filter(static, rng.uniform(0.3, 0.8)), whole, shape)]
    for _ in range(rng.integers(0, 3)):
        image = _organ(rng, size)
        layers.append(MovingImage(gaussian_filter(image, rng.uniform(0.3, 1.0)), Path.draw(rng, duration_ms), shape))
    if rng.random() < 0.6:
        layers.append(FillingVessels(rng, Path.draw(rng, duration_ms), shape, duration_ms))
    layers.extend(draw_extras(rng, shape, duration_ms))
    return layers


def draw_extras(rng: np.random.Generator, shape: tuple[int, int], duration_ms: float) -> list[Layer]:
    """Up to three wires, at times small beads or stents that move, at times a collimator."""
    layers: list[Layer] = [Wire(rng, shape, duration_ms) for _ in range(rng.integers(0, 4))]
    if rng.random() < 0.4:
        layers.append(MovingImage(_beads(rng, canvas_shape(shape)), Path.draw(rng, duration_ms), shape))
    if rng.random() < 0.12:
        collimator = _collimator(rng, shape)
        layers.append(lambda time_ms: collimator)
    return layers


def _grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.indices(size, dtype=np.float64)
    return x - 0.5 * (size[1] - 1), y - 0.5 * (size[0] - 1)


def _tissue(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
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


def _bone(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
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


def _spine(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
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


def _organ(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A soft organ with texture, sharp gas bubbles or lung-like vessels."""
    x, y = _grid(size)
    image = rng.uniform(0.01, 0.12) * power_law_noise(rng, size, 1.0, exponent=rng.uniform(2.6, 3.8), longest_mm=30.0)
    for _ in range(rng.integers(1, 6)):
        centre, axes = rng.normal(0.0, 0.25, 2) * size[0], np.exp(rng.uniform(np.log(4.0), np.log(50.0), 2))
        radius = np.hypot((x - centre[0]) / axes[0], (y - centre[1]) / axes[1])
        image += rng.choice([-1.0, 1.0]) * rng.uniform(0.05, 0.8) * chord(radius) ** rng.uniform(0.3, 1.2)
    if rng.random() < 0.3:
        image += rng.uniform(0.1, 0.5) * _vessel_tree(rng, size)[0]
    return image + (_beads(rng, size) if rng.random() < 0.3 else 0.0)


def _vessel_tree(rng: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
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


def _beads(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
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


def _implants(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
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


def _collimator(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    x, y = _grid(shape)
    angle = rng.choice([0.0, 0.5, 1.0, 1.5]) * np.pi + rng.normal(0.0, 0.05)
    inside = 0.5 * min(shape) * rng.uniform(0.5, 0.95) - (x * np.cos(angle) + y * np.sin(angle))
    return rng.uniform(0.5, 3.0) * step(-inside, rng.uniform(0.3, 1.5))
