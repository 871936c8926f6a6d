"""Sub-pixel registration of two images of one patient: translation and brightness, with their covariance."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import convolve1d, gaussian_filter, shift, spline_filter

SMOOTHING = 1.0
"""Standard deviation of the Gaussian both images are smoothed with before they are compared, samples of a level."""
CUTOFF = 2.0
"""Residuals beyond this many robust standard deviations lose their weight: vessels, devices, organs that moved."""
UNCERTAIN = 0.5
"""A shift with a larger standard deviation (pixels) is not applied."""
_LEVELS = (4, 1)  # sampling distance, pixels: the first finds shifts of many pixels, the last refines
_LEAST_SAMPLES = 16
_ITERATIONS = 40
_TOLERANCE = 1e-3  # pixels
_ORDER = 3  # of the interpolating spline


class Image(ABC):
    """Attenuation of one frame, or of several pooled, with the variance of its noise; pixels are independent."""

    value: Float[np.ndarray, "H W"]
    variance: Float[np.ndarray, "H W"]

    @abstractmethod
    def smoothed(self, width: float) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
        """The value smoothed by a Gaussian of standard deviation ``width`` (pixels), and the local mean variance of the
        noise before that."""


class CountImage(Image):
    """``−log((y + ½)/I₀)/A`` of Poisson counts y, with the variance ``1/((y + ½) A²)``.

    The half makes the logarithm unbiased to second order in 1/λ (Gart & Zweifel, Biometrika 54:181, 1967): its bias is
    below 0.003 from 3 counts on, 0.03 at 2 and 0.17 at one, where counts should be pooled. From 5 counts on the squared
    error is the stated variance on average to a part in a thousand. Electronic noise of variance v adds: the variance
    is ``(y + ½ + v)/((y + ½) A)²``. It can make counts negative, which have no logarithm; they are taken as none, and
    their variance says that they tell nothing.
    """

    def __init__(
        self, counts: Float[np.ndarray, "H W"], open_beam: float, scale: float, electronic_variance: float = 0.0
    ):
        """``open_beam`` is I₀, the mean count with nothing in the beam; ``scale`` is A, the optical depth at 1;
        ``electronic_variance`` that of the electronic noise of a count, quanta²."""
        self.counts = np.asarray(counts, dtype=np.float64)
        self._open_beam, self._scale, self._electronic = open_beam, scale, electronic_variance
        self.value, self.variance = self._attenuation(1.0, self.counts)

    def smoothed(self, width: float) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
        """See :class:`Image`; counts are smoothed, not their logarithms, so that few of them do not bias it."""
        pooled = 4.0 * np.pi * width**2  # pixels of equal weight whose mean is as noisy
        value, variance = self._attenuation(pooled, gaussian_filter(self.counts, width, mode="nearest"))
        return value, pooled * variance

    def _attenuation(self, pooled: float, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = np.maximum(pooled * mean, 0.0) + 0.5
        noise = 1.0 + pooled * self._electronic / total
        return -np.log(total / (pooled * self._open_beam)) / self._scale, noise / (total * self._scale**2)


class EstimatedImage(Image):
    """An estimate with its variance."""

    def __init__(self, value: Float[np.ndarray, "H W"], variance: Float[np.ndarray, "H W"]):
        """Raises ``ValueError`` where the shapes differ or the variance is not positive."""
        if value.shape != variance.shape:
            raise ValueError(f"variance has shape {variance.shape}; expected {value.shape}, like the value")
        if not (np.isfinite(variance).all() and (variance > 0).all()):
            raise ValueError("variance has values that are not positive; expected that of noise")
        self.value, self.variance = np.asarray(value, np.float64), np.asarray(variance, np.float64)

    def smoothed(self, width: float) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
        """See :class:`Image`."""
        smooth = [gaussian_filter(values, width, mode="nearest") for values in (self.value, self.variance)]
        return smooth[0], smooth[1]


@dataclass(frozen=True)
class Registration:
    """``image(p) ≈ template(p − shift) + level``."""

    shift: Float[np.ndarray, " 2"]
    """Displacement of the image's content against the template's, (rows, columns), pixels."""
    level: float
    """Offset of the image's values, in its unit."""
    covariance: Float[np.ndarray, "3 3"]
    """Of the two shifts and the level, from the noise of both images; zero for what was not estimated."""
    converged: bool
    """False if the search did not converge or the noise makes the shift too uncertain; ``shift`` is then zero."""

    @property
    def shift_std(self) -> Float[np.ndarray, " 2"]:
        """Standard deviation of ``shift``, pixels."""
        return np.sqrt(np.diag(self.covariance)[:2])


