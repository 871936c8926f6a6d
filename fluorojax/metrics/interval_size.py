"""The size of stated intervals from quanta that a reconstruction has not seen: squared error over stated variance.

A pixel says little on its own, because its held-out quanta scatter far more than the reconstruction. Products of the
differences of neighbouring pixels say more: errors of neighbours are alike where photon noise is not. How alike they
are is known within limits only, and so is the ratio.
"""

from itertools import product

import numpy as np
from jaxtyping import Bool, Float
from scipy.fft import next_fast_len

from fluorojax.metrics.held_out_verdict import IntervalSize

# Farthest neighbours that count as alike, in frames and pixels; side of the pieces that are worked on, and of those
# whose scatter gives the standard error.
_REACH, _PIECE, _PATCH = 12, 128, 8
_PIECE_FRAMES = 32
_ALL = (0, 1, 2)


def interval_sizes(
    z: Float[np.ndarray, "*shape"],
    tau: Float[np.ndarray, "*shape"],
    predicted: Float[np.ndarray, "*shape"],
    change: Float[np.ndarray, "*shape"],
    moving: Bool[np.ndarray, "*shape"],
) -> tuple[IntervalSize, ...]:
    """Ratio of squared error and stated variance over all, moving and static pixels.

    The sum of ``ρ_ij τ_i τ_j (z_i z_j − δ_ij)`` over all pairs of neighbours, over its value for errors of the stated
    size. The latter is found for the narrowest and the widest correlation of the errors (``error_correlations``), of
    which the narrowest gives the weights ρ. The standard error is that of a jackknife over patches, or that of white
    residuals where it is larger.

    **Arguments:** standardised differences ``z``; stated standard deviations ``tau`` of the rate in units of the photon
    noise; ``predicted`` counts; ``change`` of x̂ in units of its standard deviation, for ρ; ``moving`` pixels.
    """
    z, tau, predicted, change, moving = (v.reshape(-1, *v.shape[-2:]) for v in (z, tau, predicted, change, moving))
    pieces = [
        (slice(t, t + _PIECE_FRAMES), slice(r, r + _PIECE), slice(c, c + _PIECE))
        for t, r, c in product(*(range(0, n, s) for n, s in zip(z.shape, (_PIECE_FRAMES, _PIECE, _PIECE), strict=True)))
    ]
    narrow, wide = error_correlations([change[p] for p in pieces])
    groups = {"all": None, "moving": True, "static": False}
    tables: dict[str, list[np.ndarray]] = {name: [] for name in groups}
    for piece in pieces:
        values = _products(z[piece], tau[piece], predicted[piece], narrow, wide)
        for name, wanted in groups.items():
            inside = np.ones(values[0].shape, bool) if wanted is None else moving[piece] == wanted
            tables[name].append(_patch_sums([v * inside for v in values]))
    found = []
    for name, parts in tables.items():
        top, bottom, largest, white = np.concatenate(parts).T
        if bottom.sum() > 0:
            high = float(top.sum() / bottom.sum())
            count = np.count_nonzero(bottom)
            error = np.sqrt(white.sum()) / bottom.sum()
            if count > 1:
                residual = top - high * bottom
                error = max(error, np.sqrt(np.sum(residual**2) * count / (count - 1)) / bottom.sum())
            spread = float(np.sqrt(largest.sum() / bottom.sum()))
            found.append(IntervalSize(name, high / spread, float(error) / spread, spread))
    return tuple(found)


