"""Numbers and names in the form in which people read them."""

import math
from collections.abc import Mapping
from typing import Protocol

from fluorojax.data.spec import Spec
from fluorojax.data.wording import is_determined, plain


class WithSpec(Protocol):
    """What a table needs of a result: a :class:`~fluorojax.data.reconstruction.Reconstruction` or its summary."""

    @property
    def spec(self) -> Spec: ...
    @property
    def spec_std(self) -> Spec: ...
    @property
    def prior_ranges(self) -> Mapping[str, tuple[float, float]]: ...


def parameter_cell(result: WithSpec, name: str) -> str:
    """The parameter ``name`` in a cell of a table: ``+2.500 ± 0.400``, or that the data do not determine it.

    A method that takes a value and states no standard deviation assumed the value.
    """
    std, prior = result.spec_std.as_dict()[name], result.prior_ranges.get(name)
    if math.isnan(std):
        return f"{number(result.spec.as_dict()[name], 3, sign=True)} (assumed)"
    if prior is not None and not is_determined(std, prior):
        return f"not determined ({plain(prior[0])} … {plain(prior[1])})"
    return f"{number(result.spec.as_dict()[name], 3, sign=True)} ± {number(std, 3)}"


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
