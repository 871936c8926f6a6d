"""Units of dose quantities, as UCUM codes in reports write them, converted to Gy, Gy·cm², s, mm and degrees."""

import re
from dataclasses import dataclass

_PREFIXES = {"": 1.0, "d": 1e-1, "c": 1e-2, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "n": 1e-9}
_AREAS_CM2 = {"mm2": 1e-2, "cm2": 1.0, "dm2": 1e2, "m2": 1e4}
_GRAY = re.compile(r"(?P<prefix>[dcmuµμn]?)Gy")
_AREA_PRODUCT = re.compile(r"(?P<prefix>[dcmuµμn]?)Gy[.·*]?(?P<area>[cmd]?m2)")


@dataclass(frozen=True)
class Kind:
    """A kind of quantity: what it is called, the unit in which this package states it, and codes with their factors."""

    name: str
    unit: str
    factors: dict[str, float]


KERMA = Kind("air kerma", "Gy", {})
AREA_PRODUCT = Kind("kerma-area product", "Gy·cm²", {})
TIME = Kind("time", "s", {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0})
LENGTH = Kind("length", "mm", {"um": 1e-3, "mm": 1.0, "cm": 10.0, "dm": 100.0, "m": 1000.0})
ANGLE = Kind("angle", "deg", {"deg": 1.0})
NUMBER = Kind("number", "1", dict.fromkeys(("1", "{pulse}", "{pulses}", "{frames}", "{frame}", "no units"), 1.0))
RATE = Kind("pulse rate", "pulses per s", dict.fromkeys(("{pulse}/s", "{pulses}/s", "1/s", "/s", "Hz"), 1.0))


def factor_of(code: str, kind: Kind) -> float:
    """What a value in the unit ``code`` is multiplied by to be in the unit of ``kind``.

    Raises ``ValueError`` where the code is no unit of that kind. Gy with its prefixes, and Gy times an area with or
    without a dot between them (``Gy.m2``, ``Gym2``, ``dGy.cm2``), are all understood.
    """
    code = code.strip()
    if kind is KERMA and (found := _GRAY.fullmatch(code)):
        return _PREFIXES[found["prefix"]]
    if kind is AREA_PRODUCT and (found := _AREA_PRODUCT.fullmatch(code)):
        return _PREFIXES[found["prefix"]] * _AREAS_CM2[found["area"]]
    if code in kind.factors:
        return kind.factors[code]
    examples = {KERMA.name: "Gy, mGy", AREA_PRODUCT.name: "Gy.m2, dGy.cm2"}
    expected = examples.get(kind.name) or ", ".join(kind.factors)
    raise ValueError(f"the unit {code!r} is no unit of {kind.name}; expected one such as {expected}")