def error_correlations(
    changes: list[Float[np.ndarray, "T H W"]],
) -> tuple[Float[np.ndarray, "t y x"], Float[np.ndarray, "t y x"]]:
    """The narrowest and the widest correlation of the errors, from the response of x̂ to further quanta.

    Noise of even spectrum that goes through the gain G of a linear Bayesian estimate comes out with the spectrum G²,
    while the posterior variance of each frequency is proportional to G itself. The spectrum of the errors is then the
    root of the spectrum of the changes. An estimate whose gain changes from place to place, or that is not the one of a
    Gaussian field, leaves errors that reach farther: for the network, those of simulated scenes lie between this
    correlation and the one of the changes themselves. Lags reach 12 frames and pixels, lag zero stands in the middle,
    and nothing is negative. At most eight pieces enter.
    """
    chosen = changes[:: max(1, len(changes) // 8)]
    sizes = [max(part.shape[axis] for part in chosen) for axis in range(3)]
    reach = [min(_REACH, n - 1) for n in sizes]
    full = [_fast(n + r) for n, r in zip(sizes, reach, strict=True)]
    total = np.zeros([2 * r + 1 for r in reach])
    pairs = np.zeros_like(total)
    for part in chosen:
        for values, into in ((part - part.mean(), total), (np.ones_like(part), pairs)):
            spectrum = np.abs(np.fft.rfftn(values.astype(np.float64), full, _ALL)) ** 2
            into += _central(np.fft.irfftn(spectrum, full, _ALL), reach)
    covariance = total / np.maximum(pairs, 1.0)
    for axis, r in enumerate(reach):
        # One up to half of the reach, and a cosine beyond.
        beyond = np.clip(2.0 * np.abs(np.arange(-r, r + 1)) / (r + 1) - 1.0, 0.0, 1.0)
        taper = 0.5 + 0.5 * np.cos(np.pi * beyond)
        covariance = covariance * taper.reshape([-1 if a == axis else 1 for a in range(3)])
    wide = [_fast(4 * r + 1) for r in reach]
    spectrum = np.fft.rfftn(_wrapped(covariance, wide)).real
    root = np.sqrt(np.maximum(spectrum, 0.0))
    rho = _central(np.fft.irfftn(root, wide, _ALL), reach)
    middle = tuple(reach)
    if rho[middle] <= 0:
        alone = np.where(np.arange(rho.size).reshape(rho.shape) == rho.size // 2, 1.0, 0.0)
        return alone, alone
    narrow = np.maximum(rho / rho[middle], 0.0)
    return narrow, np.maximum(covariance / covariance[middle], narrow)


def _fast(length: int) -> int:
    """The next length whose Fourier transform is fast."""
    return int(next_fast_len(length, True))  # pyright: ignore[reportArgumentType]


def _central(values: np.ndarray, reach: list[int]) -> np.ndarray:
    """Lags −reach … reach of a periodic correlation."""
    return values[np.ix_(*(np.arange(-r, r + 1) for r in reach))]


def _wrapped(values: np.ndarray, shape: list[int]) -> np.ndarray:
    """The inverse of :func:`_central` on a zero background."""
    out = np.zeros(shape)
    out[np.ix_(*(np.arange(-(n // 2), n // 2 + 1) for n in values.shape))] = values
    return out


def _products(
    z: np.ndarray, tau: np.ndarray, predicted: np.ndarray, narrow: np.ndarray, wide: np.ndarray
) -> list[np.ndarray]:
    """Per pixel: its part of the numerator, of the smallest and the largest denominator, and of the white variance."""
    full = [_fast(n + s // 2) for n, s in zip(z.shape, narrow.shape, strict=True)]
    here = tuple(slice(0, n) for n in z.shape)
    kernel, square, across = (np.fft.rfftn(_wrapped(k, full)).real for k in (narrow, narrow**2, narrow * wide))

    def smooth(values: np.ndarray, transfer: np.ndarray) -> np.ndarray:
        return np.fft.irfftn(np.fft.rfftn(values, full, _ALL) * transfer, full, _ALL)[here]

    signal, variance = (tau * z).astype(np.float64), (tau**2).astype(np.float64)
    bottom = variance * smooth(variance, square)
    top = signal * smooth(signal, kernel) - variance
    # The diagonal of Poisson counts: var(z²) = 2 + 1/λ.
    return [top, bottom, variance * smooth(variance, across), 2.0 * bottom + variance**2 / predicted]


def _patch_sums(values: list[np.ndarray]) -> Float[np.ndarray, "patches values"]:
    """Sums over all frames of patches of pixels."""
    frames = np.stack([v.sum(axis=0) for v in values])
    rows, columns = (np.arange(0, n, _PATCH) for n in frames.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(frames, rows, axis=1), columns, axis=2)
    return sums.reshape(len(values), -1).T
