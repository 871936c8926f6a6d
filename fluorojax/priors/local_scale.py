"""Locally scaled multiscale fields, and the empirical-Bayes estimate of their local scales.

A static image is ``Σ_b a_b(p) · f_b(p)``, a dynamic field ``Σ_{b,g} a_{b,g}(p) · f_{b,g}(p, t)``: band-limited
stationary Gaussian fields f, times local scales a that say how much of each kind of detail a neighbourhood holds.
Scales near zero are the spike of a spike-and-slab: a neighbourhood without fast change has no fast latents. This is the
Gaussian scale mixture of Portilla et al. (IEEE TIP 12:1338, 2003) with smooth scale fields, in space and time.

The scales are estimated by the fixed point of MacKay (Neural Computation 4:415, 1992): prior energy = posterior-mean
energy / fraction of it that the data determine.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fluorojax.priors.bands import Band, Bands, cosine_matrix
from fluorojax.priors.smoothing import smooth

# Prior weight of the previous scale in an update, in units of fully determined data; damps noise and oscillation.
_DAMPING = 0.03
# Share of the band's mean energy that every neighbourhood keeps: no place is ruled out for good.
_FLOOR = 0.01
# Smoothing of the local energies in pixels, at least; wider for coarse bands, whose fields vary slowly themselves.
_MIN_SMOOTHING = 3.0


class LocalScales(eqx.Module):
    """Local scales of one scene, dimensionless multiples of the spectra's amplitudes."""

    static: Float[Array, "bands H W"]
    dynamic: Float[Array, "bands groups H W"]

    @classmethod
    def ones(cls, bands: Bands) -> "LocalScales":
        """Stationary fields: every scale is one."""
        pixels = (bands.height, bands.width)
        count = len(bands.spatial)
        return cls(jnp.ones((count, *pixels)), jnp.ones((count, len(bands.temporal), *pixels)))


def static_parts(bands: Bands, scales: LocalScales, coefficients: Float[Array, "H W"]) -> list[Float[Array, "H W"]]:
    """The scaled bands of a static image; their sum is the image, in units of x."""
    return [scales.static[b] * bands.image(band, coefficients) for b, band in enumerate(bands.spatial)]


def dynamic_parts(
    bands: Bands, scales: LocalScales, coefficients: Float[Array, "T H W"]
) -> list[Float[Array, "T H W"]]:
    """The scaled bands of a dynamic field, in space and temporal frequency (index first).

    The scales are constant in time, so they act before the temporal transform, which all bands then share:
    :func:`dynamic_field`.
    """
    group = np.array(bands.group_of)
    return [scales.dynamic[b][group] * bands.image(band, coefficients) for b, band in enumerate(bands.spatial)]


