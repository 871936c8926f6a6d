"""Skin dose: the formula, its interval and bound, and the notices."""

from dataclasses import replace

import pytest

from fluorojax.dose.notices import LEVELS, notices
from fluorojax.dose.record import DoseEvent, Totals
from fluorojax.dose.skin import Factor, SkinAssumptions, skin_dose

EXACT = SkinAssumptions(
    calibration=Factor(1.0, 1.0, 1.0, "given"),
    backscatter=Factor(1.4, 1.4, 1.4, "given"),
    table=Factor(0.8, 0.8, 0.8, "given"),
    tissue=Factor(1.05, 1.05, 1.05, "given"),
    skin_mm=500.0,
    skin_uncertainty_mm=0.0,
)


def shot(key, kerma=1.0, primary=0.0, **fields):
    return DoseEvent(key=key, source="", kerma_gy=kerma, primary_deg=primary, secondary_deg=0.0, **fields)


def test_the_formula_where_all_is_known():
    dose = skin_dose([shot("1", 2.0, source_isocentre_mm=750.0)], EXACT)
    assert dose is not None
    expected = 2.0 * (600 / 500) ** 2 * 1.4 * 0.8 * 1.05
    assert (dose.low, dose.value, dose.high) == tuple(pytest.approx(expected) for _ in range(3))
    assert dose.bound == pytest.approx(expected / 0.8)  # the bound does not trust the table


def test_the_interval_holds_the_value_and_the_bound_holds_all():
    events = [shot("1", 1.0, 0.0), shot("2", 0.5, 90.0), shot("3", 0.5, None)]
    dose = skin_dose(events)
    assert dose is not None
    assert 0 < dose.low < dose.value < dose.high < dose.bound
    # every combination of factors lies below the bound: closest skin, strongest backscatter, no table
    assert dose.bound == pytest.approx(2.0 * 1.35 * 1.65 * 1.07 * (600 / 380) ** 2)
    assert dose.directions == {(0, 0): 1.0, (90, 0): 0.5}


def test_beams_of_other_directions_leave_the_lower_end():
    together = skin_dose([shot("1"), shot("2")])
    apart = skin_dose([shot("1"), shot("2", primary=40.0)])
    moved = skin_dose([shot("1", table_mm=(0.0, 0.0)), shot("2", table_mm=(300.0, 0.0))])
    assert together is not None
    assert apart is not None
    assert moved is not None
    assert apart.low == pytest.approx(together.low / 2)
    assert moved.low == pytest.approx(together.low / 2)
    assert (apart.value, apart.bound) == (pytest.approx(together.value), pytest.approx(together.bound))


def test_an_entrance_dose_needs_no_distance_and_no_table():
    event = DoseEvent(key="1", source="", entrance_gy=1.0)
    dose = skin_dose([event], EXACT)
    assert dose is not None
    assert dose.value == pytest.approx(1.4 * 1.05)
    assert any("entrance dose" in sentence for sentence in dose.assumptions)


def test_nothing_stated_is_no_dose():
    assert skin_dose([DoseEvent(key="1", source="", area_product_gycm2=3.0)]) is None


def test_every_factor_stands_in_the_assumptions_with_its_source():
    dose = skin_dose([shot("1")])
    assert dose is not None
    text = "\n".join(dose.assumptions)
    for words in ("IEC 60601-2-43", "Benmakhlouf", "Jones and Pasciak", "38 cm from the source", "75 cm"):
        assert words in text


@pytest.mark.parametrize("bad", [(0.0, 1.0, 2.0), (1.0, 0.5, 2.0), (1.0, 2.0, float("inf"))])
def test_factors_are_checked(bad):
    with pytest.raises(ValueError, match="expected positive numbers in this order"):
        Factor(*bad, "given")
    with pytest.raises(ValueError, match="distance from source to skin"):
        replace(EXACT, skin_mm=5.0)


@pytest.mark.parametrize(
    ("kerma", "reached", "substantial"),
    [(2.99, None, False), (3.0, 3.0, False), (3.99, 3.0, False), (4.0, 4.0, False), (5.0, 5.0, True), (7.3, 7.0, True)],
)
def test_levels_of_the_air_kerma(kerma, reached, substantial):
    found = notices(Totals(kerma_gy=kerma))
    assert [(notice.reached, notice.substantial) for notice in found] == (
        [] if reached is None else [(reached, substantial)]
    )


def test_sums_of_decimals_reach_their_level():
    assert notices(Totals(kerma_gy=sum([0.1] * 30)))[0].reached == 3.0


def test_levels_of_the_other_quantities():
    found = notices(Totals(area_product_gycm2=420.0, fluoroscopy_s=61 * 60.0))
    assert [(n.quantity, n.reached, n.substantial) for n in found] == [
        ("area_product_gycm2", 400.0, False),
        ("fluoroscopy_s", 60.0, True),
    ]
    assert "substantial radiation dose (60 min or more)" in str(found[1])
    assert LEVELS["skin_gy"].first == 2.0


def test_the_skin_dose_is_told_apart_from_what_it_may_be():
    certain = skin_dose([shot("1", 2.0, source_isocentre_mm=750.0)], EXACT)
    (notice,) = notices(Totals(), certain)
    assert (notice.quantity, notice.reached, notice.possible) == ("skin_gy", 3.0, False)
    assert str(notice).startswith("The peak skin dose is 3.39 Gy and has reached the notice level of 3 Gy")
    uncertain = skin_dose([shot("1", 1.5)])
    assert uncertain is not None
    assert uncertain.value < 2.0 < uncertain.high
    (notice,) = notices(Totals(), uncertain)
    assert notice.possible
    assert "may have reached" in str(notice)
