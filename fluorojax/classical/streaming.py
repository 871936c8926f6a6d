"""Causal filters that run on a stream of frames: last-image hold, recursive, motion-gated, Kalman.

Each filter has a state, a ``start`` from the first frame and a ``step`` for every further one, so that a live system
can call it frame by frame; on a stored sequence it runs under ``lax.scan``. All filters return a variance with the
estimate. It contains the photon noise that the filter lets through (for the Kalman filter the variance of its motion
model). It does not contain the error that motion causes.

Frames enter as counts with their gain. Rates are in quanta at gain one.
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fluorojax.classical.estimate import ClassicalMethod, Estimate, as_stack
from fluorojax.classical.rates import attenuation, attenuation_std, gains
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator

# Quanta: a pixel without counts is not known to be dark, its noise is taken as that of half a quantum.
_HALF = 0.5
Frame = Float[Array, "H W"]


@dataclass(frozen=True)
class StreamFilter(ClassicalMethod):
    """A filter that sees one frame after the other."""

    @abstractmethod
    def start(self, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """State after the first frame."""

    @abstractmethod
    def step(self, state: Any, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """State after a further frame."""

    @abstractmethod
    def output(self, state: Any) -> tuple[Frame, Frame]:
        """Rate at gain one, quanta, and the variance of its noise, quanta²."""

    def signal(
        self, rate: Float[np.ndarray, "T H W"], variance: Float[np.ndarray, "T H W"]
    ) -> Float[np.ndarray, "T H W"]:
        """The argument of the logarithm: the rate plus half its relative variance, which makes the logarithm unbiased.

        For a single frame it is the usual y + ½, so that pixels without counts also have a logarithm.
        """
        return rate + 0.5 * variance / np.maximum(rate, _HALF)

    def __call__(
        self,
        y: Float[np.ndarray, "T H W"],
        acquisition: Acquisition,
        spec: Spec | None = None,
        operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
    ) -> Estimate:
        """See :class:`~fluorojax.classical.estimate.ClassicalMethod`."""
        counts = as_stack(y)
        rate, variance = map(np.asarray, filter_stream(self, counts, gains(operator, spec, len(counts))[:, 0, 0]))
        signal = self.signal(rate, variance)
        return Estimate(attenuation(signal, acquisition), attenuation_std(signal, variance, acquisition))


@partial(jax.jit, static_argnums=0)
def filter_stream(
    method: StreamFilter, counts: Float[ArrayLike, "T H W"], gains: Float[ArrayLike, " T"]
) -> tuple[Float[Array, "T H W"], Float[Array, "T H W"]]:
    """Rates and variances of a whole sequence (see :meth:`StreamFilter.output`)."""
    counts, gains = jnp.asarray(counts), jnp.asarray(gains)

    def frame(state, now):
        state = method.step(state, *now)
        return state, method.output(state)

    first = method.start(counts[0], gains[0])
    _, rest = jax.lax.scan(frame, first, (counts[1:], gains[1:]))
    return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), method.output(first), rest)


@dataclass(frozen=True)
class LastImageHold(StreamFilter):
    """The mean of the last ``frames`` frames (fewer at the start), which a console shows after the pedal is released.

    With ``frames = 1`` it is the raw image. Variance: ``Σ λ_i / (g_i² n²)``, with the mean for λ_i/g_i.
    """

    frames: int = 8

    def start(self, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """The buffer of frames at gain one, and of inverse gains; empty places hold zeros."""
        buffer = jnp.zeros((self.frames, *counts.shape), counts.dtype).at[0].set(counts / gain)
        return buffer, jnp.zeros(self.frames, counts.dtype).at[0].set(1 / gain)

    def step(self, state: Any, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """Drop the oldest frame."""
        buffer, inverse = state
        return jnp.roll(buffer, 1, 0).at[0].set(counts / gain), jnp.roll(inverse, 1).at[0].set(1 / gain)

    def output(self, state: Any) -> tuple[Frame, Frame]:
        """See :class:`StreamFilter`."""
        buffer, inverse = state
        count = jnp.sum(inverse > 0)
        mean = jnp.sum(buffer, 0) / count
        return mean, _positive(mean) * jnp.sum(inverse) / count**2


@dataclass(frozen=True)
class Recursive(StreamFilter):
    """Recursive temporal averaging ``z_t = α y_t + (1 − α) z_{t−1}``.

    Variance: ``P_t = α² v_t + (1 − α)² P_{t−1}``, which tends to α/(2 − α) of that of a frame, v = λ/g².
    """

    alpha: float = 0.3

    def start(self, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """The first frame, with its own variance."""
        rate = counts / gain
        return rate, _positive(rate) / gain

    def step(self, state: Any, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """One recursion."""
        rate, variance = state
        return _mix(rate, variance, counts / gain, gain, self.alpha)

    def output(self, state: Any) -> tuple[Frame, Frame]:
        """See :class:`StreamFilter`."""
        return state


@dataclass(frozen=True)
class GatedRecursive(Recursive):
    """Recursive averaging that opens where the image moves: the usual filter of clinical consoles.

    The innovation ``y_t/g_t − z_{t−1}`` is averaged over 3 × 3 pixels and divided by its standard deviation from photon
    noise, so that the thresholds mean the same at every dose. Between ``low`` and ``high`` of its size the weight of
    the new frame rises from α to one.
    """

    alpha: float = 0.25
    low: float = 2.0
    high: float = 6.0

    def step(self, state: Any, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """One recursion with a weight for every pixel."""
        rate, variance = state
        new = counts / gain
        expected = variance + _positive(rate) / gain
        innovation = jnp.abs(_box(new - rate)) / jnp.sqrt(_box(expected) / 9)
        opening = jnp.clip((innovation - self.low) / (self.high - self.low), 0, 1)
        return _mix(rate, variance, new, gain, self.alpha + (1 - self.alpha) * opening)


@dataclass(frozen=True)
class Kalman(StreamFilter):
    """Kalman filter of every pixel: the log rate θ is a random walk, the counts are Poisson.

    Prediction: variance ``P⁻ = P + q``. Update: the mode of ``λ_t − y log λ_t + (θ − θ⁻)²/(2P⁻)``, ``λ_t = g_t e^θ``,
    by Newton steps from above, where they do not overshoot, and ``P = 1/(λ_t + 1/P⁻)``. Near λ this is the linear
    filter with measurement variance r = 1/λ; its gain tends to ``K = P⁻/(P⁻ + r)``, ``P⁻ = q/2 + √(q²/4 + q r)``.
    """

    step_variance: float = 0.003
    """q: variance of the change of the log rate from frame to frame."""
    start_variance: float = 3.0
    """Variance of the log rate about the log of the mean of the first frame."""

    def start(self, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """Update of a broad prior at the level of the whole frame."""
        level = jnp.log(jnp.maximum(jnp.mean(counts / gain), 0.1))
        return self._update(jnp.full_like(counts, level), jnp.full_like(counts, self.start_variance), counts, gain)

    def step(self, state: Any, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        """Predict and update."""
        log_rate, variance = state
        return self._update(log_rate, variance + self.step_variance, counts, gain)

    def output(self, state: Any) -> tuple[Frame, Frame]:
        """See :class:`StreamFilter`."""
        log_rate, variance = state
        rate = jnp.exp(log_rate)
        return rate, rate**2 * variance

    def signal(
        self, rate: Float[np.ndarray, "T H W"], variance: Float[np.ndarray, "T H W"]
    ) -> Float[np.ndarray, "T H W"]:
        """The rate itself: the filter estimates the logarithm."""
        return rate

    def _update(self, prior: Frame, variance: Frame, counts: Frame, gain: Float[ArrayLike, ""]) -> Any:
        # Either the prior mean or the measured log rate is above the mode, where the energy's slope is convex.
        start = jnp.maximum(prior, jnp.log(jnp.maximum(counts / gain, 1e-3)))

        def newton(_, log_rate):
            expected = gain * jnp.exp(log_rate)
            slope = expected - counts + (log_rate - prior) / variance
            return log_rate - slope / (expected + 1 / variance)

        log_rate = jax.lax.fori_loop(0, 10, newton, start)
        return log_rate, 1 / (gain * jnp.exp(log_rate) + 1 / variance)


def _mix(rate: Frame, variance: Frame, new: Frame, gain: Float[ArrayLike, ""], weight: Any) -> tuple[Frame, Frame]:
    mean = rate + weight * (new - rate)
    return mean, weight**2 * _positive(mean) / gain + (1 - weight) ** 2 * variance


def _positive(rate: Frame) -> Frame:
    return jnp.maximum(rate, _HALF)


def _box(image: Frame) -> Frame:
    """Mean over 3 × 3 pixels, edges repeated."""
    padded = jnp.pad(image, 1, mode="edge")
    height, width = image.shape
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return sum(shifted[1:], shifted[0]) / 9
