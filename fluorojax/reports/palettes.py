"""The two palettes of a page: grey for attenuation, false colours for standard deviations."""

import numpy as np
from jaxtyping import UInt8

from fluorojax.plot.display import UNCERTAINTY_MAP

KINDS = ("image", "spread")


def palette_of(kind: str) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of an ``image``, which is dark where little is absorbed, or of a ``spread``."""
    return {"image": _grey, "spread": _false_colours}[kind]()


def _grey() -> UInt8[np.ndarray, "256 3"]:
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def _false_colours() -> UInt8[np.ndarray, "256 3"]:
    from matplotlib import colormaps

    return np.rint(255 * colormaps[UNCERTAINTY_MAP](np.arange(256))[:, :3]).astype(np.uint8)


def gradient(palette: UInt8[np.ndarray, "256 3"]) -> str:
    """The palette as a CSS gradient, for a colour scale."""
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*palette[i]) for i in range(0, 256, 51))
    return f"linear-gradient(to right, {stops})"
