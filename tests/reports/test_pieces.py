"""Pieces of a report: PNG encoding, templates, frame selection, escaping."""

import io
import math
import re

import matplotlib.image
import numpy as np
import pytest
from jinja2 import UndefinedError

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.plot.display import Window, robust_window
from fluorojax.reports.document import document
from fluorojax.reports.fragments import definitions, facts, figure_strip, table
from fluorojax.reports.numbers import number, parameter_cell
from fluorojax.reports.palettes import palette_of
from fluorojax.reports.pictures import encode_png
from fluorojax.reports.player import json_block
from fluorojax.reports.spec_cards import range_picture, spec_cards
from fluorojax.reports.strips import plan_strips, strip_images
from fluorojax.reports.templates import render


@pytest.mark.parametrize("palette", [palette_of("image"), palette_of("spread")], ids=["image", "spread"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (64, 48)])
def test_png_decodes_to_the_palette(palette, shape):
    indices = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    picture = matplotlib.image.imread(io.BytesIO(encode_png(indices, palette)), format="png")
    np.testing.assert_allclose(255 * picture[..., :3], palette[indices], atol=1e-3)


@pytest.mark.parametrize("indices", [np.zeros((2, 2)), np.zeros(3, np.uint8), np.zeros((0, 2), np.uint8)])
def test_png_takes_byte_images_only(indices):
    with pytest.raises(ValueError, match="expected uint8"):
        encode_png(indices, palette_of("image"))


@pytest.mark.parametrize(
    ("shape", "budget", "frames", "block"),
    [
        ((16, 128, 128), 1e6, (0, 3, 6, 9, 12, 15), 1),
        ((128, 128), 1e6, (0,), 1),
        ((4, 128, 128), 1e6, (0, 1, 2, 3), 1),
        ((16, 512, 500), 1.5e6, (0, 5, 10, 15), 2),
        ((16, 128, 128), 90_000, (0, 8, 15), 2),
        ((16, 128, 128), 20_000, (0, 15), 8),
        ((16, 128, 128), 10_000, (0,), 8),
        ((2, 4, 2048), 1e6, (0, 1), 4),
    ],
)
def test_strip_plan(shape, budget, frames, block):
    plan, size = plan_strips(shape, 4, budget)
    assert (plan.frames, plan.block) == (frames, block)
    assert size <= budget


def test_no_strips_where_nothing_fits():
    assert plan_strips((16, 128, 128), 4, 1000) is None


def test_noise_takes_no_more_than_planned():
    shape = (4, 64, 64)
    plan, size = plan_strips(shape, 1, 1e6)
    noise = np.random.default_rng(0).uniform(size=shape)
    images = strip_images(noise, plan, Window(0.0, 1.0), palette_of("spread"))
    assert 0.9 * size < sum(map(len, images)) <= size


def test_windows_ignore_what_is_not_finite():
    values = np.array([0.0, 0.5, 1.0, np.nan, np.inf])
    assert robust_window(values, 0.0, 1.0) == Window(0.0, 1.0)
    assert robust_window(np.array([np.nan]), 0.0, 1.0) == Window(0.0, 1.0)
    assert robust_window(np.ones(5), 0.0, 1.0) == Window(1.0, 2.0)


def test_frames_that_are_not_finite_can_be_shown():
    images = strip_images(
        np.full((3, 16, 16), np.nan), plan_strips((3, 16, 16), 4, 1e6)[0], Window(0.0, 1.0), palette_of("image")
    )
    assert len(images) == 3
    assert all(image.startswith("data:image/png;base64,") for image in images)


@pytest.mark.parametrize(
    "fragment",
    [
        document("<script>x", []).partition("</head>")[0],
        document("x", ["<script>y"]).partition("</head>")[2].partition("<script type")[0],
        table(["<script>"], [], "<script>"),
        definitions({"<script>k": "<script>v"}),
        facts({"note": "<script>", "list": ["<script>"], "map": {"<script>": "<script>"}}),
        figure_strip(["<script>"], ["<script>"], "<script>", window=(0.0, 1.0, "<script>"), note="<script>"),
        range_picture((0.0, 1.0), (0.2, 0.4), 0.3, None, "<script>"),
    ],
)
def test_texts_are_escaped(fragment):
    assert "<script" not in fragment
    assert "&lt;script" in fragment


def test_diagnostics_read_as_sentences():
    html = facts(
        {"energy": 12.3456789, "spec": {"lag": "not identifiable here"}, "trace": list(range(1000)), "n": None}
    )
    assert "<li>energy: 12.3457</li>" in html
    assert "<li>lag: not identifiable here</li>" in html
    assert "…</li>" in html
    assert "<li>n: null</li>" in html
    assert facts({}) == ""


def test_data_never_end_their_script():
    assert json_block({"title": "</script><script>"}) == '{"title":"\\u003c/script>\\u003cscript>"}'


