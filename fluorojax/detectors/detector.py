"""A detector as a small TOML file of figures, each with its source, and what it means for the imaging chain."""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from fluorojax.io.counting import ESTIMATE, Counting
from fluorojax.io.errors import InputError
from fluorojax.physics.distortion import Distortion
from fluorojax.physics.extensions import extended
from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.physics.psf import VeilingGlare
from fluorojax.physics.slow_lag import SlowLag

PRESET_FOLDER = Path(__file__).parent / "presets"
_LARGEST_FILE = 2**20


@dataclass(frozen=True)
class Kind:
    """What a figure of a detector is: its meaning, its unit, and the values that it may have."""

    meaning: str
    unit: str
    low: float
    high: float = math.inf


FIGURES: dict[str, Kind] = {
    "pixel_mm": Kind("distance of the pixels", "mm", 1e-3, 10.0),
    "gain": Kind("stored values per detected quantum", "", 1e-9),
    "offset": Kind("stored value at no quanta", "", -1e9),
    "saturation": Kind("stored value at which the detector clips", "", 0.0),
    "electronic_noise": Kind("standard deviation of the electronic noise", "quanta", 0.0),
    "lag_ms": Kind("time constant of the detector lag", "ms", 1e-3),
    "slow_lag_share": Kind("share of the slow lag in the first frame after a long exposure", "", 0.0, 0.5),
    "readout_delay_ms": Kind("time from the exposure to its readout", "ms", 1e-3),
    "glare_share": Kind("share of the signal in the veiling glare", "", 0.0, 1.0),
    "glare_radius_mm": Kind("scale of the veiling glare", "mm", 1e-3),
    "mtf_half_per_mm": Kind("spatial frequency at which the modulation transfer is one half", "1/mm", 0.0),
    "noise_correlation": Kind("mean correlation of the noise of neighbouring pixels", "", -1.0, 1.0),
    "defects": Kind("number of defective pixels", "", 0.0),
}
"""Figures that a detector may have, by their names in files."""


@dataclass(frozen=True)
class Figure:
    """One figure of a detector."""

    value: float
    source: str
    """Where the value is from, in words."""
    low: float | None = None
    """Lower end of the range that such detectors show, where it is known."""
    high: float | None = None
    """Upper end of that range."""
    std: float | None = None
    """Standard deviation of a measured value."""


@dataclass(frozen=True)
class Detector:
    """A detector: what is known of it, each figure with its source.

    Raises ``ValueError`` naming the figure that is unknown, out of range or without a source.
    """

    name: str
    title: str
    figures: Mapping[str, Figure]
    note: str = ""
    distortion: Distortion | None = None
    """How the detector bends the image, where that was measured."""

    def __post_init__(self) -> None:
        for name, figure in self.figures.items():
            kind = FIGURES.get(name)
            if kind is None:
                raise ValueError(f"unknown figure {name[:40]!r}; expected one of {', '.join(FIGURES)}")
            for what in ("value", "low", "high"):
                number = getattr(figure, what)
                if number is not None and not (math.isfinite(number) and kind.low <= number <= kind.high):
                    raise ValueError(f"{what} of {name} is {number:g}; expected {_range(kind)}")
            if figure.std is not None and not 0 <= figure.std < math.inf:
                raise ValueError(f"std of {name} is {figure.std:g}; expected a number that is not negative")
            if not figure.source.strip():
                raise ValueError(f"{name} has no source; expected where the value is from, in words")
        if ("glare_share" in self.figures) != ("glare_radius_mm" in self.figures):
            raise ValueError("only one of glare_share and glare_radius_mm is there; expected both or none")

    def value(self, name: str) -> float | None:
        """The value of a figure, None where the detector does not have it."""
        figure = self.figures.get(name)
        return None if figure is None else figure.value

    def counting(self, given: Counting) -> Counting:
        """How stored values become counts: as ``given`` where it says so, otherwise by gain and offset of the detector.

        A gain that is given or estimated keeps the offset of the detector, unless another one is given too.
        """
        gain, offset = self.value("gain"), self.value("offset")
        if given.gain is None and gain is None:
            return given
        if given.offset is not None or (given.gain is not None and given.gain != ESTIMATE and gain != given.gain):
            offset = given.offset
        return replace(given, gain=gain if given.gain is None else given.gain, offset=offset)

    def protocol(self) -> dict[str, float]:
        """Values of the acquisition protocol that the detector determines."""
        names = ("lag_ms", "readout_delay_ms", "electronic_noise")
        return {name: value for name in names if (value := self.value(name)) is not None}

    def operator(self, operator: FluoroscopyOperator, pixel_mm: float | None) -> FluoroscopyOperator:
        """The imaging chain ``operator`` with the fixed stages of the detector.

        **Arguments:** ``pixel_mm`` the distance of the pixels where it is known, otherwise that of the detector. Raises
        ``ValueError`` where the glare has a radius in mm and the distance of the pixels is not known.
        """
        if slow := self.value("slow_lag_share"):
            operator = extended(operator, ["slow-lag"]).with_stage(SlowLag(share=slow))
        if self.distortion is not None:
            operator = operator.with_stage(self.distortion)
        share, radius = self.value("glare_share"), self.value("glare_radius_mm")
        if not share or radius is None:
            return operator
        pixel = self.value("pixel_mm") if pixel_mm is None else pixel_mm
        if pixel is None:
            raise ValueError(
                f"detector {self.name}: the veiling glare has a scale in mm, and the distance of the pixels is not "
                "known; expected pixel_mm in the detector file"
            )
        return operator.with_stage(VeilingGlare(share=share, radius=radius / pixel))

    def as_settings(self) -> dict[str, Any]:
        """The detector as JSON values."""
        figures = {
            name: {field.name: kept for field in fields(figure) if (kept := getattr(figure, field.name)) is not None}
            for name, figure in self.figures.items()
        }
        found = {"name": self.name, "title": self.title, "note": self.note, "figures": figures}
        return found if self.distortion is None else {**found, "distortion": _map_settings(self.distortion)}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Detector":
        """Inverse of :meth:`as_settings`; raises ``ValueError`` for other values."""
        figures = settings.get("figures") or {}
        if not isinstance(figures, Mapping):
            raise ValueError("the figures of a detector are no table; expected one table for each")
        texts = (settings.get(name) or "" for name in ("name", "title", "note"))
        name, title, note = (str(text) for text in texts)
        bent = settings.get("distortion")
        distortion = None if bent is None else _distortion(bent)
        return cls(name, title or name, {key: _figure(key, entry) for key, entry in figures.items()}, note, distortion)

    def to_toml(self) -> str:
        """The detector as the text of a file that :func:`load_detector` reads."""
        lines = [f"title = {_text(self.title)}"]
        lines += [f"note = {_text(self.note)}"] if self.note else []
        for name, figure in self.figures.items():
            kind = FIGURES[name]
            lines += ["", f"[{name}]  # {kind.meaning}{f', {kind.unit}' if kind.unit else ''}"]
            for field in fields(figure):
                kept = getattr(figure, field.name)
                if kept is not None:
                    lines.append(f"{field.name} = {_text(kept) if isinstance(kept, str) else repr(float(kept))}")
        if self.distortion is not None:
            lines += ["", "[distortion]  # coefficients of a polynomial map, halves of the larger side"]
            lines += [f"{key} = {values!r}" for key, values in _map_settings(self.distortion).items()]
        return "\n".join(lines) + "\n"


