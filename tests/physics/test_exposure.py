"""Laws of the exposure window."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from fluorojax.physics import ExposureWindow

FRAME_TIME_MS = 40.0
INTERPOLATIONS = ("linear", "quadratic", "cubic")
# From a short pulse over both sides of w = Δ and w = 2Δ to a window longer than the run.
WIDTHS_MS = (0.5, 8.0, 39.9, 40.0, 57.0, 80.0, 131.0, 900.0)

# A window (no array leaves) goes through jit as a structure; compiled once per interpolation and number of frames.
matrix = jax.jit(ExposureWindow.matrix, static_argnums=3)
forward_derivative = jax.jit(jax.jacfwd(ExposureWindow.matrix, argnums=1), static_argnums=3)
reverse_derivative = jax.jit(jax.jacrev(ExposureWindow.matrix, argnums=1), static_argnums=3)


def basis(interpolation, s):
    s = abs(s)
    if interpolation == "linear":
        return max(1 - s, 0.0)
    if interpolation == "quadratic":
        return 1 - s**2 if s <= 0.5 else max(1.5 - s, 0) and 0.5 * (s - 1) * (s - 2)
    return 1 - 2.5 * s**2 + 1.5 * s**3 if s <= 1 else max(2 - s, 0) and 2 - 4 * s + 2.5 * s**2 - 0.5 * s**3


def integrated_matrix(interpolation, width_ms, frames):
    """Weights by adaptive quadrature of the basis, with replicated edge frames."""
    half = width_ms / FRAME_TIME_MS / 2
    reach = int(np.ceil(half)) + 2
    weights = np.zeros((frames, frames))
    for m in range(-reach, reach + 1):
        cuts = np.clip(np.arange(2 * (m - 2), 2 * (m + 2) + 1) / 2, -half, half)
        pieces = itertools.pairwise(cuts)
        area = sum(quad(lambda v, m=m: basis(interpolation, m - v), a, b)[0] for a, b in pieces)
        for t in range(frames):
            weights[t, np.clip(t + m, 0, frames - 1)] += area / (2 * half)
    return weights


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("width_ms", WIDTHS_MS)
def test_weights_are_the_integral_of_the_interpolation(interpolation, width_ms):
    with jax.enable_x64(True):
        weights = matrix(ExposureWindow(interpolation), width_ms, FRAME_TIME_MS, 5)
    np.testing.assert_allclose(weights, integrated_matrix(interpolation, width_ms, 5), atol=1e-10)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_zero_window_is_the_identity(interpolation, frames):
    window = ExposureWindow(interpolation)
    np.testing.assert_array_equal(matrix(window, 0.0, FRAME_TIME_MS, frames), np.eye(frames))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("width_ms", [0.0, *WIDTHS_MS])
def test_dose_does_not_depend_on_the_window(interpolation, width_ms):
    weights = matrix(ExposureWindow(interpolation), width_ms, FRAME_TIME_MS, 6)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("width_ms", WIDTHS_MS)
def test_run_reversed_in_time_blurs_alike(width_ms):
    weights = np.asarray(matrix(ExposureWindow(), width_ms, FRAME_TIME_MS, 6))
    np.testing.assert_allclose(weights[::-1, ::-1], weights, atol=1e-6)


@pytest.mark.parametrize(
    ("interpolation", "share"),
    [("linear", 8.0 / (8 * FRAME_TIME_MS)), ("quadratic", 8.0**2 / (24 * FRAME_TIME_MS**2))],
)
def test_share_of_the_second_difference(interpolation, share):
    weights = matrix(ExposureWindow(interpolation), 8.0, FRAME_TIME_MS, 5)
    np.testing.assert_allclose(weights[2], [0, share, 1 - 2 * share, share, 0], atol=1e-6)


@pytest.mark.parametrize("width_ms", [0.0, 3.0, 20.0, FRAME_TIME_MS])
def test_default_weights_are_non_negative_up_to_one_frame(width_ms):
    assert np.min(matrix(ExposureWindow(), width_ms, FRAME_TIME_MS, 6)) >= 0


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("width_ms", [0.5, 8.0, 33.0, 41.0, 57.0, 80.0, 131.0])
def test_derivative_in_the_width(interpolation, width_ms):
    with jax.enable_x64(True):
        window, step = ExposureWindow(interpolation), 1e-4
        ahead, behind = (matrix(window, width_ms + s, FRAME_TIME_MS, 5) for s in (step, -step))
        difference = (ahead - behind) / (2 * step)
        np.testing.assert_allclose(forward_derivative(window, width_ms, FRAME_TIME_MS, 5), difference, atol=1e-6)
        np.testing.assert_allclose(reverse_derivative(window, width_ms, FRAME_TIME_MS, 5), difference, atol=1e-6)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("width_ms", [0.0, FRAME_TIME_MS])
def test_derivative_at_a_joint_is_one_sided(interpolation, width_ms):
    """At zero the window cannot shrink; at w = Δ the nearest frame, and with it the parabola, changes."""
    with jax.enable_x64(True):
        window, step = ExposureWindow(interpolation), 1e-5
        ahead, at = (matrix(window, width_ms + s, FRAME_TIME_MS, 5) for s in (step, 0.0))
        slope = reverse_derivative(window, width_ms, FRAME_TIME_MS, 5)
        np.testing.assert_allclose(slope, (ahead - at) / step, atol=1e-6)


def test_negative_window_is_no_exposure():
    assert np.isnan(matrix(ExposureWindow(), -1.0, FRAME_TIME_MS, 3)).all()


@pytest.mark.parametrize("width_ms", [0.01, 8.0, 131.0])
def test_single_precision_follows_double(width_ms):
    single = matrix(ExposureWindow(), width_ms, FRAME_TIME_MS, 40)
    with jax.enable_x64(True):
        double = matrix(ExposureWindow(), width_ms, FRAME_TIME_MS, 40)
    assert single.dtype == jnp.float32
    assert double.dtype == jnp.float64
    np.testing.assert_allclose(single, double, atol=2e-6)


def test_structural_errors_name_the_argument():
    with pytest.raises(ValueError, match="interpolation is 'spline'; expected one of linear, quadratic, cubic"):
        ExposureWindow("spline")
    with pytest.raises(ValueError, match="frames is 0; expected at least 1"):
        matrix(ExposureWindow(), 8.0, FRAME_TIME_MS, 0)
