"""The three parameters and their ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.spec import PUBLISHED, SPEC_NAMES, SPEC_UNITS, TIERS, Parameter, Spec, SpecRanges


def test_names_units_and_tiers_agree():
    assert set(SPEC_UNITS) == set(SPEC_NAMES)
    assert all(set(ranges) == set(SPEC_NAMES) for ranges in TIERS.values())


def test_arrays_and_dictionaries_keep_the_order():
    spec = Spec(1.0, -2.0, 0.25)
    assert spec.as_dict() == {"motion_blur": 1.0, "lag": -2.0, "gain_drift": 0.25}
    np.testing.assert_array_equal(spec.as_array(), [1.0, -2.0, 0.25])
    assert Spec.from_array(spec.as_array()).as_dict() == spec.as_dict()


def test_specs_batch_along_the_leading_axes():
    values = jnp.arange(12.0).reshape(2, 2, 3)
    spec = Spec.from_array(values)
    assert spec.lag.shape == (2, 2)
    np.testing.assert_array_equal(spec.as_array(), values)
    np.testing.assert_array_equal(jax.vmap(lambda s: s.as_array())(Spec.from_array(values[0])), values[0])


@pytest.mark.parametrize("tier", TIERS)
def test_the_ranges_of_a_tier(tier):
    ranges = SpecRanges.for_tier(tier)
    for name, (low, high) in TIERS[tier].items():
        assert ranges.as_dict()[name] == pytest.approx((low, high))
    draws = np.random.default_rng(0).uniform(ranges.low, ranges.high, (20000, 3))
    np.testing.assert_allclose(ranges.mean(), draws.mean(axis=0), atol=0.15)
    np.testing.assert_allclose(ranges.std(), draws.std(axis=0), rtol=0.02)


def test_an_unknown_tier_names_the_known_ones():
    with pytest.raises(ValueError, match=r"tier is 'secret'; expected one of public, dev, hidden"):
        SpecRanges.for_tier("secret")


SHARE = Parameter("scatter_share", "", 0.0, 0.5, "scatter fraction", nominal=0.2)


def test_ranges_are_completed_in_the_order_of_the_imaging_chain():
    given = SpecRanges.from_dict({"lag": (0.0, 1.0), "scatter_share": (0.1, 0.3)})
    full = given.completed((*PUBLISHED, SHARE))
    assert full.names == (*SPEC_NAMES, "scatter_share")
    assert full.as_dict()["lag"] == pytest.approx((0.0, 1.0))
    assert full.as_dict()["scatter_share"] == pytest.approx((0.1, 0.3))
    assert full.as_dict()["gain_drift"] == pytest.approx((-0.5, 1.0))  # as declared


def test_a_range_that_no_stage_declares_is_refused():
    with pytest.raises(ValueError, match="spec ranges name scatter_share, which no stage of the"):
        SpecRanges.from_dict({"scatter_share": (0.0, 1.0)}).completed(PUBLISHED)
    with pytest.raises(ValueError, match="spec ranges name no parameter"):
        SpecRanges.from_dict({})


def test_a_spec_holds_any_parameters_and_knows_the_nominal_value_of_the_others():
    spec = Spec(1.0, scatter_share=0.3)
    assert spec.as_dict() == {"motion_blur": 1.0, "lag": 0.0, "gain_drift": 0.0, "scatter_share": 0.3}
    assert spec.scatter_share == spec.value(SHARE) == 0.3
    assert Spec().value(SHARE) == 0.2
    assert Spec.nominal([SHARE]).as_dict() == {"scatter_share": 0.2}
    with pytest.raises(AttributeError, match="no parameter 'glare'"):
        _ = spec.glare
    with pytest.raises(ValueError, match="got motion_blur by position and by name"):
        Spec(1.0, motion_blur=2.0)
    with pytest.raises(ValueError, match=r"shape \(2,\); expected a last axis of 3 parameters"):
        Spec.from_array(np.zeros(2))


def test_a_parameter_is_checked_where_it_is_declared():
    with pytest.raises(ValueError, match="expected an identifier"):
        Parameter("dark offset", "", 0.0, 1.0, "dark offset")
    with pytest.raises(ValueError, match="expected low < high"):
        Parameter("dark", "", 1.0, 1.0, "dark offset")
