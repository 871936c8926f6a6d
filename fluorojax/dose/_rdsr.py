"""X-ray radiation dose reports: DICOM structured reports after template 10001, Projection X-Ray Radiation Dose.

The tree of a report is read by the codes of PS3.16 (TID 10001 to 10007); private codes are passed over. Every number
needs its unit, and is converted.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluorojax.dose.quantities import ANGLE, AREA_PRODUCT, KERMA, LENGTH, NUMBER, RATE, TIME, Kind, factor_of
from fluorojax.dose.record import ACQUISITION, FLUOROSCOPY, UNITS, UNKNOWN, DoseEvent, DoseFile, Totals, add_totals
from fluorojax.io.dicom.files import brief, damage, items_of
from fluorojax.io.errors import InputError

if TYPE_CHECKING:
    from pydicom import Dataset

TEMPLATE = "10001"
_OTHER_TEMPLATES = {
    "10011": "CT Radiation Dose",
    "10021": "Radiopharmaceutical Radiation Dose",
    "10030": "Patient Radiation Dose",
    "10040": "Enhanced X-Ray Radiation Dose",
}
_REPORT, _PROCEDURE, _PROJECTION = "113701", "121058", "113704"
_ACCUMULATED, _EVENT = "113702", "113706"
_TOTALS = {
    "113725": ("kerma_gy", KERMA),
    "113722": ("area_product_gycm2", AREA_PRODUCT),
    "113730": ("fluoroscopy_s", TIME),
    "113855": ("acquisition_s", TIME),
    "113728": ("fluoroscopy_kerma_gy", KERMA),
    "113729": ("acquisition_kerma_gy", KERMA),
    "113726": ("fluoroscopy_area_product_gycm2", AREA_PRODUCT),
    "113727": ("acquisition_area_product_gycm2", AREA_PRODUCT),
}
_VALUES = {
    "113738": ("kerma", KERMA),
    "122130": ("area_product", AREA_PRODUCT),
    "113742": ("duration", TIME),
    "113768": ("pulses", NUMBER),
    "113791": ("rate", RATE),
    "113793": ("width", TIME),
    "113733": ("kv", Kind("tube voltage", "kV", {"V": 1e-3, "kV": 1.0})),
    "112011": ("primary", ANGLE),
    "112012": ("secondary", ANGLE),
    "113748": ("source_isocentre", LENGTH),
    "113737": ("source_reference", LENGTH),
    "113751": ("table_longitudinal", LENGTH),
    "113752": ("table_lateral", LENGTH),
}
_SIGNED = ("primary", "secondary", "table_longitudinal", "table_lateral")
_CALIBRATION, _CALIBRATION_FACTOR = "122505", "122322"
# Fluoroscopy as SNOMED RT and SNOMED CT write it; the acquisitions have codes of DICOM.
_MODES = {
    "P5-06000": FLUOROSCOPY,
    "44491008": FLUOROSCOPY,
    "113611": ACQUISITION,
    "113612": ACQUISITION,
    "113613": ACQUISITION,
}


def is_report(header: "Dataset") -> bool:
    """Whether a dataset is a structured report of any kind."""
    return str(header.get("Modality", "")).strip().upper() == "SR" or "ContentSequence" in header


def read_report(path: Path, header: "Dataset") -> DoseFile:
    """Events and totals of a dose report.

    **Raises** :class:`~fluorojax.io.InputError` for a report after another template, a number without a unit or in a
    unit of another quantity, and one that is negative or not finite.
    """
    with damage(path):
        return _Reader(path).read(header)


@dataclass
class _Reader:
    path: Path
    remarks: list[str] = field(default_factory=list)

    def read(self, header: "Dataset") -> DoseFile:
        self._check_template(header)
        instance = str(header.get("SOPInstanceUID", "")) or str(self.path)
        events: list[DoseEvent] = []
        totals: list[Totals] = []
        for item in items_of(header, "ContentSequence"):
            code = concept(item)
            if code == _EVENT:
                events.append(self._event(item, len(events), instance))
            elif code == _ACCUMULATED:
                totals.append(self._totals(item, len(totals)))
        if not events and not totals:
            raise InputError(
                self.path, None, "ContentSequence", "has neither irradiation events nor accumulated dose; expected both"
            )
        if not events:
            self.remarks.append("the report holds no irradiation events: its totals cannot be compared with their sum")
        if not totals:
            self.remarks.append("the report states no totals: the sum over its events cannot be compared with them")
        return DoseFile(
            path=str(self.path),
            kind="report",
            instance=instance,
            study=str(header.get("StudyInstanceUID", "")),
            patient=str(header.get("PatientID", "") or "").strip(),
            device=device_of(header),
            events=tuple(events),
            stated=add_totals(totals) if totals else None,  # one container for each plane
            remarks=tuple(self.remarks),
        )

    def _check_template(self, header: "Dataset") -> None:
        templates = [str(item.get("TemplateIdentifier", "")) for item in items_of(header, "ContentTemplateSequence")]
        root = concept(header)
        named = f"template {templates[0]}" if templates else "no template"
        if templates and templates[0] in _OTHER_TEMPLATES:
            named += f" ({_OTHER_TEMPLATES[templates[0]]})"
        if (templates and templates[0] != TEMPLATE) or root != _REPORT:
            title = meaning(header) or "without a title"
            raise InputError(
                self.path,
                None,
                "ContentTemplateSequence",
                f"is a structured report of another kind ({brief(title)}, {named}); expected a projection X-ray "
                f"radiation dose report (template {TEMPLATE})",
            )
        for item in items_of(header, "ContentSequence"):
            codes = items_of(item, "ConceptCodeSequence")
            if concept(item) == _PROCEDURE and codes and str(codes[0].get("CodeValue", "")) != _PROJECTION:
                what = brief(codes[0].get("CodeMeaning", "") or codes[0].get("CodeValue", ""))
                problem = f"is {what}; expected Projection X-Ray"
                raise InputError(self.path, None, "procedure reported", problem)

    def _totals(self, item: "Dataset", index: int) -> Totals:
        where = f"accumulated dose {index + 1}"
        values: dict[str, Any] = {}
        for child in items_of(item, "ContentSequence"):
            code = concept(child)
            if code in _TOTALS:
                name, kind = _TOTALS[code]
                value = self._number(child, kind, f"{where}, {UNITS[name][0]}", signed=False)
                if value is not None:
                    values[name] = value
            elif code == _CALIBRATION:
                self._calibration(child, where)
        return Totals(**values)

    def _calibration(self, item: "Dataset", where: str) -> None:
        for child in items_of(item, "ContentSequence"):
            if concept(child) != _CALIBRATION_FACTOR:
                continue
            value = self._number(child, NUMBER, f"{where}, calibration factor", signed=False, needs_unit=False)
            if value is not None and value != 1.0:
                self.remarks.append(
                    f"the report states a calibration factor of {value:g} ({where}); the values are shown as reported, "
                    "without it"
                )

    def _event(self, item: "Dataset", index: int, instance: str) -> DoseEvent:
        where = f"irradiation event {index + 1}"
        values: dict[str, float] = {}
        event = DoseEvent(key=f"{instance}#{index + 1}", source=str(self.path))
        for child in items_of(item, "ContentSequence"):
            code = concept(child)
            if code in _VALUES:
                name, kind = _VALUES[code]
                what = f"{where}, {meaning(child) or kind.name}"
                value = self._number(child, kind, what, signed=name in _SIGNED, needs_unit=kind is not NUMBER)
                # A report lists tube voltages pulse by pulse where they change; the first one stands for the event.
                if value is not None:
                    values.setdefault(name, value)
            elif code == "113769":
                event = replace(event, key=str(child.get("UID", "")).strip() or event.key)
            elif code == "113721":
                event = replace(event, mode=self._mode(child, where))
            elif code == "113764":
                event = replace(event, plane=_coded_meaning(child))
            elif code == "111526":
                event = replace(event, started=str(child.get("DateTime", "")))
        duration, computed = values.get("duration"), False
        pulses, rate = values.get("pulses"), values.get("rate")
        if duration is None and pulses is not None:
            if pulses > 1 and rate:
                duration, computed = pulses / rate, True
            elif "width" in values:  # a single shot has no rate, whatever the report states
                duration, computed = pulses * values["width"], True
        longitudinal, lateral = values.get("table_longitudinal"), values.get("table_lateral")
        return replace(
            event,
            kerma_gy=values.get("kerma"),
            area_product_gycm2=values.get("area_product"),
            duration_s=duration,
            duration_computed=computed,
            frames=None if pulses is None else round(pulses),
            tube_kv=values.get("kv"),
            primary_deg=values.get("primary"),
            secondary_deg=values.get("secondary"),
            source_isocentre_mm=values.get("source_isocentre") or None,
            source_reference_mm=values.get("source_reference") or None,
            table_mm=None if longitudinal is None or lateral is None else (longitudinal, lateral),
        )

    def _mode(self, item: "Dataset", where: str) -> str:
        codes = items_of(item, "ConceptCodeSequence")
        code = str(codes[0].get("CodeValue", "")) if codes else ""
        if code not in _MODES:
            self.remarks.append(
                f"{where} is of the type {brief(_coded_meaning(item) or code)}, neither fluoroscopy nor an "
                f"acquisition: "
                "it counts in the sums over all events only"
            )
        return _MODES.get(code, UNKNOWN)

    def _number(self, item: "Dataset", kind: Kind, what: str, *, signed: bool, needs_unit: bool = True) -> float | None:
        """The number of a content item in the unit of its kind; None where the report says that it is not known."""
        measured = items_of(item, "MeasuredValueSequence")
        if not measured:
            return None
        raw = measured[0].get("NumericValue")
        if raw is None or raw == "":
            raw = measured[0].get("FloatingPointValue")
        if raw is None or raw == "":
            return None
        try:
            value = float(raw)
        except (TypeError, ValueError) as error:
            raise InputError(self.path, None, what, f"is {brief(raw)}; expected a number") from error
        if not math.isfinite(value):
            raise InputError(self.path, None, what, f"is {value}; expected a finite number")
        if value < 0 and not signed:
            raise InputError(self.path, None, what, f"is {value:g}; expected a number that is not negative")
        units = items_of(measured[0], "MeasurementUnitsCodeSequence")
        code = str(units[0].get("CodeValue", "")).strip() if units else ""
        if not code:
            if not needs_unit:
                return value
            raise InputError(self.path, None, what, f"is {value:g} without a unit; expected one, such as {kind.unit}")
        try:
            return value * factor_of(code, kind)
        except ValueError as error:
            raise InputError(self.path, None, what, str(error)) from error


def concept(item: "Dataset") -> str:
    """Code value of the name of a content item; empty where it has none."""
    return next(_texts(item, "ConceptNameCodeSequence", "CodeValue"), "")


def meaning(item: "Dataset") -> str:
    """Name of a content item in words; empty where it has none."""
    return next(_texts(item, "ConceptNameCodeSequence", "CodeMeaning"), "")


def _coded_meaning(item: "Dataset") -> str:
    return next(_texts(item, "ConceptCodeSequence", "CodeMeaning"), "")


def _texts(item: "Dataset", sequence: str, keyword: str) -> Iterator[str]:
    for code in items_of(item, sequence):
        yield str(code.get(keyword, "")).strip()


def device_of(header: "Dataset") -> str:
    """Manufacturer and model as the file names them, for messages; empty where it does not."""
    words = [str(header.get(keyword, "") or "").strip() for keyword in ("Manufacturer", "ManufacturerModelName")]
    return " ".join(word for word in words if word)