def register(
    template: Image,
    image: Image,
    *,
    translate: bool = True,
    level: bool = True,
    region: Bool[np.ndarray, "H W"] | None = None,
) -> Registration:
    """Translation and offset between two images by robust weighted least squares (Gauss–Newton, coarse to fine).

    Both images are smoothed alike, so that interpolating the template does not change its noise with the shift, which
    would pull the estimates to half pixels; pixels are weighted by their variance and, where they do not follow the
    rigid translation, by ``(1 + (z/2)²)⁻²`` of their standardised residual z. The covariance is that of the linearised
    estimator under the given variance; motion that is not a translation adds to it.

    **Arguments:**

    - `template`, `image`: of one shape; their noise is taken as independent.
    - `translate`, `level`: which of the two to estimate; what is not stays zero.
    - `region`: pixels that enter; all but the border by default.

    **Raises** ``ValueError`` where the shapes differ.
    """
    shape = image.value.shape
    if template.value.shape != shape:
        raise ValueError(f"template has shape {template.value.shape}; expected {shape}, like the image")
    found, covariance, settled = np.zeros(3), np.zeros((3, 3)), True
    wanted = np.array([translate, translate, level])
    if not wanted.any():
        return Registration(found[:2], 0.0, covariance, True)
    inside = np.ones(shape, dtype=bool) if region is None else np.broadcast_to(region, shape)
    for step in _LEVELS if translate else _LEVELS[-1:]:
        if step == 1 or min(shape) // step >= _LEAST_SAMPLES:
            found, covariance, settled = _fit(template, image, inside, found, wanted, step)
    uncertain = bool((np.diag(covariance)[:2] > UNCERTAIN**2).any())
    if translate and (not settled or uncertain):
        still = register(template, image, translate=False, level=level, region=region)
        return Registration(still.shift, still.level, still.covariance, False)
    return Registration(found[:2], float(found[2]), covariance, settled)


