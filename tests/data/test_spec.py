"""The three parameters and their ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.spec import SPEC_NAMES, SPEC_UNITS, TIERS, Spec, SpecRanges


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


def test_missing_ranges_are_named():
    with pytest.raises(ValueError, match=r"lack lag, gain_drift"):
        SpecRanges.from_dict({"motion_blur": (0.0, 1.0)})
