"""Parameters in words: the quantity of the protocol, its error, and whether the data determine it."""

import math

import pytest

from fluorojax.data.spec import PUBLISHED, Parameter
from fluorojax.data.wording import in_words, is_determined, nominal_value, with_error

READ_NOISE = Parameter("read_noise", "", 0.0, 3.0, "read noise")
PARAMETERS = {parameter.name: parameter for parameter in (*PUBLISHED, READ_NOISE)}
RANGE = (-5.0, 10.0)
PRIOR_SD = 15 / math.sqrt(12)


@pytest.mark.parametrize(
    ("name", "value", "std", "options", "text"),
    [
        ("motion_blur", 2.5, 0.4, {"nominal": 8.0}, "exposure window 10.50 ± 0.40 ms (nominal 8 ms)"),
        ("lag", 2.1, 1.2, {"nominal": 10.0}, "lag time constant 12.1 ± 1.2 ms (nominal 10 ms)"),
        ("motion_blur", -2.5, 0.4, {}, "exposure window: offset −2.50 ± 0.40 ms"),
        ("gain_drift", 0.923, 0.061, {}, "gain drift +0.923 ± 0.061 %/frame"),
        ("motion_blur", 0.0, 0.0, {"nominal": 8.0}, "exposure window 8 ms, taken as known (nominal 8 ms)"),
        (
            "motion_blur",
            2.5,
            PRIOR_SD,
            {"prior": RANGE},
            "exposure window not determined by these data (prior −5 … 10 ms)",
        ),
        (
            "motion_blur",
            2.5,
            PRIOR_SD,
            {"prior": RANGE, "nominal": 8.0},
            "exposure window not determined by these data (prior −5 … 10 ms around the nominal 8 ms)",
        ),
        ("motion_blur", math.nan, math.nan, {}, "exposure window: offset not known"),
        ("read_noise", 1.0, 0.1, {}, "read noise +1.00 ± 0.10 "),
    ],
)
def test_a_parameter_in_words(name, value, std, options, text):
    assert in_words(PARAMETERS[name], value, std, **options) == text.strip()


@pytest.mark.parametrize(("share", "determined"), [(1.0, False), (0.96, False), (0.94, True), (0.0, True)])
def test_the_data_determine_what_loses_a_tenth_of_its_variance(share, determined):
    assert is_determined(share * PRIOR_SD, RANGE) is determined
    assert is_determined(share * PRIOR_SD, None)


def test_large_errors_show_no_decimals_that_mean_nothing():
    assert with_error(1234.567, 45.6, "ms") == "1235 ± 46 ms"


def test_only_window_and_lag_have_a_nominal_value():
    nominal = {"pulse_width_ms": 8.0, "lag_ms": 10.0}
    found = {name: nominal_value(parameter, nominal) for name, parameter in PARAMETERS.items()}
    assert found == {"motion_blur": 8, "lag": 10, "gain_drift": None, "read_noise": None}
    assert nominal_value(PARAMETERS["lag"], {}) is None
