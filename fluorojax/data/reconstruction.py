"""What an inference engine returns for one scene."""

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.data.choices import MAX_SEED
from fluorojax.data.choices import SPEC_SOURCES as SPEC_SOURCES
from fluorojax.data.spec import PUBLISHED, Parameter, Spec

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Probabilities of the quantiles of sampled images."""


class Status(enum.Enum):
    """How a run ended; the value is the sentence shown to a user."""

    CONVERGED = "converged"
    ITERATION_LIMIT = "stopped at the iteration limit before reaching the tolerance"
    STALLED = "stopped before the tolerance: the line search found no lower energy in this precision"
    NOT_CONVERGED = "not converged: the chains disagree or hold too few independent draws; more draws may serve"
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
    spec_correlation: Float[np.ndarray, "parameters *shape"] | None = None
    """Posterior correlation of each parameter with ``x``, float32, in the order of ``parameters``; None where
    the method gives none."""
    x_quantiles: Float[np.ndarray, "quantiles *shape"] | None = None
    """Posterior quantiles of ``x`` at the probabilities :data:`QUANTILES`, float32; None where the method has none."""
    parameters: tuple[Parameter, ...] = PUBLISHED
    """The unknown parameters of the imaging chain, as its stages declare them."""
    draws: dict[str, Float[np.ndarray, "chains draws *site"]] = field(default_factory=dict)
    """Posterior draws by name: spec parameters, sampled hyperparameters, and ``x`` in some pixels (``x[t, r, c]``)."""
    sample_stats: dict[str, np.ndarray] = field(default_factory=dict)
    """Per chain and draw, under ArviZ's names: lp, energy, acceptance_rate, step_size, n_steps, diverging."""

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
    """Mirrored pairs of posterior draws (mgvi), and probes of its chain where that is joint."""
    chains: int = 4
    """Markov chains (nuts)."""
    warmup: int = 150
    """Iterations of each chain before its draws (nuts)."""
    draws: int = 200
    """Draws of each chain (nuts)."""
    spec: str = "calibrated"
    """``calibrated`` (spec parameters inferred from reduced models), ``joint`` (inferred together with scene and
    prior under the model alone; mgvi, nuts), ``nominal`` (offsets zero) or ``true`` (taken from the file)."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed is {self.seed}; expected a whole number from 0 to {MAX_SEED}")
        if self.samples < 1:
            raise ValueError(f"samples is {self.samples}; expected a positive number of mirrored pairs")
