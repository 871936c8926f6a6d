"""Locally scaled multiscale fields, and the empirical-Bayes estimate of their local scales.

A static image is ``Σ_b a_b(p) · f_b(p)``, a dynamic field ``Σ_{b,g} a_{b,g}(p) · f_{b,g}(p, t)``: band-limited
stationary Gaussian fields f, times local scales a that say how much of each kind of detail a neighbourhood holds. A
scale near zero switches the detail off: a neighbourhood without fast change has no fast latents. This is the
Gaussian scale mixture of Portilla et al. (IEEE TIP 12:1338, 2003) with smooth scale fields, in space and time.

The scales are estimated by the fixed point of MacKay (Neural Computation 4:415, 1992): prior energy = posterior-mean
energy / fraction of it that the data determine.
"""

from functools import partial
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, Float, Int

from fluorojax.priors.bands import Band, Bands, cosine_matrix
from fluorojax.priors.constants import opaque
from fluorojax.priors.smoothing import smooth

# Prior weight of the previous scale in an update, in units of fully determined data; damps noise and oscillation.
_DAMPING = 0.03
# Share of the band's mean energy that every neighbourhood keeps: no place is ruled out for good.
_FLOOR = 0.01
# Smoothing of the local energies in pixels, at least; wider for coarse bands, whose fields vary slowly themselves.
_MIN_SMOOTHING = 3.0
# The tables of the Wiener filter: first entry, step and number of entries, in log F.
_TABLE_LOW, _TABLE_STEP, _TABLE_SIZE = -12.0, 0.4, 116


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


def band_parts(
    bands: Bands, scales: LocalScales, static: Float[Array, "H W"], dynamic: Float[Array, "T H W"]
) -> list[Float[Array, "T+1 H W"]]:
    """The scaled bands of a static image (first) and of a dynamic field, in space and temporal frequency.

    One transform serves both. The scales are constant in time, so they act before the temporal transform, which all
    bands then share: :func:`scene_field`.
    """
    group = np.array(bands.group_of)
    coefficients = jnp.concatenate([static[None], dynamic])
    parts = []
    for b, band in enumerate(bands.spatial):
        scale = jnp.concatenate([scales.static[b][None], scales.dynamic[b][group]])
        parts.append(scale * bands.image(band, coefficients))
    return parts


@partial(jax.jit, static_argnames="bands")
def scene_field(
    bands: Bands, scales: LocalScales, static: Float[Array, "H W"], dynamic: Float[Array, "T H W"]
) -> Float[Array, "T H W"]:
    """A locally scaled static image plus a dynamic field, in units of x, from their cosine coefficients.

    Equal to ``static_field(…) + dynamic_field(…)`` in half as many products of matrices.
    """
    rows = np.array([0, *(1 + group for group in bands.group_of)])
    # Pixel rows come first: then every product finds the axis that it sums over first or last, and nothing is moved.
    coefficients = jnp.moveaxis(jnp.concatenate([static[None], dynamic]), 0, 1)
    total = jnp.zeros_like(coefficients)
    for b, band in enumerate(bands.spatial):
        scale = jnp.stack([scales.static[b], *scales.dynamic[b]], axis=1)
        total += scale[:, rows] * bands.stack(band, coefficients)
    return total[:, 0] + bands.in_time(jnp.moveaxis(total[:, 1:], 1, 0))


