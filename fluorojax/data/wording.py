"""The mismatch parameters in words: what a value means for the protocol, and whether the data determine it at all."""

import math
from collections.abc import Mapping

from fluorojax.data.spec import SPEC_UNITS

QUANTITIES: dict[str, tuple[str, str | None]] = {
    "motion_blur": ("exposure window", "pulse_width_ms"),
    "lag": ("lag time constant", "lag_ms"),
    "gain_drift": ("gain drift", None),
}
"""By parameter: the quantity that it changes, and the field of the acquisition that holds its nominal value."""

LEAST_CONTRACTION = 0.1
"""Share of the prior variance that the data must remove before a parameter counts as determined."""


def quantity(name: str) -> str:
    """The quantity that a parameter changes, e.g. ``exposure window``; other parameters keep their own name."""
    return QUANTITIES.get(name, (name.replace("_", " "), None))[0]


def nominal_value(name: str, nominal: Mapping[str, float]) -> float | None:
    """Nominal value (ms) of the quantity that a parameter changes, from the fields of an acquisition.

    None where the parameter has no nominal value, or where it is not known.
    """
    field = QUANTITIES.get(name, ("", None))[1]
    return None if field is None else nominal.get(field)


def is_determined(std: float, prior: tuple[float, float] | None) -> bool:
    """Whether the data remove a tenth of the variance of the uniform prior on the range ``prior``.

    ``std`` is the posterior standard deviation, in the unit of the range. A parameter without a prior range or without
    a finite standard deviation counts as determined, because nothing says that it is not.
    """
    if prior is None or not math.isfinite(std) or not prior[1] > prior[0]:
        return True
    return 1.0 - std**2 / ((prior[1] - prior[0]) ** 2 / 12.0) >= LEAST_CONTRACTION


def undetermined(name: str, prior: tuple[float, float], nominal: float | None = None) -> str:
    """``not determined by these data (prior −5 … 10 ms)``, with the ``nominal`` value that the offset belongs to."""
    around = "" if nominal is None else f" around the nominal {plain(nominal)} {_unit(name)}"
    return f"not determined by these data (prior {plain(prior[0])} … {plain(prior[1])} {_unit(name)}{around})"


def with_error(value: float, std: float, unit: str, *, sign: bool = False) -> str:
    """``10.5 ± 0.4 ms``: two significant digits of the standard deviation, and the value to the same place."""
    if not math.isfinite(value):
        return "not known"
    if not math.isfinite(std):
        return f"{plain(value, sign=sign)} {unit}"
    if std <= 0:
        return f"{plain(value, sign=sign)} {unit} (taken as known)"
    places = min(max(1 - math.floor(math.log10(std)), 0), 6)
    text = f"{value:{'+' if sign else ''}.{places}f}".replace("-", "−")
    return f"{text} ± {std:.{places}f} {unit}"


def in_words(
    name: str,
    value: float,
    std: float,
    *,
    prior: tuple[float, float] | None = None,
    nominal: float | None = None,
) -> str:
    """One parameter for a user: ``exposure window 10.5 ± 0.4 ms (nominal 8 ms)``.

    **Arguments:** ``value`` and ``std`` the posterior median and standard deviation of the offset, in its unit (ms, or
    % per frame); ``prior`` its range; ``nominal`` the nominal value of the quantity it changes (ms). Without a nominal
    value the offset itself is told. A parameter that the data do not determine is told as such, with its prior range.
    """
    what = quantity(name)
    if prior is not None and not is_determined(std, prior):
        return f"{what} {undetermined(name, prior, nominal)}"
    if nominal is None:
        label = what if QUANTITIES.get(name, ("", None))[1] is None else f"{what}: offset"
        return f"{label} {with_error(value, std, _unit(name), sign=True)}".rstrip()
    if std == 0:
        return f"{what} {plain(nominal + value)} {_unit(name)}, taken as known (nominal {plain(nominal)} {_unit(name)})"
    return f"{what} {with_error(nominal + value, std, _unit(name))} (nominal {plain(nominal)} {_unit(name)})"


def plain(value: float, *, sign: bool = False) -> str:
    """A number in at most four significant digits, with a minus sign that is as wide as a plus."""
    return f"{value:{'+' if sign else ''}.4g}".replace("-", "−")


def _unit(name: str) -> str:
    return SPEC_UNITS.get(name, "")
