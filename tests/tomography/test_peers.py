"""Filtered backprojection and iterative peers on exact line integrals, and the imaging chain of a rotational run."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.tomography.fdk import fdk, orbit
from fluorojax.tomography.geometry import circular_geometry, positioner_geometry
from fluorojax.tomography.grid import VoxelGrid
from fluorojax.tomography.iterative import measured_depths, sirt, total_variation
from fluorojax.tomography.operator import RotationalOperator
from fluorojax.tomography.phantoms import Ellipsoids
from fluorojax.tomography.simulate import RotationalRun, simulate_run

GRID = VoxelGrid.centred(12, 16.0)
BALL = Ellipsoids(np.array([0.02]), np.array([[12.0, -8.0, 5.0]]), np.full((1, 3), 55.0), np.eye(3)[None])
INSIDE = BALL.volume(GRID) > 0.0199
OUTSIDE = BALL.volume(GRID) == 0


def circle(views=36, span=200.0, start=-100.0):
    return circular_geometry(views, span_deg=span, start_deg=start, rows=20, columns=20, pitch_mm=16.0)


@pytest.mark.parametrize(("span", "start"), [(200.0, -100.0), (-200.0, 60.0), (360.0, 0.0)])
def test_fdk_gives_the_attenuation_of_a_ball(span, start):
    """A short scan in either direction, and a full turn: every line is counted once."""
    geometry = circle(72, span, start)
    volume = fdk(np.asarray(BALL.line_integrals(geometry)), geometry, GRID)
    assert volume[INSIDE].mean() == pytest.approx(0.02, rel=0.06)
    assert abs(volume[OUTSIDE].mean()) < 0.0015


def test_fdk_needs_a_circular_run():
    scattered = positioner_geometry([0.0, 70.0, 10.0, 40.0], rows=4, columns=4, pitch_mm=10.0)
    with pytest.raises(ValueError, match="circle"):
        orbit(scattered)
    with pytest.raises(ValueError, match="at least 3"):
        orbit(scattered.select(slice(2)))
    with pytest.raises(ValueError, match="window is"):
        fdk(np.zeros((36, 20, 20)), circle(), GRID, window="boxcar")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="has 36 views, the run has 35 frames"):
        fdk(np.zeros((35, 20, 20)), circle(), GRID)


def test_iterative_peers_come_close_to_the_truth():
    geometry = circle(18)
    exact = np.asarray(BALL.line_integrals(geometry), np.float32)
    counts = np.random.default_rng(0).poisson(2000 * np.exp(-exact)).astype(np.float32)
    depths = jnp.asarray(measured_depths(counts, 2000.0))
    truth = BALL.volume(GRID)
    plain = np.asarray(sirt(depths, geometry, GRID, iterations=15))
    smooth = np.asarray(total_variation(depths, jnp.asarray(counts), geometry, GRID, iterations=8))
    for volume, limit in ((plain, 0.004), (smooth, 0.003)):
        assert volume.min() >= 0
        assert np.sqrt(np.mean((volume - truth) ** 2)) < limit


def test_lag_gain_and_scatter_are_those_of_every_other_scene():
    geometry, spec = circle(5), Spec(3.0, 4.0, 0.8)
    acquisition = Acquisition(photons_per_pixel=400.0, attenuation_scale=3.0, scatter_fraction=0.2)
    operator = RotationalOperator(geometry, GRID)
    volume = jnp.asarray(BALL.volume(GRID))
    depth = operator.depths(volume, spec, acquisition)
    expected = FluoroscopyOperator().without_stage("exposure_window")(depth / 3.0, spec, acquisition)
    np.testing.assert_allclose(operator(volume, spec, acquisition), expected, rtol=1e-5)


def test_simulated_counts_have_the_expected_rate_and_the_window_blurs_over_the_angle():
    """One pixel behind a small ball off the isocentre: a longer exposure sees the ball for a part of the time."""
    geometry = circular_geometry(9, span_deg=72.0, rows=1, columns=41, pitch_mm=6.0)
    acquisition = Acquisition(photons_per_pixel=1e7, lag_ms=3.1)
    small = Ellipsoids(np.array([0.05]), np.array([[80.0, 0.0, 0.0]]), np.full((1, 3), 12.0), np.eye(3)[None])
    still, moving = (
        simulate_run(small, geometry, acquisition, spec=Spec(blur, -3.0, 0.0), sub_angles=15, subpixels=1).counts / 1e7
        for blur in (-7.9, 20.0)
    )
    exact = np.exp(-np.asarray(small.line_integrals(geometry)))
    np.testing.assert_allclose(still, exact, atol=0.02)
    assert (moving.min((1, 2)) > still.min((1, 2)) + 1e-3).all()
    np.testing.assert_allclose((1 - moving).sum(), (1 - still).sum(), rtol=0.05)


def test_a_run_whose_views_are_missing_is_refused():
    run = RotationalRun(np.zeros((36, 20, 20), np.float32), circle(), Acquisition(), None)  # pyright: ignore
    with pytest.raises(ValueError, match="36 views, the run has 35 frames"):
        replace(run, counts=run.counts[1:])
    with pytest.raises(ValueError, match="pixels"):
        replace(run, counts=run.counts[:, 1:])
    with pytest.raises(ValueError, match="sub_angles"):
        RotationalOperator(circle(), GRID, sub_angles=0)
