"""Numbers and names as people read them."""

import math


def status_words(status: str) -> str:
    """The name of a :class:`fluorojax.data.reconstruction.Status` in words."""
    return status.lower().replace("_", " ")


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """``value`` with a fixed number of decimals; a dash where it is unknown (None or NaN)."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:{'+' if sign else ''}.{digits}f}"
