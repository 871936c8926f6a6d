"""Marginal posteriors of the unknown parameters of the imaging chain of one scene.

Each parameter has a reduced model in which the image is integrated out (:mod:`~fluorojax.calibration.drift`,
:mod:`~fluorojax.calibration.transients`); its log likelihood on a grid over the spec range, with the uniform prior, is
the posterior. If the data say nothing, the likelihood is flat and the posterior is the prior. The posterior is also the
prior for a parameter that has no reduced model here.
"""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.calibration.drift import STRIDE, drift_log_posterior
from fluorojax.calibration.marginal import Marginal as Marginal
from fluorojax.calibration.shares import share_marginals, unknown_shares, with_known_shares
from fluorojax.calibration.start import StartEvidence, as_recognised, start_evidence
from fluorojax.calibration.transients import transient_log_likelihood
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import GAIN_DRIFT, LAG, MOTION_BLUR, PUBLISHED, Parameter, Spec
from fluorojax.physics.dose import FrameDose
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.scatter import Scatter
from fluorojax.physics.slow_lag import SlowLag
from fluorojax.physics.stage import CountStage

# A drift needs a slope and something that is not a slope; transients have limits of their own.
_MIN_FRAMES = 3
_THIRDS = (1 / 6, 1 / 2, 5 / 6)
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
        start = first_frames(known, counts)
        if start is not None:
            marginals[LAG.name] = Marginal.from_log(start.lag_grid, start.lag_log_likelihood)
        if GAIN_DRIFT in parameters:
            densities = []
            # What the first frame lacks is known as well as the lag: an average over thirds of its posterior.
            for probability in (0.5,) if start is None else _THIRDS:
                level = levelled(known, counts, marginals, lag_at=probability)
                found = drift_log_posterior(level, acquisition, *bounds[GAIN_DRIFT.name], known.operator.stage(Scatter))
                densities.append(Marginal.from_log(*map(np.asarray, found)))
            marginals[GAIN_DRIFT.name] = Marginal(densities[0].grid, np.mean([m.density for m in densities], axis=0))
            drift = marginals[GAIN_DRIFT.name].quantile(0.5)
        release = scene.operator.stage(ChargeReleaseLag)
        if {MOTION_BLUR, LAG} <= set(parameters) and release is not None:
            transients = transient_log_likelihood(counts, acquisition, known.ranges, drift, release)
            blur, lag = transients.motion_blur_log_likelihood, transients.lag_log_likelihood
            lag = lag if start is None else lag + start.lag_log_likelihood
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


def first_frames(scene: Scene, counts: Float[np.ndarray, "T H W"]) -> StartEvidence | None:
    """What the first frames of a run from dark say about the lag; None for one in a steady state."""
    release = scene.operator.stage(ChargeReleaseLag)
    if release is None or release.start == "steady" or LAG not in scene.operator.parameters:
        return None
    return start_evidence(scene, counts)


def levelled(
    scene: Scene, counts: Float[np.ndarray, "T H W"], marginals: dict[str, Marginal], *, lag_at: float = 0.5
) -> Float[np.ndarray, "T H W"]:
    """Counts over the response of their frames at rest, beside gain drift and dose; themselves where that is one.

    It is another one for a run that starts from dark, and for the ghosts of frames of another dose. All parameters are
    at the medians of ``marginals``, the lag at the quantile of probability ``lag_at``.
    """
    values = {name: marginal.quantile(lag_at if name == LAG.name else 0.5) for name, marginal in marginals.items()}
    spec = Spec.from_dict({**values, **({GAIN_DRIFT.name: 0.0} if GAIN_DRIFT.name in values else {})})
    dose = scene.operator.stage(FrameDose)
    lags = [stage for stage in scene.operator.stages if isinstance(stage, ChargeReleaseLag | SlowLag)]
    frames = len(scene.y)
    if dose is None and all(stage.start == "steady" for stage in lags):
        return counts
    response = np.asarray(_at_rest(scene.operator, spec, scene.acquisition, frames))
    response = response if dose is None else response / np.asarray(dose.relative, np.float32)
    return counts / response[:, None, None]


@eqx.filter_jit
def _at_rest(operator: FluoroscopyOperator, spec: Spec, acquisition: Acquisition, frames: int) -> Float[Array, " T"]:
    return operator.temporal_matrix(spec, acquisition, frames, jnp.float32).sum(axis=1)


def recognise(scene: Scene) -> tuple[Scene, str | None]:
    """The scene with the start of the run that its first frames show, and a sentence where that is from dark.

    See :mod:`~fluorojax.calibration.start`. Single frames and short runs stay as they are.
    """
    if scene.y.ndim != 3:
        return scene, None
    return as_recognised(scene, at_one_dose(scene, scene.y.astype(np.float32) - dark_signal(scene)[0]))


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