def test_a_picture_of_a_parameter_shows_where_it_lies():
    picture = range_picture((-5.0, 5.0), (-1.0, 1.0), 0.0, 7.0, "lag", np.full((2, 10), 2.5))
    assert '<line x1="130.0" x2="190.0" y1="44" y2="44" class="interval"/>' in picture
    assert '<circle cx="160.0"' in picture
    assert '<line x1="316.0"' in picture  # a truth beyond the range stands at its edge
    tops = [float(y) for y in re.findall(r"L[\d.]+ ([\d.]+)H", picture)]
    assert [i for i, top in enumerate(tops) if top < 44] == [45]
    assert "draws" not in range_picture((-5.0, 5.0), (-1.0, 1.0), float("nan"), None, "lag")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234, "+1.23"), (-0.5, "-0.50"), (None, "–"), (float("nan"), "–"), (float("inf"), "∞"), (float("-inf"), "−∞")],
)
def test_numbers(value, text):
    assert number(value, sign=True) == text


def test_what_the_information_says_of_combinations_stands_under_the_cards():
    lines = ["the data determine gain_drift best", "they hardly determine <lag>"]
    told = result(diagnostics={"fisher_information": {"sentences": lines}})
    assert "Together: the data determine gain_drift best; they hardly determine &lt;lag&gt;." in spec_cards(
        told, None, None
    )
    assert "Together" not in spec_cards(result(), None, None)


def result(**changes):
    image = np.zeros((4, 4), np.float32)
    fields = {
        "name": "a",
        "x_hat": image,
        "x_std": image,
        "spec": Spec(2.5, 1.5, 0.2),
        "spec_std": Spec(0.4, 2.59, 0.05),
        "spec_interval": {"motion_blur": (1.8, 3.2), "lag": (-2.5, 5.5), "gain_drift": (0.1, 0.3)},
        "status": Status.CONVERGED,
        "seconds": 1.0,
    }
    return Reconstruction(**{**fields, **changes})


NOMINAL = Acquisition().as_dict()
RANGES = SpecRanges.for_tier("public").as_dict()


def test_cards_tell_the_quantities_of_the_protocol_beside_the_offsets():
    html = spec_cards(result(nominal=NOMINAL, prior_ranges=RANGES), None, None)
    window, lag, drift = html.split('<div class="card">')[1:]
    assert "<h4>Exposure window" in window
    assert "<b>10.50 ± 0.40 ms (nominal 8 ms)</b>" in window
    assert "offset +2.50 ± 0.40 ms" in window
    assert "90 % interval +1.8 … +3.2 ms" in window
    assert "<b>+0.200 ± 0.050 %/frame</b>" in drift
    # a parameter that is its prior shows no estimate, neither in words nor in the picture
    assert "<li>not determined by these data (prior −3 … 6 ms)</li>" in lag
    assert "nominal 10 ms" in lag
    for estimate in ("11.5", "1.5 ", "±", "<b>", 'class="median"', 'class="interval"'):
        assert estimate not in lag
    assert 'class="median"' in window


def test_cards_of_a_file_without_protocol_take_it_from_the_scene():
    y = np.zeros((4, 4), np.float32)
    scene = Scene("a", y, Acquisition(pulse_width_ms=5.0), SpecRanges.for_tier("public"))
    assert "7.50 ± 0.40 ms (nominal 5 ms)" in spec_cards(result(), scene, None)
    bare = spec_cards(result(), None, None)
    assert "nominal" not in bare.split('<p class="soft small">')[0]
    assert "+2.50 ± 0.40 ms" in bare


@pytest.mark.parametrize(
    ("ranges", "text"), [(RANGES, "not determined (−3 … 6)"), ({}, "+1.500 ± 2.590")], ids=["known", "old file"]
)
def test_a_table_does_not_show_a_prior_as_an_estimate(ranges, text):
    assert parameter_cell(result(prior_ranges=ranges), "lag") == text
    assert parameter_cell(result(prior_ranges=ranges), "gain_drift") == "+0.200 ± 0.050"


def test_a_value_without_a_standard_deviation_was_assumed():
    found = result(prior_ranges=RANGES, spec_std=Spec(math.nan, math.nan, math.nan))
    assert parameter_cell(found, "lag") == "+1.500 (assumed)"


def test_templates_ask_for_every_value():
    with pytest.raises(UndefinedError):
        render("table", columns=[], name="x")


def test_a_notebook_shows_frames_and_parameters():
    shape = (3, 20, 16)
    images = {"x_hat": np.ones(shape, np.float32), "x_std": np.ones(shape, np.float32)}
    html = result(name="<script>", **images, nominal=NOMINAL, prior_ranges=RANGES)._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert html.count('<img src="data:image/png;base64,') == 6
    assert "exposure window 10.50 ± 0.40 ms (nominal 8 ms)" in html
    assert "lag time constant not determined by these data (prior −3 … 6 ms around the nominal 10 ms)" in html
    assert "3 × 20 × 16 (frames × rows × columns)" in html
    single = result()._repr_html_()
    assert single.count("<img") == 2
    assert result(x_std=None)._repr_html_().count("<img") == 1
    with_nan = result(x_hat=np.full((4, 4), np.nan, np.float32), x_std=None, spec=Spec(*3 * [float("nan")]))
    assert "not known" in with_nan._repr_html_()
