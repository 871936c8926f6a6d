"""Slow lag: the traps as a matrix against the recursion of the simulator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics import PUBLISHED_OPERATOR, ChargeReleaseLag, SlowLag, extended
from fluorojax.simulation.imaging_chain import slow_tails

SIGNAL = np.random.default_rng(0).uniform(0.2, 1.0, (12, 3))


@pytest.mark.parametrize("start", ["steady", "dark"])
def test_the_matrix_is_the_recursion(start):
    matrix = SlowLag(start=start).matrix(jnp.float32(0.02), len(SIGNAL))
    expected = slow_tails(SIGNAL, from_dark=start == "dark", share=0.02)
    np.testing.assert_allclose(matrix @ SIGNAL, expected, rtol=2e-6)


def test_a_scene_at_rest_shows_nothing_from_a_steady_state():
    np.testing.assert_allclose(SlowLag().matrix(jnp.float32(0.03), 20).sum(axis=1), 1.0, rtol=1e-6)


def test_frames_before_a_part_of_a_run_have_filled_the_traps():
    rest = np.asarray(SlowLag(start="dark").matrix(jnp.float32(0.02), 30).sum(axis=1))
    part = SlowLag(start="dark").of_frames(10, 30)
    assert (part.start, part.exposed) == ("dark", 10.0)
    np.testing.assert_allclose(part.matrix(jnp.float32(0.02), 20).sum(axis=1), rest[10:], atol=3e-4)
    assert SlowLag().of_frames(10, 30) == SlowLag()
    assert ChargeReleaseLag(start="dark").of_frames(3, 9).start == "steady"
    assert ChargeReleaseLag(start="dark").of_frames(0, 9).start == "dark"


def test_the_unknown_share_takes_the_place_of_the_stated_one():
    operator = extended(PUBLISHED_OPERATOR, ["dark-start", "slow-lag"])
    names = [stage.name for stage in operator.stages]
    assert names.index("slow_lag") == names.index("charge_release_lag") + 1
    assert operator.stage(SlowLag).start == "dark"
    x = jnp.full((6, 2, 2), 0.3)
    seen = [operator(x, Spec(slow_lag_share=share), Acquisition()) for share in (0.0, 0.02)]
    assert float((seen[1] / seen[0])[0, 0, 0]) == pytest.approx(0.98, rel=1e-4)


def test_derivative_in_the_share():
    with jax.enable_x64(True):
        values, step = jnp.asarray(SIGNAL), 1e-6

        def seen(share):
            return SlowLag(start="dark").matrix(share, len(SIGNAL)) @ values

        found = jax.jacfwd(seen)(jnp.float64(0.02))
        np.testing.assert_allclose(found, (seen(0.02 + step) - seen(0.02 - step)) / (2 * step), atol=1e-8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 1.0}, "share is 1.0; expected 0 ≤ share < 1"),
        ({"frames": (9.0, -1.0)}, "frames holds values that are not positive"),
        ({"exposed": -1.0}, "exposed is -1.0; expected a number of frames"),
        ({"start": "cold"}, "start is 'cold'; expected one of steady, dark"),
        ({"unknown": "all"}, "unknown is 'all'; expected nothing or share"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SlowLag(**settings)