def preset_names() -> list[str]:
    """Names of the detectors that ship with the package."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.toml"))


def load_detector(name: str | PathLike[str]) -> Detector:
    """A detector by the name of a preset, or from a TOML file.

    Raises :class:`~fluorojax.io.InputError` for a file that is missing or malformed, and ``ValueError`` for a name that
    no preset has.
    """
    text = str(name)
    if not text.lower().endswith(".toml"):
        if text not in preset_names():
            raise ValueError(
                f"detector {text!r} is unknown; expected a .toml file or one of {', '.join(preset_names())}"
            )
        path = PRESET_FOLDER / f"{text}.toml"
    else:
        path = Path(name)
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(path, None, None, f"is larger than {_LARGEST_FILE} bytes; expected a detector file")
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}; expected a detector file") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(path, None, None, f"is no TOML file: {error}") from error
    figures = {key: value for key, value in document.items() if key not in ("title", "note", "distortion")}
    try:
        head = {key: document[key] for key in ("title", "note") if key in document}
        if wrong := [key for key, value in head.items() if not isinstance(value, str)]:
            raise ValueError(f"{wrong[0]} is no text")
        bent = document.get("distortion")
        return Detector.from_settings({"name": path.stem, **head, "figures": figures, "distortion": bent})
    except ValueError as error:
        raise InputError(path, None, None, str(error)) from error


def _map_settings(distortion: Distortion) -> dict[str, list[float]]:
    return {"rows": list(distortion.rows), "columns": list(distortion.columns)}


def _distortion(entry: Any) -> Distortion:
    if not isinstance(entry, Mapping) or set(entry) != {"rows", "columns"}:
        raise ValueError("distortion is no table of rows and columns; expected the coefficients of a map")
    for name in ("rows", "columns"):
        values = entry[name]
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            raise ValueError(f"{name} of distortion is no list of numbers; expected the coefficients of a map")
    return Distortion(tuple(entry["rows"]), tuple(entry["columns"]))


def _figure(name: str, entry: Any) -> Figure:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{str(name)[:40]} is no table; expected [{str(name)[:40]}] with value and source")
    known = [field.name for field in fields(Figure)]
    if unknown := [key for key in entry if key not in known]:
        raise ValueError(f"{name} has an unknown entry {unknown[0][:40]!r}; expected {', '.join(known)}")
    for key in ("value", "low", "high", "std"):
        number = entry.get(key)
        if isinstance(number, bool) or not isinstance(number, int | float | None):
            raise ValueError(f"{key} of {name} is {type(number).__name__}; expected a number")
    if entry.get("value") is None:
        raise ValueError(f"{name} has no value; expected a number")
    if not isinstance(entry.get("source", ""), str):
        raise ValueError(f"source of {name} is no text")
    numbers = {key: float(entry[key]) for key in ("value", "low", "high", "std") if entry.get(key) is not None}
    return Figure(source=entry.get("source", ""), **numbers)


def _range(kind: Kind) -> str:
    return f"at least {kind.low:g}" if kind.high == math.inf else f"{kind.low:g} to {kind.high:g}"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
