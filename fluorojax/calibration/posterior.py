"""Marginal posteriors of the unknown parameters of the imaging chain of one scene.

Each parameter has a reduced model in which the image is integrated out (:mod:`~fluorojax.calibration.drift`,
:mod:`~fluorojax.calibration.transients`); its log likelihood on a grid over the spec range, with the uniform prior, is
the posterior. If the data say nothing, the likelihood is flat and the posterior is the prior. The posterior is also the
prior for a parameter that has no reduced model here.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fluorojax.calibration.drift import STRIDE, drift_log_posterior
from fluorojax.calibration.marginal import Marginal as Marginal
from fluorojax.calibration.shares import share_marginals, unknown_shares, with_known_shares
from fluorojax.calibration.transients import transient_log_likelihood
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import GAIN_DRIFT, LAG, MOTION_BLUR, PUBLISHED, Parameter, Spec
from fluorojax.physics.dose import FrameDose
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.scatter import Scatter
from fluorojax.physics.stage import CountStage

# A drift needs a slope and something that is not a slope; transients have limits of their own.
_MIN_FRAMES = 3
_COVERAGE = 0.90


@dataclass(frozen=True)
class SpecPosterior:
    """Marginal posteriors of the unknown parameters of an imaging chain, in the order of its operator."""

    marginals: dict[str, Marginal]
    parameters: tuple[Parameter, ...] = PUBLISHED
    """The parameters as the stages of the imaging chain declare them."""

    @classmethod
    def known(cls, spec: Spec, parameters: tuple[Parameter, ...]) -> "SpecPosterior":
        """``spec`` taken as known; a parameter that it leaves out has its nominal value."""
        values = {p.name: float(np.asarray(spec.value(p))) for p in parameters}
        return cls({name: Marginal.point(value) for name, value in values.items()}, parameters)

    def array(self, statistic: str) -> Float[np.ndarray, "parameters"]:
        """A property of the marginals, ``"mean"``, ``"std"`` or ``"contraction"``, in the order of the parameters."""
        return np.array([getattr(marginal, statistic) for marginal in self.marginals.values()])

    @property
    def spec(self) -> Spec:
        """Posterior medians, which have the least expected absolute error and ignore distant side modes."""
        return Spec.from_dict({name: marginal.quantile(0.5) for name, marginal in self.marginals.items()})

    @property
    def std(self) -> Spec:
        """Posterior standard deviations."""
        return Spec.from_dict({name: marginal.std for name, marginal in self.marginals.items()})

    @property
    def interval(self) -> dict[str, tuple[float, float]]:
        """Central 90 % credible intervals."""
        tail = 0.5 * (1 - _COVERAGE)
        return {name: (m.quantile(tail), m.quantile(1 - tail)) for name, m in self.marginals.items()}

    def sentences(self) -> dict[str, str]:
        """What the data say about each parameter, in words."""
        return {p.name: self.marginals[p.name].sentence(p) for p in self.parameters}


def calibrate(scene: Scene) -> SpecPosterior:
    """Marginal posteriors of the unknown parameters of the imaging chain from the counts of one scene.

    The reduced models know gain drift, detector lag and exposure window, and shares and kernels of scatter and veiling
    glare (:mod:`~fluorojax.calibration.shares`), taken from the operator of the scene. Known scatter, veiling glare and
    dark signal are taken off the counts, and their noise stays; unknown ones at the median of their posterior. Any
    other parameter keeps its prior, whose whole width the reconstruction then carries. A single frame, fewer than three
    frames, or images smaller than 4 × 4 leave drift, window and lag at their priors; window and lag need five frames of
    16 × 16. Deterministic.
    """
    bounds, parameters = scene.ranges.as_dict(), scene.operator.parameters
    marginals = {parameter.name: Marginal.flat(*bounds[parameter.name]) for parameter in parameters}
    marginals |= calibrate_shares(scene)
    known = with_known_shares(scene, marginals)
    if scene.y.ndim == 3 and scene.y.shape[0] >= _MIN_FRAMES and min(scene.y.shape[1:]) >= STRIDE:
        counts, acquisition = counts_from_the_beam(known)
        drift = GAIN_DRIFT.nominal
        if GAIN_DRIFT in parameters:
            found = drift_log_posterior(counts, acquisition, *bounds[GAIN_DRIFT.name], known.operator.stage(Scatter))
            marginals[GAIN_DRIFT.name] = Marginal.from_log(*map(np.asarray, found))
            drift = marginals[GAIN_DRIFT.name].quantile(0.5)
        release = scene.operator.stage(ChargeReleaseLag)
        if {MOTION_BLUR, LAG} <= set(parameters) and release is not None:
            transients = transient_log_likelihood(counts, acquisition, known.ranges, drift, release)
            blur, lag = transients.motion_blur_log_likelihood, transients.lag_log_likelihood
            marginals[MOTION_BLUR.name] = Marginal.from_log(transients.motion_blur_grid, blur)
            marginals[LAG.name] = Marginal.from_log(transients.lag_grid, lag)
    return SpecPosterior(marginals, parameters)


def calibrate_shares(scene: Scene) -> dict[str, Marginal]:
    """Posteriors of the unknown parameters of scatter and veiling glare, by name; empty where all is known."""
    if not unknown_shares(scene.operator):
        return {}
    dark, _ = dark_signal(scene)
    counts = scene.y.astype(np.float32) - dark
    counts = counts if counts.ndim == 3 else counts[None]
    return share_marginals(scene, at_one_dose(scene, counts))


def at_one_dose(scene: Scene, counts: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
    """Counts over the relative dose of their frames, where the imaging chain states it."""
    dose = scene.operator.stage(FrameDose)
    return counts if dose is None else counts / np.asarray(dose.relative, np.float32)[:, None, None]


def dark_signal(scene: Scene) -> tuple[Float[np.ndarray, "*shape"], bool]:
    """What the stages that act on the counts add to none, quanta, and whether there are such stages."""
    stages = [stage for stage in scene.operator.stages if isinstance(stage, CountStage)]
    added = jnp.zeros(scene.y.shape, jnp.float32)
    for stage in stages:
        added = stage(added, Spec.nominal(scene.operator.parameters), scene.acquisition)
    return np.asarray(added), bool(stages)


def counts_from_the_beam(scene: Scene) -> tuple[Float[np.ndarray, "T H W"], Acquisition]:
    """The counts without dark signal and veiling glare at one dose, and the protocol with the noise that these leave.

    What was taken off left its noise, whose variance is known, as that of electronic noise is.
    """
    counts, acquisition = _without_added(scene)
    # At one dose the noise of the frames is not quite that of the reduced models.
    return at_one_dose(scene, counts), acquisition


def _without_added(scene: Scene) -> tuple[Float[np.ndarray, "T H W"], Acquisition]:
    counts, protocol = scene.y.astype(np.float32), scene.acquisition.as_dict()
    added, dark = dark_signal(scene)
    glare = scene.operator.stage(VeilingGlare)
    if not dark and glare is None:
        return counts, scene.acquisition
    if glare is not None:
        added = added + np.asarray(glare.tail(jnp.asarray(counts) - added))
    variance = protocol["electronic_noise"] ** 2 + max(float(np.mean(added)), 0.0)
    return counts - added, Acquisition.from_dict({**protocol, "electronic_noise": variance**0.5})
