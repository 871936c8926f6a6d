"""The distortion of an image intensifier as a stage."""

import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics import PUBLISHED_OPERATOR, Distortion, operator_from_list, stages_as_list

BENT = Distortion.of_intensifier(0.06, 0.05)


def seen(stage, frame):
    return np.asarray(stage(jnp.asarray(frame, jnp.float32)[None], Spec(), Acquisition()))[0]


def test_no_coefficients_leave_the_image_and_an_open_beam_stays_uniform():
    frame = np.random.default_rng(0).uniform(size=(20, 24))
    np.testing.assert_allclose(seen(Distortion((0.0,), (0.0,)), frame), frame, rtol=1e-5)
    np.testing.assert_allclose(seen(BENT, np.ones((20, 24))), 1.0, rtol=1e-6)


def test_pincushion_and_swirl_are_the_stated_map():
    down, across = BENT.places((65, 65))
    v, u = 24 / 32.5, -10 / 32.5
    square = v * v + u * u
    expected = np.array([v, u]) * (1 - 0.06 * square) + 0.05 * square * np.array([u, -v])
    np.testing.assert_allclose([down[56, 22], across[56, 22]], 32 + 32.5 * expected, rtol=1e-9)
    assert BENT.largest_shift((65, 65)) > 3


def test_a_linear_ramp_shows_the_map():
    down, across = BENT.places((40, 48))
    rows, columns = np.indices((40, 48))
    inside = (down > 0) & (down < 39) & (across > 0) & (across < 47)
    np.testing.assert_allclose(seen(BENT, rows)[inside], down[inside], atol=1e-3)
    np.testing.assert_allclose(seen(BENT, columns)[inside], across[inside], atol=1e-3)


def test_the_stage_survives_a_file_and_refuses_half_a_polynomial():
    operator = PUBLISHED_OPERATOR.with_stage(BENT)
    assert operator_from_list(stages_as_list(operator)) == operator
    with pytest.raises(ValueError, match="rows holds 2 values; expected finite coefficients of a whole polynomial"):
        Distortion((0.0, 0.0), (0.0,))
