"""Locally scaled multiscale fields, and the empirical-Bayes estimate of their local scales.

A field is the image of a :class:`~fluorojax.priors.pyramid.Pyramid` whose latents are Gaussian with variance
``power · a²``: a spectrum, times the square of a local scale a that says how much of each kind of detail (level and
temporal group) a neighbourhood holds. A scale near zero switches the detail off: a neighbourhood without fast change
has no fast latents. This is the Gaussian scale mixture of Portilla et al. (IEEE TIP 12:1338, 2003) with smooth scale
fields, in space and time.

The scales are estimated by the fixed point of MacKay (Neural Computation 4:415, 1992): prior energy = posterior-mean
energy / fraction of it that the data determine.
"""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fluorojax.priors.constants import opaque
from fluorojax.priors.pyramid import Pyramid, cosine_matrix
from fluorojax.priors.smoothing import smooth

# Prior weight of the previous scale in an update, in units of fully determined data; damps noise and oscillation.
_DAMPING = 0.03
# Share of the level's mean energy that every neighbourhood keeps: no place is ruled out for good.
_FLOOR = 0.01
# Smoothing of the local energies in pixels, at least, and in knots: coarse levels vary slowly themselves.
_MIN_SMOOTHING = 4.0


class LocalScales(eqx.Module):
    """Local scales of one scene, dimensionless multiples of the spectra."""

    square: tuple[Float[Array, "rows columns groups"], ...]
    """Squares of the scales on the grid of each level, fine to coarse; one per temporal group."""

    @classmethod
    def ones(cls, pyramid: Pyramid) -> "LocalScales":
        """Stationary fields: every scale is one."""
        return cls(tuple(jnp.ones((*grid, len(pyramid.groups))) for grid in pyramid.grids))


@partial(jax.jit, static_argnames="pyramid")
def scene_field(
    pyramid: Pyramid, scales: LocalScales, powers: Float[Array, "levels T"], white: Float[Array, "N T"]
) -> Float[Array, "T H W"]:
    """The field, in units of x, from white latents (temporal index last)."""
    deviations = _deviations(pyramid, scales, powers)
    parts = [a * z for a, z in zip(deviations, pyramid.split(white), strict=True)]
    return pyramid.in_time(pyramid.image(parts))


@partial(jax.jit, static_argnames="pyramid")
def carried(
    pyramid: Pyramid, before: LocalScales, after: LocalScales, white: Float[Array, "N T"]
) -> Float[Array, "N T"]:
    """White latents that give under the scales ``after`` the field that ``white`` gives under ``before``."""
    parts = zip(before.square, after.square, pyramid.split(white), strict=True)
    return pyramid.join([jnp.sqrt(old / new)[..., pyramid.group_of] * z for old, new, z in parts])


@partial(jax.jit, static_argnames="pyramid")
def curvature(
    pyramid: Pyramid, scales: LocalScales, powers: Float[Array, "levels T"], precision: Float[Array, "H W"]
) -> Float[Array, "N T"]:
    """Diagonal of the posterior precision of the white latents, the ``precision`` constant around each of them.

    ``precision`` is the Fisher information about x of one pixel in one frame.
    """
    norms = pyramid.basis_energy * 4.0 ** jnp.arange(pyramid.levels)
    parts = [
        1.0 + norms[level] * pyramid.at_nodes(level, precision)[..., None] * deviation**2
        for level, deviation in enumerate(_deviations(pyramid, scales, powers))
    ]
    return pyramid.join(parts)


