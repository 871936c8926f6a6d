"""What an inference engine returns for one scene."""

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.spec import Spec


class Status(enum.Enum):
    """How a run ended; the value is the sentence shown to a user."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "stopped at the iteration limit before reaching the tolerance"
    STALLED = "stopped before the tolerance: the line search found no lower energy in this precision"
    DIVERGED = "diverged: the energy became non-finite; the result must not be used"


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
    """Posterior mean of the mismatch parameters (the corrected specification)."""
    spec_std: Spec
    """Posterior standard deviation of the mismatch parameters."""
    spec_interval: dict[str, tuple[float, float]]
    """Central 90 % credible interval of each mismatch parameter."""
    status: Status
    seconds: float
    """Wall time of the run divided by the number of scenes that shared it."""
    diagnostics: dict[str, Any] = field(default_factory=dict)
    """JSON-serialisable facts: energy, iterations, tolerance, identifiability sentences, …"""


@dataclass(frozen=True)
class ReconstructOptions:
    """Settings of a reconstruction run; they are written to the output file as provenance."""

    model: str = "sequence"
    """Name of a shipped model or path of a user's model file."""
    method: str = "map"
    batch: int | None = None
    """Scenes per vmapped chunk; None chooses from the scene size and available memory."""
    seed: int = 0
    chain: str = "calibrated"
    """``calibrated`` (spec parameters inferred), ``nominal`` (offsets zero) or ``true`` (taken from the file)."""
