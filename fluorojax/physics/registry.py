"""The stages that files may name, and an operator as plain values."""

from dataclasses import fields
from typing import Any, get_origin

import numpy as np

from fluorojax.physics.dark import DarkRate
from fluorojax.physics.distortion import Distortion
from fluorojax.physics.dose import FrameDose
from fluorojax.physics.exposure import ExposureWindow
from fluorojax.physics.gain import GainDrift
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.scatter import Scatter
from fluorojax.physics.slow_lag import SlowLag
from fluorojax.physics.stage import Stage

_STAGES: dict[str, type[Stage]] = {
    kind.name: kind
    for kind in (
        ExposureWindow,
        ChargeReleaseLag,
        GainDrift,
        Scatter,
        VeilingGlare,
        DarkRate,
        FrameDose,
        SlowLag,
        Distortion,
    )
}

PRESETS: dict[str, FluoroscopyOperator] = {
    "published": PUBLISHED_OPERATOR,
    "glare": PUBLISHED_OPERATOR.with_stage(VeilingGlare()),
}
"""Imaging chains by name: that of the published task, and the same with the veiling glare of an image intensifier."""


def register_stage(kind: type[Stage]) -> type[Stage]:
    """Let files name a stage of another package; usable as a decorator of its class.

    Raises ``ValueError`` where another class has the name already.
    """
    known = _STAGES.setdefault(kind.name, kind)
    if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ValueError(f"stage name {kind.name!r} belongs to {known.__qualname__}; expected another name")
    _STAGES[kind.name] = kind  # a module that is run again brings the same class anew
    return kind


def stages_as_list(operator: FluoroscopyOperator) -> list[dict[str, Any]]:
    """The stages of an operator as JSON values: ``{"name": …}`` and the fields of each.

    Raises ``ValueError`` naming the stage where a field is neither text nor numbers, or where the operator has a
    projector, which no file can hold.
    """
    if operator.attenuation.projector is not None:
        raise ValueError("the operator has a projector of its own, which a file cannot hold; expected none")
    return [{"name": stage.name, **_settings(stage)} for stage in operator.stages]


def _settings(stage: Stage) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for field in fields(stage):
        value = getattr(stage, field.name)
        if isinstance(value, str | bool) or value is None:
            settings[field.name] = value
        elif np.ndim(value) == 0 and np.issubdtype(np.result_type(value), np.number):
            settings[field.name] = float(value)
        elif isinstance(value, tuple) and all(isinstance(item, int | float) for item in value):
            settings[field.name] = [float(item) for item in value]
        else:
            raise ValueError(
                f"stage {stage.name}: {field.name} is {type(value).__name__}, which a file cannot hold; "
                "expected a number or text"
            )
    return settings


def operator_from_list(entries: Any) -> FluoroscopyOperator:
    """Inverse of :func:`stages_as_list`.

    Raises ``ValueError`` naming the stage where the entries are malformed, this version knows no such stage, or its
    settings do not fit.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("stages are no list of objects; expected [{'name': …}, …]")
    return FluoroscopyOperator(tuple(_stage(dict(entry)) for entry in entries))


def _stage(entry: dict[str, Any]) -> Stage:
    name = entry.pop("name", None)
    kind = _STAGES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"stage {str(name)[:60]!r} is unknown to this version; expected one of {', '.join(_STAGES)}")
    expected = [field.name for field in fields(kind)]
    if unknown := [key for key in entry if key not in expected]:
        raise ValueError(f"stage {name}: unknown setting {unknown[0][:60]!r}; expected {', '.join(expected) or 'none'}")
    several = {field.name for field in fields(kind) if get_origin(field.type) is tuple}
    for key, value in entry.items():
        if key in several:
            if not isinstance(value, list) or not all(isinstance(item, int | float) for item in value):
                raise ValueError(f"stage {name}: {key} is {type(value).__name__}; expected a list of numbers")
        elif not isinstance(value, str | int | float | None) or (isinstance(value, float) and not np.isfinite(value)):
            raise ValueError(f"stage {name}: {key} is {type(value).__name__}; expected a finite number or text")
    try:
        return kind(**entry)
    except (TypeError, ValueError) as error:
        raise ValueError(f"stage {name}: {error}") from error
