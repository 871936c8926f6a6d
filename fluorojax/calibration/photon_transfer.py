"""Gain and offset of a detector from a run of its own: the line of variance over mean (photon transfer).

A stored value is ``v = o + g·n + r`` for n detected quanta, gain g (stored values per quantum), offset o and electronic
noise r. Quanta are Poisson, so that over still pixels ``var v = g · (mean v − o')``, with ``o' = o − var r / g``: the
slope of the line is the gain, and it meets zero at the offset. With electronic noise of σ quanta the line meets zero
below the offset of the detector: ``(v − o') / g`` has a variance equal to its mean, and that mean is σ² quanta too
large. Where quanta are as few as σ², the offset has to come from dark frames (``offset``).

The variance is that of differences of high order along time, within blocks of pixels and less their common part. A
difference of order k takes out what is a polynomial of degree k − 1 in time: a drift of the gain, and motion that is
slow against the frame rate. At 300 quanta, second differences leave enough of breathing and heartbeat to make the gain
several percent too large. Blocks that still move differ from the line by more than chance and are left out.
"""

from dataclasses import dataclass
from math import comb

import numpy as np
from jaxtyping import Float, Num

BLOCK = 8
"""Side of the blocks, pixels."""
_MIN_SIDE = 4
_MIN_FRAMES = 3
_MIN_SAMPLES = 24
_CLIP = 3.0
"""Samples further from the line than so many standard deviations are taken for motion."""
_STILL = 3.0
_ROUNDS = 30
_HIGHEST_ORDER = 5
_FRAMES_PER_ORDER = 3  # a high order leaves few differences of a short run
_GROUPS = 48


@dataclass(frozen=True)
class PhotonTransfer:
    """A fitted line of variance over mean, and the samples that it was fitted to."""

    gain: float
    """Stored values per detected quantum."""
    gain_std: float
    offset: float
    """Stored value at no quanta."""
    offset_std: float
    """Zero where the offset was given."""
    mean: Float[np.ndarray, " samples"]
    """Mean stored value of a block of pixels, over the frames of one difference as they enter it."""
    variance: Float[np.ndarray, " samples"]
    """Variance of a pixel of that block, squared stored values."""
    used: Num[np.ndarray, " samples"]
    """Whether the sample was used: its block is still and lies by the line."""
    correlation: float
    """Mean correlation of the noise of neighbouring pixels. Quanta have none. Where light or charge spreads to
    neighbours the variance of a pixel is too low, and so is the gain."""

    def sentences(self) -> list[str]:
        """What was found, in words, and what a user has to know of it."""
        lines = [
            f"gain {self.gain:.4g} ± {self.gain_std:.2g} stored values per quantum, offset {self.offset:.5g}"
            + (f" ± {self.offset_std:.2g}" if self.offset_std else " (given)")
            + f", from the variance of {int(self.used.sum())} of {self.used.size} blocks of pixels"
        ]
        if self.gain_std > 0.1 * self.gain:
            lines.append(
                "the gain is not determined to a tenth: the run shows too few levels of brightness or too few still "
                "pixels; the offset of the detector, given with --offset, would help"
            )
        if self.correlation > 0.05:
            lines.append(
                f"the noise of neighbouring pixels is correlated ({self.correlation:.2f}): the images were smoothed, "
                "or the detector spreads its signal, and the gain is too low; take the gain of the detector instead"
            )
        return lines


