"""Detectability of small objects by a non-prewhitening observer, from spectra or from images.

A non-prewhitening observer compares an image with the object that it looks for, and takes no account of the
correlations of the noise.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fluorojax.metrics.noise import NoisePower
from fluorojax.metrics.resolution import EdgeTransfer

_SUBPIXELS = 8


def npw_detectability(
    signal: Float[np.ndarray, "h w"],
    noise: NoisePower,
    transfer: EdgeTransfer | None = None,
    *,
    eye_peak: float | None = None,
) -> float:
    """Detectability index d' of a non-prewhitening observer, from the object, the transfer and the noise power.

    ``d'² = [∬ |S|² T² E² df]² / ∬ |S|² T² E⁴ W df`` (ICRU Report 54; with the eye filter E of Burgess, J. Opt. Soc.
    Am. A 11:1237, 1994, E = f·exp(−f/f_p)). In white noise of standard deviation σ without blur d' is ‖s‖/σ: for a
    disk of radius r and contrast C, C·√(π r²)/σ.

    **Arguments:**

    - `signal`: the true object on a zero background, in the unit of the images. It must not have more pixels than the
      blocks of ``noise``.
    - `noise`: spectrum in cycles/pixel. The observer looks at a single frame, so that the integral of the spectrum over
      temporal frequency enters.
    - `transfer`: task transfer at the contrast of the object, the same in every direction; None stands for a transfer
      of 1 at all frequencies.
    - `eye_peak`: frequency at which the eye is most sensitive, cycles/pixel; None for an observer without eye filter.

    **Raises** ``ValueError`` where the signal is larger than the blocks or the spectrum is in other units.
    """
    power = noise.spatial()
    if signal.ndim != 2 or any(n > m for n, m in zip(signal.shape, power.shape, strict=True)):
        raise ValueError(f"signal has shape {signal.shape}; expected at most {power.shape}, a block of the noise")
    for axis in (noise.vertical, noise.horizontal):
        if len(axis) > 1 and not np.isclose(abs(axis[0]), 0.5 if len(axis) % 2 == 0 else 0.5 - 0.5 / len(axis)):
            raise ValueError(f"noise reaches {abs(axis[0]):g}; expected a spectrum in cycles/pixel, up to 0.5")
    frequency = np.hypot(noise.vertical[:, None], noise.horizontal)
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(signal, power.shape))) ** 2
    weight = np.ones_like(frequency) if eye_peak is None else (frequency * np.exp(-frequency / eye_peak)) ** 2
    seen = spectrum * weight
    if transfer is not None:
        seen = seen * transfer.at(frequency) ** 2
    step = 1.0 / power.size
    response, variance = float(np.sum(seen) * step), float(np.sum(seen * weight * power) * step)
    if response == 0:
        return 0.0
    return response / np.sqrt(variance) if variance > 0 else float("inf")


@dataclass(frozen=True)
class Detectability:
    """The detectability index d' as measured from images, with its standard error."""

    d_prime: float
    std: float


def template_detectability(
    present: Float[np.ndarray, "n *frame"],
    absent: Float[np.ndarray, "m *frame"],
    template: Float[np.ndarray, "*frame"],
) -> Detectability:
    """d' of an observer that correlates images with a template: the image-domain non-prewhitening observer.

    ``d' = (⟨r₁⟩ − ⟨r₀⟩)/√((v₁ + v₀)/2)`` of the responses r = Σ template·image with and without the object, times the
    factor 1 − 3/(4ν − 1), ν = n + m − 2, that makes it unbiased for few images (Hedges, J. Educ. Stat. 6:107, 1981).
    The standard error is that of normal responses. Use the true object as the template: the
    measure then becomes worse where a method blurs or displaces the object. A template made from the same images would
    give too good a result.

    **Raises** ``ValueError`` for fewer than two images of a kind or shapes that differ.
    """
    for name, images in (("present", present), ("absent", absent)):
        if len(images) < 2 or images.shape[1:] != template.shape:
            raise ValueError(f"{name} has shape {images.shape}; expected at least 2 images of {template.shape}")
    shape = np.asarray(template, dtype=np.float64).ravel()
    first, second = (np.asarray(i, dtype=np.float64).reshape(len(i), -1) @ shape for i in (present, absent))
    n, m = len(first), len(second)
    spread = np.sqrt(0.5 * (first.var(ddof=1) + second.var(ddof=1)))
    if not spread > 0:
        return Detectability(float("inf") if first.mean() > second.mean() else 0.0, float("nan"))
    freedom = n + m - 2
    d_prime = (first.mean() - second.mean()) / spread * (1.0 - 3.0 / (4.0 * freedom - 1.0))
    return Detectability(float(d_prime), float(np.sqrt(1.0 / n + 1.0 / m + d_prime**2 / (2.0 * freedom))))


def disk(shape: tuple[int, int], radius: float, contrast: float = 1.0) -> Float[np.ndarray, "H W"]:
    """A disk in the middle of an image, ``radius`` in pixels. Pixels at its rim hold the share that the disk covers."""
    y, x = ((np.arange(n * _SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5 * n for n in shape)
    fine = np.hypot(y[:, None], x) <= radius
    return contrast * fine.reshape(shape[0], _SUBPIXELS, shape[1], _SUBPIXELS).mean(axis=(1, 3))


def wire(
    shape: tuple[int, int],
    radius: float,
    length: float,
    contrast: float = 1.0,
    *,
    angle_deg: float = 20.0,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Float[np.ndarray, "H W"]:
    """A straight solid wire: chords of a cylinder of ``radius`` pixels, ``contrast`` on its axis, averaged in pixels.

    It runs ``angle_deg`` from the +x direction over ``length`` pixels; ``centre`` (row, column) is relative to the
    middle of the image.
    """
    y, x = (
        (np.arange(n * _SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5 * n - shift for n, shift in zip(shape, centre, strict=True)
    )
    angle = np.deg2rad(angle_deg)
    along = np.cos(angle) * x + np.sin(angle) * y[:, None]
    across = np.cos(angle) * y[:, None] - np.sin(angle) * x
    fine = np.sqrt(np.clip(1.0 - (across / radius) ** 2, 0.0, None)) * (np.abs(along) <= 0.5 * length)
    return contrast * fine.reshape(shape[0], _SUBPIXELS, shape[1], _SUBPIXELS).mean(axis=(1, 3))
