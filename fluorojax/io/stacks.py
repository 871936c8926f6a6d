"""Scenes from plain stacks of counts, whose protocol is told beside them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Num

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Parameter, SpecRanges
from fluorojax.io.challenge import check_counts, without_optional
from fluorojax.io.counting import to_counts
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import check_stack, single_precision
from fluorojax.io.selection import Selection
from fluorojax.physics.operator import PUBLISHED_OPERATOR

STACK_SCENE = "sample_00"
"""Name of the one scene of a stack."""
_LEAST_SHARE = 0.1  # of a nominal window or time constant, which the narrowed range leaves


def scene_of_stack(
    file: str,
    values: Num[np.ndarray, "*shape"],
    selection: Selection,
    *,
    name: str = STACK_SCENE,
    known: Mapping[str, Any] | None = None,
    saturation: float | None = None,
) -> Scene:
    """The scene of a stack of counts, of shape (T, H, W) or (H, W); a stack of one frame is taken as (H, W).

    Where ``selection`` gives a gain, by option or by its detector, the stack holds stored values of that detector and
    is turned into counts; ``saturation`` is the stored value at which the detector clips.

    Protocol values come from ``selection``, else from ``known`` (what stands in the file itself), else from the
    defaults of :class:`~fluorojax.data.acquisition.Acquisition`, which are then listed in ``metadata["assumed"]``. The
    spec ranges are those of the tier, narrowed where the exposure window or the lag time constant would reach zero;
    ``metadata["narrowed"]`` tells the raised lower bounds. Raises :class:`InputError` where the counts are not finite,
    or negative without electronic noise in the protocol, where ``photons_per_pixel`` is not told, and for an unphysical
    protocol.
    """
    where = (file, name)
    if values.dtype.kind not in "uif":
        raise InputError(*where, "y", f"has dtype {values.dtype}; expected real numbers")
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    check_stack(values.shape, "y", where)
    if saturation is None and selection.detector is not None:
        saturation = selection.detector.value("saturation")
    given = {**{name: float(value) for name, value in (known or {}).items()}, **selection.protocol}
    noise = given.get("electronic_noise", 0.0)
    counts, counted = to_counts(
        values, selection.of_stored_values, where, saturation=saturation, electronic_noise=noise
    )
    check_counts(counts, where, electronic_noise=noise)
    at = (*where, "acquisition")
    if "photons_per_pixel" not in given:
        raise InputError(
            *at, "lacks photons_per_pixel, the counts of a pixel in the open beam; expected it as an option (--photons)"
        )
    acquisition, operator = Acquisition.from_dict(given), PUBLISHED_OPERATOR
    tier = SpecRanges.for_tier(selection.tier or "public").completed(operator.parameters)
    ranges, narrowed = narrowed_ranges(tier, acquisition, operator.parameters)
    try:
        acquisition.check(ranges, operator.parameters)
    except ValueError as error:
        raise InputError(*at, str(error)) from error
    metadata: dict[str, Any] = {
        "scene": file,
        "noise_model": "poisson" if noise == 0 else "poisson+gaussian",
        **counted,
    }
    if assumed := without_optional({n: value for n, value in acquisition.as_dict().items() if n not in given}):
        metadata["assumed"] = assumed
    if narrowed:
        metadata["narrowed"] = narrowed
    return Scene(name, single_precision(counts), acquisition, ranges, metadata, operator=operator)


def narrowed_ranges(
    ranges: SpecRanges, acquisition: Acquisition, parameters: Iterable[Parameter]
) -> tuple[SpecRanges, dict[str, float]]:
    """The ranges for a protocol, and the lower bounds that had to be raised, by the name of the parameter.

    A lower bound at which the quantity that the parameter offsets would reach zero (the exposure window, the lag time
    constant) is raised to where a tenth of the nominal value is left.
    """
    bounds, protocol = ranges.as_dict(), acquisition.as_dict()
    narrowed: dict[str, float] = {}
    for parameter in parameters:
        if parameter.offset_of is None:
            continue
        nominal, (low, high) = protocol[parameter.offset_of], bounds[parameter.name]
        least = -(1.0 - _LEAST_SHARE) * nominal
        if np.isfinite(nominal) and nominal > 0 and low < least < high:
            bounds[parameter.name] = (least, high)
            narrowed[parameter.name] = least
    return SpecRanges.from_dict(bounds), narrowed
