"""Figures hold the numbers they claim to: axes, artists, and the data in them."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from fluorojax import plot
from fluorojax.data.spec import SPEC_NAMES, Spec
from fluorojax.metrics import FileScore, coverage, score_scene
from fluorojax.plot.display import image_window, raw_attenuation, spread_window


def images(figure):
    """Every image with its place in the figure: title or label of its axes, data, colour limits."""
    return [(axes, image) for axes in figure.axes for image in axes.get_images()]


def line(axes, label):
    """Coordinates of the line of this label."""
    found = [entry for entry in axes.get_lines() if entry.get_label() == label]
    assert len(found) == 1, [entry.get_label() for entry in axes.get_lines()]
    return found[0].get_data()


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def still(values):
    """A single frame."""
    return None if values is None else values[0]


@pytest.fixture
def single(scene, result):
    """A scene of one frame and its result."""
    flat = replace(result, x_hat=still(result.x_hat), x_std=still(result.x_std))
    return flat, replace(scene, y=still(scene.y), x_true=still(scene.x_true))


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never():
    code = """
import sys, fluorojax.plot, fluorojax.reports
print([name for name in sys.modules if name.startswith("matplotlib")])
from fluorojax.plot._canvas import new_figure
new_figure(1, 1)
print("matplotlib.figure" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\nTrue False\n"


def test_a_figure_shows_itself_in_a_notebook(result):
    figure = plot.uncertainty_overlay(result)
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_frame_strip(scene, result):
    figure = plot.frame_strip(result, scene, frames=3)
    shown = images(figure)
    rows = {"measurement": raw_attenuation(scene), "reconstruction": result.x_hat, "truth": scene.x_true}
    rows["posterior sd"] = result.x_std
    window, spread = image_window(result.x_hat), spread_window(result.x_std)
    expected = [(label, values[index]) for label, values in rows.items() for index in (0, 4, 7)]
    assert len(shown) == len(expected)
    for (_, image), (label, values) in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(image.get_array(), values)
        limits = (spread.low, spread.high) if label == "posterior sd" else (window.low, window.high)
        assert image.get_clim() == limits
    assert [axes.get_ylabel() for axes, _ in shown][::3] == list(rows)
    assert [axes.get_title() for axes, _ in shown][:3] == ["frame 0", "frame 4", "frame 7"]


def test_a_strip_of_chosen_frames_in_a_chosen_window(result):
    figure = plot.frame_strip(replace(result, x_std=None), frames=[-1, 2], window=plot.Window(0.2, 0.9))
    shown = images(figure)
    assert [image.get_clim() for _, image in shown] == [(0.2, 0.9)] * 2
    assert [axes.get_title() for axes, _ in shown] == ["frame 7", "frame 2"]


def test_before_after(scene, result):
    shown = images(plot.before_after(result, scene, frame=-2))
    assert [axes.get_title() for axes, _ in shown] == ["before: measurement", "after: reconstruction", "truth"]
    for (_, image), values in zip(shown, (raw_attenuation(scene), result.x_hat, scene.x_true), strict=True):
        np.testing.assert_array_equal(image.get_array(), values[6])
    assert len({image.get_clim() for _, image in shown}) == 1
    assert len(images(plot.before_after(result, replace(scene, x_true=None)))) == 2


def test_uncertainty_overlay(result):
    figure = plot.uncertainty_overlay(result, frame=3, most=0.05)
    (_, below), (_, above) = images(figure)
    np.testing.assert_array_equal(below.get_array(), result.x_hat[3])
    np.testing.assert_array_equal(above.get_array(), result.x_std[3])
    assert above.get_clim() == (0.0, 0.05)
    opacity = above.get_cmap()(np.linspace(0, 1, 256))[:, 3]
    assert opacity[0] == 0
    assert (np.diff(opacity) > 0).all()
    assert "posterior sd of x (attenuation)" in [axes.get_ylabel() for axes in figure.axes]


def test_error_against_stated_sd(scene, result):
    axes = plot.error_vs_sd(result, scene, bins=5).axes[0]
    assert labels(axes) == ["static pixels", "moving pixels", "stated = actual"]
    stated, actual = line(axes, "static pixels")
    assert len(stated) == 5
    assert (np.diff(stated) > 0).all()
    np.testing.assert_allclose(actual, stated, rtol=0.2)
    stated, actual = line(plot.error_vs_sd(replace(result, x_std=2 * result.x_std), scene).axes[0], "static pixels")
    np.testing.assert_allclose(actual.mean() / stated.mean(), 0.5, rtol=0.1)


def test_groups_of_a_small_scene_may_have_unequal_numbers_of_bins(scene, result):
    # Too few pixels move for 16 bins of at least 20.
    scene = replace(scene, y=scene.y[:, 8:20, 4:12], x_true=scene.x_true[:, 8:20, 4:12])
    result = replace(result, x_hat=result.x_hat[:, 8:20, 4:12], x_std=result.x_std[:, 8:20, 4:12])
    axes = plot.error_vs_sd(result, scene).axes[0]
    static, moving = (line(axes, label)[0] for label in ("static pixels", "moving pixels"))
    assert len(static) == 16
    assert len(moving) < 16
    assert line(axes, "stated = actual")[0].max() > max(static.max(), moving.max())


def test_coverage_curve(scene, result):
    axes = plot.coverage_curve(result, scene).axes[0]
    levels, shares = line(axes, "all pixels")
    np.testing.assert_allclose(shares, levels, atol=0.03)
    known = {entry.level: entry for entry in coverage(result.x_hat, result.x_std, scene.x_true)}
    for label, part in (("all pixels", "overall"), ("moving pixels", "moving"), ("static pixels", "static")):
        levels, shares = line(axes, label)
        for level in (0.5, 0.8, 0.9, 0.95):
            found = shares[np.argmin(np.abs(levels - level))]
            assert found == pytest.approx(getattr(known[level], part))


def test_the_coverage_of_several_scenes_is_their_mean(scene, result):
    wide = replace(result, x_std=3 * result.x_std)
    one, other = (line(plot.coverage_curve(r, scene).axes[0], "all pixels")[1] for r in (result, wide))
    axes = plot.coverage_curve([result, wide], [scene, scene]).axes[0]
    np.testing.assert_allclose(line(axes, "all pixels")[1], (one + other) / 2)
    assert axes.get_title() == "mean of 2 scenes: coverage of pixel intervals"
    assert len(axes.get_lines()) == 1 + 2 + 3


def band(axes):
    """Lower and upper edge of the filled band."""
    (area,) = axes.collections
    points = area.get_paths()[0].vertices
    at = np.unique(points[:, 0])
    return tuple(np.array([edge(points[points[:, 0] == x, 1]) for x in at]) for edge in (np.min, np.max))


def test_the_curve_of_a_pixel(scene, result):
    axes = plot.time_curve(result, (14, 7), scene, measured=True).axes[0]
    time, values = line(axes, "reconstruction")
    np.testing.assert_allclose(time, np.arange(8) * 1000 / 30, rtol=1e-6)
    np.testing.assert_array_equal(values, result.x_hat[:, 14, 7])
    np.testing.assert_array_equal(line(axes, "truth")[1], scene.x_true[:, 14, 7])
    np.testing.assert_array_equal(line(axes, "measured")[1], raw_attenuation(scene)[:, 14, 7])
    low, high = band(axes)
    np.testing.assert_allclose(high - values, 1.645 * result.x_std[:, 14, 7], rtol=1e-3)
    np.testing.assert_allclose(values - low, high - values, rtol=1e-3)
    assert (axes.get_xlabel(), labels(axes)[1]) == ("time (ms)", "90 % interval")
    assert plot.time_curve(result, (14, 7)).axes[0].get_xlabel() == "frame"


@pytest.mark.parametrize("how", ["slices", "mask"])
def test_the_curve_of_a_region_has_the_widest_band(result, how):
    region = (slice(2, 6), slice(3, 5))
    mask = np.zeros(result.x_hat.shape[1:], bool)
    mask[region] = True
    axes = plot.time_curve(result, region if how == "slices" else mask).axes[0]
    np.testing.assert_allclose(line(axes, "reconstruction")[1], result.x_hat[:, 2:6, 3:5].mean(axis=(1, 2)), rtol=1e-5)
    low, high = band(axes)
    np.testing.assert_allclose(high - low, 2 * 1.645 * result.x_std[:, 2:6, 3:5].mean(axis=(1, 2)), rtol=1e-3)
    assert labels(axes)[0] == "90 % interval, at most"


@pytest.mark.parametrize("kind", ["sampled", "nuts"])
def test_a_curve_takes_quantiles_where_there_are_any(request, kind):
    found = request.getfixturevalue(kind)
    axes = plot.time_curve(found, (3, 3)).axes[0]
    values = line(axes, "reconstruction")[1]
    low, high = band(axes)
    np.testing.assert_allclose((high - values) / (values - low), 1.5, rtol=1e-3)


def test_spec_intervals(scene, result):
    figure = plot.spec_posteriors(result, scene)
    for axes, name in zip(figure.axes, SPEC_NAMES, strict=True):
        low, high = scene.ranges.as_dict()[name]
        (prior,) = axes.patches
        assert (prior.get_x(), prior.get_x() + prior.get_width()) == pytest.approx((low, high))
        assert tuple(line(axes, "90 % interval")[0]) == result.spec_interval[name]
        assert line(axes, "median")[0] == [result.spec.as_dict()[name]]
        assert line(axes, "truth")[0][0] == scene.true_spec.as_dict()[name]
        assert axes.get_xlabel().startswith(name)


@pytest.mark.parametrize("kind", ["sampled", "nuts"])
def test_spec_draws(request, scene, kind):
    figure = plot.spec_posteriors(request.getfixturevalue(kind), ranges=scene.ranges, truth=Spec())
    sampled = request.getfixturevalue("sampled")
    for axes, name in zip(figure.axes, SPEC_NAMES, strict=True):
        bars = axes.patches
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1.0)
        mean = sum(bar.get_height() * bar.get_width() * (bar.get_x() + bar.get_width() / 2) for bar in bars)
        assert mean == pytest.approx(sampled.draws[name].mean(), abs=0.02)
        low, high = scene.ranges.as_dict()[name]
        assert axes.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(1 / (high - low))
        assert line(axes, "truth")[0][0] == 0.0


