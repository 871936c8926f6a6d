"""The page in a real browser: it starts without a complaint, and every control does what it says.

Values that are read off the page are held against the arrays that went into the file.
"""

import re
import time

import numpy as np
import pytest
from PIL import Image
from report_files import PHOTONS, SCALE, make_files, smooth_images
from selenium.webdriver import ActionChains, Keys

from fluorojax.io import read_reconstruction, read_scene
from fluorojax.metrics import standardised_residuals
from fluorojax.plot.display import Window, image_window, spread_window
from fluorojax.plot.residuals import counts_and_rate
from fluorojax.reports import write_report
from fluorojax.reports.palettes import palette_of

SHAPE = (6, 24, 32)

PIXELS = """
const canvas = document.querySelector(arguments[0]);
return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("files")
    out, truth = make_files(directory, shape=SHAPE, count=2, images=smooth_images)
    write_report(directory / "page.html", out, truth=truth)
    write_report(directory / "bare.html", out)
    return directory


@pytest.fixture
def page(browser, files):
    browser.open(files / "page.html")
    return browser


def pixels(browser, selector):
    """Colours of a canvas, (rows, columns, RGB)."""
    height, width = SHAPE[1:]
    return np.array(browser.run(PIXELS, selector)).reshape(height, width, 4)[..., :3]


def panel(name):
    return f".panels [data-layer={name}] canvas"


def shown(values, window, kind="image"):
    """The colours that values should have."""
    level = np.rint(255 * np.clip((values - window.low) / (window.high - window.low), 0, 1)).astype(int)
    return palette_of(kind)[level].astype(int)


def frame(browser):
    return int(browser.find("[data-control=frame]").get_attribute("value"))


def place(browser):
    return tuple(int(browser.find(f"[data-control={name}]").get_attribute("value")) for name in ("row", "column"))


def numbers(text):
    return [float(value.replace("−", "-")) for value in re.findall(r"−?\d+\.\d+", text)]


def test_the_page_starts_without_a_complaint_and_asks_for_nothing(page, files):
    assert page.complaints() == []
    assert page.requests() == [(files / "page.html").as_uri()]
    page.run("document.querySelectorAll('section')[1].scrollIntoView()")
    page.wait("return document.querySelectorAll('.player[data-state=ready]').length === 2")
    assert page.complaints() == []


def test_images_are_those_of_the_file(page, files):
    result = read_reconstruction(files / "out.h5", "sample_00")
    scene = read_scene(files / "in.h5", "sample_00")
    measured = -np.log(np.maximum(scene.y, 0.5) / PHOTONS) / SCALE
    window, spread = image_window(result.x_hat), spread_window(result.x_std)
    for name, values in {"measured": measured, "estimate": result.x_hat, "truth": scene.x_true}.items():
        step = 1 + 255 * (np.ptp(values) / 253 if name == "measured" else 0.0) / (window.high - window.low)
        difference = np.abs(pixels(page, panel(name)) - shown(values[0], window))
        assert difference.max() <= step, name
    # neighbouring colours of the palette differ by a few steps of a channel
    assert np.abs(pixels(page, panel("spread")) - shown(result.x_std[0], spread, "spread")).max() <= 8


def test_it_plays_and_pauses(page):
    assert frame(page) == 0
    page.find("[data-control=play]").click()
    assert page.text("[data-control=play]") == "Pause"
    page.wait("return document.querySelector('[data-control=frame]').value > 0")
    # goes round: it comes back to the first frame by itself
    page.wait("return document.querySelector('[data-control=frame]').value === '5'")
    page.wait("return document.querySelector('[data-control=frame]').value === '0'")
    page.find("[data-control=play]").click()
    stopped = frame(page)
    twice = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 120)))"
    page.driver.execute_async_script(twice)
    assert frame(page) == stopped
    assert page.text("[data-control=play]") == "Play"


def test_it_scrubs(page, files):
    result = read_reconstruction(files / "out.h5", "sample_00")
    window = image_window(result.x_hat)
    page.find("[data-control=frame]").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert frame(page) == 2
    assert np.abs(pixels(page, panel("estimate")) - shown(result.x_hat[2], window)).max() <= 1
    assert page.text("label:has([data-control=frame]) output") == "2 of 0–5"
    assert page.text(".readout").startswith("Frame 2, ")


def test_the_rate_is_stated_in_real_time(page):
    rate = "label:has([data-control=rate]) output"
    assert page.text(rate) == "30/s, real time × 1.00"
    page.find("[data-control=rate]").send_keys(Keys.HOME)
    assert page.text(rate) == "1/s, real time × 0.03"


def test_window_and_level(page, files):
    window = image_window(read_reconstruction(files / "out.h5", "sample_00").x_hat)
    before = pixels(page, panel("estimate")), pixels(page, panel("spread"))
    page.find("[data-control=level]").send_keys(Keys.HOME)
    assert pixels(page, panel("estimate")).mean() > 1.2 * before[0].mean()
    page.find("[data-control=window]").send_keys(Keys.HOME)
    assert set(np.unique(pixels(page, panel("estimate")))) <= {0, 255}
    np.testing.assert_array_equal(pixels(page, panel("spread")), before[1])
    page.find("[data-control=reset]").click()
    np.testing.assert_array_equal(pixels(page, panel("estimate")), before[0])
    outputs = page.find(".image-scale").find_elements("css selector", "output")
    ends = numbers(" ".join(output.text for output in outputs))
    assert ends == pytest.approx([window.low, window.high], abs=6e-4)


@pytest.mark.parametrize("name", ["measured", "estimate", "spread", "truth"])
def test_a_click_shows_the_curve_of_its_pixel(page, files, name):
    page.click_at(page.find(panel(name)), 10.5 / 32, 5.5 / 24)
    assert place(page) == (5, 10)
    result = read_reconstruction(files / "out.h5", "sample_00")
    scene = read_scene(files / "in.h5", "sample_00")
    x, sd = result.x_hat[0, 5, 10], result.x_std[0, 5, 10]
    raw = -np.log(max(scene.y[0, 5, 10], 0.5) / PHOTONS) / SCALE
    found = numbers(page.text(".readout"))
    score = (x - scene.x_true[0, 5, 10]) / sd
    expected = [x, sd, x - 1.645 * sd, x + 1.645 * sd, score, scene.x_true[0, 5, 10], raw]
    assert found.pop(4) == pytest.approx(expected.pop(4), abs=0.03)
    assert found == pytest.approx(expected, abs=6e-3)
    assert found[:5] == pytest.approx(expected[:5], abs=1.1e-3)
    drawn = {kind: page.find(f".curve path.{kind}").get_attribute("d") for kind in ("estimate", "truth", "band")}
    assert [len(re.findall("[ML]", path)) for path in drawn.values()] == [6, 6, 12]


def heights(browser, kind):
    """Heights of the points of a path, upwards, in pixels."""
    path = browser.find(f".curve path.{kind}").get_attribute("d")
    return -np.array([float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path)])


def test_the_curve_has_the_shape_of_the_values(page, files):
    page.click_at(page.find(panel("estimate")), 10.5 / 32, 5.5 / 24)
    result = read_reconstruction(files / "out.h5", "sample_00")
    truth = read_scene(files / "in.h5", "sample_00").x_true[:, 5, 10]
    values, sd = result.x_hat[:, 5, 10], result.x_std[:, 5, 10]
    scale, offset = np.polyfit(values, heights(page, "estimate"), 1)
    upper, lower = np.split(heights(page, "band"), 2)
    curves = {"estimate": (heights(page, "estimate"), values), "truth": (heights(page, "truth"), truth)}
    curves |= {"upper": (upper, values + 1.645 * sd), "lower": (lower[::-1], values - 1.645 * sd)}
    for name, (drawn, expected) in curves.items():
        np.testing.assert_allclose((drawn - offset) / scale, expected, atol=1e-3, err_msg=name)
    assert page.run("return document.querySelectorAll('.curve circle.measured').length") == 0
    page.find("[data-control=measured]").click()
    assert page.run("return document.querySelectorAll('.curve circle.measured').length") == 6


def test_a_click_on_the_curve_chooses_a_frame(page):
    page.click_at(page.find(".curve"), 0.97, 0.4)
    assert frame(page) == 5


def test_pixel_and_frame_by_keyboard(page):
    page.click_at(page.find(panel("estimate")), 10.5 / 32, 5.5 / 24)
    page.find(".panels").send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_UP)
    assert place(page) == (5, 12)
    page.find(".panels").send_keys(Keys.SHIFT + Keys.ARROW_DOWN + Keys.ARROW_LEFT + Keys.NULL)
    assert place(page) == (15, 2)
    page.find(".panels").send_keys(Keys.SHIFT + Keys.ARROW_DOWN + Keys.ARROW_LEFT + Keys.NULL)
    assert place(page) == (23, 0)  # stays inside the frame
    page.find(".panels").send_keys(".", ".", ",")
    assert frame(page) == 1
    assert page.text(".readout").startswith("Frame 1, row 23, column 0: ")
    page.find(".panels").send_keys(" ")
    assert page.text("[data-control=play]") == "Pause"
    page.find("[data-control=row]").send_keys(Keys.CONTROL + "a" + Keys.NULL + "7")
    assert page.text(".readout").partition(", ")[2].startswith("row 7, column 0: ")


def test_every_control_is_reached_by_tab(page):
    page.run("document.querySelector('.panels').focus()")
    reached = set()
    for _ in range(24):
        page.press(Keys.TAB)
        reached.add(page.run("return document.activeElement.dataset.control ?? document.activeElement.tagName"))
    controls = page.run("return [...document.querySelectorAll('.player')[0].querySelectorAll('[data-control]')]"
                        ".map((control) => control.dataset.control)")  # fmt: skip
    assert set(controls) <= reached


def test_the_line_between_before_and_after_moves(page):
    clip = "return document.querySelectorAll('.compare canvas')[1].style.clipPath"
    slider = page.find("[data-control=split]")
    assert page.run(clip) == "inset(0px 0px 0px 50%)"
    slider.send_keys(Keys.END)
    assert page.run(clip) == "inset(0px 0px 0px 100%)"
    slider.send_keys(Keys.HOME)
    assert page.run(clip) == "inset(0px 0px 0px 0%)"
    box = page.find(".split")
    page.run("arguments[0].scrollIntoView({block: 'center'})", box)
    quarter = round(box.rect["width"] / 4)
    ActionChains(page.driver).move_to_element(box).click_and_hold().move_by_offset(quarter, 0).release().perform()
    assert float(slider.get_attribute("value")) == pytest.approx(75, abs=1)


def test_before_and_after_show_the_chosen_pair(page):
    under, over = (f".compare canvas:nth-of-type({i})" for i in (1, 2))
    np.testing.assert_array_equal(pixels(page, under), pixels(page, panel("measured")))
    np.testing.assert_array_equal(pixels(page, over), pixels(page, panel("estimate")))
    page.find("[data-control=pair] option[value='estimate truth']").click()
    page.find("[data-control=frame]").send_keys(Keys.ARROW_RIGHT)
    np.testing.assert_array_equal(pixels(page, under), pixels(page, panel("estimate")))
    np.testing.assert_array_equal(pixels(page, over), pixels(page, panel("truth")))
    assert page.text(".compare figcaption") == "Reconstruction x̂Truth x"


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_phone_and_desk_light_and_dark(browser, files, width, scheme):
    browser.open(files / "page.html", width=width, scheme=scheme)
    # not innerWidth, which a phone widens to what overflows
    assert browser.run("return document.documentElement.scrollWidth") <= width
    rightmost = (
        "return Math.max(...[...document.querySelectorAll('.player *')].map((e) => e.getBoundingClientRect().right))"
    )
    assert browser.run(rightmost) <= width
    channels = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    assert (sum(browser.run(channels)) < 200) == (scheme == "dark")
    assert browser.complaints() == []


def test_on_paper_there_are_frames_and_no_controls(page):
    displayed = "return getComputedStyle(document.querySelector(arguments[0])).display !== 'none'"
    assert (page.run(displayed, ".controls"), page.run(displayed, ".still")) == (True, False)
    page.media(scheme="dark", medium="print")
    assert (page.run(displayed, ".controls"), page.run(displayed, ".still")) == (False, True)
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_without_measurement_and_truth_the_rest_is_shown(browser, files):
    browser.open(files / "bare.html")
    names = "return [...document.querySelector('.panels').children].map((figure) => figure.dataset.layer)"
    assert browser.run(names) == ["estimate", "spread"]
    assert browser.run("return document.querySelector('.compare, [data-control=measured]')") is None
    assert browser.text("label:has([data-control=rate]) output") == "15/s"
    assert browser.complaints() == []


def drag(page, element, start, end):
    """Press at one fraction of an element, let go at another; both are (across, down)."""
    page.run("arguments[0].scrollIntoView({block: 'center'})", element)
    box = element.rect
    moves = ActionChains(page.driver)
    at = [(round((x - 0.5) * box["width"]), round((y - 0.5) * box["height"])) for x, y in (start, end)]
    moves.move_to_element_with_offset(element, *at[0]).click_and_hold()
    moves.move_to_element_with_offset(element, *at[1]).release().perform()


def region_rows(page):
    """Cells of the table of the region, by the title of the layer: mean, sd, mean of all frames."""
    script = """return [...document.querySelector('.region-table').tBodies[0].rows]
        .map((row) => [...row.cells].map((cell) => cell.textContent))"""
    return {title: [float(cell.replace("−", "-")) for cell in cells] for title, *cells in page.run(script)}


def test_a_region_has_its_mean_and_sd(page, files):
    drag(page, page.find(panel("estimate")), (10.5 / 32, 5.5 / 24), (20.5 / 32, 15.5 / 24))
    fields = [page.find(f"[data-control={name}]").get_attribute("value") for name in ("top", "bottom", "left", "right")]
    assert fields == ["5", "15", "10", "20"]
    result = read_reconstruction(files / "out.h5", "sample_00")
    truth = read_scene(files / "in.h5", "sample_00").x_true
    part = (slice(5, 16), slice(10, 21))
    for frame_number in (0, 2):
        found = region_rows(page)
        for title, values in (("Reconstruction x̂", result.x_hat), ("Truth x", truth)):
            inside = values[frame_number, *part]
            expected = [inside.mean(), inside.std(ddof=1), values[:, *part].mean()]
            assert found[title] == pytest.approx(expected, abs=1.1e-3), title
        page.find("[data-control=frame]").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    bottom = page.find("[data-control=bottom]")
    bottom.send_keys(Keys.CONTROL + "a" + Keys.NULL + "7")
    assert page.text(".region-table th").startswith("33 pixels, frame ")
    page.find("[data-control=clear]").click()
    assert page.run("return document.querySelector('.region-table').hidden")
    assert page.complaints() == []


def test_zoom_shows_the_part_around_the_pixel(page):
    page.click_at(page.find(panel("estimate")), 24.5 / 32, 18.5 / 24)
    page.find(".panels").send_keys("+", "+", "+", "+", "+", "+")
    assert page.text("label:has([data-control=zoom]) output") == "× 4"
    screen, canvas = (
        page.run("return arguments[0].getBoundingClientRect().toJSON()", page.find(selector))
        for selector in (".panels [data-layer=estimate] .screen", panel("estimate"))
    )
    assert canvas["width"] == pytest.approx(4 * screen["width"], rel=0.01)
    # a quarter of the columns about column 24: from 20.5 on
    assert (screen["left"] - canvas["left"]) / canvas["width"] == pytest.approx((24.5 - 4) / 32, abs=0.005)
    page.click_at(page.find(".panels [data-layer=truth] .screen"), 0.5 + 2 / 8, 0.5 - 1 / 6)
    assert place(page) == (17, 26)
    page.find("[data-control=zoom]").send_keys(Keys.HOME)
    assert page.run("return document.querySelector(arguments[0]).style.transform", panel("estimate")) == ""


def test_what_is_seen_is_saved(page, tmp_path):
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    page.find("[data-control=frame]").send_keys(Keys.ARROW_RIGHT)
    page.find("[data-control=save]").click()
    file = tmp_path / "sample_00-frame-1.png"
    for _ in range(600):
        if file.exists():
            break
        time.sleep(0.1)
    found = np.asarray(Image.open(file).convert("RGB")).astype(int)
    script = "return [...document.querySelector('.panels').children].map((figure) => figure.dataset.layer)"
    shown_names = page.run(script)
    factor = round(360 / 32)
    assert found.shape == (24 * factor + 22, len(shown_names) * (32 * factor + 8) - 8, 3)
    for index, name in enumerate(shown_names):
        start = index * (32 * factor + 8)
        part = found[: 24 * factor, start : start + 32 * factor][factor // 2 :: factor, factor // 2 :: factor]
        np.testing.assert_array_equal(part, pixels(page, panel(name)), err_msg=name)
    assert page.complaints() == []


def test_errors_are_shown_in_units_of_their_sd(page, files):
    result = read_reconstruction(files / "out.h5", "sample_00")
    score = (result.x_hat - read_scene(files / "in.h5", "sample_00").x_true) / result.x_std
    expected = shown(score[0], Window(-4.0, 4.0), "signed")
    assert np.abs(pixels(page, panel("zscore")) - expected).max() <= 8
    page.click_at(page.find(panel("zscore")), 10.5 / 32, 5.5 / 24)
    assert numbers(page.text(".readout").split("z-score")[1])[0] == pytest.approx(score[0, 5, 10], abs=0.03)


def test_without_the_truth_the_residual_is_shown(browser, files, tmp_path):
    write_report(tmp_path / "page.html", files / "out.h5", source=files / "in.h5")
    # the source file holds the truth as well, which only --truth shows
    browser.open(tmp_path / "page.html")
    names = browser.run("return [...document.querySelector('.panels').children].map((figure) => figure.dataset.layer)")
    assert names == ["measured", "estimate", "spread", "residual"]
    result = read_reconstruction(files / "out.h5", "sample_00")
    residual = standardised_residuals(*counts_and_rate(result, read_scene(files / "in.h5", "sample_00")))
    expected = shown(residual[0], Window(-4.0, 4.0), "signed")
    assert np.abs(pixels(browser, panel("residual")) - expected).max() <= 8
    assert browser.complaints() == []


def test_a_single_frame_has_no_player(browser, tmp_path):
    out, truth = make_files(tmp_path, shape=SHAPE[1:], count=1, images=smooth_images)
    write_report(tmp_path / "page.html", out, truth=truth)
    browser.open(tmp_path / "page.html")
    assert browser.run("return document.querySelector('[data-control=play], [data-control=frame]')") is None
    browser.find(".panels").send_keys(" ", Keys.ARROW_DOWN)
    assert browser.run("return document.querySelector('.curve .bar') !== null")
    assert browser.complaints() == []


def test_pixels_that_are_not_finite_leave_a_gap(browser, tmp_path):
    x_hat = smooth_images(SHAPE, None)[1]
    x_hat[2, 5, 10] = np.nan
    out, truth = make_files(tmp_path, shape=SHAPE, count=1, images=smooth_images, x_hat=x_hat)
    write_report(tmp_path / "page.html", out, truth=truth)
    browser.open(tmp_path / "page.html")
    browser.click_at(browser.find(panel("estimate")), 10.5 / 32, 5.5 / 24)
    assert re.sub(r"[^ML]", "", browser.find(".curve path.estimate").get_attribute("d")) == "MLMLL"
    assert browser.complaints() == []


def test_draws_are_pictured(browser, tmp_path):
    draws = {"lag": np.random.default_rng(0).normal(0.5, 0.3, (4, 50)).astype(np.float32)}
    out, truth = make_files(tmp_path, shape=SHAPE, count=1, images=smooth_images, draws=draws)
    write_report(tmp_path / "page.html", out, truth=truth)
    browser.open(tmp_path / "page.html")
    assert browser.run("return document.querySelectorAll('.range .draws').length") == 1


def test_a_browser_without_decompression_shows_frames(browser, files):
    source = {"source": "delete window.DecompressionStream"}
    added = browser.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", source)
    try:
        browser.driver.get((files / "page.html").as_uri())
        browser.wait("return !document.querySelector('.no-player').hidden")
        assert browser.run("return getComputedStyle(document.querySelector('.still')).display !== 'none'")
        assert "frames are shown instead" in browser.text(".no-player")
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_texts_of_a_file_never_run(browser, tmp_path):
    attack = "<img src=x onerror='window.hit = 1'><script>window.hit = 1</script>"
    sentences = {"identifiability": {"lag": attack}, "verdict": attack, "note": attack}
    out, truth = make_files(tmp_path, shape=SHAPE, count=1, images=smooth_images, diagnostics=sentences)
    write_report(tmp_path / "page.html", out, truth=truth)
    browser.open(tmp_path / "page.html")
    assert browser.run("return window.hit") is None
    # and what is smuggled in all the same is stopped by the policy of the page
    browser.run("document.body.insertAdjacentHTML('beforeend', arguments[0])", attack)
    assert browser.run("return window.hit") is None
    assert any("Content Security Policy" in line for line in browser.complaints())
