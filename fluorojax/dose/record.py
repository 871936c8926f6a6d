"""What is known about the dose of a patient: irradiation events, reported totals, their sums and their agreement."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

FLUOROSCOPY, ACQUISITION, UNKNOWN = "fluoroscopy", "acquisition", "unknown"
MODES = (FLUOROSCOPY, ACQUISITION, UNKNOWN)
"""What an event was for; acquisitions are the runs that are kept as images."""
TOLERANCE = 0.02
"""Relative difference between two totals that rounding explains."""
_ROUNDING = {"kerma_gy": 5e-5, "area_product_gycm2": 5e-3, "fluoroscopy_s": 1.0}
"""Differences that the last digits of displays explain: 0.05 mGy, 0.5 cGy·cm², whole seconds."""


@dataclass(frozen=True)
class DoseEvent:
    """One irradiation event: one press of a pedal or switch, in one plane. Values that a file lacks are None."""

    key: str
    """Irradiation Event UID; where a file has none, the UID of the file and the number of the event in it."""
    source: str
    """Name of the file it was read from."""
    mode: str = UNKNOWN
    """One of :data:`MODES`."""
    kerma_gy: float | None = None
    """Air kerma at the reference point, Gy, without backscatter."""
    area_product_gycm2: float | None = None
    """Kerma-area product, Gy·cm²."""
    entrance_gy: float | None = None
    """Entrance dose that an image states in place of the air kerma at the reference point, Gy."""
    duration_s: float | None = None
    """From the first to the last pulse, s."""
    duration_computed: bool = False
    """Whether the duration was computed, from pulses and rate or from frames and frame time."""
    plane: str = ""
    started: str = ""
    """Date and time as DICOM writes them."""
    frames: int | None = None
    tube_kv: float | None = None
    primary_deg: float | None = None
    """Positioner primary angle, degrees: 0 with the detector in front of the patient, positive towards the left."""
    secondary_deg: float | None = None
    """Positioner secondary angle, degrees, positive towards the head."""
    source_isocentre_mm: float | None = None
    source_reference_mm: float | None = None
    """Distance of the source to the point at which the air kerma is stated, mm."""
    table_mm: tuple[float, float] | None = None
    """Longitudinal and lateral position of the table, mm."""


@dataclass(frozen=True)
class Totals:
    """Sums over events, or totals that a report states. None: nothing was reported.

    A sum over events that do not all report a quantity is that of those which do; :attr:`lacking` counts the others.
    """

    kerma_gy: float | None = None
    area_product_gycm2: float | None = None
    fluoroscopy_s: float | None = None
    """Time of fluoroscopy, s, without the acquisitions."""
    acquisition_s: float | None = None
    fluoroscopy_kerma_gy: float | None = None
    acquisition_kerma_gy: float | None = None
    fluoroscopy_area_product_gycm2: float | None = None
    acquisition_area_product_gycm2: float | None = None
    lacking: dict[str, int] = field(default_factory=dict)
    """Number of events that do not report a quantity, by its name."""


UNITS = {
    "kerma_gy": ("reference air kerma", "Gy"),
    "area_product_gycm2": ("kerma-area product", "Gy·cm²"),
    "fluoroscopy_s": ("fluoroscopy time", "s"),
    "acquisition_s": ("acquisition time", "s"),
    "fluoroscopy_kerma_gy": ("reference air kerma of fluoroscopy", "Gy"),
    "acquisition_kerma_gy": ("reference air kerma of acquisitions", "Gy"),
    "fluoroscopy_area_product_gycm2": ("kerma-area product of fluoroscopy", "Gy·cm²"),
    "acquisition_area_product_gycm2": ("kerma-area product of acquisitions", "Gy·cm²"),
}
"""Plain name and unit of every field of :class:`Totals`."""


@dataclass(frozen=True)
class DoseFile:
    """One file that was read: a dose report, or an image."""

    path: str
    kind: str
    """``report`` or ``image``."""
    instance: str
    """SOP Instance UID."""
    study: str = ""
    patient: str = ""
    """Identifier of the patient; empty in anonymised files."""
    device: str = ""
    events: tuple[DoseEvent, ...] = ()
    stated: Totals | None = None
    """The totals that a report states itself, summed over its planes; None for images."""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class DoseRecord:
    """The files of one patient with every event counted once; made by ``fluorojax.dose.read_dose``."""

    files: tuple[DoseFile, ...]
    events: tuple[DoseEvent, ...]
    """Distinct events: the same event in two files counts once, and a report is preferred to an image."""
    repeated: int
    """How often an event stood in a further file."""
    remarks: tuple[str, ...] = ()

    @property
    def totals(self) -> Totals:
        """Sums over the distinct events of all files."""
        return sum_events(self.events)

    @property
    def stated(self) -> Totals | None:
        """What reports state of themselves: the largest total of a single report of each study, summed over studies.

        None without a report.
        """
        found = [largest for study in self.studies if (largest := _largest_stated(self._of_study(study))) is not None]
        return add_totals(found) if found else None

    @property
    def decisive(self) -> Totals:
        """What notices go by: in each study the sum over events, or the total of a report where that is larger."""
        counted: set[str] = set()
        found: list[Totals] = []
        for study in self.studies:
            files = self._of_study(study)
            events = [event for event in distinct_events(files)[0] if event.key not in counted]
            counted |= {event.key for event in events}
            summed, stated = sum_events(events), _largest_stated(files)
            found.append(summed if stated is None else _larger(summed, stated))
        # events that studies share have their values from all of them
        return _larger(self.totals, add_totals(found)) if found else self.totals

    def _of_study(self, study: str) -> list[DoseFile]:
        return [file for file in self.files if file.study == study]

    @property
    def studies(self) -> tuple[str, ...]:
        """Study Instance UIDs in the order of the files; files without one are one study."""
        return tuple(dict.fromkeys(file.study for file in self.files))


@dataclass(frozen=True)
class Comparison:
    """A total that a report states, beside the sum over its own events."""

    file: str
    quantity: str
    """Field of :class:`Totals`."""
    summed: float
    stated: float
    lacking: int
    """Events of the report that do not report the quantity."""
    slack: float = 0.0
    """What the sum may be off by where durations were computed from pulses: one pulse period for each event."""

    @property
    def agrees(self) -> bool:
        """Whether the difference is within 2 %, or within what the last digit of displays and the pulses explain."""
        least = _ROUNDING[_family(self.quantity)] + self.slack
        return abs(self.summed - self.stated) <= max(TOLERANCE * max(abs(self.stated), abs(self.summed)), least)

    def __str__(self) -> str:
        name, unit = UNITS[self.quantity]
        verb = "agrees with" if self.agrees else "differs from"
        text = (
            f"{name}: the sum over the events, {self.summed:.5g} {unit}, {verb} the report's total, "
            f"{self.stated:.5g} {unit}"
        )
        if not self.agrees:
            change = f" ({100 * (self.summed / self.stated - 1):+.1f} %)" if self.stated else ""
            text += change
            if self.lacking:
                text += f"; {self.lacking} events do not report it"
        return text


def compare_totals(file: DoseFile) -> list[Comparison]:
    """The totals that a report states beside the sums over its own events; empty for an image."""
    if file.stated is None:
        return []
    summed = sum_events(file.events)
    found = []
    for name in UNITS:
        own, stated = getattr(summed, name), getattr(file.stated, name)
        if own is not None and stated is not None:
            slack = _pulse_periods(file.events, MODES[name == "acquisition_s"]) if name.endswith("_s") else 0.0
            found.append(Comparison(file.path, name, own, stated, summed.lacking.get(name, 0), slack))
    return found


def _pulse_periods(events: Iterable[DoseEvent], mode: str) -> float:
    """One pulse period of every event whose duration was computed, s: machines count from first to last pulse."""
    chosen = [event for event in events if event.mode == mode and event.duration_computed]
    return math.fsum(event.duration_s / event.frames for event in chosen if event.duration_s and event.frames)


def sum_events(events: Iterable[DoseEvent]) -> Totals:
    """Totals of distinct events; a quantity that no event reports is None, and those that lack it are counted."""
    events = list(events)
    by_mode = {mode: [event for event in events if event.mode == mode] for mode in MODES}
    parts: dict[str, tuple[Sequence[DoseEvent], str]] = {
        "kerma_gy": (events, "kerma_gy"),
        "area_product_gycm2": (events, "area_product_gycm2"),
        "fluoroscopy_s": (by_mode[FLUOROSCOPY], "duration_s"),
        "acquisition_s": (by_mode[ACQUISITION], "duration_s"),
        "fluoroscopy_kerma_gy": (by_mode[FLUOROSCOPY], "kerma_gy"),
        "acquisition_kerma_gy": (by_mode[ACQUISITION], "kerma_gy"),
        "fluoroscopy_area_product_gycm2": (by_mode[FLUOROSCOPY], "area_product_gycm2"),
        "acquisition_area_product_gycm2": (by_mode[ACQUISITION], "area_product_gycm2"),
    }
    sums: dict[str, float | None] = {}
    lacking: dict[str, int] = {}
    for name, (chosen, attribute) in parts.items():
        values = [value for event in chosen if (value := getattr(event, attribute)) is not None]
        sums[name] = math.fsum(values) if values else None
        if len(values) < len(chosen):
            lacking[name] = len(chosen) - len(values)
    return Totals(**sums, lacking=lacking)


def distinct_events(files: Iterable[DoseFile]) -> tuple[tuple[DoseEvent, ...], int, list[str]]:
    """Every event once, how often one was met again, and remarks on events whose values differ between files.

    Reports come before images, whatever their order: an image does not know all of its event. Where two reports differ,
    the larger air kerma counts.
    """
    found: dict[str, DoseEvent] = {}
    repeated, remarks = 0, []
    for file in sorted(files, key=lambda file: file.kind != "report"):
        for event in file.events:
            other = found.get(event.key)
            if other is None:
                found[event.key] = event
                continue
            repeated += 1
            a, b = other.kerma_gy, event.kerma_gy
            if a is not None and b is not None and abs(a - b) > TOLERANCE * max(a, b):
                remarks.append(
                    f"{file.path}: the event {event.key} has an air kerma of {b:.4g} Gy, and {a:.4g} Gy in "
                    f"{other.source}; the larger value counts"
                )
            first = event if (b or 0.0) > (a or 0.0) else other
            second = other if first is event else event
            found[event.key] = _completed(first, second)
    return tuple(found.values()), repeated, remarks


def _completed(event: DoseEvent, other: DoseEvent) -> DoseEvent:
    """An event with what only another description of it knows."""
    empty = (None, "", UNKNOWN)
    missing = {f.name for f in fields(event) if getattr(event, f.name) in empty}
    known = {name: getattr(other, name) for name in missing if getattr(other, name) not in empty}
    if "duration_s" in known:
        known["duration_computed"] = other.duration_computed
    return replace(event, **known)


def _largest_stated(files: Iterable[DoseFile]) -> Totals | None:
    """The largest total, quantity by quantity, that a single report states of itself; None without a report."""
    stated = [file.stated for file in files if file.stated is not None]
    if not stated:
        return None
    largest: dict[str, Any] = {name: _largest(getattr(total, name) for total in stated) for name in UNITS}
    return Totals(**largest)


def _larger(first: Totals, second: Totals) -> Totals:
    """``first`` with every quantity that is larger in ``second``, or stands there only."""
    return replace(first, **{name: _largest((getattr(first, name), getattr(second, name))) for name in UNITS})


def add_totals(totals: Sequence[Totals]) -> Totals:
    """Sum of totals, quantity by quantity, over those that have it."""
    sums: dict[str, Any] = {}
    for name in UNITS:
        values = [value for total in totals if (value := getattr(total, name)) is not None]
        sums[name] = math.fsum(values) if values else None
    return Totals(**sums)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _family(name: str) -> str:
    return "kerma_gy" if "kerma" in name else "area_product_gycm2" if "area" in name else "fluoroscopy_s"
