"""The parameters of the imaging chain in words: what a value means for the protocol, and whether data determine it."""

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from fluorojax.data.spec import Parameter

LEAST_CONTRACTION = 0.1
"""Share of the prior variance that the data must remove before a parameter counts as determined."""


def nominal_value(parameter: Parameter, nominal: Mapping[str, float]) -> float | None:
    """Nominal value of the quantity that a parameter offsets, from the fields of an acquisition.

    None where the parameter is no offset, or where the value is not known.
    """
    return None if parameter.offset_of is None else nominal.get(parameter.offset_of)


def is_determined(std: float, prior: tuple[float, float] | None) -> bool:
    """Whether the data remove a tenth of the variance of the uniform prior on the range ``prior``.

    ``std`` is the posterior standard deviation, in the unit of the range. A parameter without a prior range or without
    a finite standard deviation counts as determined, because nothing says that it is not.
    """
    if prior is None or not math.isfinite(std) or not prior[1] > prior[0]:
        return True
    return 1.0 - std**2 / ((prior[1] - prior[0]) ** 2 / 12.0) >= LEAST_CONTRACTION


def undetermined(parameter: Parameter, prior: tuple[float, float], nominal: float | None = None) -> str:
    """``not determined by these data (prior −5 … 10 ms)``, with the ``nominal`` value that the offset belongs to."""
    span = f"{plain(prior[0])} … {plain(prior[1])} {parameter.unit}".rstrip()
    around = "" if nominal is None else f" around the nominal {plain(nominal)} {parameter.unit}"
    return f"not determined by these data (prior {span}{around})"


def with_error(value: float, std: float, unit: str, *, sign: bool = False) -> str:
    """``10.5 ± 0.4 ms``: two significant digits of the standard deviation, and the value to the same place."""
    if not math.isfinite(value):
        return "not known"
    if not math.isfinite(std):
        return f"{plain(value, sign=sign)} {unit}".rstrip()
    if std <= 0:
        return f"{plain(value, sign=sign)} {unit} (taken as known)".replace("  ", " ")
    places = min(max(1 - math.floor(math.log10(std)), 0), 6)
    text = f"{value:{'+' if sign else ''}.{places}f}".replace("-", "−")
    return f"{text} ± {std:.{places}f} {unit}".rstrip()


def in_words(
    parameter: Parameter,
    value: float,
    std: float,
    *,
    prior: tuple[float, float] | None = None,
    nominal: float | None = None,
) -> str:
    """One parameter for a user: ``exposure window 10.5 ± 0.4 ms (nominal 8 ms)``.

    **Arguments:** ``value`` and ``std`` the posterior median and standard deviation of the parameter, in its unit;
    ``prior`` its range; ``nominal`` the nominal value of the quantity that it offsets. Without a nominal value the
    sentence gives the offset itself. If the data do not determine the parameter, the sentence says so and gives the
    prior range.
    """
    what = parameter.quantity
    if prior is not None and not is_determined(std, prior):
        return f"{what} {undetermined(parameter, prior, nominal)}"
    if nominal is None:
        label = what if parameter.offset_of is None else f"{what}: offset"
        return f"{label} {with_error(value, std, parameter.unit, sign=True)}"
    if std == 0:
        known = f"{plain(nominal + value)} {parameter.unit}, taken as known"
        return f"{what} {known} (nominal {plain(nominal)} {parameter.unit})"
    return f"{what} {with_error(nominal + value, std, parameter.unit)} (nominal {plain(nominal)} {parameter.unit})"


def plain(value: float, *, sign: bool = False) -> str:
    """A number in at most four significant digits, with a minus sign that is as wide as a plus."""
    return f"{value:{'+' if sign else ''}.4g}".replace("-", "−")


def times_words(times_ms: Float[np.ndarray, " n"], frame_time_ms: float | None) -> str:
    """``46 images from 0 to 500 ms, one every 33.3 ms; frames are 133 ms apart``."""
    steps = np.diff(times_ms)
    text = f"{len(times_ms)} image{'' if len(times_ms) == 1 else 's'} from {times_ms[0]:.4g} to {times_ms[-1]:.4g} ms"
    if steps.size and np.ptp(steps) <= 1e-6 * steps.max():
        text += f", one every {steps.mean():.4g} ms"
    return text if not frame_time_ms else f"{text}; frames are {frame_time_ms:.4g} ms apart"