def _fit(
    template: Image, image: Image, inside: np.ndarray, start: np.ndarray, wanted: np.ndarray, step: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Parameters (two shifts in pixels, level), their covariance, and whether the iteration settled, at one level."""
    coarse = (slice(None, None, step),) * 2

    (source, noise), (target, more) = (i.smoothed(SMOOTHING * step) for i in (template, image))
    target, spread = target[coarse], (noise + more)[coarse]
    coefficients = spline_filter(source[coarse], _ORDER, mode="nearest")
    found, limit = start.copy(), np.array(inside.shape) / 4.0
    size = np.array(target.shape)
    for _ in range(_ITERATIONS):
        moved = shift(coefficients, found[:2] / step, order=_ORDER, mode="nearest", prefilter=False)
        columns = [-slope / step for slope in np.gradient(moved)] + [np.ones(moved.shape)]
        design = np.stack([column for column, use in zip(columns, wanted, strict=True) if use])
        use = inside[coarse].copy()
        border = np.minimum(np.ceil(3.0 * SMOOTHING + np.abs(found[:2]) / step), size // 3).astype(int)
        for axis, width in enumerate(border):
            use.swapaxes(0, axis)[:width] = False
            use.swapaxes(0, axis)[-width:] = False
        residual = np.where(use, target - moved - found[2], 0.0)
        weight = np.where(use, 1.0 / spread, 0.0) * _trust(residual, spread, use)
        weighted = design * weight
        normal = np.einsum("ihw,jhw->ij", weighted, design)
        if not np.linalg.cond(normal) < 1e12:
            return np.zeros(3), np.full((3, 3), np.inf), False
        inverse = np.linalg.inv(normal)
        change = np.zeros(3)
        change[wanted] = inverse @ np.einsum("ihw,hw->i", weighted, residual)
        found = found + change
        if (np.abs(found[:2]) > limit).any():
            break
        if np.abs(change[:2]).max() < _TOLERANCE and abs(change[2]) ** 2 * normal[-1, -1] < 1e-4:
            return found, _covariance(weighted, inverse, spread, wanted, step), True
    return np.zeros(3), np.full((3, 3), np.inf), False


def _trust(residual: np.ndarray, spread: np.ndarray, use: np.ndarray) -> np.ndarray:
    z = residual / np.sqrt(spread)
    if not use.any():
        return np.ones(z.shape)
    middle = np.median(z[use])
    scale = 1.4826 * np.median(np.abs(z[use] - middle)) + np.finfo(np.float64).tiny
    with np.errstate(over="ignore"):  # what is infinitely far off has the weight 0
        return (1.0 + ((z - middle) / (CUTOFF * scale)) ** 2) ** -2


def _covariance(
    weighted: np.ndarray, inverse: np.ndarray, spread: np.ndarray, wanted: np.ndarray, step: int
) -> np.ndarray:
    """Of the estimate ``inverse · Σ weighted · S n`` with noise n that is white before the smoothing S.

    S is its own transpose; between the samples of a coarse level the smoothed noise is taken as a white one of the
    sampled, smoothed variance, which only the starting value of the next level sees.
    """
    back = np.stack([gaussian_filter(w, SMOOTHING, mode="constant") for w in weighted])
    spreading = np.einsum("ihw,hw,jhw->ij", back, spread, back)
    full = np.zeros((3, 3))
    full[np.ix_(wanted, wanted)] = inverse @ spreading @ inverse
    return full


@dataclass(frozen=True)
class Shifted:
    """An image moved by a sub-pixel shift."""

    value: Float[np.ndarray, "H W"]
    """NaN where the content comes from outside the image."""
    variance: Float[np.ndarray, "H W"]
    own: float
    """Weight with which a pixel enters itself: 1 without a shift."""


def shift_image(
    value: Float[np.ndarray, "H W"], variance: Float[np.ndarray, "H W"], by: Float[np.ndarray, " 2"]
) -> Shifted:
    """Move an image by (rows, columns) pixels with cubic splines, and the variance of its noise with it.

    The spline is a linear filter h, so that white noise of variance v gets the variance Σ h²·v: less than v, as
    interpolation averages, at the price of correlation between neighbours. A zero shift changes nothing.
    """
    by = np.asarray(by, dtype=np.float64)
    if not by.any():
        return Shifted(value, variance, 1.0)
    spread, own = variance, 1.0
    for axis, amount in enumerate(by):
        reach = int(np.ceil(abs(amount))) + 12  # the spline's memory falls by 0.27 a pixel
        impulse = np.zeros(2 * reach + 1)
        impulse[reach] = 1.0
        kernel = shift(impulse, amount, order=_ORDER, mode="constant")
        spread = convolve1d(spread, kernel**2, axis=axis, mode="nearest")
        own *= float(kernel[reach])
    moved = shift(np.asarray(value, dtype=np.float64), by, order=_ORDER, mode="mirror")
    for axis, amount in enumerate(by):
        at = np.arange(value.shape[axis]) - amount
        outside = (at < -0.5) | (at > value.shape[axis] - 0.5)
        moved[(slice(None),) * axis + (outside,)] = np.nan
    return Shifted(moved, spread, own)
