"""The bands of a frame: details of growing size and a coarse rest, which add up to the frame.

This is the undecimated B-spline transform ("à trous"; Starck, Fadili & Murtagh, IEEE Trans. Image Process. 16:297,
2007): each smoothing has the taps 1, 4, 6, 4, 1 sixteenths at twice the distance of the one before, and a detail is
what a smoothing removes. White noise of variance one has the variance :data:`NOISE` in the bands.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

LEVELS = 3
"""Number of details; the rest is smooth over about 2^LEVELS pixels."""
NOISE = (0.7935181, 0.0402660, 0.0073115, 0.0036433)
"""Variance of white noise of variance one in each detail and in the rest."""
_TAPS = (0.0625, 0.25, 0.375, 0.25, 0.0625)


def split(image: Float[Array, "H W"]) -> tuple[Float[Array, "H W"], ...]:
    """The details, finest first, and the rest."""
    bands = []
    for level in range(LEVELS):
        smooth = _smooth(image, 2**level)
        bands.append(image - smooth)
        image = smooth
    return (*bands, image)


def pool(image: Float[Array, "H W"], step: int) -> Float[Array, "H W"]:
    """Mean over 7 × 7 pixels that lie ``step`` pixels apart."""
    for axis in (0, 1):
        size = image.shape[axis]
        padded = _pad(image, axis, 3 * step)
        # Sums of 2, 4 and 7 by doubling: four additions in place of six.
        two = _part(padded, axis, 0, size + 5 * step) + _part(padded, axis, step, size + 5 * step)
        four = _part(two, axis, 0, size) + _part(two, axis, 2 * step, size)
        image = four + _part(two, axis, 4 * step, size) + _part(padded, axis, 6 * step, size)
    return image / 49.0


def _smooth(image: Float[Array, "H W"], step: int) -> Float[Array, "H W"]:
    for axis in (0, 1):
        size = image.shape[axis]
        padded = _pad(image, axis, 2 * step)
        parts = [tap * _part(padded, axis, k * step, size) for k, tap in enumerate(_TAPS)]
        image = sum(parts[1:], parts[0])
    return image


def _part(image: Float[Array, "H W"], axis: int, begin: int, size: int) -> Float[Array, "H W"]:
    return jax.lax.slice_in_dim(image, begin, begin + size, axis=axis)


def _pad(image: Float[Array, "H W"], axis: int, width: int) -> Float[Array, "H W"]:
    """The image mirrored at two of its edges, as often as a small one needs."""
    return jnp.pad(image, [(width, width) if i == axis else (0, 0) for i in (0, 1)], mode="symmetric")
