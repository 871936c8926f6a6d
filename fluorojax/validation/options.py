"""Settings of a calibration check."""

import math
import numbers
from dataclasses import dataclass
from typing import Any

from fluorojax.data.spec import TIERS
from fluorojax.validation.coverage import RANK_STEP


@dataclass(frozen=True)
class CheckOptions:
    """What a check draws and when it fails; a bad value raises ``ValueError`` naming it."""

    doses: tuple[float, ...] = (3.0, 30.0, 300.0)
    """Counts per pixel and frame behind x = 0.5."""
    replicates: int = 100
    """Independent draws of truth and data per dose, at least 20."""
    frames: int = 5
    """1 draws single frames (H, W)."""
    size: int = 8
    """Pixels per side."""
    draws: int = 79
    """Posterior draws L per replicate; L + 1 a multiple of 40, so that every interval is a whole number of ranks."""
    seed: int = 0
    batch: int = 20
    """Replicates computed together."""
    tier: str = "public"
    """Whose spec ranges the spec is drawn from."""
    alpha: float = 0.01
    """Chance that a correct method fails the check, over all its tests."""
    margin: float = 0.02
    """Deviation of the coverage from its level that is no defect."""

    def __post_init__(self) -> None:
        for name, least in (("replicates", 20), ("frames", 1), ("size", 2), ("draws", 1), ("seed", 0), ("batch", 1)):
            _whole(name, getattr(self, name), least)
        if (self.draws + 1) % RANK_STEP:
            raise ValueError(f"draws is {self.draws}; expected one less than a multiple of {RANK_STEP}, e.g. 79")
        if not self.doses:
            raise ValueError("doses is empty; expected at least one number of counts per pixel")
        if len(set(self.doses)) < len(self.doses):
            raise ValueError(f"doses is {', '.join(f'{d:g}' for d in self.doses)}; expected each dose once")
        for dose in self.doses:
            if not (math.isfinite(dose) and 0 < dose <= 1e6):
                raise ValueError(f"dose is {dose:g}; expected a positive number of counts per pixel, at most 1e6")
        if self.tier not in TIERS:
            raise ValueError(f"tier is {self.tier!r}; expected one of {', '.join(TIERS)}")
        for name, value in (("alpha", self.alpha), ("margin", self.margin)):
            if not 0 <= value < 0.5:
                raise ValueError(f"{name} is {value:g}; expected a number in [0, 0.5)")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the counts, (T, H, W) or (H, W)."""
        return (self.frames, self.size, self.size) if self.frames > 1 else (self.size, self.size)


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number ≥ {least}")
