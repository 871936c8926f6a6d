"""How the body moves: breathing and heartbeat as smooth functions of continuous time."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Breathing:
    """Cranio-caudal motion of the diaphragm after Lujan et al. (Med. Phys. 26:715, 1999).

    Displacement ``amplitude_mm · (½ − cos⁴(π t/period + phase))``; positive is downwards (inspiration).
    """

    amplitude_mm: float
    period_ms: float
    phase: float

    def __call__(self, time_ms: float) -> float:
        """Displacement of the diaphragm, mm, downwards."""
        return self.amplitude_mm * (0.5 - np.cos(np.pi * time_ms / self.period_ms + self.phase) ** 4)

    @classmethod
    def draw(cls, rng: np.random.Generator, unit_mm: float) -> "Breathing":
        """Excursion of 5–15 reference pixels, one breath in 3.3–5 s."""
        return cls(rng.uniform(5.0, 15.0) * unit_mm, rng.uniform(3300.0, 5000.0), rng.uniform(0.0, np.pi))


@dataclass(frozen=True)
class Heartbeat:
    """Contraction of the heart: a systolic peak after a small atrial one, smooth and periodic."""

    period_ms: float
    phase: float

    def __call__(self, time_ms: float) -> float:
        """Contraction between about 0 (end of diastole) and 1 (end of systole)."""
        turn = 2.0 * np.pi * (time_ms / self.period_ms + self.phase)
        systole = np.exp(5.0 * (np.cos(turn) - 1.0))
        atrial = np.exp(12.0 * (np.cos(turn + 2.0) - 1.0))
        return systole - 0.18 * atrial

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Heartbeat":
        """65–100 beats a minute."""
        return cls(60_000.0 / rng.uniform(65.0, 100.0), rng.uniform())


@dataclass(frozen=True)
class HeartMotion:
    """Affine motion of the heart about its centre: contraction along two axes, twist, and descent with the diaphragm.

    Lengths in mm, angles in radians; ``axes`` holds the long and the short direction as rows.
    """

    centre: Float[np.ndarray, " 2"]
    axes: Float[np.ndarray, "2 2"]
    shortening: Float[np.ndarray, " 2"]
    twist: float
    shift: Float[np.ndarray, " 2"]
    breathing_share: float
    beat: Heartbeat
    breathing: Breathing

    def pose(self, time_ms: float) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, " 2"]]:
        """Matrix M and translation v with which a rest point p of the heart lies at ``centre + v + M (p − centre)``."""
        c = self.beat(time_ms)
        angle = self.twist * c
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        scale = self.axes.T @ np.diag(1.0 - self.shortening * c) @ self.axes
        descent = np.array([0.0, self.breathing_share * self.breathing(time_ms)])
        return rotation @ scale, c * self.shift + descent

    def forward(self, points: Float[np.ndarray, "n 2"], time_ms: float) -> Float[np.ndarray, "n 2"]:
        """Where rest points of the heart lie at a time."""
        matrix, translation = self.pose(time_ms)
        return self.centre + translation + (points - self.centre) @ matrix.T

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        centre: Float[np.ndarray, " 2"],
        axes: Float[np.ndarray, "2 2"],
        unit_mm: float,
        breathing: Breathing,
    ) -> "HeartMotion":
        """Shortening of 5–9 % along the long axis and 9–15 % across it, 2–6° of twist."""
        return cls(
            centre=centre,
            axes=axes,
            shortening=np.array([rng.uniform(0.05, 0.09), rng.uniform(0.09, 0.15)]),
            twist=np.deg2rad(rng.uniform(2.0, 6.0)) * rng.choice([-1.0, 1.0]),
            shift=rng.uniform(-1.5, 1.5, 2) * unit_mm,
            breathing_share=rng.uniform(0.35, 0.65),
            beat=Heartbeat.draw(rng),
            breathing=breathing,
        )
