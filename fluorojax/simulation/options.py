"""Settings of a simulated run: dose, geometry, motion, and the imperfections of the imaging chain that are on."""

import math
import numbers
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import TIERS, Spec, SpecRanges
from fluorojax.physics import ChargeReleaseLag, ExposureWindow, GainDrift, SlowLag, TemporalStage
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator

MOTIONS = ("slow", "fast")
MIN_SIZE = 16


@dataclass(frozen=True)
class SimulationOptions:
    """Settings of a simulated run; every argument is checked, a bad one raises ``ValueError`` naming it.

    The nominal protocol is that of :class:`fluorojax.data.acquisition.Acquisition`: 8 ms pulse, lag 10 ms unless told
    otherwise, readout delay 33.3 ms at every frame rate.
    """

    tier: str = "public"
    """Tier whose ranges the published spec parameters are drawn from: ``public``, ``dev`` or ``hidden``. A further
    parameter of the operator is drawn from the range that its stage declares."""
    frames: int = 16
    """Number of frames T, at least 1."""
    size: int | tuple[int, int] = 128
    """Detector pixels: a side length or ``(H, W)``, at least 16 each."""
    fps: float = 30.0
    """Frames per second."""
    photons: float = 1500.0
    """I_0: detected quanta per pixel and frame with nothing in the beam."""
    motion: str = "slow"
    """``slow``: breathing, heartbeat, contrast, an advancing wire. ``fast``: also catheter and wire whip through the
    field at ≥ 0.1 px/ms (for 128 pixels; in proportion to the size otherwise)."""
    mismatch: bool = True
    """``False`` sets all spec parameters to their nominal values (Scenario I)."""
    spec: Spec | None = None
    """Spec parameters to use, inside the ranges of the tier or (to test misspecification) outside; ``None`` draws them
    uniformly from the ranges."""
    scatter_fraction: float = 0.0
    """Scattered share S/(S+P) of the quanta detected in a flat field, 0 ≤ f < 1."""
    lag_ms: float = 10.0
    """Nominal time constant of the detector lag, ms."""
    read_noise: float = 0.0
    """Standard deviation of additive Gaussian electronic noise, in quanta; counts are then real, and may be negative.
    The protocol of the scene states it as ``electronic_noise``."""
    slow_tails: bool = False
    """Adds charge traps of 9, 47 and 303 frames, which real panels have and the inference model does not."""
    from_dark: bool = False
    """Start with empty traps instead of the steady state of the first frame."""
    step_ms: float = 1.0
    """Longest exposure sub-step, ms."""
    contrast_start_ms: float | None = None
    """When contrast agent is injected, ms after the first frame; ``None`` draws it around the start of the run.
    Positive values leave frames before contrast, the mask of a digital subtraction."""
    operator: FluoroscopyOperator = PUBLISHED_OPERATOR
    """The imaging chain that the scene carries. The simulation steps through exposure window, lag, gain drift and
    scatter by code of its own; further stages within a frame (glare, dark signal, …) act by the operator's code."""
    ct: str | Path | None = None
    """A CT volume (NIfTI, Hounsfield units) to project instead of the procedural anatomy; needs ``fluorojax[ct]``."""

    def __post_init__(self) -> None:
        _one_of("tier", self.tier, tuple(TIERS))
        _one_of("motion", self.motion, MOTIONS)
        _whole("frames", self.frames, 1)
        self._check_size()
        self._check_operator()
        for name in ("fps", "photons", "step_ms", "lag_ms"):
            _real(name, getattr(self, name), "a positive number", lambda v: v > 0)
        _real("scatter_fraction", self.scatter_fraction, "0 ≤ f < 1", lambda v: 0 <= v < 1)
        _real("read_noise", self.read_noise, "a number ≥ 0", lambda v: v >= 0)
        if self.contrast_start_ms is not None:
            _real("contrast_start_ms", self.contrast_start_ms, "a finite number", lambda v: True)
        if self.spec is not None:
            self._check_spec(self.spec)
        elif (least := self.lag_ms + self.ranges().as_dict()["lag"][0]) <= 0 and self.mismatch:
            raise ValueError(
                f"lag_ms is {self.lag_ms:g}; expected more than {self.lag_ms - least:g} ms, the lower end of the range "
                "of its offset"
            )

    @property
    def starts_from_dark(self) -> bool:
        """Whether the traps are empty at the first frame, by the options or by the imaging chain that the scene has."""
        release = self.operator.stage(ChargeReleaseLag)
        return self.from_dark or (release is not None and release.start == "dark")

    @property
    def shape(self) -> tuple[int, int]:
        """Detector pixels ``(H, W)``."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    def acquisition(self, attenuation_scale: float) -> Acquisition:
        """The nominal protocol of the run, with the optical depth ``attenuation_scale`` at x = 1."""
        return Acquisition(
            photons_per_pixel=float(self.photons),
            attenuation_scale=attenuation_scale,
            frame_time_ms=1000.0 / self.fps,
            lag_ms=float(self.lag_ms),
            scatter_fraction=float(self.scatter_fraction),
            electronic_noise=float(self.read_noise),
        )

    def _check_size(self) -> None:
        if isinstance(self.size, tuple):
            if len(self.size) != 2:
                raise ValueError(f"size is {self.size!r}; expected a side length or (height, width)")
            for value in self.size:
                _whole("size", value, MIN_SIZE)
        else:
            _whole("size", self.size, MIN_SIZE)

    def _check_operator(self) -> None:
        stepped = {kind.name for kind in (ExposureWindow, ChargeReleaseLag, GainDrift)}
        temporal = {stage.name for stage in self.operator.stages if isinstance(stage, TemporalStage)}
        if temporal - {SlowLag.name} != stepped:
            raise ValueError(
                f"operator acts along time by {', '.join(sorted(temporal)) or 'no stage'}; expected "
                f"{', '.join(sorted(stepped))}, the stages that are simulated in fine time steps"
            )

    def _check_spec(self, spec: Spec) -> None:
        if not self.mismatch:
            raise ValueError("mismatch is False but spec is given; expected at most one of the two")
        nominal, values = Acquisition(), spec.as_dict()
        for name, offset in (("motion_blur", nominal.pulse_width_ms), ("lag", self.lag_ms)):
            low = -float(offset)  # pyright: ignore[reportArgumentType]
            _real(f"spec.{name}", values[name], f"a number above {low:g} ms", lambda v, low=low: v > low)
        _real("spec.gain_drift", values["gain_drift"], "a number above -100 %/frame", lambda v: v > -100)

    def ranges(self) -> SpecRanges:
        """The ranges of the tier, and those declared by further stages of the operator."""
        return SpecRanges.for_tier(self.tier).completed(self.operator.parameters)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(allowed)}")


def _whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number ≥ {least}")


def _real(name: str, value: Any, expected: str, holds: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value) or not holds(value):
        raise ValueError(f"{name} is {value!r}; expected {expected}")
