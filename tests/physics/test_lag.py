"""Laws of the detector lag."""

import jax
import numpy as np
import pytest

from fluorojax.physics import ChargeReleaseLag

FRAMES = 7
# (τ, Δ, t_r) in ms: the default protocol, fast decay, slow decay with a quick readout, 60 frames/s with t_r = 2Δ.
TIMES_MS = ((10.0, 1000 / 30, 1000 / 30), (1.5, 40.0, 25.0), (60.0, 33.0, 10.0), (12.0, 50 / 3, 100 / 3))
STARTS = ("steady", "dark")

# A lag (no array leaves) goes through jit as a structure; compiled once per start and number of frames.
matrix = jax.jit(ChargeReleaseLag.matrix, static_argnums=4)
scan = jax.jit(ChargeReleaseLag.scan)
derivatives = jax.jit(jax.jacrev(ChargeReleaseLag.matrix, argnums=(1, 2, 3)), static_argnums=4)


@pytest.fixture
def exposures():
    return np.random.default_rng(0).uniform(0.1, 1.0, (FRAMES, 2, 3)).astype(np.float32)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("times", TIMES_MS)
def test_closed_form_is_the_recursion(start, times, exposures):
    lag = ChargeReleaseLag(start)
    weights = matrix(lag, *times, FRAMES)
    read, _ = scan(lag, exposures, *times)
    np.testing.assert_allclose(np.tensordot(weights, exposures, 1), read, rtol=1e-5)
    np.testing.assert_array_equal(np.triu(weights, 1), 0)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("times", TIMES_MS)
def test_charge_is_conserved(start, times, exposures):
    tau, delta, delay = times
    read, held = scan(ChargeReleaseLag(start), exposures, *times)
    before = exposures[0] * np.exp(-delay / tau) / (1 - np.exp(-delta / tau)) if start == "steady" else 0.0
    np.testing.assert_allclose(read.sum(axis=0) + held, exposures.sum(axis=0) + before, rtol=1e-5)


@pytest.mark.parametrize("times", TIMES_MS)
def test_scene_at_rest_is_read_unchanged(times):
    np.testing.assert_allclose(matrix(ChargeReleaseLag(), *times, FRAMES).sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("times", TIMES_MS)
def test_dark_start_reaches_the_steady_state(times):
    read = matrix(ChargeReleaseLag("dark"), *times, 60).sum(axis=1)
    assert read[0] < 1
    assert np.all(np.diff(read) > -1e-6)
    np.testing.assert_allclose(read[-1], 1.0, rtol=1e-5)


@pytest.mark.parametrize("tau_ms", [3.0, 10.0, 80.0])
def test_readout_after_one_frame_is_the_ar1_ghost(tau_ms):
    delta = 33.0
    kept = np.exp(-delta / tau_ms)
    age = np.arange(FRAMES)[:, None] - np.arange(FRAMES)
    ghost = np.where(age >= 0, (1 - kept) * kept ** np.maximum(age, 0), 0.0)
    np.testing.assert_allclose(matrix(ChargeReleaseLag("dark"), tau_ms, delta, delta, FRAMES), ghost, atol=1e-6)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("tau_ms", [0.0, 1e-30, 1e-3])
def test_prompt_release_is_the_identity_with_finite_derivative(start, tau_ms):
    lag = ChargeReleaseLag(start)
    np.testing.assert_array_equal(matrix(lag, tau_ms, 33.0, 20.0, FRAMES), np.eye(FRAMES))
    np.testing.assert_array_equal(derivatives(lag, tau_ms, 33.0, 20.0, FRAMES)[0], 0.0)


def test_negative_time_constant_is_no_decay():
    assert np.isnan(matrix(ChargeReleaseLag(), -1.0, 33.0, 33.0, 2)).any()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("times", TIMES_MS)
def test_derivatives_in_the_times(start, times):
    with jax.enable_x64(True):
        lag, values, step = ChargeReleaseLag(start), np.asarray(times), 1e-5
        exact = derivatives(lag, *times, FRAMES)
        for slope, e in zip(exact, step * np.eye(3), strict=True):
            ahead, behind = (matrix(lag, *(values + s * e), FRAMES) for s in (1, -1))
            np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), atol=1e-9)


def test_recursion_in_steps_of_one_ms():
    """Charge deposited at the frame times decays millisecond by millisecond into the next readout."""
    tau, delta, delay, dead = 12.0, 40, 30, 11
    exposures = np.random.default_rng(1).uniform(size=FRAMES)
    trapped, bucket, read = 0.0, 0.0, []
    for ms in range(FRAMES * delta + dead):
        if ms % delta == 0 and ms // delta < FRAMES:
            trapped += exposures[ms // delta]
        released = trapped * -np.expm1(-1 / tau)
        trapped, bucket = trapped - released, bucket + released
        if (ms + 1) % delta == delay:
            read, bucket = [*read, bucket], 0.0
    weights = matrix(ChargeReleaseLag("dark"), tau, float(delta), float(delay), FRAMES)
    np.testing.assert_allclose(weights @ exposures, read[:FRAMES], rtol=1e-5)


def test_structural_errors_name_the_argument():
    with pytest.raises(ValueError, match="start is 'warm'; expected one of steady, dark"):
        ChargeReleaseLag("warm")
    with pytest.raises(ValueError, match=r"tau_ms has shape \(2,\); expected a scalar"):
        ChargeReleaseLag().matrix(np.ones(2), 33.0, 33.0, 3)
