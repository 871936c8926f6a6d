"""Figures of a detector from runs of its own: flat and dark frames, the image of an edge, the end of an exposure.

All runs are stored values, of any unit that is linear in the dose.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num
from scipy.ndimage import median_filter

from fluorojax.detectors.detector import Figure
from fluorojax.metrics.resolution import edge_transfer
from fluorojax.physics.slow_lag import SlowLag

_LEAST_FRAMES = 3
_LEAST_SIDE = 8
_GROUPS = 16
_WIDE = (8, 16)  # pixels: sides of the blocks whose sums hold what a quantum spreads
_CORRELATED = 0.05
_CLIPPED = 0.01
_DEVIATION = 8.0  # robust standard deviations
_RESPONSE = 0.2
_MAD = 1.4826
_BLOCK = 32


@dataclass(frozen=True)
class Fit:
    """Figures that were measured, and remarks on what they rest on."""

    figures: dict[str, Figure]
    remarks: list[str]


def fit_flat(flat: Num[np.ndarray, "T H W"], dark: Num[np.ndarray, "U H W"]) -> Fit:
    """Offset, gain, electronic noise, correlation and defects from a flat run and a dark run of one detector.

    **Arguments:** ``flat`` the open beam at a constant dose, ``dark`` no beam, at least 3 frames of 8 × 8 pixels each,
    of one size. What the dose of whole frames does is divided out.

    The gain is the rise of the variance over time from dark to flat over the rise of the mean. Where the noise of
    neighbouring pixels is correlated, light or charge spreads and the variance of a pixel is too low; the variance of
    sums over blocks takes its place. Blocks lose what crosses their edges, which two sizes of blocks extrapolate to
    none. The electronic noise is that of a pixel in dark frames over the gain.

    **Raises** ``ValueError`` for runs that are too short, too small, of different sizes, or equally bright.
    """
    for name, run in (("flat", flat), ("dark", dark)):
        if run.ndim != 3 or len(run) < _LEAST_FRAMES or min(run.shape[1:]) < _LEAST_SIDE:
            raise ValueError(
                f"the {name} run has shape {run.shape}; expected at least {_LEAST_FRAMES} frames of {_LEAST_SIDE} × "
                f"{_LEAST_SIDE} pixels"
            )
    if flat.shape[1:] != dark.shape[1:]:
        raise ValueError(f"the flat run has pixels {flat.shape[1:]}, the dark run {dark.shape[1:]}; expected the same")
    bright, black = flat.astype(np.float64), dark.astype(np.float64)
    offsets = black.mean(axis=0)
    offset = float(np.median(offsets))
    signal = bright - offsets
    levels = np.median(signal, axis=(1, 2))
    if not (levels > 0).all():
        raise ValueError("the flat run is not brighter than the dark run; expected the open beam in all its frames")
    signal *= (levels.mean() / levels)[:, None, None]
    response = signal.mean(axis=0)
    bad = _defective(offsets, response)
    noise, quiet = _changes(signal), _changes(black)
    noise[:, bad] = quiet[:, bad] = 0.0

    def gains(good: np.ndarray) -> tuple[float, float, float, float]:
        """Gain of single pixels, gain of blocks, variance in the dark and correlation, from some of the pixels."""
        rise = response[good].sum()
        single = (np.square(noise[:, good]).mean(axis=0) - np.square(quiet[:, good]).mean(axis=0)).sum() / rise
        dark_variance = float(np.square(quiet[:, good]).mean())
        return float(single), *_spread(noise, quiet, response, good), dark_variance

    whole = gains(~bad)
    parts = [gains(~bad & ~group) for group in _groups(bad.shape)]
    errors = np.sqrt((len(parts) - 1) / len(parts) * np.square(np.array(parts) - np.mean(parts, axis=0)).sum(axis=0))
    single, wide, correlation, dark_variance = whole
    spreads = correlation > _CORRELATED
    gain, gain_std = (wide, errors[1]) if spreads else (single, errors[0])
    if not (np.isfinite(gain) and gain > 0):
        raise ValueError("the noise does not grow from the dark to the flat run; expected photon noise in the flat run")
    how = "sums over blocks of pixels" if spreads else "single pixels"
    sizes = f"{len(flat)} flat and {len(dark)} dark frames"
    remarks = []
    if spreads:
        remarks.append(
            f"the noise of neighbouring pixels is correlated ({correlation:.2f}), so that the gain was taken from "
            f"{how}; single pixels alone would give {single:.4g}"
        )
    if (clipped := float((dark <= 0).mean())) > _CLIPPED:
        remarks.append(
            f"{100 * clipped:.2g} % of the dark values are zero or less, where files are cut off: offset and noise are "
            "not those of the detector"
        )
    if gain_std > 0.05 * gain:
        remarks.append("the gain is not determined to a twentieth; expected more frames or pixels")
    electronic = np.sqrt(dark_variance) / gain
    figures = {
        "offset": Figure(offset, f"median over the pixels of {len(dark)} dark frames", std=_error(offsets)),
        "gain": Figure(gain, f"variance over mean of {how}, {sizes}", std=float(gain_std)),
        "electronic_noise": Figure(
            float(electronic),
            f"noise over time of {len(dark)} dark frames, over the gain",
            std=electronic * gain_std / gain,
        ),
        "noise_correlation": Figure(
            correlation, f"neighbouring pixels of {len(flat)} flat frames", std=float(errors[2])
        ),
        "defects": Figure(
            float(bad.sum()),
            f"dark value more than {_DEVIATION:g} robust standard deviations off, or response more than "
            f"{100 * _RESPONSE:g} % off that of the neighbourhood",
        ),
    }
    return Fit(figures, remarks)


def fit_edge(
    edge: Num[np.ndarray, "*T H W"], flat: Num[np.ndarray, "U H W"], dark: Num[np.ndarray, "V H W"], pixel_mm: float
) -> Fit:
    """The frequency at which the modulation transfer is one half, from the image of a slanted edge.

    **Arguments:** ``edge`` one frame or more of the same size as ``flat`` and ``dark``, which correct it; ``pixel_mm``
    distance of the pixels. Raises ``ValueError`` for an image without one edge (see
    :func:`fluorojax.metrics.edge_transfer`).
    """
    images = edge if edge.ndim == 3 else edge[None]
    if images.shape[1:] != flat.shape[1:] or flat.shape[1:] != dark.shape[1:]:
        raise ValueError(f"the edge has pixels {images.shape[1:]}, the flat run {flat.shape[1:]}; expected the same")
    offsets = dark.mean(axis=0, dtype=np.float64)
    response = flat.mean(axis=0, dtype=np.float64) - offsets
    bad = _defective(offsets, response)
    response = np.where(bad, np.median(response), response)
    picture = (images.mean(axis=0, dtype=np.float64) - offsets) / response
    picture = np.where(bad, median_filter(picture, 5), picture)
    found = edge_transfer(picture)
    half = found.frequency_at(0.5)
    if not np.isfinite(half):
        return Fit(
            {}, ["the modulation transfer does not fall to one half below the Nyquist frequency; it is not stated"]
        )
    source = f"edge at {found.angle_deg:.1f} degrees, {len(images)} frames"
    return Fit({"mtf_half_per_mm": Figure(half / pixel_mm, source)}, [])


def fit_lag(
    step: Num[np.ndarray, "T H W"], dark: Num[np.ndarray, "U H W"], *, frame_time_ms: float, readout_delay_ms: float
) -> Fit:
    """The time constant of the lag from a run in which the beam ends.

    **Arguments:** ``step`` at least three frames with the beam on and two after its end; ``frame_time_ms`` and
    ``readout_delay_ms`` of the protocol. The share of the signal in the first frame after the end is
    ``exp(−t_r/τ)`` in the imaging chain of this package. Where the second frame has more than that exponential leaves,
    what is left is the share of slow lag, and a remark tells it.

    **Raises** ``ValueError`` for a run without such an end, or without lag.
    """
    if step.ndim != 3 or step.shape[1:] != dark.shape[1:]:
        raise ValueError(f"the step run has shape {step.shape}; expected frames of {dark.shape[1:]} pixels")
    signal = step.astype(np.float64) - dark.mean(axis=0, dtype=np.float64)
    means = np.median(signal, axis=(1, 2))
    falls = np.flatnonzero((means[:-1] > 0.5 * means.max()) & (means[1:] < 0.5 * means.max()))
    if means.max() <= 0 or len(falls) != 1 or falls[0] < 2 or falls[0] + 2 >= len(means):
        raise ValueError(
            "the step run has no single end of the beam with three frames before and two after it; expected a run in "
            "which the beam is switched off once"
        )
    last = int(falls[0])
    before, first, second = signal[last - 2 : last + 1].mean(axis=0), signal[last + 1], signal[last + 2]

    def shares(where: np.ndarray) -> tuple[float, float]:
        return float(first[where].sum() / before[where].sum()), float(second[where].sum() / before[where].sum())

    everywhere = np.ones(first.shape, bool)
    share, later = shares(everywhere)
    parts = np.array([shares(~group) for group in _groups(first.shape)])
    error = _jackknife(parts[:, 0])
    if not 0 < share < 0.9 or share < 3 * error:
        raise ValueError(
            f"the first frame after the beam has {100 * share:.2g} ± {100 * error:.1g} % of the signal; expected a lag "
            "that the run determines, and less than 90 %"
        )
    times = frame_time_ms / readout_delay_ms
    tau = readout_delay_ms / -np.log(share)
    expected = share ** (1.0 + times)
    source = f"{100 * share:.3g} % of the signal in the first frame after the beam, {frame_time_ms:.4g} ms later"
    if later <= 2 * expected + 3 * error:
        std = tau * error / (share * -np.log(share))
        return Fit({"lag_ms": Figure(float(tau), source, std=float(std))}, [])
    slow = _slow_share(share, later, times)
    found = np.array([_slow_share(first_two[0], first_two[1], times) for first_two in parts])
    fast, std_slow = share - slow, _jackknife(found)
    remarks = [
        f"the second frame after the beam has {100 * later:.2g} % of the signal, and one exponential leaves "
        f"{100 * expected:.2g} %: the detector has slow lag, {100 * slow:.2g} % of the first frame"
    ]
    figures = {"slow_lag_share": Figure(slow, "signal in the second frame after the beam", std=std_slow)}
    if fast > 3 * np.hypot(error, std_slow):
        tau = readout_delay_ms / -np.log(fast)
        std = tau * np.hypot(error, std_slow) / (fast * -np.log(fast))
        figures["lag_ms"] = Figure(float(tau), f"{source}, without the slow lag", std=float(std))
    else:
        remarks.append("the slow lag leaves no fast one that the run determines; lag_ms is not stated")
    return Fit(figures, remarks)


def _slow_share(first: float, second: float, times: float) -> float:
    """Slow lag in the first frame after the beam, from what two frames hold of the exposure.

    The fast lag decays from r to ``r^(1 + times)`` in a frame, ``times`` the frame period over the readout delay, and
    the slow traps of :class:`~fluorojax.physics.slow_lag.SlowLag` hardly.
    """
    kept = float(np.mean(np.exp(-1.0 / np.array(SlowLag().frames))))
    slow = second / kept
    for _ in range(50):
        slow = (second - max(first - slow, 0.0) ** (1.0 + times)) / kept
    return float(np.clip(slow, 0.0, first))


def _jackknife(values: Float[np.ndarray, " parts"]) -> float:
    """Standard error from estimates that leave one part out each."""
    return float(np.sqrt((len(values) - 1) / len(values) * np.square(values - values.mean()).sum()))


def _changes(run: np.ndarray) -> np.ndarray:
    """Differences of frames two apart, scaled to the variance of one frame: lag links the noise of neighbours in time.

    Short runs take neighbouring frames. What a whole frame does is taken off.
    """
    apart = 2 if len(run) > _LEAST_FRAMES else 1
    change = (run[apart:] - run[:-apart]) / np.sqrt(2.0)
    return change - change.mean(axis=(1, 2), keepdims=True)


def _spread(noise: np.ndarray, quiet: np.ndarray, response: np.ndarray, good: np.ndarray) -> tuple[float, float]:
    """Gain from the sums over blocks, and the correlation of neighbouring pixels."""
    used = noise * good, quiet * good
    # along each axis a block of b pixels keeps the share 1 − c/b of the amplitude of what spreads
    small, large = (max(_of_blocks(*used, response, good, side), 0.0) ** 0.5 for side in _WIDE)
    ratio = _WIDE[1] / _WIDE[0]
    products = [np.mean(part[:, 1:] * part[:, :-1]) + np.mean(part[:, :, 1:] * part[:, :, :-1]) for part in used]
    variance = np.square(used[0]).mean() - np.square(used[1]).mean()
    gain = ((ratio * large - small) / (ratio - 1.0)) ** 2
    return float(gain), float(0.5 * (products[0] - products[1]) / variance)


def _of_blocks(noise: np.ndarray, quiet: np.ndarray, response: np.ndarray, good: np.ndarray, side: int) -> float:
    """Gain from the sums over blocks of so many pixels, NaN where the detector has none that are whole."""
    tall, wide = (size // side * side for size in good.shape)
    if not tall or not wide:
        return float("nan")

    def blocks(values: np.ndarray) -> np.ndarray:
        cut = values[..., :tall, :wide]
        return cut.reshape(*cut.shape[:-2], tall // side, side, wide // side, side).sum(axis=(-3, -1))

    kept = blocks(good.astype(float)) > 0.5 * side**2
    light, none = (np.square(blocks(part)[:, kept]).mean(axis=0).sum() for part in (noise, quiet))
    return float((light - none) / blocks(response * good)[kept].sum())


def _groups(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Disjoint parts of the detector, each a pattern of squares spread over it, for the jackknife."""
    side = max(2, min(_BLOCK, min(shape) // 4))
    rows, columns = (np.arange(size) // side for size in shape)
    index = (rows[:, None] * 7 + columns * 3) % _GROUPS
    return [part for group in range(_GROUPS) if (part := index == group).any()]


def _defective(offsets: Float[np.ndarray, "H W"], response: Float[np.ndarray, "H W"]) -> np.ndarray:
    """Pixels whose dark value or response is far from that of their neighbourhood."""
    dark = offsets - median_filter(offsets, 5)
    relative = response / np.maximum(median_filter(response, 5), 1e-12) - 1.0
    scatter = _MAD * np.median(np.abs(relative))
    hot = np.abs(dark) > _DEVIATION * max(_MAD * float(np.median(np.abs(dark))), 1e-9)
    return hot | (np.abs(relative) > max(_RESPONSE, _DEVIATION * float(scatter)))


def _error(values: np.ndarray) -> float:
    """Standard deviation of the median of many values."""
    spread = _MAD * float(np.median(np.abs(values - np.median(values))))
    return 1.2533 * spread / np.sqrt(values.size)
