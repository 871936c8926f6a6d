"""Coverage: how often the stated intervals contain the truth, compared with how often they claim to."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.spec import Spec

LEVELS = (0.50, 0.80, 0.90, 0.95)
"""Nominal levels at which the coverage of pixel intervals is reported."""


@dataclass(frozen=True)
class Coverage:
    """Share of the pixels whose central interval contains the truth; it equals ``level`` where intervals are right."""

    level: float
    """Nominal level."""
    overall: float
    moving: float
    """The share among the moving pixels (:func:`moving_pixels`); NaN where no pixel moves."""
    static: float
    """The share among the other pixels; NaN where there are none."""


@dataclass(frozen=True)
class SpecError:
    """Error of one mismatch parameter, in its own unit."""

    estimate: float
    truth: float
    std: float
    """Posterior standard deviation; NaN where the file gives none."""
    in_interval: bool | None
    """Whether the truth lies in the 90 % interval; None where the file gives none."""

    unit: str = ""
    """Unit of the parameter."""

    @property
    def error(self) -> float:
        """Estimate minus truth."""
        return self.estimate - self.truth


def moving_pixels(x_true: Float[np.ndarray, "*shape"]) -> Bool[np.ndarray, "H W"]:
    """The fifth of the pixels that move most: those whose standard deviation over time exceeds its 0.8 quantile.

    A single frame or a still scene has no moving pixels.
    """
    if x_true.ndim == 2:
        return np.zeros(x_true.shape, dtype=bool)
    deviation = x_true.std(axis=0)
    return deviation > np.quantile(deviation, 0.8)


def coverage(
    x_hat: Float[np.ndarray, "*shape"], x_std: Float[np.ndarray, "*shape"], x_true: Float[np.ndarray, "*shape"]
) -> tuple[Coverage, ...]:
    """Whether the stated standard deviations are right: the share of pixels whose interval contains the truth.

    The intervals are Gaussian, ``x̂ ± z·σ`` with ``z = Φ⁻¹((1 + level)/2)``, at each of :data:`LEVELS`.

    Raises ``ValueError`` where the three shapes differ.
    """
    if not x_hat.shape == x_std.shape == x_true.shape:
        raise ValueError(f"x_hat {x_hat.shape}, x_std {x_std.shape} and x_true {x_true.shape} differ in shape")
    moving = np.broadcast_to(moving_pixels(x_true), x_true.shape)
    deviation = np.abs(x_true - x_hat)
    result = []
    for level in LEVELS:
        inside = deviation <= ndtri(0.5 * (1.0 + level)) * x_std
        result.append(Coverage(level, _mean(inside), _mean(inside[moving]), _mean(inside[~moving])))
    return tuple(result)


def _mean(inside: np.ndarray) -> float:
    return float(inside.mean()) if inside.size else float("nan")


def spec_errors(result: Reconstruction, truth: Spec) -> dict[str, SpecError]:
    """Error and posterior sd of each mismatch parameter, and whether its interval contains the truth."""
    estimate, std, true = result.spec.as_dict(), result.spec_std.as_dict(), truth.as_dict()
    units = {parameter.name: parameter.unit for parameter in result.parameters}
    errors = {}
    for name in (name for name in estimate if name in true):
        low, high = result.spec_interval.get(name, (math.nan, math.nan))
        known = not (math.isnan(low) or math.isnan(high))
        inside = low <= true[name] <= high if known else None
        errors[name] = SpecError(estimate[name], true[name], std.get(name, math.nan), inside, units.get(name, ""))
    return errors
