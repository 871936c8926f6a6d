"""Tubes drawn from distances to curves."""

import numpy as np
import pytest

from fluorojax.simulation.curves import TubeProfile, draw_tube, nearest_on_curve, spline_basis


def test_distance_to_a_straight_line_is_exact():
    points = np.stack([np.linspace(3.0, 20.0, 9), np.full(9, 10.3)], axis=1)
    index, distance, position = nearest_on_curve(points, (24, 21), 3.0)
    row, column = np.divmod(index, 21)
    beside = (row >= 3) & (row <= 20)
    np.testing.assert_allclose(distance[beside], np.abs(column - 10.3)[beside], atol=1e-12)
    np.testing.assert_allclose(position[beside], (row - 3.0)[beside], atol=1e-12)
    assert np.unique(index).size == index.size
    assert beside.sum() == 18 * 6


def test_distance_agrees_with_brute_force_on_a_curve():
    turn = np.linspace(0.0, 4.0, 70)
    points = np.stack([12.0 + 7.0 * np.sin(turn), 12.0 + 9.0 * np.cos(turn)], axis=1)
    index, distance, _ = nearest_on_curve(points, (24, 24), 2.5)
    fine = spline_basis(points, 4000) @ points
    pixels = np.stack(np.divmod(np.arange(24 * 24), 24), axis=1)
    brute = np.linalg.norm(pixels[:, None] - fine, axis=2).min(axis=1)
    np.testing.assert_allclose(distance, brute[index], atol=0.02)
    assert set(np.flatnonzero(brute < 2.4)) <= set(index)


def test_a_curve_outside_the_image_touches_nothing():
    index, _, _ = nearest_on_curve(np.array([[-30.0, -30.0], [-20.0, -30.0]]), (16, 16), 2.0)
    assert index.size == 0


@pytest.mark.parametrize("offset", [0.0, 0.25, 0.5, 0.77])
def test_attenuation_of_a_tube_does_not_depend_on_its_sub_pixel_place(offset):
    radius, depth = 1.3, 0.4
    image = np.zeros((20, 20))
    points = np.stack([np.array([-10.0, 30.0]), np.full(2, 9.0 + offset)], axis=1)
    draw_tube(image, points, TubeProfile(radius, radius, depth, depth))
    np.testing.assert_allclose(image[10].sum(), depth * np.pi * radius**2, rtol=0.01)
    np.testing.assert_allclose((image[10] * np.arange(20)).sum() / image[10].sum(), 9.0 + offset, atol=0.01)


def test_spline_passes_through_its_control_points():
    control = np.array([[0.0, 0.0], [3.0, 1.0], [5.0, 6.0]])
    line = spline_basis(control, 501) @ control
    for point in control:
        assert np.linalg.norm(line - point, axis=1).min() < 0.02