def static_field(bands: Bands, scales: LocalScales, coefficients: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """A locally scaled static image, in units of x, from its cosine coefficients."""
    return sum(static_parts(bands, scales, coefficients), jnp.zeros_like(coefficients))


def dynamic_field(bands: Bands, scales: LocalScales, coefficients: Float[Array, "T H W"]) -> Float[Array, "T H W"]:
    """A locally scaled dynamic field, in units of x, from its cosine coefficients (temporal index first)."""
    return bands.in_time(sum(dynamic_parts(bands, scales, coefficients), jnp.zeros_like(coefficients)))


def initial_scales(
    bands: Bands, counts: Float[Array, "T H W"], gains: Float[Array, "T"], attenuation_scale: Float[ArrayLike, ""]
) -> LocalScales:
    """Scales from the temporal variance of the smoothed counts beyond its Poisson part, the same for all bands.

    ``gains`` are the relative gains of the frames.
    """
    sigma = 2.0
    blurred = smooth(counts / gains[:, None, None], sigma)
    mean = jnp.maximum(jnp.mean(blurred, axis=0), 1e-3)
    # A Gaussian kernel of width σ averages 4πσ² pixels' worth of Poisson noise.
    noise = 1.0 / (4 * jnp.pi * sigma**2) / mean
    excess = (jnp.var(blurred, axis=0, ddof=1) / mean**2 - noise) / jnp.asarray(attenuation_scale) ** 2
    energy = jnp.maximum(smooth(excess, sigma), 0.0)
    energy = energy / jnp.maximum(jnp.mean(energy), 1e-12) + 0.01
    ones = LocalScales.ones(bands)
    return LocalScales(ones.static, ones.dynamic * jnp.sqrt(energy))


def update_scales(
    bands: Bands,
    scales: LocalScales,
    static: tuple[Float[Array, "H W"], Float[Array, "H W"]],
    dynamic: tuple[Float[Array, "T H W"], Float[Array, "T H W"]],
    precision: Float[Array, "H W"],
) -> LocalScales:
    """One fixed-point step of the local scales.

    **Arguments:** ``static`` and ``dynamic`` are pairs (spectrum, posterior-mean coefficients); ``precision`` is the
    Fisher information about x of one pixel in one frame, A²·λ.
    """
    (static_power, static_mean), (dynamic_power, dynamic_mean) = static, dynamic
    static_fields = static_parts(bands, scales, static_mean)
    dynamic_fields = dynamic_parts(bands, scales, dynamic_mean)
    new_static, new_dynamic = [], []
    for b, band in enumerate(bands.spatial):
        sigma = _smoothing(bands, band)
        power = band.corner(static_power) / static_power.size
        new_static.append(
            _step(scales.static[b], static_fields[b] ** 2, power, bands.frames * static_power.size * precision, sigma)
        )
        groups = []
        for g, (low, high) in enumerate(bands.temporal):
            power = band.corner(dynamic_power[low:high]) / dynamic_power.size
            energy = jnp.sum(dynamic_fields[b][low:high] ** 2, axis=0) / bands.frames  # Parseval: the mean over frames
            groups.append(_step(scales.dynamic[b, g], energy, power, dynamic_power.size * precision, sigma))
        new_dynamic.append(jnp.stack(groups))
    return LocalScales(jnp.stack(new_static), jnp.stack(new_dynamic))


def local_variance(
    bands: Bands,
    scales: LocalScales,
    static_power: Float[Array, "H W"],
    dynamic_power: Float[Array, "T H W"],
    precision: Float[Array, "H W"],
) -> Float[Array, "T H W"]:
    """Posterior variance of x per pixel and frame in the locally stationary (Wiener) approximation.

    Around each pixel the prior and the Fisher information are taken as constant, so the cosine coefficients decouple:
    ``Σ_k S_k / (1 + F·S_k)``. The static image and the constant term of the dynamic field share one coefficient. A
    temporal cosine counts in a frame by its square there: the ends of a sequence, with neighbours to one side only, are
    less certain than its middle.
    """
    frames = bands.frames
    constant, varying = jnp.zeros_like(precision), jnp.zeros((frames - 1, *precision.shape), precision.dtype)
    static = static_power * frames  # an image adds √T times itself to the constant temporal coefficient
    information = dynamic_power.size * precision
    for b, band in enumerate(bands.spatial):
        square = scales.static[b] ** 2 + scales.dynamic[b, 0] ** 2 * jnp.sum(band.corner(dynamic_power[:1])) / (
            jnp.sum(band.corner(static)) + 1e-30
        )
        constant += square * _wiener(band.corner(static) / dynamic_power.size, square * information)
        if frames > 1:
            squares = scales.dynamic[b][np.array(bands.group_of[1:])] ** 2
            powers = band.corner(dynamic_power[1:]) / dynamic_power.size
            varying += squares * jax.vmap(_wiener)(powers, squares * information)
    weights = frames * cosine_matrix(frames, frames)[1:] ** 2
    return constant + jnp.einsum("kt,kyx->tyx", jnp.asarray(weights, precision.dtype), varying)


def _smoothing(bands: Bands, band: Band) -> float:
    return max(_MIN_SMOOTHING, max(bands.height, bands.width) / band.upper)


def _step(
    scale: Float[Array, "H W"],
    energy: Float[Array, "H W"],
    power: Float[Array, "*k"],
    information: Float[Array, "H W"],
    sigma: float,
) -> Float[Array, "H W"]:
    prior = jnp.sum(power) + 1e-30
    determined = 1.0 - _wiener(power, information * scale**2) / prior
    square = (smooth(energy, sigma) / prior + _DAMPING * scale**2) / (smooth(determined, sigma) + _DAMPING)
    return jnp.sqrt((1 - _FLOOR) * square + _FLOOR * jnp.mean(square))


def _wiener(power: Float[Array, "*k"], information: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """``Σ_k S_k / (1 + F·S_k)`` for a map of F, through a table in log F with linear interpolation."""
    low, step, size = -12.0, 0.4, 116
    grid = jnp.exp(low + step * jnp.arange(size, dtype=power.dtype))
    flat = power.ravel()
    table = jnp.log(jnp.sum(flat / (1.0 + grid[:, None] * flat), axis=1) + 1e-30)
    # The table is even, so the entry below follows by division; a search would cost more than the rest.
    position = (jnp.log(jnp.maximum(information, 1e-30)) - low) / step
    position = jnp.clip(position, 0.0, size - 1.0)
    below = jnp.minimum(position.astype(int), size - 2)
    weight = position - below
    return jnp.exp((1.0 - weight) * table[below] + weight * table[below + 1])
