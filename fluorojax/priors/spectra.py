"""Power spectra of the static image and of the dynamic field, in the coordinates of :class:`Bands`.

Spectra are normalised to a mean pixel variance, so their amplitudes mean the same thing at every image size, frame
count and frame rate.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from fluorojax.priors.bands import Bands
from fluorojax.priors.constants import opaque


@partial(jax.jit, static_argnames="bands")
def static_spectrum(bands: Bands, amplitude: Float[ArrayLike, ""], slope: Float[ArrayLike, ""]) -> Float[Array, "H W"]:
    """Coefficient variances of the static image: ``amplitude² · (1+k)^(−slope)``, normalised.

    ``amplitude`` is the pixel standard deviation in units of x; ``k`` the wavenumber of :attr:`Bands.wavenumber`.
    """
    shape = (1.0 + opaque(bands.wavenumber, jnp.result_type(float))) ** (-jnp.asarray(slope))
    return jnp.asarray(amplitude) ** 2 * shape * (shape.size / jnp.sum(shape))


def corner_index(bands: Bands, frame_time_ms: Float[ArrayLike, ""]) -> Float[Array, "H W"]:
    """Temporal corner of each spatial coefficient: ``n_c = D·(2·f_0 + v·k)``, D the duration of the sequence.

    Detail of wavenumber k that moves with speed v oscillates with frequency v·k, so fine detail decorrelates faster
    than coarse detail. f_0 = 1 Hz (heart and breath); v = 0.07 fields of view per second. In half-cycles per sequence.
    """
    duration_s = bands.frames * jnp.asarray(frame_time_ms) / 1000.0
    return duration_s * (2.0 + 0.07 * opaque(bands.wavenumber, jnp.result_type(float)))


@partial(jax.jit, static_argnames="bands")
def dynamic_spectrum(
    bands: Bands,
    amplitude: Float[ArrayLike, ""],
    slope: Float[ArrayLike, ""],
    temporal: Float[ArrayLike, "T"],
    frame_time_ms: Float[ArrayLike, ""],
) -> Float[Array, "T H W"]:
    """Coefficient variances of the dynamic field at unit local scale.

    ``amplitude² · (1+k)^(−slope) · (1 + (n/n_c(k))²)^(−3/2) · temporal_n²`` with n the temporal cosine index and n_c
    the :func:`corner_index`; normalised so that ``amplitude`` is the pixel standard deviation where ``temporal`` is
    one. The factors ``temporal``, one per temporal frequency, allow another fall-off along the temporal frequencies.
    """
    n = jnp.arange(bands.frames)[:, None, None]
    k = opaque(bands.wavenumber, jnp.result_type(float))
    shape = (1.0 + k) ** (-jnp.asarray(slope)) * (1.0 + (n / corner_index(bands, frame_time_ms)) ** 2) ** -1.5
    shape = shape * (shape.size / jnp.sum(shape))
    return jnp.asarray(amplitude) ** 2 * shape * jnp.asarray(temporal)[:, None, None] ** 2
