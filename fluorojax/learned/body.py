"""Procedural body parts for training: transparent layers of bone, soft tissue, vessels and devices, each in motion.

They add to the chest of :mod:`fluorojax.simulation` what it does not show: limbs, skulls, abdomen, implants,
calcifications, filling vessel trees, panning tables and collimator edges. Lengths are in pixels, times in ms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

from fluorojax.learned.tissue import beads, bone, collimator, implants, organ, spine, tissue, vessel_tree
from fluorojax.simulation.curves import TubeProfile, arc_length, draw_tube, spline_basis
from fluorojax.simulation.texture import step

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
        full, reach = vessel_tree(rng, size)
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
    static = tissue(rng, size)
    for _ in range(rng.integers(0, 4)):
        static += bone(rng, size)
    if rng.random() < 0.35:
        static += spine(rng, size)
    if rng.random() < 0.3:
        static += implants(rng, size)
    layers: list[Layer] = [MovingImage(gaussian_filter(static, rng.uniform(0.3, 0.8)), whole, shape)]
    for _ in range(rng.integers(0, 3)):
        image = organ(rng, size)
        layers.append(MovingImage(gaussian_filter(image, rng.uniform(0.3, 1.0)), Path.draw(rng, duration_ms), shape))
    if rng.random() < 0.6:
        layers.append(FillingVessels(rng, Path.draw(rng, duration_ms), shape, duration_ms))
    layers.extend(draw_extras(rng, shape, duration_ms))
    return layers


def draw_extras(rng: np.random.Generator, shape: tuple[int, int], duration_ms: float) -> list[Layer]:
    """Up to three wires, at times small beads or stents that move, at times a collimator."""
    layers: list[Layer] = [Wire(rng, shape, duration_ms) for _ in range(rng.integers(0, 4))]
    if rng.random() < 0.4:
        layers.append(MovingImage(beads(rng, canvas_shape(shape)), Path.draw(rng, duration_ms), shape))
    if rng.random() < 0.12:
        shade = collimator(rng, shape)
        layers.append(lambda time_ms: shade)
    return layers