def test_draws_of_a_known_parameter_make_one_bar(scene, sampled):
    draws = {**sampled.draws, "lag": np.zeros((4, 50))}
    figure = plot.spec_posteriors(replace(sampled, draws=draws), scene)
    assert len([bar for bar in figure.axes[1].patches if bar.get_height() > 0]) == 1


def test_the_residual_at_the_truth_is_white(scene, result):
    right = replace(result, x_hat=scene.x_true, spec=scene.true_spec)
    figure = plot.residual_figure(right, scene, frame=2)
    shown = images(figure)
    assert [axes.get_title() for axes, _ in shown] == ["frame 2", "mean of all frames × √T"]
    assert shown[0][1].get_array().std() == pytest.approx(1.0, abs=0.1)
    assert shown[1][1].get_array().std() == pytest.approx(1.0, abs=0.1)
    spectra = [axes for axes in figure.axes if "frequency" in axes.get_xlabel()]
    assert [axes.get_xlabel().split()[0] for axes in spectra] == ["spatial", "temporal"]
    for axes in spectra:
        frequency, power = axes.get_lines()[1].get_data()
        assert 0 <= frequency[0] < frequency[-1] <= 0.5
        assert np.mean(power) == pytest.approx(1.0, abs=0.15)


def test_a_missed_drift_stands_at_low_frequencies(scene, result):
    wrong = replace(result, x_hat=scene.x_true, spec=Spec(1.0, -2.0, 3.0))
    axes = next(axes for axes in plot.residual_figure(wrong, scene).axes if "temporal" in axes.get_xlabel())
    power = axes.get_lines()[1].get_ydata()
    assert power[0] > 2 * power[-1]


