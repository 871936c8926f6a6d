"""Notices at the dose levels of SIR and NCRP: when a team is told, and when a dose is substantial.

Stecker et al., Guidelines for Patient Radiation Dose Management, J. Vasc. Interv. Radiol. 20:S263 (2009); NCRP Report
No. 168 (2010). The levels are for one procedure. Those of the air kerma, and the substantial level of the skin dose,
agree with AAPM Medical Physics Practice Guideline 12.a (2022) as quoted publicly; the others were not compared with a
source.
"""

from dataclasses import dataclass

from fluorojax.dose.record import Totals
from fluorojax.dose.skin import SkinDose

SOURCE = "Stecker et al., J. Vasc. Interv. Radiol. 20:S263 (2009); NCRP Report No. 168 (2010)"


@dataclass(frozen=True)
class Level:
    """First notice, step of further ones, and the substantial radiation dose level of a quantity."""

    quantity: str
    unit: str
    first: float
    step: float
    substantial: float


LEVELS = {
    "kerma_gy": Level("reference air kerma", "Gy", 3.0, 1.0, 5.0),
    "area_product_gycm2": Level("kerma-area product", "Gy·cm²", 300.0, 100.0, 500.0),
    "fluoroscopy_s": Level("fluoroscopy time", "min", 30.0, 15.0, 60.0),
    "skin_gy": Level("peak skin dose", "Gy", 2.0, 0.5, 3.0),
}
"""Levels by quantity; those of the kerma-area product hold for a field of 100 cm² at the skin."""


@dataclass(frozen=True)
class Notice:
    """A level that was reached."""

    quantity: str
    """A key of :data:`LEVELS`."""
    value: float
    """In the unit of the level."""
    reached: float
    """The highest notice level at or below the value."""
    substantial: bool
    possible: bool = False
    """Whether only the upper end of an estimate reaches it."""

    def __str__(self) -> str:
        level = LEVELS[self.quantity]
        unit = level.unit
        if self.possible:
            text = (
                f"The {level.quantity} may have reached {self.reached:g} {unit}: its upper end is "
                f"{self.value:.3g} {unit}"
            )
        else:
            text = (
                f"The {level.quantity} is {self.value:.3g} {unit} and has reached the notice level of "
                f"{self.reached:g} {unit}"
            )
        text += f" (first notice at {level.first:g} {unit}, then every {level.step:g} {unit})."
        if self.substantial:
            verb = "may be" if self.possible else "is"
            text += (
                f" This {verb} a substantial radiation dose ({level.substantial:g} {unit} or more): the skin may be "
                "injured, and the patient is to be told and followed up."
            )
        return text


def notices(totals: Totals, skin: SkinDose | None = None) -> list[Notice]:
    """The levels that totals and a skin dose have reached, at most one notice for each quantity.

    **Arguments:** totals of one procedure, by preference :attr:`DoseRecord.decisive
    <fluorojax.dose.record.DoseRecord.decisive>`; the skin dose where it was estimated. Where only the upper end of its
    interval reaches a level, the notice says that it may have been reached.
    """
    fluoroscopy = None if totals.fluoroscopy_s is None else totals.fluoroscopy_s / 60.0
    values = {
        "kerma_gy": totals.kerma_gy,
        "area_product_gycm2": totals.area_product_gycm2,
        "fluoroscopy_s": fluoroscopy,
        "skin_gy": None if skin is None else skin.value,
    }
    found = [notice for name, value in values.items() if (notice := _notice(name, value, possible=False)) is not None]
    if skin is not None and not any(notice.quantity == "skin_gy" for notice in found):
        possible = _notice("skin_gy", skin.high, possible=True)
        found += [] if possible is None else [possible]
    return found


def _notice(name: str, value: float | None, *, possible: bool) -> Notice | None:
    level = LEVELS[name]
    # Sums of decimal fractions end just below the level that they reach.
    if value is None or value < level.first * (1 - 1e-9):
        return None
    steps = int((value * (1 + 1e-9) - level.first) / level.step)
    substantial = value >= level.substantial * (1 - 1e-9)
    return Notice(name, value, level.first + level.step * steps, substantial, possible)
