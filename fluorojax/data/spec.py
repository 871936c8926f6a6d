"""The unknown parameters of an imaging chain, their values and the ranges they are known to lie in.

A stage of the imaging chain declares the parameters that it needs (:class:`Parameter`); their number, names and order
everywhere else follow from the operator of the scene. The published task has three, all *signed offsets* from the
nominal protocol, so that negative values are physical:

=============  =========  ==================================================================
name           unit       meaning
=============  =========  ==================================================================
motion_blur    ms         exposure window = ``pulse_width_ms + motion_blur``
lag            ms         detector-lag time constant = ``lag_ms + lag``
gain_drift     %/frame    gain of frame t = ``(1 + gain_drift/100)**t``
=============  =========  ==================================================================
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float


@dataclass(frozen=True)
class Parameter:
    """An unknown parameter of a stage of the imaging chain, as the stage declares it."""

    name: str
    """Identifier in files, arrays and options, e.g. ``motion_blur``."""
    unit: str
    """Unit of its values, e.g. ``ms``; empty for a pure number."""
    low: float
    """Lower end of the prior range where neither the file nor the user gives one."""
    high: float
    """Upper end of that range. The prior is uniform on the range."""
    quantity: str
    """The physical quantity that it determines, in words, e.g. ``exposure window``."""
    offset_of: str | None = None
    """Field of the acquisition protocol that the parameter is a signed offset from; their sum is the quantity and has
    to be positive over the whole range. None where the parameter is the quantity itself."""
    nominal: float = 0.0
    """The value that the nominal protocol stands for."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"name of a parameter is {self.name!r}; expected an identifier such as 'dark_offset'")
        if not self.low < self.high:
            raise ValueError(f"parameter {self.name} has low {self.low:g} and high {self.high:g}; expected low < high")


MOTION_BLUR = Parameter("motion_blur", "ms", -5.0, 10.0, "exposure window", offset_of="pulse_width_ms")
"""Signed offset of the exposure window from the nominal pulse width."""
LAG = Parameter("lag", "ms", -3.0, 6.0, "lag time constant", offset_of="lag_ms")
"""Signed offset of the time constant of the detector lag from its nominal value."""
GAIN_DRIFT = Parameter("gain_drift", "%/frame", -0.5, 1.0, "gain drift")
"""Relative change of the detector gain from frame to frame."""

_LARGEST_EXPONENT = 40.0  # of e, in a gain: its square is a number in single precision

PUBLISHED = (MOTION_BLUR, LAG, GAIN_DRIFT)
"""The parameters of the published task, in the order of its arrays."""
SPEC_NAMES = tuple(parameter.name for parameter in PUBLISHED)
"""Their names. Code that serves any imaging chain takes names from a :class:`SpecRanges` or an operator instead."""
SPEC_UNITS = {parameter.name: parameter.unit for parameter in PUBLISHED}
"""Their units."""

TIERS: dict[str, dict[str, tuple[float, float]]] = {
    "public": {"motion_blur": (-5.0, 10.0), "lag": (-3.0, 6.0), "gain_drift": (-0.5, 1.0)},
    "dev": {"motion_blur": (-6.0, 9.0), "lag": (-3.6, 5.4), "gain_drift": (-0.6, 0.9)},
    "hidden": {"motion_blur": (-3.5, 11.5), "lag": (-2.1, 6.9), "gain_drift": (-0.35, 1.15)},
}
"""Published ranges, (min, max) by tier and parameter."""


