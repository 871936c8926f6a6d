"""The palettes of a page: grey for attenuation, false colours for standard deviations, blue to red for z-scores."""

import numpy as np
from jaxtyping import UInt8

from fluorojax.plot.display import UNCERTAINTY_MAP

KINDS = ("image", "spread", "signed")
SIGNED_LIMIT = 4.0
"""Standard errors at which the colours of a signed map end."""


def palette_of(kind: str) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of an ``image``, a ``spread`` or ``signed`` values.

    An image is dark where little is absorbed; signed values are white at zero.
    """
    if kind == "image":
        return _grey()
    return _false_colours({"spread": UNCERTAINTY_MAP, "signed": "RdBu_r"}[kind])


def _grey() -> UInt8[np.ndarray, "256 3"]:
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def _false_colours(name: str) -> UInt8[np.ndarray, "256 3"]:
    from matplotlib import colormaps

    return np.rint(255 * colormaps[name](np.arange(256))[:, :3]).astype(np.uint8)


def gradient(palette: UInt8[np.ndarray, "256 3"]) -> str:
    """The palette as a CSS gradient, for a colour scale."""
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*palette[i]) for i in range(0, 256, 51))
    return f"linear-gradient(to right, {stops})"
