"""How well a reconstruction agrees with its counts, and whether the counts say anything about it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.metrics.scene_score import expected_counts

LEAST_INFORMATION = 0.1
"""Information about x, in units of its prior variance, below which a result counts as its prior alone."""

_ENDED = (Status.CONVERGED, Status.STALLED, Status.ITERATION_LIMIT)


@dataclass(frozen=True)
class Agreement:
    """What the counts of one scene say about its reconstruction."""

    residual_square: float
    """Mean of ``(y − λ)²/(λ + σ_e²)`` over all pixels, λ the expected counts at x̂ and σ_e the electronic noise of the
    protocol: 1 is expected from the noise of the counts alone, a smaller value where the estimate follows some of the
    noise, a larger one where the counts hold structure or noise that the reconstruction does not explain."""
    information: float | None
    """Upper bound of the share by which the counts reduce the variance of any combination of pixels; None without
    standard deviations."""

    @property
    def uninformed(self) -> bool:
        """Whether the posterior variance of x is the prior's, to a tenth, in every pixel and combination of pixels."""
        return self.information is not None and self.information < LEAST_INFORMATION

    def facts(self) -> dict[str, Any]:
        """For the diagnostics of a result."""
        return {"mean_squared_residual": self.residual_square, "information_in_counts": self.information}


def agreement(result: Reconstruction, scene: Scene) -> Agreement:
    """Compare a reconstruction with the counts of its scene, by its imaging chain at the corrected spec.

    The information is ``Σ σᵢ² Jᵢ`` over all pixels of all frames, σ their posterior standard deviation and ``J =
    A²·λ²/(λ + σ_e²)`` the Fisher information of the counts about x. The sum bounds the largest eigenvalue of the
    information in units of the prior covariance: where it is small, no combination of pixels has a smaller variance
    than before the measurement.
    """
    rate = np.asarray(expected_counts(result.x_hat, result.spec, scene.acquisition, scene.operator), np.float64)
    protocol = scene.acquisition.as_dict()
    variance = np.maximum(rate + protocol["electronic_noise"] ** 2, np.finfo(np.float64).tiny)
    squares = (np.asarray(scene.y, np.float64) - rate) ** 2 / variance
    information = None
    if result.x_std is not None:
        scale = protocol["attenuation_scale"]
        spread: Float[np.ndarray, ...] = np.asarray(result.x_std, np.float64)
        information = float(np.sum((scale * spread) ** 2 * rate * (rate / variance)))
    return Agreement(float(np.mean(squares)), information)


def judged(result: Reconstruction, scene: Scene) -> Reconstruction:
    """The result with its :class:`Agreement` in the diagnostics; ``Status.PRIOR_ONLY`` where the counts say nothing.

    A result that diverged, or whose Markov chains have not mixed, keeps its status.
    """
    if result.status is Status.DIVERGED or not np.isfinite(result.x_hat).all():
        return result
    found = agreement(result, scene)
    status = Status.PRIOR_ONLY if found.uninformed and result.status in _ENDED else result.status
    return replace(result, status=status, diagnostics={**result.diagnostics, **found.facts()})
