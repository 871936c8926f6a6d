"""Stages from outside the package: what they declare is what the operator, files and scenes know."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES, Parameter, Spec, SpecRanges
from fluorojax.physics import (
    PRESETS,
    PUBLISHED_OPERATOR,
    CountStage,
    DarkRate,
    ExposureWindow,
    FluoroscopyOperator,
    RateStage,
    VeilingGlare,
    operator_from_list,
    register_stage,
    stages_as_list,
)

OFFSET = Parameter("dark_offset", "quanta", 0.0, 20.0, "dark offset")


@register_stage
class UnknownDarkOffset(CountStage):
    """A dark signal of unknown height."""

    name: ClassVar[str] = "unknown_dark_offset"
    parameters: ClassVar[tuple[Parameter, ...]] = (OFFSET,)
    scale: float = 1.0

    def __call__(self, counts, spec, acquisition):
        return counts + self.scale * jnp.asarray(spec.value(OFFSET), counts.dtype)


OPERATOR = PUBLISHED_OPERATOR.with_stage(UnknownDarkOffset())


def test_a_declared_parameter_is_known_everywhere():
    assert [p.name for p in OPERATOR.parameters] == [*SPEC_NAMES, "dark_offset"]
    scene = Scene("a", np.ones((3, 4, 4), np.float32), Acquisition(), SpecRanges.for_tier("dev"), operator=OPERATOR)
    assert scene.ranges.names == (*SPEC_NAMES, "dark_offset")
    assert scene.ranges.as_dict()["dark_offset"] == (0.0, 20.0)
    with pytest.raises(ValueError, match="spec ranges name dark_offset, which no stage"):
        Scene("a", scene.y, Acquisition(), scene.ranges)


def test_a_count_stage_acts_behind_all_others():
    x = jnp.full((3, 4, 4), 0.3)
    bright = PUBLISHED_OPERATOR(x, Spec(gain_drift=1.0), Acquisition())
    np.testing.assert_allclose(
        OPERATOR(x, Spec(gain_drift=1.0, dark_offset=7.0), Acquisition()) - bright, 7.0, rtol=1e-4
    )
    np.testing.assert_array_equal(OPERATOR(x, Spec(gain_drift=1.0), Acquisition()), bright)  # nominal


def test_the_operator_differentiates_in_a_declared_parameter():
    x = jnp.full((3, 4, 4), 0.3)
    slope = jax.grad(lambda d: OPERATOR(x, Spec(dark_offset=d), Acquisition()).sum())(2.0)
    np.testing.assert_allclose(slope, x.size, rtol=1e-6)


@pytest.mark.parametrize("operator", [OPERATOR, *PRESETS.values(), FluoroscopyOperator((ExposureWindow("cubic"),))])
def test_stages_survive_a_file(operator):
    again = operator_from_list(stages_as_list(operator))
    assert jax.tree.structure(again) == jax.tree.structure(operator)
    assert [type(stage) for stage in again.stages] == [type(stage) for stage in operator.stages]
    assert stages_as_list(again) == stages_as_list(operator)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("glare", "stages are no list of objects"),
        ([{"name": "warp_drive"}], "stage 'warp_drive' is unknown to this version; expected one of exposure_window"),
        ([{"width": 1.0}], "stage 'None' is unknown"),
        ([{"name": "scatter", "breadth": 1.0}], "stage scatter: unknown setting 'breadth'; expected width"),
        ([{"name": "scatter", "width": -1.0}], "stage scatter: width is -1.0; expected a positive share"),
        ([{"name": "veiling_glare", "share": [1]}], "stage veiling_glare: share is list; expected a finite number"),
        ([{"name": "veiling_glare", "share": float("nan")}], "share is float; expected a finite number"),
        ([{"name": "scatter"}, {"name": "scatter"}], "stage scatter stands twice"),
    ],
)
def test_malformed_stages_are_named(entries, message):
    with pytest.raises(ValueError, match=message):
        operator_from_list(entries)


def test_what_no_file_can_hold_is_refused():
    class Mapped(RateStage):
        name: ClassVar[str] = "mapped"
        gains: jax.Array

        def __call__(self, rate, spec, acquisition):
            return rate * self.gains

    with pytest.raises(ValueError, match=r"stage mapped: gains is .*, which a file cannot hold"):
        stages_as_list(PUBLISHED_OPERATOR.with_stage(Mapped(jnp.ones((2, 2)))))


def test_stages_are_replaced_and_left_out_by_name():
    cubic = PUBLISHED_OPERATOR.with_stage(ExposureWindow("cubic"))
    assert [stage.name for stage in cubic.stages] == [stage.name for stage in PUBLISHED_OPERATOR.stages]
    assert cubic.stage(ExposureWindow).interpolation == "cubic"
    assert PUBLISHED_OPERATOR.without_stage("scatter").stage(VeilingGlare) is None
    with pytest.raises(ValueError, match="no stage is named 'glare'; expected one of exposure_window"):
        PUBLISHED_OPERATOR.without_stage("glare")
    with pytest.raises(ValueError, match=r"stages\[0\] is int; expected a TemporalStage"):
        FluoroscopyOperator((3,))
    with pytest.raises(ValueError, match="parameter dark_offset stands twice"):
        OPERATOR.with_stage(type("Other", (UnknownDarkOffset,), {"name": "other"})())


def test_a_name_belongs_to_one_class():
    with pytest.raises(ValueError, match="stage name 'scatter' belongs to Scatter"):
        register_stage(type("Mine", (DarkRate,), {"name": "scatter"}))


def test_a_fixed_stage_makes_no_parameter():
    assert PUBLISHED_OPERATOR.with_stage(DarkRate(3.0)).parameters == PUBLISHED_OPERATOR.parameters
    assert eqx.tree_equal(PRESETS["published"], FluoroscopyOperator())
