"""What the data say about the spec parameters: contraction, Fisher information, and sentences for users.

The Fisher information is that of the spec with the scene integrated out in the Laplace approximation: the Schur
complement ``I = J_θᵀ F J_θ − J_θᵀ F J_ξ M⁻¹ J_ξᵀ F J_θ``, M the metric of the scene's latents (their prior included)
and F the information about the rate. It relies on the scene prior. If the spectrum of the prior does not fit, window
and lag may look better determined than they are. The drift may look worse determined, because the calibration uses that
some pixels do not move at all, and a Gaussian prior does not contain this. Its eigenvectors, in units of the prior
standard deviations, are the combinations of parameters that the data determine best and worst.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.spec import SpecRanges

# An eigenvector's entry below this is not named, and above it makes two parameters trade against each other.
_NAMED = 0.3
# A direction whose sd is above this share of the prior's is called undetermined.
_UNDETERMINED = 0.8


@dataclass(frozen=True)
class FisherInformation:
    """Information about the parameters in units of their prior standard deviations (range / √12)."""

    names: tuple[str, ...]
    """The parameters, in the order of the rows and columns of ``matrix``."""
    matrix: Float[np.ndarray, "parameters parameters"]
    eigenvalues: Float[np.ndarray, "parameters"]
    """Largest first."""
    directions: Float[np.ndarray, "parameters parameters"]
    """A row per eigenvalue: unit vectors over ``names``, their largest entry positive."""

    @property
    def std(self) -> Float[np.ndarray, "parameters"]:
        """Standard deviation along each direction, relative to the prior's: ``1/√(1 + eigenvalue)``."""
        return 1.0 / np.sqrt(1.0 + self.eigenvalues)

    def sentences(self) -> list[str]:
        """Best and worst determined combination, and which parameters trade against each other."""
        if self.std[0] > _UNDETERMINED:
            return [
                "judged by the model of the scene alone, these data determine none of the parameters: their best "
                f"determined combination keeps {self.std[0]:.2g} of its prior standard deviation"
            ]
        best, worst = self._name(0), self._name(-1)
        lines = [
            f"judged by the model of the scene alone, these data determine {best} best: it keeps {self.std[0]:.2g} of "
            "its prior standard deviation"
        ]
        if self.std[-1] > _UNDETERMINED:
            lines.append(f"they hardly determine {worst}: it keeps {self.std[-1]:.2g} of its prior standard deviation")
        else:
            lines.append(f"they determine {worst} least: it keeps {self.std[-1]:.2g} of its prior standard deviation")
        named = np.flatnonzero(np.abs(self.directions[-1]) > _NAMED)
        if named.size > 1 and self.std[-1] > 2 * self.std[-2]:
            names = " and ".join(self.names[i] for i in named)
            lines.append(f"{names} trade against each other: these data give one of them only if the other is known")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For the diagnostics of a result."""
        return {
            "parameters": list(self.names),
            "matrix": self.matrix.tolist(),
            "eigenvalues": self.eigenvalues.tolist(),
            "directions": self.directions.tolist(),
            "sentences": self.sentences(),
        }

    def _name(self, index: int) -> str:
        vector = self.directions[index]
        parts = [i for i in np.argsort(-np.abs(vector)) if abs(vector[i]) > _NAMED]
        if len(parts) == 1:
            return self.names[parts[0]]
        return " ".join(f"{vector[i]:+.2f}·{self.names[i]}" for i in parts)


def fisher_information(
    information: Float[np.ndarray, "parameters parameters"], posterior: SpecPosterior, ranges: SpecRanges
) -> FisherInformation | None:
    """From the ``information`` per posterior standard deviation of each parameter; None where one is taken as known."""
    std = posterior.array("std")
    if np.any(std == 0):
        return None
    prior = (np.asarray(ranges.high, np.float64) - np.asarray(ranges.low, np.float64)) / np.sqrt(12.0)
    units = prior / std
    matrix = np.asarray(information, np.float64) * np.outer(units, units)
    matrix = 0.5 * (matrix + matrix.T)
    values, vectors = np.linalg.eigh(matrix)
    # Inexact solves leave small negative values where there is no information.
    values, vectors = np.maximum(values[::-1], 0.0), vectors.T[::-1]
    largest = vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)]
    return FisherInformation(tuple(posterior.marginals), matrix, values, vectors * np.sign(largest)[:, None])


def describe(
    posterior: SpecPosterior,
    information: Float[np.ndarray, "parameters parameters"] | None,
    ranges: SpecRanges,
    *,
    joint: SpecPosterior | None = None,
) -> dict[str, Any]:
    """The part of a result's diagnostics about the spec: sentences, contraction and Fisher information.

    ``information`` is per posterior standard deviation of ``posterior``. Where the parameters were inferred together
    with the scene, ``joint`` is their posterior: sentences and contraction are then its own, and say where the
    calibration in ``posterior`` does not agree.
    """
    stated = posterior if joint is None else joint
    facts: dict[str, Any] = {
        "identifiability": posterior.sentences() if joint is None else _joint_sentences(joint, posterior),
        "contraction": {name: marginal.contraction for name, marginal in stated.marginals.items()},
    }
    fisher = None if information is None else fisher_information(information, posterior, ranges)
    if fisher is not None:
        facts["fisher_information"] = fisher.as_dict()
    return facts


def _joint_sentences(joint: SpecPosterior, calibrated: SpecPosterior) -> dict[str, str]:
    """What model and data say of each parameter, and where the calibration, which trusts the prior less, disagrees."""
    sentences = joint.sentences()
    for name, mine in joint.marginals.items():
        other = calibrated.marginals[name]
        if abs(mine.mean - other.mean) > 2.0 * float(np.hypot(mine.std, other.std)):
            sentences[name] += (
                f"; the calibration, which does not use the model of the scene, finds {other.mean:+.3g} ± "
                f"{other.std:.2g}. The two do not agree: the scene prior may not fit this scene"
            )
    return sentences
