"""An estimate of the skin dose from the air kerma at the reference point, as an interval with its assumptions.

``D = K · (d_ref/d_skin)² · B · T · f`` for each event, and the events add where their beams meet the same skin. Every
factor is a range with a source: the interval joins them, and the upper bound takes each at its largest, with all beams
on one spot.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace

from fluorojax.dose.record import DoseEvent, DoseRecord

REFERENCE_TO_ISOCENTRE_MM = 150.0
"""The reference point lies 15 cm from the isocentre towards the source (IEC 60601-2-43)."""
SOURCE_TO_ISOCENTRE_MM = 750.0
"""Assumed where no file states it; 700 to 810 mm in common systems."""
CLOSEST_SKIN_MM = 380.0
"""Least distance from source to skin of a stationary fluoroscope (21 CFR 1020.32(g))."""
TABLE_ANGLE_DEG = 45.0
"""Beams within this positioner angle of the vertical, from below, are taken to pass the table."""


@dataclass(frozen=True)
class Factor:
    """A factor of the skin dose: its range, the value in between that is taken, and where both are from."""

    low: float
    value: float
    high: float
    source: str

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.value <= self.high < math.inf):
            raise ValueError(
                f"the factor is {self.low:g} … {self.value:g} … {self.high:g}; expected positive numbers in this order"
            )


@dataclass(frozen=True)
class SkinAssumptions:
    """What the estimate assumes; replace a factor where it was measured."""

    calibration: Factor = Factor(
        0.65,
        1.0,
        1.35,
        "displayed air kerma within ±35 % (IEC 60601-2-43; 21 CFR 1020.32(k))",
    )
    backscatter: Factor = Factor(
        1.2,
        1.4,
        1.65,
        "60 to 125 kV, fields of 5 to 25 cm (Benmakhlouf et al., Phys. Med. Biol. 56:7179, 2011; ICRU Report 74, 2005)",
    )
    table: Factor = Factor(
        0.6,
        0.75,
        0.9,
        "beams through table and mattress (Jones and Pasciak, J. Appl. Clin. Med. Phys. 12(4):231, 2011)",
    )
    tissue: Factor = Factor(
        1.02,
        1.04,
        1.07,
        "ratio of mass energy-absorption coefficients of skin and air, the f-factor (Benmakhlouf et al. "
        "2011; Jones and "
        "Pasciak 2011)",
    )
    skin_mm: float | None = None
    """Distance from source to skin, mm, where it is known; None: within 10 cm of the reference point."""
    skin_uncertainty_mm: float = 100.0
    """Half width of the range of that distance, mm."""

    def __post_init__(self) -> None:
        if self.skin_mm is not None and not 100 <= self.skin_mm <= 2000:
            raise ValueError(f"the distance from source to skin is {self.skin_mm:g} mm; expected 100 to 2000 mm")
        if not 0 <= self.skin_uncertainty_mm <= 300:
            problem = (
                f"the uncertainty of the distance to the skin is {self.skin_uncertainty_mm:g} mm; expected 0 to 300 mm"
            )
            raise ValueError(problem)


@dataclass(frozen=True)
class SkinDose:
    """Peak skin dose: an estimate, its interval, an upper bound, and what they rest on; Gy."""

    low: float
    """Lower end: the factors at the low end of their joint range, and only beams of one direction and table position
    on the same skin."""
    value: float
    """All factors at their central values, all beams on one spot."""
    high: float
    """Upper end: the factors at the high end of their joint range, all beams on one spot."""
    bound: float
    """No combination of the assumed ranges exceeds it: every factor at its largest, the skin as close to the source as
    devices allow unless its distance is given, no table, all beams on one spot."""
    share_of_direction: float
    """Share of the air kerma from the direction and table position that got most."""
    directions: dict[tuple[int, int], float] = field(default_factory=dict)
    """Air kerma, Gy, by primary and secondary angle, rounded to 15 degrees; events without angles are left out."""
    assumptions: tuple[str, ...] = ()
    """One sentence each."""


def skin_dose(record: DoseRecord | Iterable[DoseEvent], assumptions: SkinAssumptions | None = None) -> SkinDose | None:
    """Estimate the peak skin dose of the events of a record; None where no event states a dose to begin with.

    An event that states an entrance dose and no air kerma at the reference point enters with that dose: it is taken as
    air kerma at the skin without backscatter. Where a record states a larger total than its events have together, the
    difference is added to value, high and bound.
    """
    assumed = SkinAssumptions() if assumptions is None else assumptions
    events = tuple(record.events if isinstance(record, DoseRecord) else record)
    known = [event for event in events if event.kerma_gy is not None or event.entrance_gy is not None]
    decisive = record.decisive.kerma_gy if isinstance(record, DoseRecord) else None
    if not known and not decisive:
        return None
    central: dict[tuple, float] = {}
    directions: dict[tuple[int, int], float] = {}
    value = bound = 0.0
    spread: list[tuple[float, float, float]] = []
    for event in known:
        kerma = event.kerma_gy if event.kerma_gy is not None else event.entrance_gy or 0.0
        down, middle, up = _joined(_factors(event, assumed))
        dose = kerma * middle
        value += dose
        spread.append((dose, down, up))
        bound += kerma * _largest(event, assumed)
        central[_spot(event)] = central.get(_spot(event), 0.0) + dose
        if event.primary_deg is not None:
            angles = (_rounded(event.primary_deg), _rounded(event.secondary_deg or 0.0))
            directions[angles] = directions.get(angles, 0.0) + kerma
    summed = math.fsum(event.kerma_gy or 0.0 for event in known)
    missing = max((decisive or 0.0) - summed, 0.0)
    if missing <= 1e-6 * summed:  # rounding of the sum
        missing = 0.0
    if missing > 0:
        nowhere = DoseEvent(key="", source="")
        down, middle, up = _joined(_factors(nowhere, assumed))
        value += missing * middle
        spread.append((missing * middle, down, up))
        bound += missing * _largest(nowhere, assumed)
    # Calibration, backscatter and position are errors that the events of a patient share: ratios average, not errors.
    weights = math.fsum(dose for dose, _, _ in spread) or 1.0
    down = math.fsum(dose * low for dose, low, _ in spread) / weights if value else 1.0
    up = math.fsum(dose * high for dose, _, high in spread) / weights if value else 1.0
    largest = max(central.values(), default=0.0)
    return SkinDose(
        low=largest * down,
        value=value,
        high=value * up,
        bound=bound,
        share_of_direction=largest / value if value else 1.0,
        directions=dict(sorted(directions.items())),
        assumptions=tuple(_sentences(known, assumed, missing)),
    )


def _factors(event: DoseEvent, assumed: SkinAssumptions) -> list[Factor]:
    return [assumed.calibration, _distance(event, assumed), assumed.backscatter, _table(event, assumed), assumed.tissue]


def _joined(factors: list[Factor]) -> tuple[float, float, float]:
    """Lower end relative to the product, the product, and its upper end relative to it: independent factors' logarithms
    add in quadrature."""
    down = math.sqrt(math.fsum(math.log(factor.value / factor.low) ** 2 for factor in factors))
    up = math.sqrt(math.fsum(math.log(factor.high / factor.value) ** 2 for factor in factors))
    return math.exp(-down), math.prod(factor.value for factor in factors), math.exp(up)


def _largest(event: DoseEvent, assumed: SkinAssumptions) -> float:
    distance = _distance(event, assumed).high
    if assumed.skin_mm is None and event.kerma_gy is not None:
        distance = max(distance, (_reference(event) / CLOSEST_SKIN_MM) ** 2)
    fixed = math.prod(factor.high for factor in (assumed.calibration, assumed.backscatter, assumed.tissue))
    return fixed * distance * max(1.0, _table(event, assumed).high)


def _reference(event: DoseEvent) -> float:
    """Distance from the source to the reference point, mm."""
    if event.source_reference_mm is not None:
        return event.source_reference_mm
    isocentre = event.source_isocentre_mm if event.source_isocentre_mm is not None else SOURCE_TO_ISOCENTRE_MM
    return max(isocentre - REFERENCE_TO_ISOCENTRE_MM, REFERENCE_TO_ISOCENTRE_MM)


def _distance(event: DoseEvent, assumed: SkinAssumptions) -> Factor:
    """The inverse-square factor from the reference point to the skin; 1 for a dose that is stated at the skin."""
    if event.kerma_gy is None and event.entrance_gy is not None:
        return Factor(1.0, 1.0, 1.0, "the dose is stated at the skin")
    reference = _reference(event)
    skin = reference if assumed.skin_mm is None else assumed.skin_mm
    near, far = max(skin - assumed.skin_uncertainty_mm, 100.0), skin + assumed.skin_uncertainty_mm
    low, value, high = ((reference / distance) ** 2 for distance in (far, skin, min(near, skin)))
    return Factor(low, value, high, "inverse square")


def _table(event: DoseEvent, assumed: SkinAssumptions) -> Factor:
    """Transmission of the table: through it from below, beside it from the side, and between the two unknown."""
    if event.kerma_gy is None and event.entrance_gy is not None:
        return Factor(1.0, 1.0, 1.0, "the dose is stated at the skin")
    if event.primary_deg is not None and abs(event.primary_deg) <= TABLE_ANGLE_DEG:
        return assumed.table
    if event.primary_deg is not None and abs(event.primary_deg) >= 2 * TABLE_ANGLE_DEG - 10:
        return Factor(1.0, 1.0, 1.0, "beside the table")
    return replace(assumed.table, value=max(assumed.table.value, 0.85), high=max(assumed.table.high, 1.0))


def _spot(event: DoseEvent) -> tuple:
    """What beams have in common that surely meet: direction, and table position to 5 cm where it is known."""
    if event.primary_deg is None:
        return (event.key,)  # of an unknown direction, nothing is sure
    table = None if event.table_mm is None else tuple(round(value / 50.0) for value in event.table_mm)
    return (_rounded(event.primary_deg), _rounded(event.secondary_deg or 0.0), table)


def _rounded(angle: float) -> int:
    return 15 * round(angle / 15.0)


def _sentences(events: list[DoseEvent], assumed: SkinAssumptions, missing: float) -> Iterable[str]:
    yield (
        "All beams are taken to meet the same skin; the lower end takes only those of one direction and table position."
    )
    if assumed.skin_mm is None:
        yield (
            f"The skin is taken to lie at the reference point, ± {assumed.skin_uncertainty_mm / 10:g} cm; "
            f"the upper bound "
            f"takes it {CLOSEST_SKIN_MM / 10:g} cm from the source, the least that is allowed (21 CFR 1020.32(g))."
        )
    else:
        yield (
            f"The skin lies {assumed.skin_mm / 10:g} ± {assumed.skin_uncertainty_mm / 10:g} cm from the "
            f"source, as given."
        )
    if any(e.kerma_gy is not None and e.source_reference_mm is None and e.source_isocentre_mm is None for e in events):
        yield (
            f"Where no file states it, the source is taken to be {SOURCE_TO_ISOCENTRE_MM / 10:g} cm from "
            f"the isocentre, "
            f"and the reference point {REFERENCE_TO_ISOCENTRE_MM / 10:g} cm before it (IEC 60601-2-43)."
        )
    if any(event.primary_deg is None for event in events):
        yield "Some events state no angles: their beams may pass the table or not."
    if any(event.kerma_gy is None for event in events):
        yield "Some events state an entrance dose in place of an air kerma; it is taken as air kerma at the skin."
    if missing > 0:
        yield f"A report's total exceeds the sum over its events by {missing:.3g} Gy, which is added without geometry."
    names = {"calibration": "calibration", "backscatter": "backscatter", "table": "table", "tissue": "tissue to air"}
    for entry in fields(assumed):
        factor = getattr(assumed, entry.name)
        if isinstance(factor, Factor):
            span = f"{factor.low:g} … {factor.high:g}"
            yield f"Factor of {names[entry.name]}: {factor.value:g} ({span}): {factor.source}."