@partial(jax.jit, static_argnames="bands")
def static_field(bands: Bands, scales: LocalScales, coefficients: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """A locally scaled static image, in units of x, from its cosine coefficients."""
    parts = [scales.static[b] * bands.image(band, coefficients) for b, band in enumerate(bands.spatial)]
    return sum(parts, jnp.zeros_like(coefficients))


@partial(jax.jit, static_argnames="bands")
def dynamic_field(bands: Bands, scales: LocalScales, coefficients: Float[Array, "T H W"]) -> Float[Array, "T H W"]:
    """A locally scaled dynamic field, in units of x, from its cosine coefficients (temporal index first)."""
    group = np.array(bands.group_of)
    parts = [scales.dynamic[b][group] * bands.image(band, coefficients) for b, band in enumerate(bands.spatial)]
    return bands.in_time(sum(parts, jnp.zeros_like(coefficients)))


@partial(jax.jit, static_argnames="bands")
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


@partial(jax.jit, static_argnames="bands")
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
    fields = band_parts(bands, scales, static_mean, dynamic_mean)
    # One row for the static image, then one for each temporal group.
    powers = jnp.concatenate([static_power[None] / static_power.size, dynamic_power / dynamic_power.size])
    rows = np.array([0, *(1 + group for group in bands.group_of)])
    tables = wiener_tables(bands, powers, rows)
    priors = _sum_bands(bands, _sum_rows(powers, rows)) + 1e-30
    # What one unit of a coefficient is worth: the static image is seen in every frame.
    information = dynamic_power.size * precision
    # Parseval: the energies of the temporal groups are means over frames.
    per_row = jnp.asarray([1.0, *[1.0 / bands.frames] * len(bands.temporal)], precision.dtype)[:, None, None]
    new = []
    for b, band in enumerate(bands.spatial):
        square = jnp.concatenate([scales.static[b][None], scales.dynamic[b]]) ** 2
        energies = per_row * _sum_rows(fields[b] ** 2, rows)
        prior = priors[b][:, None, None]
        determined = 1.0 - jax.vmap(_look_up)(tables[b], information * square) / prior
        new.append(_fixed_point(square, energies / prior, determined, _smoothing(bands, band)))
    static_scales, dynamic_scales = jnp.stack(new)[:, 0], jnp.stack(new)[:, 1:]
    return LocalScales(static_scales, dynamic_scales)


@partial(jax.jit, static_argnames="bands")
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
    temporal cosine contributes to the variance of a frame by its square at this frame. The ends of a sequence, which
    have neighbours on one side only, are therefore less certain than its middle.
    """
    frames = bands.frames
    constant, varying = jnp.zeros_like(precision), jnp.zeros((frames - 1, *precision.shape), precision.dtype)
    static = static_power * frames  # an image adds √T times itself to the constant temporal coefficient
    information = dynamic_power.size * precision
    powers = jnp.concatenate([static[None], dynamic_power[1:]]) / dynamic_power.size
    tables = wiener_tables(bands, powers, np.arange(frames))
    share = _sum_bands(bands, dynamic_power[:1])[:, 0] / (_sum_bands(bands, static[None])[:, 0] + 1e-30)
    for b in range(len(bands.spatial)):
        square = scales.static[b] ** 2 + scales.dynamic[b, 0] ** 2 * share[b]
        constant += square * _look_up(tables[b, 0], square * information)
        if frames > 1:
            squares = scales.dynamic[b][np.array(bands.group_of[1:])] ** 2
            varying += squares * jax.vmap(_look_up)(tables[b, 1:], squares * information)
    weights = frames * cosine_matrix(frames, frames)[1:] ** 2
    return constant + jnp.einsum("kt,kyx->tyx", opaque(weights, precision.dtype), varying)


def _smoothing(bands: Bands, band: Band) -> float:
    return max(_MIN_SMOOTHING, max(bands.height, bands.width) / band.upper)


def _fixed_point(
    square: Float[Array, "rows H W"],
    energy: Float[Array, "rows H W"],
    determined: Float[Array, "rows H W"],
    sigma: float,
) -> Float[Array, "rows H W"]:
    """Scales from ``square``, the squares before, and from energies relative to those of unit scales."""
    energy, determined = smooth(jnp.stack([energy, determined]), sigma)
    square = (energy + _DAMPING * square) / (determined + _DAMPING)
    return jnp.sqrt((1 - _FLOOR) * square + _FLOOR * jnp.mean(square, axis=(-2, -1), keepdims=True))


def _sum_rows(values: Float[Array, "T H W"], rows: Int[np.ndarray, "T"]) -> Float[Array, "rows H W"]:
    """Sums over consecutive frames with the same entry in ``rows``."""
    cuts = [*np.flatnonzero(np.diff(rows, prepend=-1)), rows.size]
    return jnp.stack([jnp.sum(values[low:high], axis=0) for low, high in pairwise(cuts)])


def _sum_bands(bands: Bands, values: Float[Array, "rows H W"]) -> Float[Array, "bands rows"]:
    """Sums over the coefficients of each band."""
    members = opaque(bands.membership, values.dtype)
    return jnp.einsum("bhw,rhw->br", members, values, precision=Precision.HIGHEST)


def wiener_tables(
    bands: Bands, powers: Float[Array, "T H W"], rows: Int[np.ndarray, "T"]
) -> Float[Array, "bands rows entries"]:
    """Logarithms of ``Σ_k S_k / (1 + F·S_k)`` over each band and row of coefficients, for a grid of log F."""

    def at(information: Float[Array, ""]) -> Float[Array, "bands rows"]:
        return _sum_bands(bands, _sum_rows(powers / (1.0 + information * powers), rows))

    grid = jnp.exp(_TABLE_LOW + _TABLE_STEP * jnp.arange(_TABLE_SIZE, dtype=powers.dtype))
    return jnp.log(jnp.moveaxis(jax.lax.map(at, grid), 0, -1) + 1e-30)


def _look_up(table: Float[Array, "entries"], information: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """A table of :func:`wiener_tables` at a map of F, linear between its entries."""
    # The table is even, so the entry below follows by division; a search would cost more than the rest.
    position = (jnp.log(jnp.maximum(information, 1e-30)) - _TABLE_LOW) / _TABLE_STEP
    position = jnp.clip(position, 0.0, _TABLE_SIZE - 1.0)
    below = jnp.minimum(position.astype(int), _TABLE_SIZE - 2)
    weight = position - below
    return jnp.exp((1.0 - weight) * table[below] + weight * table[below + 1])
