"""Variances of the latents of a :class:`~fluorojax.priors.pyramid.Pyramid`: power laws in space and time.

Spectra are normalised to a mean pixel variance, so their amplitudes mean the same thing at every image size, frame
count and frame rate.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fluorojax.priors.pyramid import Pyramid

# Points of the quadrature over the wavenumbers of one octave.
_POINTS = 32
# Upper edge of the finest octave over its Nyquist wavenumber: a square with its corners has the area of that disc.
_CORNERS = 1.13


def octave_shares(pyramid: Pyramid, slope: Float[ArrayLike, ""]) -> Float[Array, "levels"]:
    """Share of each level in the pixel variance of an image of power ``(1+k)^(−slope)``; their sum is one.

    ``k`` is the radial wavenumber in half-cycles per larger side of the field of view.
    """
    high = pyramid.nyquist.copy()
    low = np.append(high[1:], 0.0)
    high[0] *= _CORNERS
    widths = (high - low) / _POINTS
    k = low[:, None] + widths[:, None] * (np.arange(_POINTS) + 0.5)
    power = jnp.sum(k * (1.0 + k) ** (-jnp.asarray(slope)), axis=1) * widths
    return power / jnp.sum(power)


def static_spectrum(
    pyramid: Pyramid, amplitude: Float[ArrayLike, ""], slope: Float[ArrayLike, ""]
) -> Float[Array, "levels T"]:
    """Variances of the latents of an image that does not change: all in the constant temporal cosine.

    ``amplitude`` is the pixel standard deviation in units of x.
    """
    constant = pyramid.frames * jnp.asarray(amplitude) ** 2 * octave_shares(pyramid, slope) / pyramid.basis_energy
    return jnp.zeros((pyramid.levels, pyramid.frames), constant.dtype).at[:, 0].set(constant)


def corner_index(pyramid: Pyramid, frame_time_ms: Float[ArrayLike, ""]) -> Float[Array, "levels"]:
    """Temporal corner of each level: ``n_c = D·(2·f_0 + v·k)``, D the duration of the sequence.

    Detail of wavenumber k that moves with speed v oscillates with frequency v·k, so fine detail decorrelates faster
    than coarse detail. f_0 = 1 Hz (heart and breath); v = 0.07 fields of view per second; k half of the level's
    highest wavenumber. In half-cycles per sequence.
    """
    duration_s = pyramid.frames * jnp.asarray(frame_time_ms) / 1000.0
    return duration_s * (2.0 + 0.07 * 0.5 * pyramid.nyquist)


def dynamic_spectrum(
    pyramid: Pyramid,
    amplitude: Float[ArrayLike, ""],
    slope: Float[ArrayLike, ""],
    temporal: Float[ArrayLike, "T"],
    frame_time_ms: Float[ArrayLike, ""],
) -> Float[Array, "levels T"]:
    """Variances of the latents of a changing field at unit local scale.

    ``amplitude² · (1+k)^(−slope) · (1 + (n/n_c(k))²)^(−3/2) · temporal_n²`` with n the temporal cosine index and n_c
    the :func:`corner_index`; normalised so that ``amplitude`` is the pixel standard deviation where ``temporal`` is
    one. The factors ``temporal``, one per temporal frequency, allow another fall-off along the temporal frequencies.
    """
    n = np.arange(pyramid.frames)
    fall = (1.0 + (n / corner_index(pyramid, frame_time_ms)[:, None]) ** 2) ** -1.5
    shape = octave_shares(pyramid, slope)[:, None] * fall
    shape = shape * (pyramid.frames / jnp.sum(shape)) / pyramid.basis_energy[:, None]
    return jnp.asarray(amplitude) ** 2 * shape * jnp.asarray(temporal) ** 2