def test_scenario_bars(scene, result):
    near, far = (score_scene(r, scene) for r in (result, replace(result, x_hat=result.x_hat + 0.05)))
    scores = {"I": FileScore((near,), {}), "II": FileScore((near, far), {})}
    figure = plot.scenario_bars(scores)
    assert [axes.get_title() for axes in figure.axes] == ["PSNR (dB)", "SSIM", "standard score", "blind score"]
    for axes, field in zip(figure.axes, ("psnr", "ssim", "standard", "blind"), strict=True):
        expected = [score.means()[field] for score in scores.values()]
        assert [bar.get_height() for bar in axes.patches] == pytest.approx(expected)
        assert axes.get_ylim()[0] == 0
        assert [text.get_text() for text in axes.get_xticklabels()] == ["I", "II"]
        assert sorted(axes.get_lines()[1].get_ydata()) == sorted([getattr(near, field), getattr(far, field)])


def test_single_frames_can_be_drawn(single):
    flat, still_scene = single
    assert len(images(plot.frame_strip(flat, still_scene))) == 4
    assert len(images(plot.before_after(flat, still_scene))) == 3
    assert len(images(plot.residual_figure(flat, still_scene))) == 1
    assert len(line(plot.time_curve(flat, (3, 3), still_scene).axes[0], "reconstruction")[0]) == 1
    assert labels(plot.error_vs_sd(flat, still_scene).axes[0]) == ["static pixels", "stated = actual"]
    assert labels(plot.coverage_curve(flat, still_scene).axes[0]) == ["stated = actual", "all pixels", "static pixels"]


def test_a_sampler_s_result_can_be_drawn(scene, nuts):
    assert len(images(plot.frame_strip(nuts, scene, frames=2))) == 8
    assert len(images(plot.residual_figure(nuts, scene))) == 2
    assert labels(plot.coverage_curve(nuts, scene).axes[0])[1] == "all pixels"