def photon_transfer(
    values: Num[np.ndarray, "T H W"], *, offset: float | None = None, saturation: float | None = None
) -> PhotonTransfer:
    """Gain and offset of the detector from one run of stored values, (T ≥ 3, H, W).

    **Arguments:** ``values`` in any unit that is linear in the dose; ``offset`` where it is known; ``saturation`` a
    stored value from which on the detector clips: blocks that reach it are left out.

    The standard deviations come from groups of neighbouring blocks that are left out in turn (jackknife), so that they
    hold for noise that is not Poisson, and for motion of some blocks.

    **Raises** ``ValueError`` where the run is too short or too small, or where no line with a positive slope is found.
    """
    if values.ndim != 3 or len(values) < _MIN_FRAMES or min(values.shape[1:]) < _MIN_SIDE:
        raise ValueError(
            f"the values have shape {values.shape}; expected a sequence (T, H, W) of at least {_MIN_FRAMES} frames of "
            f"{_MIN_SIDE} × {_MIN_SIDE} pixels for an estimate of the gain"
        )
    side = min(BLOCK, max(_MIN_SIDE, min(values.shape[1:]) // 6))
    samples = _Samples.of(values, side, saturation)
    if samples.mean.size < _MIN_SAMPLES:
        raise ValueError(
            f"{samples.mean.size} blocks of pixels are not saturated and show noise; expected at least {_MIN_SAMPLES} "
            "for an estimate of the gain"
        )
    gain, start, used = _fit(samples, offset)
    return PhotonTransfer(
        gain,
        *_jackknifed(samples, used, offset, gain, start),
        mean=samples.mean,
        variance=samples.variance,
        used=used,
        correlation=float(np.average(samples.correlation[used])) if used.any() else 0.0,
    )


@dataclass(frozen=True)
class _Samples:
    mean: np.ndarray
    variance: np.ndarray
    shift: np.ndarray  # change of the mean of the block, in standard deviations for the measured variance
    freedom: float  # degrees of freedom of a variance
    group: np.ndarray  # to which of the groups of the jackknife a sample belongs
    correlation: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, side: int, saturation: float | None) -> "_Samples":
        frames, rows, columns = values.shape[0], values.shape[1] // side, values.shape[2] // side
        found: list[list[np.ndarray]] = []
        places = np.arange(rows * columns)
        weights = _difference(frames)
        several = len(weights)
        for first in range(frames - several + 1):
            part = values[first : first + several, : rows * side, : columns * side].astype(np.float64)
            blocks = part.reshape(several, rows, side, columns, side).transpose(0, 1, 3, 2, 4)
            blocks = blocks.reshape(several, rows * columns, side, side)
            good = np.ones(rows * columns, bool)
            if saturation is not None:
                good &= (blocks < saturation).all(axis=(0, 2, 3))
            change = np.tensordot(weights, blocks, axes=1)
            common = change.mean(axis=(1, 2))
            rest = change - common[:, None, None]
            variance = np.square(rest).sum(axis=(1, 2)) / (side**2 - 1)
            # what the block as a whole does, and its halves: motion that the pixels of a block share
            halves = [
                rest[:, : side // 2].mean(axis=(1, 2)),
                rest[:, :, : side // 2].mean(axis=(1, 2)),
            ]
            spread = np.sqrt(np.maximum(variance, 1e-30) / side**2)
            shift = np.max([np.abs(part) / spread for part in (common, *halves)], axis=0)
            pairs = 0.5 * ((rest[:, 1:] * rest[:, :-1]).mean((1, 2)) + (rest[:, :, 1:] * rest[:, :, :-1]).mean((1, 2)))
            # removing the mean of n pixels makes independent ones correlate by −1/(n−1)
            correlation = pairs / np.maximum(variance, 1e-30) + 1.0 / side**2
            good &= variance > 0
            # the variance of the difference is that of its frames, each by the square of its weight
            mean = np.square(weights) @ blocks.mean(axis=(2, 3))
            found.append([part[good] for part in (mean, variance, shift, places, correlation)])
        mean, variance, shift, place, correlation = (np.concatenate(parts) for parts in zip(*found, strict=True))
        across = max(1, round(np.sqrt(_GROUPS * columns / rows))) if rows else 1
        down = max(1, round(_GROUPS / across))
        group = (place // columns * down // rows) * across + (place % columns) * across // columns
        return cls(mean, variance, shift, side**2 - 1.0, group, correlation)


def _difference(frames: int) -> np.ndarray:
    """Weights of the frames in a difference along time that keeps the variance of independent frames."""
    order = min(_HIGHEST_ORDER, max(_MIN_FRAMES - 1, frames // _FRAMES_PER_ORDER))
    weights = np.array([(-1.0) ** index * comb(order, index) for index in range(order + 1)])
    return weights / np.sqrt(np.square(weights).sum())


def _fit(samples: _Samples, offset: float | None) -> tuple[float, float, np.ndarray]:
    """Gain, offset, and the samples used: weighted least squares, with samples off the line left out in turn."""
    still = samples.shift < _STILL
    if still.sum() < _MIN_SAMPLES:
        raise ValueError(
            f"{int(still.sum())} blocks of pixels are still; expected at least {_MIN_SAMPLES} for an estimate of the "
            "gain: give the gain of the detector instead"
        )
    used, line = still, _first_line(samples, still, offset)
    for _ in range(_ROUNDS):
        line = _line(samples, used, offset, line)
        fitted = _fitted(samples.mean, *line)
        score = _normal_score(samples.variance / fitted, samples.freedom)
        chosen = still & (np.abs(score) < _CLIP)
        if chosen.sum() < _MIN_SAMPLES:
            break
        if np.array_equal(chosen, used):
            break
        used = chosen
    gain, start = line
    if not (np.isfinite(gain) and gain > 0):
        raise ValueError(
            "the variance does not grow with the brightness; expected a line of positive slope, as photon noise has: "
            "give the gain of the detector instead"
        )
    return gain, start, used


def _first_line(samples: _Samples, still: np.ndarray, offset: float | None) -> tuple[float, float]:
    """A line through the medians of the variance at several levels of brightness, whatever else the blocks show."""
    mean, variance = samples.mean[still], samples.variance[still]
    edges = np.quantile(mean, np.linspace(0, 1, 9))
    bins = np.clip(np.searchsorted(edges, mean, side="right") - 1, 0, 7)
    filled = [b for b in range(8) if (bins == b).any()]
    x = np.array([np.median(mean[bins == b]) for b in filled])
    y = np.array([np.quantile(variance[bins == b], 0.35) for b in filled])
    if offset is not None:
        gain = float(np.median(y / np.maximum(x - offset, 1e-12)))
        return max(gain, 1e-12), offset
    if np.ptp(x) <= 0:
        raise ValueError(
            "all still pixels are equally bright, so that gain and offset cannot be told apart; expected the offset "
            "of the detector (--offset)"
        )
    slope, intercept = np.polyfit(x, y, 1)
    if slope <= 0:
        slope, intercept = float(np.median(y) / max(np.ptp(x), 1e-12)), 0.0
    return float(slope), float(-intercept / slope)


def _line(samples: _Samples, used: np.ndarray, offset: float | None, line: tuple[float, float]) -> tuple[float, float]:
    mean, variance = samples.mean[used], samples.variance[used]
    weight = 1.0 / np.square(_fitted(mean, *line))
    if offset is not None:
        x = mean - offset
        return float((weight * x * variance).sum() / max((weight * x * x).sum(), 1e-300)), offset
    centre = (weight * mean).sum() / weight.sum()
    level = (weight * variance).sum() / weight.sum()
    spread = (weight * np.square(mean - centre)).sum()
    slope = (weight * (mean - centre) * variance).sum() / max(spread, 1e-300)
    if not np.isfinite(slope) or slope <= 0:
        return float("nan"), 0.0
    return float(slope), float(centre - level / slope)


def _fitted(mean: np.ndarray, gain: float, offset: float) -> np.ndarray:
    """Variance by the line, kept positive where a block lies below the offset."""
    values = gain * (mean - offset)
    return np.maximum(values, 0.05 * np.median(np.abs(values)) + 1e-30)


def _normal_score(ratio: np.ndarray, freedom: float) -> np.ndarray:
    """Standard normal deviate of a variance over its expectation (Wilson & Hilferty, PNAS 17:684, 1931).

    The clipping is symmetric in this deviate, so that it does not shift the mean by more than a few in ten thousand.
    """
    spread = 2.0 / (9.0 * freedom)
    return (np.cbrt(ratio) - (1.0 - spread)) / np.sqrt(spread)


def _jackknifed(
    samples: _Samples, used: np.ndarray, offset: float | None, gain: float, start: float
) -> tuple[float, float, float]:
    """Standard deviation of the gain, the offset, and its standard deviation."""
    groups = [g for g in np.unique(samples.group[used]) if (samples.group[used] != g).sum() >= _MIN_SAMPLES // 2]
    lines = [_line(samples, used & (samples.group != g), offset, (gain, start)) for g in groups]
    lines = [line for line in lines if np.isfinite(line[0])]
    if len(lines) < 2:
        return gain, start, 0.0 if offset is not None else abs(start)
    found = np.array(lines)
    scale = (len(found) - 1) / len(found)
    spread = np.sqrt(scale * np.square(found - found.mean(axis=0)).sum(axis=0))
    return float(spread[0]), start, float(spread[1])
