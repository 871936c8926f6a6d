"""Fast thin objects in a sequence: their places, their motion, and the profile of the light that they absorb."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import fft
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter

ACROSS = np.arange(-7.0, 8.0)
"""Where profiles are sampled across a track, pixels."""
ALONG = np.arange(-2.0, 3.0)
"""Samples along a track that one profile averages, pixels."""
_REACH = 10.0
_HALF = 6
_ORIENTATIONS = 12


@dataclass(frozen=True)
class Tracks:
    """Points on ridges of missing light that were also found one frame earlier and one later.

    Positions are (row, column) in pixels; ``before`` and ``after`` are where the ridge crosses the normal through the
    point in frames ``frame − 1`` and ``frame + 1``, pixels along the normal.
    """

    frame: Int[np.ndarray, " n"]
    point: Float[np.ndarray, "n 2"]
    normal: Float[np.ndarray, "n 2"]
    before: Float[np.ndarray, " n"]
    after: Float[np.ndarray, " n"]

    def __getitem__(self, keep: Bool[np.ndarray, " n"]) -> "Tracks":
        return Tracks(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def profiles(self, images: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "n u"]:
        """Images sampled at :data:`ACROSS` (averaged over :data:`ALONG`) in the frame of each point, bilinear."""
        across, along = ACROSS[:, None], ALONG
        row, column = (
            self.point[:, i, None, None] + self.normal[:, i, None, None] * across + tangent[:, None, None] * along
            for i, tangent in ((0, -self.normal[:, 1]), (1, self.normal[:, 0]))
        )
        return _sample(images, self.frame[:, None, None], row, column).mean(axis=2)


def find_tracks(
    counts: Float[np.ndarray, "T H W"],
    signal: Float[np.ndarray, "T H W"],
    *,
    threshold: float = 5.5,
    electronic_variance: float = 0.0,
) -> tuple[Tracks, Bool[np.ndarray, "T H W"]]:
    """Ridges that moved, and the pixels any ridge touches.

    The loss of light against the running temporal median of nine frames, in units of its noise, goes through a bank of
    oriented line filters (σ = 1.1 px across, 2.5 px along, zero mean across). Crests above ``threshold`` standard
    deviations are tracked: of all crests on the normal in the two neighbouring frames the pair is taken that needs the
    least acceleration and change of contrast. Points with a second crest beside them are left out.

    **Arguments:** ``counts`` without gain drift; ``signal``, the same with the nominal lag undone;
    ``electronic_variance``, quanta², adds to the noise of a count.
    """
    usual = np.maximum(_running_median(gaussian_filter(counts, (0, 1, 1))), 0.3)
    response = _filter((usual - signal) / np.sqrt(usual + electronic_variance))
    best = response.argmax(axis=0)
    crest = response.max(axis=0)
    left, right = (np.take_along_axis(response, ((best + k) % _ORIENTATIONS)[None], axis=0)[0] for k in (-1, 1))
    bend = np.maximum(2 * crest - left - right, 1e-6)
    angle = (best + 0.5 * (right - left) / bend) * np.pi / _ORIENTATIONS
    touched = maximum_filter((crest > 4.5).astype(np.uint8), (1, 3, 3)) > 0

    inner = np.zeros(crest.shape, bool)
    inner[1:-1, 4:-4, 4:-4] = True
    frame, row, column = np.nonzero((crest > threshold) & inner)
    normal = np.stack([np.cos(angle[frame, row, column]), np.sin(angle[frame, row, column])], axis=1)
    point = np.stack([row, column], axis=1).astype(float)
    low, mid, high = (_sample(crest, frame, *(point + k * normal).T) for k in (-1, 0, 1))
    offset = 0.5 * (high - low) / np.maximum(2 * mid - high - low, 1e-6)
    keep = (mid >= low) & (mid > high) & (np.abs(offset) < 0.75)
    frame, normal, mid = frame[keep], normal[keep], mid[keep]
    point = point[keep] + normal * offset[keep, None]
    if not len(frame):
        return Tracks(frame, point, normal, np.empty(0), np.empty(0)), touched

    earlier, height_earlier = _crests(crest, frame - 1, point, normal)
    later, height_later = _crests(crest, frame + 1, point, normal)
    there, height = _crests(crest, frame, point, normal)
    beside = ((height > 5.0) & (np.abs(there) > 2.5) & (np.abs(there) < 8.0)).any(axis=1)
    change = [2 * np.abs(np.log(np.maximum(h, 1.0) / mid[:, None])) for h in (height_earlier, height_later)]
    cost = np.abs(earlier[:, :, None] + later[:, None]) + 0.15 * np.abs(earlier[:, :, None] - later[:, None])
    cost += change[0][:, :, None] + change[1][:, None]
    cost = np.where((height_earlier > 0)[:, :, None] & (height_later > 0)[:, None], cost, np.inf)
    cost = cost.reshape(len(frame), -1)
    pair, each = cost.argmin(axis=1), np.arange(len(frame))
    count = earlier.shape[1]
    before, after = earlier[each, pair // count], later[each, pair % count]
    return Tracks(frame, point, normal, before, after)[(cost[each, pair] < 5.5) & ~beside], touched


def background(
    signal: Float[np.ndarray, "T H W"], touched: Bool[np.ndarray, "T H W"], frames: int = 10
) -> tuple[Float[np.ndarray, "T H W"], Bool[np.ndarray, "T H W"]]:
    """What each pixel would show without the tracked objects, and where that is known.

    A straight line in time through the untouched *other* frames within ``frames``, weights 1/(1 + (Δt/3)²), times the
    local ratio (Gaussian, σ = 2.5 px) of the frame's own pixels, untouched now, a frame ago and a frame on, to that
    line: a ghost is no background. Both steps are symmetric in time, so what they get wrong does not look like lag.
    """
    signal = signal.astype(np.float32)  # half the time, and far more exact than the counts
    count, free = len(signal), (~touched).astype(np.float32)
    m0, m1, m2, y0, y1 = (np.zeros_like(signal) for _ in range(5))
    for step in range(-min(frames, count - 1), min(frames, count - 1) + 1):
        if step == 0:
            continue
        here = slice(max(0, -step), count - max(0, step))
        there = slice(max(0, step), count + min(0, step))
        weight = free[there] / (1 + (step / 3.0) ** 2)
        m0[here] += weight
        m1[here] += step * weight
        m2[here] += step**2 * weight
        y0[here] += weight * signal[there]
        y1[here] += step * weight * signal[there]
    m2 += 4.0  # keeps the slope small where the frames are few or on one side
    known = m0 > 0.8
    line = np.where(known, (m2 * y0 - m1 * y1) / np.where(known, m0 * m2 - m1**2, 1), 0)
    line, own = np.maximum(line, 0.0), free * known
    own[1:] *= free[:-1]
    own[:-1] *= free[1:]
    ratio = (gaussian_filter(own * signal, (0, 2.5, 2.5)) + 0.01) / (gaussian_filter(own * line, (0, 2.5, 2.5)) + 0.01)
    return line * np.maximum(ratio, 0.0), known


@lru_cache(maxsize=1)
def _bank() -> Float[np.ndarray, "n k k"]:
    """Line filters of unit noise gain, normals at multiples of π/n from the row axis."""
    axis = np.arange(-_HALF, _HALF + 1)
    row, column = np.meshgrid(axis, axis, indexing="ij")
    kernels = []
    for angle in np.arange(_ORIENTATIONS) * np.pi / _ORIENTATIONS:
        u, v = row * np.cos(angle) + column * np.sin(angle), column * np.cos(angle) - row * np.sin(angle)
        narrow, wide = (np.exp(-0.5 * (v / 2.5) ** 2 - 0.5 * (u / s) ** 2) for s in (1.1, 2.75))
        kernel = narrow / narrow.sum() - wide / wide.sum()
        kernels.append(kernel / np.sqrt((kernel**2).sum()))
    return np.array(kernels)


def _filter(images: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "n T H W"]:
    _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (_HALF, _HALF), (_HALF, _HALF)), mode="reflect").astype(np.float32)
    shape = [int(fft.next_fast_len(n, True) or n) for n in padded.shape[1:]]
    spectrum, size, out = np.asarray(fft.rfft2(padded, shape)), 2 * _HALF + 1, []
    for kernel in _bank():
        spread = np.zeros(shape, np.float32)
        spread[:size, :size] = kernel
        spread = np.roll(spread, (-_HALF, -_HALF), (0, 1))
        filtered = np.asarray(fft.irfft2(spectrum * np.conj(np.asarray(fft.rfft2(spread))), shape))
        out.append(filtered[:, _HALF : _HALF + height, _HALF : _HALF + width])
    return np.array(out)


def _running_median(images: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
    half = min(4, len(images) - 1)
    padded = np.pad(images, ((half, half), (0, 0), (0, 0)), mode="reflect")
    return np.stack([np.median(padded[t : t + 2 * half + 1], axis=0) for t in range(len(images))])


def _sample(images: np.ndarray, frame: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    where = [np.broadcast_to(frame, row.shape), row, column]
    return map_coordinates(images, where, order=1, mode="nearest", prefilter=False)


def _crests(
    crest: np.ndarray, frame: np.ndarray, point: np.ndarray, normal: np.ndarray
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Maxima of the response on each normal: refined positions (pixels), and heights, 0 where there is no maximum."""
    u = np.arange(-_REACH, _REACH + 0.25, 0.5)
    line = _sample(crest, frame[:, None], *(point[:, i, None] + normal[:, i, None] * u for i in (0, 1)))
    low, mid, high = line[:, :-2], line[:, 1:-1], line[:, 2:]
    peak = (mid >= low) & (mid > high) & (mid > 4.0)
    offset = np.where(peak, 0.25 * (high - low) / np.maximum(2 * mid - low - high, 1e-6), 0.0)
    return u[1:-1] + offset, np.where(peak, mid, 0.0)
