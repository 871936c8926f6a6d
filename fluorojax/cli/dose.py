"""``fluorojax dose``: the dose of a patient from dose reports and image headers."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.printing import print_json, say

if TYPE_CHECKING:
    from fluorojax.dose.record import DoseRecord, Totals
    from fluorojax.dose.skin import SkinAssumptions, SkinDose


def dose(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…",
            help="Dose reports (DICOM X-Ray Radiation Dose SR) and X-ray images of one patient, or folders of them.",
            show_default=False,
        ),
    ],
    events: Annotated[bool, typer.Option("--events", help="Print every irradiation event as well.")] = False,
    skin_distance: Annotated[
        float | None,
        typer.Option(
            "--skin-distance",
            metavar="CM",
            help="Distance from source to skin; by default within 10 cm of the reference point.",
            show_default=False,
        ),
    ] = None,
    skin_uncertainty: Annotated[
        float | None,
        typer.Option(
            metavar="CM", help="Half width of the range of that distance; 2 where it is given.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> int:
    """Sum the air kerma, the kerma-area product and the fluoroscopy time of a patient, and estimate the skin dose.

    Every irradiation event counts once, however many files tell of it, and the sums are compared with the totals that
    the reports state. Notices follow the levels of SIR and NCRP Report 168. The skin dose is an estimate with its
    interval and its assumptions; it is no measurement. Needs the extra `dicom`.
    """
    from dataclasses import asdict

    from fluorojax.dose.notices import SOURCE, notices
    from fluorojax.dose.reading import read_dose
    from fluorojax.dose.record import compare_totals
    from fluorojax.dose.skin import skin_dose

    assumptions = _assumptions(skin_distance, skin_uncertainty)
    record = read_dose(files)
    skin = skin_dose(record, assumptions)
    found = notices(record.decisive, skin)
    if as_json:
        document = {
            "files": [asdict(file) for file in record.files],
            "events": [asdict(event) for event in record.events],
            "repeated_events": record.repeated,
            "totals": asdict(record.totals),
            "stated_totals": None if record.stated is None else asdict(record.stated),
            "comparisons": [
                asdict(comparison) | {"agrees": comparison.agrees}
                for file in record.files
                for comparison in compare_totals(file)
            ],
            "skin_dose": None
            if skin is None
            else asdict(skin) | {"directions": [[*angles, kerma] for angles, kerma in skin.directions.items()]},
            "notices": [asdict(notice) | {"text": str(notice)} for notice in found],
            "source_of_levels": SOURCE,
            "remarks": [*record.remarks, *(f"{file.path}: {text}" for file in record.files for text in file.remarks)],
        }
        print_json(document)
        return 0
    _print_sums(record)
    if events:
        _print_events(record)
    for line in [*_agreement(record), *_remarks(record), *_skin_lines(skin)]:
        say(line)
    print()
    if found:
        print(f"Notices, after {SOURCE}:")
        for notice in found:
            say(f"  {notice}")
    else:
        print(f"No notice level is reached ({SOURCE}).")
    return 0


def _assumptions(distance: float | None, uncertainty: float | None) -> "SkinAssumptions":
    from fluorojax.dose.skin import SkinAssumptions

    if distance is not None and not 10 <= distance <= 200:
        raise ValueError(f"--skin-distance is {distance:g}; expected 10 to 200 cm from source to skin")
    if uncertainty is not None and not 0 <= uncertainty <= 30:
        raise ValueError(f"--skin-uncertainty is {uncertainty:g}; expected 0 to 30 cm")
    if uncertainty is None:
        uncertainty = 10.0 if distance is None else 2.0
    return SkinAssumptions(skin_mm=None if distance is None else 10 * distance, skin_uncertainty_mm=10 * uncertainty)


def _print_sums(record: "DoseRecord") -> None:
    from fluorojax.cli.tables import print_table
    from fluorojax.dose.record import MODES, UNITS, sum_events

    rows, several = [], len(record.files)
    if several > 1:
        for file in record.files:
            rows.append(_row(f"{file.path} ({file.kind})", sum_events(file.events), len(file.events)))
    for mode in MODES:
        chosen = [event for event in record.events if event.mode == mode]
        if chosen:
            name = f"all, {mode}" if mode != "unknown" else "all, of unknown type"
            rows.append(_row(name, sum_events(chosen), len(chosen)))
    rows.append(_row("all", record.totals, len(record.events)))
    title = record.files[0].path if several == 1 else f"{several} files"
    device = ", ".join(dict.fromkeys(file.device for file in record.files if file.device))
    notes = []
    if record.repeated:
        notes.append(f"{record.repeated} events stand in more than one file; each counts once in the rows 'all'.")
    for name, count in record.totals.lacking.items():
        if name in ("kerma_gy", "area_product_gycm2", "fluoroscopy_s"):
            notes.append(f"{count} events do not state the {UNITS[name][0]}; the sum is that of the others.")
    if len(record.studies) > 1:
        notes.append(
            f"The files are of {len(record.studies)} studies. The notice levels are for one procedure; the "
            f"sums are over "
            "all of them."
        )
    columns = ["dose", "reference air kerma / Gy", "kerma-area product / Gy·cm²", "fluoroscopy / s", "acquisition / s"]
    print_table(f"{title}{f': {device}' if device else ''}", [*columns, "events"], rows, notes=notes)


def _row(name: str, totals: "Totals", count: int) -> list[str]:
    values = (totals.kerma_gy, totals.area_product_gycm2, totals.fluoroscopy_s, totals.acquisition_s)
    return [name, *(_cell(value) for value in values), str(count)]


def _cell(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _print_events(record: "DoseRecord") -> None:
    from fluorojax.cli.tables import print_table

    rows = []
    for number, event in enumerate(record.events, 1):
        angles = "–" if event.primary_deg is None else f"{event.primary_deg:.0f} / {_cell(event.secondary_deg, 3)}"
        doses = (event.kerma_gy, event.area_product_gycm2, event.entrance_gy, event.duration_s)
        row = [str(number), event.started, event.mode, event.plane, *(_cell(value) for value in doses)]
        rows.append([*row, _cell(event.tube_kv, 3), angles])
    columns = ["event", "started", "type", "plane", "air kerma / Gy", "area product / Gy·cm²", "entrance dose / Gy"]
    print_table("Irradiation events", [*columns, "time / s", "kV", "angles / deg"], rows)


def _agreement(record: "DoseRecord") -> Iterator[str]:
    from fluorojax.dose.record import compare_totals

    for file in record.files:
        comparisons = compare_totals(file)
        different = [comparison for comparison in comparisons if not comparison.agrees]
        if comparisons and not different:
            yield (
                f"{file.path}: the sums over the events agree with all {len(comparisons)} totals that the "
                f"report states."
            )
        for comparison in different:
            yield f"{file.path}: {comparison}"


def _remarks(record: "DoseRecord") -> Iterator[str]:
    yield from record.remarks
    for file in record.files:
        yield from (f"{file.path}: {remark}" for remark in file.remarks)


def _skin_lines(skin: "SkinDose | None") -> Iterator[str]:
    yield ""
    if skin is None:
        yield (
            "The skin dose cannot be estimated: no file states an air kerma or an entrance dose. A dose "
            "report of the study "
            "has it."
        )
        return
    yield (
        f"Peak skin dose, estimated: {skin.value:.3g} Gy if all beams met the same skin, {skin.low:.3g} … "
        f"{skin.high:.3g} "
        f"Gy with the uncertainty of the assumptions; no more than {skin.bound:.3g} Gy."
    )
    if skin.directions:
        (primary, secondary), kerma = max(skin.directions.items(), key=lambda item: item[1])
        yield (
            f"The direction with most air kerma is {primary}° / {secondary}° (primary / secondary, within 7.5°): "
            f"{kerma:.3g} Gy, of {len(skin.directions)} directions."
        )
    yield from (f"  {sentence}" for sentence in skin.assumptions)
