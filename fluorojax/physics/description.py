"""An imaging chain in words and as a picture: its stages in the order of their action, parameters, units, shapes."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Parameter, SpecRanges
from fluorojax.physics.stage import CountStage, RateStage, Stage, TemporalStage

if TYPE_CHECKING:
    from fluorojax.physics.operator import FluoroscopyOperator

_COUNTS = "expected counts λ, quanta per pixel and frame"
_KINDS = {TemporalStage: "along time", RateStage: "within each frame", CountStage: "on the counts"}


@dataclass(frozen=True)
class StageNote:
    """One stage, as a reader sees it."""

    name: str
    """Identifier in files."""
    acts: str
    """Where the stage acts: along time, within each frame, or on the counts."""
    summary: str
    """What the stage does, in one sentence."""
    settings: Mapping[str, str]
    """Values of its fields, as text."""
    parameters: tuple[Parameter, ...]
    """The unknown parameters that the stage declares."""
    result: str
    """What leaves the stage, with its unit."""


@dataclass(frozen=True)
class ChainDescription:
    """An imaging chain for readers; ``str()`` gives text, and :meth:`svg` and notebooks a picture."""

    stages: tuple[StageNote, ...]
    """From the image to the expected counts."""
    ranges: Mapping[str, tuple[float, float]]
    """Prior range of every unknown parameter, in its unit."""
    nominal: Mapping[str, float]
    """Values of the protocol; empty where no protocol is known."""
    shape: tuple[int, ...] | None
    """Shape of the counts, (T, H, W) or (H, W); None where it is not known."""

    @property
    def size(self) -> str:
        """The shape of the counts as text; letters stand for what is not known."""
        return "T × H × W" if self.shape is None else " × ".join(map(str, self.shape))

    @property
    def source(self) -> str:
        """What enters the chain."""
        scale = f" = {self.nominal['attenuation_scale']:.4g}" if "attenuation_scale" in self.nominal else ""
        return f"attenuation x, dimensionless; optical depth A·x with A{scale}"

    @property
    def measurement(self) -> str:
        """The distribution of the counts."""
        noise = self.nominal.get("electronic_noise", 0.0)
        electronic = f", plus electronic noise of {noise:.3g} quanta" if noise > 0 else ""
        return f"counts y ~ Poisson(λ){electronic}"

    def parameter_words(self, parameter: Parameter) -> str:
        """Name, range, unit and meaning of an unknown parameter."""
        low, high = self.ranges[parameter.name]
        meaning = parameter.quantity
        if parameter.offset_of is not None:
            known = self.nominal.get(parameter.offset_of)
            value = f" of {known:.4g} {parameter.unit}".rstrip() if known is not None else ""
            meaning += f", offset from {parameter.offset_of}{value}"
        return f"{parameter.name}: {low:g} … {high:g} {parameter.unit}".rstrip() + f" ({meaning})"

    def __str__(self) -> str:
        lines = [f"{self.source}  [{self.size}]"]
        for stage in self.stages:
            settings = ", ".join(f"{name} {value}" for name, value in stage.settings.items())
            lines.append(f"  → {stage.name}, {stage.acts}" + (f" ({settings})" if settings else ""))
            lines.append(f"      {stage.summary}")
            lines += [f"      unknown {self.parameter_words(parameter)}" for parameter in stage.parameters]
            lines.append(f"    {stage.result}  [{self.size}]")
        lines.append(f"  → {self.measurement}")
        return "\n".join(lines)

    def svg(self) -> str:
        """The chain as a drawing in SVG; see :func:`fluorojax.plot.chain_picture`."""
        from fluorojax.plot.chain import chain_picture

        return chain_picture(self)

    def _repr_html_(self) -> str:
        return self.svg()


def describe_operator(
    operator: "FluoroscopyOperator",
    acquisition: Acquisition | None = None,
    ranges: SpecRanges | None = None,
    shape: tuple[int, ...] | None = None,
) -> ChainDescription:
    """See :meth:`fluorojax.physics.FluoroscopyOperator.describe`."""
    given = {} if ranges is None else ranges.as_dict()
    known = {p.name: given.get(p.name, (p.low, p.high)) for p in operator.parameters}
    nominal = {} if acquisition is None else acquisition.as_dict()
    projector = operator.attenuation.projector
    settings = {} if projector is None else {"projector": type(projector).__name__}
    notes = [
        StageNote(
            "attenuation", "in each pixel", _summary(operator.attenuation), settings, (), "transmission, dimensionless"
        )
    ]
    dose = f" = {nominal['photons_per_pixel']:.4g}" if "photons_per_pixel" in nominal else ""
    for kind, acts in _KINDS.items():
        mine = [stage for stage in operator.stages if isinstance(stage, kind)]
        after = _COUNTS if kind is CountStage else "rate, share of the open beam"
        notes += [
            StageNote(stage.name, acts, _summary(stage), _settings(stage), stage.parameters, after) for stage in mine
        ]
        if kind is RateStage:
            notes.append(
                StageNote(
                    "open_beam",
                    "in each pixel",
                    f"Multiplication by the dose in the open beam, I₀{dose} quanta per pixel and frame.",
                    {},
                    (),
                    _COUNTS,
                )
            )
    return ChainDescription(tuple(notes), known, nominal, shape)


def _summary(thing: object) -> str:
    """The first sentence of the documentation of a class, without marks of code."""
    text = " ".join((inspect.getdoc(type(thing)) or type(thing).__name__).split("\n\n")[0].split())
    return text.split(". ")[0].replace("``", "").rstrip(".") + "."


def _settings(stage: Stage) -> dict[str, str]:
    found = {}
    for name, value in vars(stage).items():
        if name == "unknown":  # the parameters of the stage say it
            continue
        if isinstance(value, tuple | list):
            found[name] = f"of {len(value)} frames"
        elif value is not None:
            found[name] = _brief(value)
    return found


def _brief(value: Any) -> str:
    try:
        return f"{float(value):.4g}"
    except (TypeError, ValueError):
        return str(value)[:60]
