"""The nominal acquisition protocol of a fluoroscopy run."""

from collections.abc import Iterable, Mapping
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Float

from fluorojax.data.spec import PUBLISHED, Parameter, SpecRanges

_ROUNDING = 4 * float(np.finfo(np.float32).eps)
_LARGEST = float(np.finfo(np.float32).max)


class Acquisition(eqx.Module):
    """Nominal values of the imaging chain; a pytree of scalars, so scenes with different protocols batch together.

    Field names are those of the challenge file. Validation of user input happens where files are read
    (:mod:`fluorojax.io`), through :meth:`check`.
    """

    photons_per_pixel: Float[ArrayLike, "..."] = 1500.0
    """I_0: detected quanta per pixel and frame with nothing in the beam."""
    attenuation_scale: Float[ArrayLike, "..."] = 7.0
    """A: optical depth (line integral of the attenuation coefficient) at x = 1."""
    frame_time_ms: Float[ArrayLike, "..."] = 1000.0 / 30.0
    """Frame period Δ, ms."""
    pulse_width_ms: Float[ArrayLike, "..."] = 8.0
    """Nominal exposure window, ms."""
    lag_ms: Float[ArrayLike, "..."] = 10.0
    """Nominal time constant of the detector lag τ₀, ms."""
    readout_delay_ms: Float[ArrayLike, "..."] = 1000.0 / 30.0
    """Time from the exposure to its readout t_r, ms."""
    scatter_fraction: Float[ArrayLike, "..."] = 0.0
    """Scattered share of the detected quanta, S/(S+P), in [0, 1)."""
    electronic_noise: Float[ArrayLike, "..."] = 0.0
    """σ_e: standard deviation of the electronic noise that readout adds to the counts, quanta; 0 for none. Counts may
    be negative where it is positive."""

    @property
    def electronic_variance(self) -> Float[ArrayLike, "..."]:
        """σ_e², quanta²: what readout adds to the variance of the counts."""
        return self.electronic_noise * self.electronic_noise

    def as_dict(self) -> dict[str, float]:
        """The protocol as plain floats (unbatched only)."""
        return {name: float(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Acquisition":
        """Build from a mapping with the field names of this class; missing fields keep their defaults."""
        known = {name: float(values[name]) for name in cls.__dataclass_fields__ if name in values}
        return cls(**known)

    def check(self, ranges: SpecRanges, parameters: Iterable[Parameter] = PUBLISHED) -> None:
        """Raise ``ValueError`` where the protocol is unphysical, alone or inside the spec ranges (unbatched only).

        ``parameters`` are those of the imaging chain: a quantity that one of them offsets has to stay positive.
        """
        values = {name: self._number(name) for name in self.__dataclass_fields__}
        for name in ("photons_per_pixel", "attenuation_scale", "frame_time_ms", "readout_delay_ms"):
            if not (_finite(values[name]) and np.float32(values[name]) > 0):
                raise ValueError(f"{name} is {values[name]:g}; expected a positive number in single precision")
        for name in ("pulse_width_ms", "lag_ms"):
            if not _finite(values[name]):
                raise ValueError(f"{name} is {values[name]}; expected a finite number")
        fraction = values["scatter_fraction"]
        if not 0 <= fraction < 1:
            raise ValueError(f"scatter_fraction is {fraction:g}; expected 0 ≤ f < 1")
        noise = values["electronic_noise"]
        if not (noise >= 0 and noise * noise <= _LARGEST):
            raise ValueError(f"electronic_noise is {noise:g} quanta; expected a number ≥ 0 (0 is none)")
        bounds = ranges.as_dict()
        for parameter in parameters:
            if parameter.offset_of is None:
                continue
            value, low = values[parameter.offset_of], bounds[parameter.name][0]
            least = value + low
            # Bounds are float32: a sum within their rounding is zero (3.6 − 3.6 would leave 1e-7).
            if abs(least) <= _ROUNDING * max(abs(value), abs(low)):
                least = 0.0
            if least <= 0:
                raise ValueError(
                    f"{parameter.offset_of} {value:g} plus the lower bound {low:g} of {parameter.name} makes the "
                    f"{parameter.quantity} {least:g} {parameter.unit}; expected a positive value over the whole "
                    "spec range"
                )

    def _number(self, name: str) -> float:
        value = getattr(self, name)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is {value!r}; expected a number") from error


def _finite(value: float) -> bool:
    """Whether ``value`` is finite in single precision."""
    return abs(value) <= _LARGEST