@partial(jax.jit, static_argnames="pyramid")
def update_scales(
    pyramid: Pyramid,
    scales: LocalScales,
    powers: Float[Array, "levels T"],
    white: Float[Array, "N T"],
    precision: Float[Array, "H W"],
) -> LocalScales:
    """One fixed-point step of the local scales.

    **Arguments:** ``white`` the latents at their posterior mean; ``precision`` the Fisher information about x of one
    pixel in one frame, A²·λ.
    """
    determined, _ = _wiener(pyramid, scales, powers, precision)
    groups = len(pyramid.groups)
    new = []
    for level, (square, z) in enumerate(zip(scales.square, pyramid.split(white), strict=True)):
        energy = jnp.stack([jnp.mean(z[..., low:high] ** 2, axis=-1) for low, high in pyramid.groups])
        share = jnp.moveaxis(pyramid.at_nodes(level, determined[level]), -1, 0)
        # The data hardly see the latents beyond the border, which take the scales of their neighbours.
        seen = opaque(pyramid.inside(level), precision.dtype)
        both = smooth(seen * jnp.concatenate([energy, share]), max(1.0, _MIN_SMOOTHING / 2**level))
        ratio = (both[:groups] + _DAMPING) / (both[groups:] + _DAMPING)
        updated = square * jnp.moveaxis(ratio, 0, -1)
        new.append((1 - _FLOOR) * updated + _FLOOR * jnp.mean(updated, axis=(0, 1), keepdims=True))
    return LocalScales(tuple(new))


@partial(jax.jit, static_argnames="pyramid")
def local_variance(
    pyramid: Pyramid, scales: LocalScales, powers: Float[Array, "levels T"], precision: Float[Array, "H W"]
) -> Float[Array, "T H W"]:
    """Posterior variance of x per pixel and frame in the locally stationary (Wiener) approximation.

    Around each pixel the prior and the Fisher information are taken as constant, so that spatial frequencies and
    temporal cosines decouple: ``Σ_k S_k / (1 + F·S_k)``. A temporal cosine contributes to the variance of a frame by
    its square at this frame. The ends of a sequence, which have neighbours on one side only, are therefore less certain
    than its middle.
    """
    _, variance = _wiener(pyramid, scales, powers, precision)
    squares = opaque(cosine_matrix(pyramid.frames) ** 2, variance.dtype)
    return jnp.einsum("kyx,kt->tyx", variance, squares)


def _deviations(pyramid: Pyramid, scales: LocalScales, powers: Float[Array, "levels T"]) -> list[Array]:
    """Prior standard deviations of the latents of each level."""
    return [jnp.sqrt(sq[..., pyramid.group_of] * power) for sq, power in zip(scales.square, powers, strict=True)]


def _wiener(
    pyramid: Pyramid, scales: LocalScales, powers: Float[Array, "levels T"], precision: Float[Array, "H W"]
) -> tuple[Float[Array, "levels H W groups"], Float[Array, "T H W"]]:
    """For each pixel: the mean fraction of the latents of a group that the data determine, and posterior variances.

    With the spectrum S = Σ_l s_l²·P_l over spatial frequencies k, P_l the power of level l: the variance of a temporal
    coefficient is ``Σ_k w_k S/(1 + F·S)``, and the data determine ``4^l · s_l² · Σ_k w_k P_l F/(1 + F·S)`` of a latent.
    """
    dtype = precision.dtype
    weights, power = (opaque(values, dtype) for values in pyramid.frequencies)
    squares = pyramid.on_pixels(scales.square).reshape(pyramid.levels, -1, len(pyramid.groups))
    squares = jnp.moveaxis(squares, -1, 0)
    information = precision.reshape(-1)
    per_latent = 4.0 ** jnp.arange(pyramid.levels, dtype=dtype)[:, None]
    groups = jnp.asarray(pyramid.group_of)
    counts = jnp.asarray([high - low for low, high in pyramid.groups], dtype)

    def step(total: Array, n: Array) -> tuple[Array, Array]:
        variances = powers[:, n, None] * squares[groups[n]]
        spectrum = power.T @ variances
        left = 1.0 / (1.0 + information * spectrum)
        share = per_latent * variances * ((power * weights) @ (left * information))
        return total.at[groups[n]].add(share / counts[groups[n]]), weights @ (spectrum * left)

    begin = jnp.zeros((len(pyramid.groups), pyramid.levels, information.size), dtype)
    shares, variance = jax.lax.scan(step, begin, jnp.arange(pyramid.frames))
    shares = jnp.moveaxis(shares, 0, -1).reshape(pyramid.levels, pyramid.height, pyramid.width, -1)
    return shares, variance.reshape(pyramid.frames, pyramid.height, pyramid.width)
