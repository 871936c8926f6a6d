"""What held-out quanta say about a reconstruction: deviations, sizes of intervals, and a verdict in plain sentences.

:func:`fluorojax.metrics.held_out` finds them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

# Chance that one of the bias tests of a right posterior alarms, over all of them.
_ALARM = 0.01
# A bias below this part of the stated standard deviation does no harm: 90 % intervals still cover 89 %.
_MATTERS = 0.25
# Without a standard deviation: a relative bias of the counts that matters.
_MATTERS_COUNTS = 0.005
# Ratios of squared error and stated variance that are no defect, and standard errors that chance does not explain.
_NARROW, _WIDE, _CHANCE = 1.5, 0.6, 3.0
# From here on a result is not to be relied on: a bias in standard deviations, a ratio.
_SEVERE, _FAR_TOO_NARROW = 1.0, 4.0
# Standard error of the ratio from which on it says nothing.
_VAGUE = 0.5


@dataclass(frozen=True)
class Bias:
    """Deviation of the held-out quanta from their prediction along one pattern."""

    name: str
    """A group of pixels or frames in words, or a parameter of the imaging chain."""
    unit: str
    """Unit of ``amount``: ``%`` of the predicted counts, or that of the parameter."""
    amount: float
    """By how much the held-out quanta exceed the prediction, or ask for a larger value of the parameter."""
    z: float
    """The deviation over its largest standard deviation for a right posterior."""
    in_std: float
    """The deviation relative to the stated standard deviations there; NaN where none are stated."""


@dataclass(frozen=True)
class IntervalSize:
    """Squared error over stated variance in one group of pixels, from the held-out quanta."""

    group: str
    """``all``, ``moving`` or ``static``."""
    ratio: float
    """1 where the stated standard deviations are right, 4 where they are half of what they should be."""
    std: float
    """Standard error of ``ratio`` by chance alone."""
    spread: float
    """Factor by which ``ratio`` may be off to either side, because it is not known how far errors reach."""

    @property
    def too_narrow(self) -> bool:
        """Whether errors are larger than stated, however far they reach."""
        low, std = self.ratio / self.spread, self.std / self.spread
        return low > _NARROW and low - 1.0 > _CHANCE * std

    @property
    def too_wide(self) -> bool:
        """Whether errors are smaller than stated, however far they reach."""
        high, std = self.ratio * self.spread, self.std * self.spread
        return high < _WIDE and 1.0 - high > _CHANCE * std

    def sentence(self) -> str:
        """The ratio in words, with both kinds of uncertainty."""
        low, high = (max(v, 0.0) for v in sorted((self.ratio / self.spread, self.ratio * self.spread)))
        return f"{low:.2g} to {high:.2g} (± {self.std:.2g})"


@dataclass(frozen=True)
class HeldOut:
    """What the held-out quanta of one scene say about its reconstruction."""

    share: float
    quanta: float
    """Number of held-out quanta."""
    biases: tuple[Bias, ...]
    sizes: tuple[IntervalSize, ...]
    """Empty where the method states no standard deviations."""

    @property
    def threshold(self) -> float:
        """Size of z from which on a bias is not chance: one of all tests alarms with a probability of at most 1 %."""
        return float(-ndtri(0.5 * _ALARM / max(len(self.biases), 1)))

    @property
    def biased(self) -> tuple[Bias, ...]:
        """Deviations that are neither chance nor negligible, the most significant first."""

        def matters(bias: Bias) -> bool:
            if np.isfinite(bias.in_std):
                return abs(bias.in_std) > _MATTERS
            return bias.unit != "%" or abs(bias.amount) > 100 * _MATTERS_COUNTS

        found = [bias for bias in self.biases if abs(bias.z) > self.threshold and matters(bias)]
        return tuple(sorted(found, key=lambda bias: -abs(bias.z)))

    @property
    def narrow(self) -> tuple[IntervalSize, ...]:
        """Groups whose errors are larger than stated."""
        return tuple(size for size in self.sizes if size.too_narrow)

    @property
    def wide(self) -> tuple[IntervalSize, ...]:
        """Groups whose errors are smaller than stated."""
        return tuple(size for size in self.sizes if size.too_wide)

    @property
    def vague(self) -> bool:
        """Whether there are too few quanta to judge the size of the intervals."""
        return not self.sizes or self.sizes[0].std > _VAGUE

    @property
    def level(self) -> str:
        """``bad``, ``caution``, ``unknown`` (no defect found, and too few quanta to judge intervals), or ``good``."""
        if any(not np.isfinite(b.in_std) or abs(b.in_std) > _SEVERE for b in self.biased):
            return "bad"
        if any(size.ratio / size.spread > _FAR_TOO_NARROW for size in self.narrow):
            return "bad"
        if self.biased or self.narrow or self.wide:
            return "caution"
        return "unknown" if self.vague and self.sizes else "good"

    def sentence(self) -> str:
        """What the held-out quanta say, in plain sentences."""
        quanta = (
            f"{100 * self.share:g} % of the quanta ({self.quanta:,.0f}) were held out, and the rest predicted them."
        )
        parts = []
        if self.biased:
            worst = self.biased[0]
            also = f", and {len(self.biased) - 1} more" if len(self.biased) > 1 else ""
            parts.append(f"The prediction is biased: {_in_words(worst)}{also}.")
        else:
            parts.append("The prediction shows no bias that matters.")
        if self.narrow:
            worst = max(self.narrow, key=lambda size: size.ratio)
            parts.append(
                f"The stated errors are too small: the squared error of {_pixels(worst)} is {worst.sentence()} times "
                "what is stated."
            )
        elif self.wide:
            worst = min(self.wide, key=lambda size: size.ratio)
            parts.append(
                f"The stated errors are larger than necessary: the squared error of {_pixels(worst)} is "
                f"{worst.sentence()} times what is stated."
            )
        elif not self.sizes:
            parts.append("The method states no errors whose size could be checked.")
        elif self.vague:
            parts.append(
                f"The size of the stated errors cannot be judged from so few quanta (squared error over stated "
                f"variance {self.sizes[0].sentence()})."
            )
        else:
            parts.append(
                f"The size of the stated errors agrees with it: the squared error is {self.sizes[0].sentence()} times "
                "what is stated."
            )
        return " ".join([quanta, *parts])

    def facts(self) -> dict[str, Any]:
        """Everything as JSON-serialisable values, with the verdict in words."""
        return {
            "level": self.level,
            "verdict": self.sentence(),
            "share": self.share,
            "quanta": self.quanta,
            "biases": [{**vars(b), "in_std": b.in_std if np.isfinite(b.in_std) else None} for b in self.biases],
            "sizes": [dict(vars(size)) for size in self.sizes],
        }


def _in_words(bias: Bias) -> str:
    """A deviation as a clause."""
    size = f", {abs(bias.in_std):.1f} times the stated standard deviation there" if np.isfinite(bias.in_std) else ""
    if bias.unit == "%":
        side = "more" if bias.amount > 0 else "fewer"
        return f"in {bias.name} there are {abs(bias.amount):.2g} % {side} quanta than predicted{size}"
    return f"the held-out quanta ask for a {bias.name} larger by {bias.amount:+.2g} {bias.unit}{size}"


def _pixels(size: IntervalSize) -> str:
    return "all pixels" if size.group == "all" else f"the {size.group} pixels"
