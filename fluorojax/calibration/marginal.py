"""The posterior of one parameter as a density on a grid over its range, and what it says in words."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fluorojax.data.spec import Parameter
from fluorojax.data.wording import LEAST_CONTRACTION, plain, undetermined, with_error


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
