"""What cannot be drawn is told in one line."""

from dataclasses import replace

import numpy as np
import pytest

from fluorojax import plot
from fluorojax.data.reconstruction import Status
from fluorojax.data.spec import Spec
from fluorojax.metrics import FileScore, SceneScore

NAN = float("nan")


@pytest.mark.parametrize("draw", [plot.error_vs_sd, plot.coverage_curve])
def test_without_truth(draw, scene, result):
    with pytest.raises(ValueError, match=r"^sample_00: x_true: missing; expected a scene whose truth is known$"):
        draw(result, replace(scene, x_true=None))


@pytest.mark.parametrize("draw", [plot.error_vs_sd, plot.coverage_curve, lambda r, s: plot.uncertainty_overlay(r)])
def test_without_standard_deviations(draw, scene, result):
    with pytest.raises(ValueError, match=r"^sample_00: x_std: missing; expected a result with standard deviations$"):
        draw(replace(result, x_std=None), scene)


EVERY = [
    plot.frame_strip,
    plot.before_after,
    plot.error_vs_sd,
    plot.coverage_curve,
    plot.residual_figure,
    lambda r, s: plot.uncertainty_overlay(r),
    lambda r, s: plot.time_curve(r, (0, 0), s),
]


@pytest.mark.parametrize("draw", EVERY)
def test_results_that_must_not_be_used(draw, scene, result):
    with pytest.raises(ValueError, match=r"^sample_00: diverged; its result must not be used$"):
        draw(replace(result, status=Status.DIVERGED), scene)
    with pytest.raises(ValueError, match=r"^sample_00: x_hat: holds values that are not finite"):
        draw(replace(result, x_hat=np.full_like(result.x_hat, np.nan)), scene)


@pytest.mark.parametrize(
    ("draw", "field"),
    [
        (plot.frame_strip, "y"),
        (plot.before_after, "y"),
        (plot.residual_figure, "y"),
        (plot.error_vs_sd, "x_true"),
        (plot.coverage_curve, "x_true"),
        (lambda r, s: plot.time_curve(r, (0, 0), s), "x_true"),
    ],
)
def test_another_scene(draw, field, scene, result):
    other = replace(scene, y=scene.y[:3], x_true=scene.x_true[:3])
    problem = rf"^sample_00: {field}: has shape \(3, 24, 20\); expected \(8, 24, 20\), like the result$"
    with pytest.raises(ValueError, match=problem):
        draw(result, other)


@pytest.mark.parametrize("frame", [8, -9])
def test_frames_that_do_not_exist(frame, scene, result):
    for draw in (
        lambda: plot.frame_strip(result, frames=[frame]),
        lambda: plot.before_after(result, scene, frame=frame),
        lambda: plot.uncertainty_overlay(result, frame=frame),
        lambda: plot.residual_figure(result, scene, frame=frame),
    ):
        with pytest.raises(ValueError, match=f"^frame is {frame}; expected one of 0 … 7$"):
            draw()


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ((24, 0), "row is 24; expected 0 … 23"),
        ((0, -1), "column is -1; expected 0 … 19"),
        ((slice(5, 5), 0), "place holds no pixel"),
        (np.zeros((24, 20), bool), "place holds no pixel"),
        (np.ones((20, 24), bool), r"place has shape \(20, 24\)"),
        (np.ones((24, 20)), "expected a bool mask"),
    ],
)
def test_places_outside_the_frame(place, problem, result):
    with pytest.raises(ValueError, match=problem):
        plot.time_curve(result, place)


@pytest.mark.parametrize(
    ("draw", "problem"),
    [
        (lambda r, s: plot.frame_strip(r, frames=0), "frames is 0"),
        (lambda r, s: plot.frame_strip(r, frames=[]), "frames is empty"),
        (lambda r, s: plot.uncertainty_overlay(r, most=0.0), "most is 0"),
        (lambda r, s: plot.error_vs_sd(r, s, bins=0), "bins is 0"),
        (lambda r, s: plot.coverage_curve([r, r], [s]), "2 results and 1 scenes"),
        (lambda r, s: plot.coverage_curve([], []), "0 results"),
        (lambda r, s: plot.time_curve(r, (0, 0), measured=True), "measured values were asked for without a scene"),
        (lambda r, s: plot.spec_posteriors(r), "prior ranges are missing"),
        (lambda r, s: plot.scenario_bars({}), "there are no scenarios"),
        (lambda r, s: plot.scenario_bars({"I": FileScore((), {})}), "scenario I: no scene to average"),
    ],
)
def test_settings_that_cannot_be(draw, problem, scene, result):
    with pytest.raises(ValueError, match=f"^{problem}"):
        draw(result, scene)


def test_neither_draws_nor_estimate(scene, result, nuts):
    with pytest.raises(ValueError, match=r"^sample_00: motion_blur: neither draws nor an estimate"):
        plot.spec_posteriors(replace(result, spec=Spec(NAN, NAN, NAN)), scene)
    nuts.spec_draws = nuts.spec_draws[:, :0]
    with pytest.raises(ValueError, match=r"^sequence: motion_blur: no draws"):
        plot.spec_posteriors(nuts, scene)


def test_diverged_scenes_are_not_averaged(scene):
    diverged = SceneScore("sample_00", NAN, NAN, NAN, NAN, (), {}, "diverged", 1.0)
    with pytest.raises(ValueError, match="scenario II: no scene to average"):
        plot.scenario_bars({"II": FileScore((diverged,), {})})
