"""What a benchmark covers: scenes × methods × scenarios."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from fluorojax.benchmark.contestants import CONTESTANTS, DEFAULT_METHODS, FULL_METHODS
from fluorojax.benchmark.sources import FileSource, SimulatedSource, Source
from fluorojax.data.choices import MAX_SEED
from fluorojax.data.spec import TIERS
from fluorojax.io import InputError, file_sha256, open_scenes
from fluorojax.io.json_fields import parse_json
from fluorojax.simulation.options import MIN_SIZE, MOTIONS

SCENARIOS = {
    "I": "no mismatch, nominal spec",
    "II": "mismatch, nominal spec",
    "III": "mismatch, calibrated spec",
}
TUNING_SEED = 9000
"""Seed of the scenes that the parameters of the classical methods were chosen on; refused here."""


@dataclass(frozen=True)
class Matrix:
    """A benchmark; every field is checked, a bad one raises ``ValueError`` naming it."""

    tiers: tuple[str, ...] = ("public",)
    counts: tuple[float, ...] = (3.0, 30.0)
    """Mean counts per pixel behind the patient (see :class:`~fluorojax.benchmark.sources.SimulatedSource`)."""
    motions: tuple[str, ...] = ("slow",)
    scenes: int = 2
    """Simulated scenes of each cell; of files, the first so many, 0 for all."""
    slow_scenes: int = 1
    """Scenes of each cell for methods that take minutes."""
    frames: int = 12
    size: int = 64
    methods: tuple[str, ...] = DEFAULT_METHODS
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("tiers", tuple(TIERS)),
            ("motions", MOTIONS),
            ("methods", tuple(CONTESTANTS)),
            ("scenarios", tuple(SCENARIOS)),
        ):
            _check_names(name, getattr(self, name), known)
        if not self.counts or not all(_is_number(value) and value > 0 for value in self.counts):
            raise ValueError(f"counts is {_listed(self.counts)}; expected positive numbers separated by commas")
        for name, least in (("scenes", 0), ("slow_scenes", 0), ("frames", 2), ("size", MIN_SIZE), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; expected a whole number ≥ {least}")
        if self.seed > MAX_SEED:
            raise ValueError(f"seed is {self.seed}; expected a whole number below 2^63")
        if self.seed == TUNING_SEED:
            raise ValueError(f"seed is {self.seed}, on which the classical methods were tuned; expected another one")

    @classmethod
    def full(cls) -> "Matrix":
        """All tiers, doses, motions and methods, eight scenes a cell of 16 × 128 × 128: takes hours."""
        return cls(tuple(TIERS), (3.0, 30.0, 300.0), MOTIONS, 8, 1, 16, 128, FULL_METHODS)

    def with_settings(self, settings: dict[str, Any], where: str | PathLike[str] = "") -> "Matrix":
        """With the named fields replaced; lists stand for tuples. Raises :class:`InputError` about ``where``."""
        known = [field.name for field in fields(self)]
        if unknown := sorted(set(settings) - set(known)):
            raise InputError(where, None, unknown[0], f"unknown; expected {', '.join(known)}")
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
        for field in fields(self):
            if field.name in values and isinstance(getattr(self, field.name), tuple):
                if not isinstance(values[field.name], tuple):
                    raise InputError(where, None, field.name, f"is {values[field.name]!r}; expected a list")
        try:
            return replace(self, **values)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(where, None, None, str(error)) from error

    def from_config(self, path: str | PathLike[str]) -> "Matrix":
        """With the fields that a JSON file names."""
        try:
            settings = parse_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(path, None, None, f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise InputError(path, None, None, str(error)) from error
        if not isinstance(settings, dict):
            raise InputError(path, None, None, f"is a JSON {type(settings).__name__}; expected an object")
        return self.with_settings(settings, path)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def simulated(self) -> Iterator[SimulatedSource]:
        """The simulated scenes, cell by cell, of Scenario II and III."""
        for tier in self.tiers:
            for motion in self.motions:
                for counts in self.counts:
                    for index in range(self.scenes):
                        yield SimulatedSource(
                            tier, motion, float(counts), self.frames, self.size, self.seed, index, matched=False
                        )

    def of_files(self, paths: list[Path]) -> list[FileSource]:
        """The scenes of challenge files, which must all hold the truth."""
        sources = []
        for path in paths:
            digest = file_sha256(path)
            scenes = open_scenes(path)
            for scene in scenes.only(scenes.names[: self.scenes or None]):
                name = scene.name
                for field in ("x_true", "true_spec"):
                    if getattr(scene, field) is None:
                        raise InputError(path, name, field, "missing; expected the truth, which the benchmark needs")
                if scene.y.ndim != 3:
                    raise InputError(path, name, "y", f"has shape {scene.y.shape}; expected a sequence (T, H, W)")
                sources.append(FileSource(str(Path(path).resolve()), digest, name, self.seed, matched=False))
        return sources

    def limited(self, sources: list[Source]) -> list[Source]:
        """The first ``slow_scenes`` of every cell."""
        kept, seen = [], {}
        for source in sources:
            seen[source.cell] = seen.get(source.cell, 0) + 1
            if seen[source.cell] <= self.slow_scenes:
                kept.append(source)
        return kept


def _check_names(name: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    bad = [value for value in values if value not in known]
    if bad or not values:
        raise ValueError(f"{name} is {_listed(bad or values)}; expected {', '.join(known)}")


def _listed(values: Any) -> str:
    return ", ".join(map(str, values)) or "empty"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
