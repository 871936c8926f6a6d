"""Random fields and soft shapes that tissue is drawn with."""

import numpy as np
from jaxtyping import Float
from scipy.special import expit


def power_law_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    pixel_mm: float,
    *,
    exponent: float = 3.0,
    longest_mm: float = 60.0,
) -> Float[np.ndarray, "H W"]:
    """A Gaussian random field of unit variance with power spectrum f^(−exponent), flat below 1/``longest_mm``.

    Anatomical backgrounds of radiographs follow such a law with an exponent near 3 (Burgess, Med. Phys. 28:419, 2001).
    """
    fy = np.fft.fftfreq(shape[0], d=pixel_mm)[:, None]
    fx = np.fft.rfftfreq(shape[1], d=pixel_mm)[None, :]
    amplitude = (fx**2 + fy**2 + longest_mm**-2) ** (-exponent / 4)
    amplitude[0, 0] = 0.0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * amplitude, s=shape)
    return field / field.std()


def step(distance: Float[np.ndarray, "*n"], width: float) -> Float[np.ndarray, "*n"]:
    """A smooth step from 0 to 1 across ``distance`` = 0, of 25–75 % width about twice ``width`` (same unit)."""
    return expit(distance / width)


def chord(radius: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """Path length through a unit ball (times ½) at normalised distance ``radius`` from its centre."""
    return np.sqrt(np.clip(1.0 - radius**2, 0.0, None))


def bump(x: Float[np.ndarray, "*n"], centre: float, width: float) -> Float[np.ndarray, "*n"]:
    """A Gaussian of height 1 along one axis; ``width`` is its standard deviation."""
    return np.exp(-0.5 * ((x - centre) / width) ** 2)


def blob(
    x: Float[np.ndarray, "*n"], y: Float[np.ndarray, "*n"], centre: tuple[float, float], axes: tuple[float, float]
) -> Float[np.ndarray, "*n"]:
    """A Gaussian bump of height 1; ``axes`` are the standard deviations along x and y."""
    return np.exp(-0.5 * (((x - centre[0]) / axes[0]) ** 2 + ((y - centre[1]) / axes[1]) ** 2))
