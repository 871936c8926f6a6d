"""Units of dose quantities."""

import pytest

from fluorojax.dose.quantities import AREA_PRODUCT, KERMA, LENGTH, TIME, factor_of


@pytest.mark.parametrize(
    ("code", "kind", "factor"),
    [
        ("Gy", KERMA, 1.0),
        ("mGy", KERMA, 1e-3),
        ("uGy", KERMA, 1e-6),
        ("Gy.m2", AREA_PRODUCT, 1e4),
        ("Gym2", AREA_PRODUCT, 1e4),
        ("uGym2", AREA_PRODUCT, 1e-2),
        ("dGy.cm2", AREA_PRODUCT, 0.1),
        ("mGy.cm2", AREA_PRODUCT, 1e-3),
        ("min", TIME, 60.0),
        ("ms", TIME, 1e-3),
        ("cm", LENGTH, 10.0),
    ],
)
def test_units_are_converted(code, kind, factor):
    assert factor_of(code, kind) == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(
    ("code", "kind"), [("Gy", AREA_PRODUCT), ("Gy.m2", KERMA), ("mSv", KERMA), ("Gy.m", AREA_PRODUCT), ("", TIME)]
)
def test_a_unit_of_another_quantity_is_named(code, kind):
    with pytest.raises(ValueError, match=f"the unit '{code}' is no unit of {kind.name}"):
        factor_of(code, kind)