class Spec(eqx.Module):
    """One value of each unknown parameter; a pytree of scalars, so it batches under ``vmap``.

    ``Spec(motion_blur=2.0)`` holds the published parameters, each zero unless given (positional values follow their
    order), and any further one by its name: ``Spec(dark_offset=1.5)``. A value is read as an attribute,
    ``spec.motion_blur``, or by :meth:`value`, which knows the nominal value of a parameter that the spec leaves out.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    """The parameters, in the order of :meth:`as_array`."""
    values: tuple[Float[ArrayLike, "..."], ...]
    """Their values, in the units of the parameters."""

    def __init__(self, *published: Float[ArrayLike, "..."], **named: Float[ArrayLike, "..."]):
        if len(published) > len(SPEC_NAMES):
            raise ValueError(f"Spec got {len(published)} positional values; expected at most {len(SPEC_NAMES)}")
        first = dict(zip(SPEC_NAMES, published, strict=False))
        if twice := first.keys() & named.keys():
            raise ValueError(f"Spec got {', '.join(sorted(twice))} by position and by name; expected one value")
        values = {**dict.fromkeys(SPEC_NAMES, 0.0), **first, **named}
        self.names, self.values = tuple(values), tuple(values.values())

    def __getattr__(self, name: str) -> Any:
        # Reached only for what is no field. During construction and copying the fields may not exist yet.
        if not name.startswith("_") and name not in ("names", "values") and name in self.names:
            return self.values[self.names.index(name)]
        raise AttributeError(f"this spec has no parameter {name!r}")

    def value(self, parameter: Parameter) -> Float[ArrayLike, "..."]:
        """The value of ``parameter``, or its nominal value where the spec leaves it out."""
        return getattr(self, parameter.name) if parameter.name in self.names else parameter.nominal

    def as_dict(self) -> dict[str, float]:
        """The values as plain floats, in the order of :attr:`names` (unbatched specs only)."""
        return {name: float(np.asarray(value)) for name, value in zip(self.names, self.values, strict=True)}

    def as_array(self) -> Float[Array, "*batch parameters"]:
        """The values stacked along a last axis, in the order of :attr:`names`."""
        return jnp.stack([jnp.asarray(value) for value in self.values], axis=-1)

    @classmethod
    def from_array(cls, values: Float[ArrayLike, "*batch parameters"], names: Sequence[str] = SPEC_NAMES) -> "Spec":
        """Inverse of :meth:`as_array`; ``names`` are the parameters along the last axis.

        Raises ``ValueError`` where the last axis has another length.
        """
        values = jnp.asarray(values)
        if values.shape[-1:] != (len(names),):
            raise ValueError(f"values have shape {values.shape}; expected a last axis of {len(names)} parameters")
        return cls.from_dict({name: values[..., i] for i, name in enumerate(names)})

    @classmethod
    def from_dict(cls, values: Mapping[str, Float[ArrayLike, "..."]]) -> "Spec":
        """Exactly the parameters of a mapping from name to value, in its order."""
        spec = object.__new__(cls)
        object.__setattr__(spec, "names", tuple(values))
        object.__setattr__(spec, "values", tuple(values.values()))
        return spec

    @classmethod
    def nominal(cls, parameters: Iterable[Parameter]) -> "Spec":
        """The nominal value of each of ``parameters``."""
        return cls.from_dict({parameter.name: parameter.nominal for parameter in parameters})


class SpecRanges(eqx.Module):
    """Lower and upper bounds of the unknown parameters, each of shape (parameters,), in the order of ``names``.

    The prior of each parameter is uniform on its range.
    """

    low: Float[ArrayLike, "*batch parameters"]
    high: Float[ArrayLike, "*batch parameters"]
    names: tuple[str, ...] = eqx.field(static=True, default=SPEC_NAMES)
    """The parameters; their number and order are those of every array of parameters of the scene."""

    @classmethod
    def from_dict(cls, ranges: Mapping[str, tuple[float, float]]) -> "SpecRanges":
        """Build from ``{"motion_blur": (min, max), …}``, in the order of the mapping."""
        if not ranges:
            raise ValueError("spec ranges name no parameter; expected at least one")
        pairs = np.array(list(ranges.values()), dtype=np.float32)
        return cls(pairs[:, 0], pairs[:, 1], tuple(ranges))

    @classmethod
    def for_tier(cls, tier: str) -> "SpecRanges":
        """The ranges of a published tier: ``public``, ``dev`` or ``hidden``."""
        if tier not in TIERS:
            raise ValueError(f"tier is {tier!r}; expected one of {', '.join(TIERS)}")
        return cls.from_dict(TIERS[tier])

    def completed(self, parameters: Iterable[Parameter]) -> "SpecRanges":
        """The ranges of exactly ``parameters``, in their order (unbatched only).

        A parameter without a range takes the one that it was declared with. Raises ``ValueError`` naming a range
        whose parameter is not among ``parameters``.
        """
        parameters = tuple(parameters)
        expected = [parameter.name for parameter in parameters]
        if unknown := [name for name in self.names if name not in expected]:
            raise ValueError(
                f"spec ranges name {', '.join(unknown)}, which no stage of the imaging chain declares; "
                f"expected {', '.join(expected)}"
            )
        if list(self.names) == expected:
            return self
        mine = self.as_dict()
        return SpecRanges.from_dict({p.name: mine.get(p.name, (p.low, p.high)) for p in parameters})

    def check(self, parameters: Iterable[Parameter], frames: int) -> None:
        """Raise ``ValueError`` where a parameter cannot take all values of its range in ``frames`` frames.

        A relative change from frame to frame (in %/frame) has to leave the gain of every frame positive, and its square
        a number in single precision (unbatched only).
        """
        bounds = self.as_dict()
        for parameter in parameters:
            if parameter.unit != "%/frame" or parameter.name not in bounds:
                continue
            for end, value in zip(("min", "max"), bounds[parameter.name], strict=True):
                if value <= -100:
                    raise ValueError(
                        f"{end} of {parameter.name} is {value:g} %/frame; expected more than -100 %/frame, so that the "
                        "gain stays positive"
                    )
                exponent = (frames - 1) * math.log1p(value / 100)
                if abs(exponent) > _LARGEST_EXPONENT:
                    raise ValueError(
                        f"{end} of {parameter.name} is {value:g} %/frame, by which the gain of frame {frames - 1} is "
                        f"10^{exponent / math.log(10):.0f}; expected at most 10^±{_LARGEST_EXPONENT / math.log(10):.0f}"
                    )

    def as_dict(self) -> dict[str, tuple[float, float]]:
        """``{"motion_blur": (min, max), …}`` (unbatched ranges only)."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(self.names)}

    def mean(self) -> Float[Array, "*batch parameters"]:
        """Prior mean: the middle of each range."""
        return 0.5 * (jnp.asarray(self.low) + jnp.asarray(self.high))

    def std(self) -> Float[Array, "*batch parameters"]:
        """Prior standard deviation of a uniform distribution: (max − min)/√12."""
        return (jnp.asarray(self.high) - jnp.asarray(self.low)) / jnp.sqrt(12.0)
