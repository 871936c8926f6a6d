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
from fluorojax.calibration.transients import transient_log_likelihood
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import GAIN_DRIFT, LAG, MOTION_BLUR, PUBLISHED, Parameter, Spec
from fluorojax.data.wording import LEAST_CONTRACTION, plain, undetermined, with_error
from fluorojax.physics.dose import FrameDose
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.scatter import Scatter
from fluorojax.physics.stage import CountStage

# A drift needs a slope and something that is not a slope; transients have limits of their own.
_MIN_FRAMES = 3
_COVERAGE = 0.90


@dataclass(frozen=True)
class Marginal:
    """Posterior of one parameter as a density on a grid over its range, with a uniform prior."""

    grid: Float[np.ndarray, "points"]
    density: Float[np.ndarray, "points"]
    """Integrates to one over the grid (trapezoid rule)."""

    @classmethod
    def from_log(cls, grid: Float[np.ndarray, "points"], log: Float[np.ndarray, "points"]) -> "Marginal":
        """From a log density or log likelihood up to a constant."""
        grid, log = np.asarray(grid, np.float64), np.asarray(log, np.float64)
        weights = np.exp(log - log.max())
        return cls(grid, weights / np.trapezoid(weights, grid))

    @classmethod
    def from_draws(cls, draws: Float[np.ndarray, "..."], low: float, high: float) -> "Marginal":
        """A smooth density of posterior draws in a range.

        Gaussian kernels of half of Silverman's bandwidth, mirrored at the edges, where a density may end at its
        highest. Use it for the shape of the density; moments and quantiles of the draws themselves are more accurate.
        """
        values = np.asarray(draws, np.float64).ravel()
        grid = np.linspace(low, high, 201)
        spread = min(float(values.std()), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.34)
        width = max(0.5 * 0.9 * spread * values.size**-0.2, grid[1] - grid[0])
        ends = np.append(grid, high + (grid[1] - grid[0])) - 0.5 * (grid[1] - grid[0])
        counts = np.histogram(np.concatenate([values, 2 * low - values, 2 * high - values]), ends)[0]
        kernel = np.exp(-0.5 * ((grid[:, None] - grid) / width) ** 2)
        mirrored = np.exp(-0.5 * ((grid[:, None] + grid - 2 * low) / width) ** 2)
        mirrored += np.exp(-0.5 * ((grid[:, None] + grid - 2 * high) / width) ** 2)
        density = (kernel + mirrored) @ (counts * np.where((grid == low) | (grid == high), 0.5, 1.0))
        return cls(grid, density / np.trapezoid(density, grid))

    @classmethod
    def flat(cls, low: float, high: float) -> "Marginal":
        """The uniform prior."""
        return cls(np.linspace(low, high, 101), np.full(101, 1.0 / (high - low)))

    @classmethod
    def point(cls, value: float) -> "Marginal":
        """A value taken as known: all mass at one point, no prior range."""
        return cls(np.array([value]), np.array([np.inf]))

    @property
    def known(self) -> bool:
        """Whether the value was given rather than inferred."""
        return self.grid.size == 1

    def quantile(self, probability: float) -> float:
        """Inverse of the cumulative distribution, linear between grid points."""
        if self.known:
            return float(self.grid[0])
        steps = np.diff(self.grid) * 0.5 * (self.density[1:] + self.density[:-1])
        cumulative = np.concatenate([[0.0], np.cumsum(steps)])
        return float(np.interp(probability * cumulative[-1], cumulative, self.grid))

    @property
    def mean(self) -> float:
        """Posterior mean."""
        if self.known:
            return float(self.grid[0])
        return float(np.trapezoid(self.grid * self.density, self.grid))

    @property
    def std(self) -> float:
        """Posterior standard deviation."""
        if self.known:
            return 0.0
        return float(np.sqrt(np.trapezoid((self.grid - self.mean) ** 2 * self.density, self.grid)))

    @property
    def contraction(self) -> float:
        """1 − (posterior sd / prior sd)²: 0 if the data say nothing, near 1 if they determine the parameter."""
        if self.known:
            return 1.0
        return 1.0 - self.std**2 / ((self.grid[-1] - self.grid[0]) ** 2 / 12.0)

    def sentence(self, parameter: Parameter) -> str:
        """What is known of ``parameter``, in words: its offset from the nominal protocol where it is one."""
        name, unit, low, high = parameter.name, parameter.unit, self.grid[0], self.grid[-1]
        if self.known:
            return f"{name} = {plain(self.mean, sign=True)} {unit}, taken as known"
        if self.contraction < LEAST_CONTRACTION:
            return (
                f"{name} is {undetermined(parameter, (low, high))}: the result shows the prior range, not a measurement"
            )
        estimate = with_error(self.quantile(0.5), self.std, unit, sign=True)
        span = f"the prior range {plain(low)} … {plain(high)} {unit}"
        edge = 0.02 * (high - low)
        near = self.grid[self.density.argmax()]
        if min(near - low, high - near) < edge:
            return f"{name} = {estimate}; the most probable value lies at an edge of {span}: check the range"
        return f"{name} = {estimate}; the data remove {100 * self.contraction:.0f} % of the variance of {span}"


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

    The reduced models know gain drift, detector lag and exposure window, taken from the operator of the scene. Known
    scatter, veiling glare and dark signal are taken off the counts, and their noise stays. Any other parameter keeps
    its prior, whose whole width the reconstruction then carries. A single frame, fewer than three frames, or images
    smaller than 4 × 4 leave all parameters at their priors; window and lag need five frames of 16 × 16. Deterministic.
    """
    bounds, parameters = scene.ranges.as_dict(), scene.operator.parameters
    marginals = {parameter.name: Marginal.flat(*bounds[parameter.name]) for parameter in parameters}
    if scene.y.ndim == 3 and scene.y.shape[0] >= _MIN_FRAMES and min(scene.y.shape[1:]) >= STRIDE:
        counts, acquisition = counts_from_the_beam(scene)
        drift = GAIN_DRIFT.nominal
        if GAIN_DRIFT in parameters:
            found = drift_log_posterior(counts, acquisition, *bounds[GAIN_DRIFT.name], scene.operator.stage(Scatter))
            marginals[GAIN_DRIFT.name] = Marginal.from_log(*map(np.asarray, found))
            drift = marginals[GAIN_DRIFT.name].quantile(0.5)
        release = scene.operator.stage(ChargeReleaseLag)
        if {MOTION_BLUR, LAG} <= set(parameters) and release is not None:
            transients = transient_log_likelihood(counts, acquisition, scene.ranges, drift, release)
            blur, lag = transients.motion_blur_log_likelihood, transients.lag_log_likelihood
            marginals[MOTION_BLUR.name] = Marginal.from_log(transients.motion_blur_grid, blur)
            marginals[LAG.name] = Marginal.from_log(transients.lag_grid, lag)
    return SpecPosterior(marginals, parameters)


def counts_from_the_beam(scene: Scene) -> tuple[Float[np.ndarray, "T H W"], Acquisition]:
    """The counts without dark signal and veiling glare at one dose, and the protocol with the noise that these leave.

    What was taken off left its noise, whose variance is known, as that of electronic noise is.
    """
    counts, acquisition = _without_added(scene)
    dose = scene.operator.stage(FrameDose)
    if dose is not None:  # brings the frames to one dose; their noise is then not quite that of the reduced models
        counts = counts / np.asarray(dose.relative, np.float32)[:, None, None]
    return counts, acquisition


def _without_added(scene: Scene) -> tuple[Float[np.ndarray, "T H W"], Acquisition]:
    counts, protocol = scene.y.astype(np.float32), scene.acquisition.as_dict()
    stages = [stage for stage in scene.operator.stages if isinstance(stage, CountStage)]
    glare = scene.operator.stage(VeilingGlare)
    if not stages and glare is None:
        return counts, scene.acquisition
    added = jnp.zeros(counts.shape, jnp.float32)
    for stage in stages:
        added = stage(added, Spec.nominal(scene.operator.parameters), scene.acquisition)
    if glare is not None:
        added = added + glare.tail(jnp.asarray(counts) - added)
    variance = protocol["electronic_noise"] ** 2 + max(float(jnp.mean(added)), 0.0)
    return counts - np.asarray(added), Acquisition.from_dict({**protocol, "electronic_noise": variance**0.5})
