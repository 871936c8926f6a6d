"""Bad settings are refused with the argument, the value and what was expected."""

import pytest

from fluorojax.data.spec import Spec
from fluorojax.simulation import SimulationOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tier", "secret"),
        ("motion", "still"),
        ("frames", 0),
        ("size", 8),
        ("size", (64, 4)),
        ("fps", 0.0),
        ("photons", float("nan")),
        ("photons", -3.0),
        ("step_ms", 0.0),
        ("scatter_fraction", 1.0),
        ("read_noise", -0.1),
        ("spec", Spec(-8.0, 0.0, 0.0)),
        ("spec", Spec(0.0, -10.0, 0.0)),
        ("spec", Spec(0.0, 0.0, -100.0)),
    ],
)
def test_bad_value(name, value):
    with pytest.raises(ValueError, match=rf"{name}.* is .*expected"):
        SimulationOptions(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("frames", 2.5), ("size", (64, 64, 3)), ("fps", "30"), ("frames", True)])
def test_bad_type(name, value):
    # A run-time type checker, where one is installed, speaks first.
    with pytest.raises((ValueError, TypeError), match=name):
        SimulationOptions(**{name: value})


def test_fixed_spec_contradicts_no_mismatch():
    with pytest.raises(ValueError, match="mismatch is False"):
        SimulationOptions(spec=Spec(1.0, 0.0, 0.0), mismatch=False)


def test_shape_and_protocol():
    options = SimulationOptions(size=(32, 48), fps=15.0, photons=250.0, scatter_fraction=0.2)
    assert options.shape == (32, 48)
    protocol = options.acquisition(7.0).as_dict()
    assert protocol["frame_time_ms"] == pytest.approx(1000 / 15)
    assert protocol["readout_delay_ms"] == pytest.approx(1000 / 30)
    assert protocol["photons_per_pixel"] == 250.0
    assert protocol["scatter_fraction"] == 0.2
