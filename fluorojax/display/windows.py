"""Window and level: which values are black and which are white."""

import numpy as np
from jaxtyping import Float, UInt8

from fluorojax.plot.display import Window, robust_window

LINEAR, LINEAR_EXACT = "LINEAR", "LINEAR_EXACT"


def level_window(level: float, width: float) -> Window:
    """The window of ``width`` around ``level``, both in the unit of the values: ``level ∓ width/2``.

    Raises ``ValueError`` where the width is not positive or a number is not finite.
    """
    if not (np.isfinite(level) and np.isfinite(width)):
        raise ValueError(f"window is {width:g} and level {level:g}; expected finite numbers")
    if width <= 0:
        raise ValueError(f"window is {width:g}; expected a positive width")
    return Window(level - 0.5 * width, level + 0.5 * width)


def percentile_window(values: Float[np.ndarray, "*shape"], low: float = 0.5, high: float = 99.5) -> Window:
    """The window between two percentiles of the finite values; one unit wide where they are equal.

    Raises ``ValueError`` unless ``0 ≤ low < high ≤ 100``.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles are {low:g}:{high:g}; expected LOW:HIGH with 0 ≤ LOW < HIGH ≤ 100")
    return robust_window(values, low / 100.0, high / 100.0)


def dicom_window(centre: float, width: float, function: str = LINEAR) -> Window:
    """The window that WindowCenter and WindowWidth of a DICOM image mean (PS3.3, C.11.2.1.2 and C.11.2.1.3.2).

    ``LINEAR`` counts whole levels: black at ``c − ½ − (w − 1)/2``, white at ``c − ½ + (w − 1)/2``. ``LINEAR_EXACT`` is
    :func:`level_window`. A ``LINEAR`` window of width 1 is a threshold, which is given a width of a thousandth.
    **Raises** ``ValueError`` for another function (``SIGMOID``) and for a width that the standard does not allow.
    """
    if function == LINEAR_EXACT:
        return level_window(centre, width)
    if function != LINEAR:
        raise ValueError(f"VOILUTFunction is {function}; expected {LINEAR} or {LINEAR_EXACT}")
    if not (np.isfinite(centre) and np.isfinite(width)) or width < 1:
        raise ValueError(f"WindowWidth is {width:g}; expected at least 1 for the function {LINEAR}")
    return level_window(centre - 0.5, max(width - 1.0, 1e-3))


def grey_levels(
    values: Float[np.ndarray, "*shape"], window: Window, *, invert: bool = False
) -> UInt8[np.ndarray, "*shape"]:
    """Values as grey levels: ``round(255 · clip((v − low)/(high − low), 0, 1))``, and 255 minus that with ``invert``.

    Values that are not finite are black either way.
    """
    share = np.clip((values - np.float32(window.low)) / np.float32(window.high - window.low), 0.0, 1.0)
    if invert:
        share = 1.0 - share
    return np.rint(255.0 * np.where(np.isfinite(values), share, 0.0)).astype(np.uint8)
