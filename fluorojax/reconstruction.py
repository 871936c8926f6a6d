"""What an inference engine returns for one scene."""

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.choices import MAX_SEED
from fluorojax.choices import METHODS as METHODS
from fluorojax.spec import Spec


class Status(enum.Enum):
    """How a run ended; the value is the sentence shown to a user."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "stopped at the iteration limit before reaching the tolerance"
    STALLED = "stopped before the tolerance: the line search found no lower energy in this precision"
    DIVERGED = "diverged: the energy or its gradient was not finite at the start; the result must not be used"


@dataclass(frozen=True)
class Reconstruction:
    """Posterior summary of one scene, on the host."""

    name: str
    """Group name of the scene, e.g. ``sample_00``."""
    x_hat: Float[np.ndarray, "*shape"]
    """Point estimate of the normalised attenuation, float32, same shape as the counts."""
    x_std: Float[np.ndarray, "*shape"] | None
    """Posterior standard deviation of ``x`` per pixel, float32, or None where the method gives none."""
    spec: Spec
    """Posterior median of each mismatch parameter (the corrected specification)."""
    spec_std: Spec
    """Posterior standard deviation of the mismatch parameters."""
    spec_interval: dict[str, tuple[float, float]]
    """Central 90 % credible interval of each mismatch parameter."""
    status: Status
    seconds: float
    """Wall time of the run divided by the number of scenes that shared it."""
    diagnostics: dict[str, Any] = field(default_factory=dict)
    """JSON-serialisable facts: energy, iterations, tolerance, identifiability sentences, …"""
    spec_correlation: Float[np.ndarray, "3 *shape"] | None = None
    """Posterior correlation of each mismatch parameter with ``x``, float32, in the order of ``SPEC_NAMES``; None where
    the method gives none."""

    @property
    def noise_std(self) -> Float[np.ndarray, "*shape"] | None:
        """The part of ``x_std`` that a perfectly known chain would leave: photon noise and prior.

        ``x_std²·(1 − Σ ρ²)`` over the parameters' correlations ρ, which takes the parameters as uncorrelated with each
        other, as the calibrated ones are. None where the file has no correlations.
        """
        if self.x_std is None or self.spec_correlation is None:
            return None
        return self.x_std * np.sqrt(np.maximum(1.0 - np.sum(self.spec_correlation**2, axis=0), 0.0))


@dataclass(frozen=True)
class ReconstructOptions:
    """Settings of a reconstruction run; they are written to the output file as provenance."""

    model: str = "sequence"
    """Name of a shipped model or path of a user's model file."""
    method: str = "map"
    batch: int | None = None
    """Scenes per vmapped chunk. None: one per device on a CPU, elsewhere as many as fit in 2 GiB per device."""
    seed: int = 0
    """0 ≤ seed < 2⁶³."""
    samples: int = 16
    """Mirrored pairs of posterior draws of methods that sample (mgvi)."""
    chain: str = "calibrated"
    """``calibrated`` (spec parameters inferred), ``nominal`` (offsets zero) or ``true`` (taken from the file)."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}; expected a whole number from 0 to {MAX_SEED}")
