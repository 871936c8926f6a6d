"""An imaging chain that shows itself: in words, and as a picture."""

from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Parameter, SpecRanges
from fluorojax.physics import PUBLISHED_OPERATOR, DarkRate, FluoroscopyOperator, RateStage, VeilingGlare

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


class Haze(RateStage):
    """A <b>haze</b> & more. A second sentence."""

    name: ClassVar[str] = "haze"
    parameters: ClassVar[tuple[Parameter, ...]] = (Parameter("haze_share", "", 0.0, 0.5, "share of haze"),)

    def __call__(self, rate, spec, acquisition):
        return rate


def texts(description):
    return [element.text for element in ElementTree.fromstring(description.svg()).iter(f"{SVG}text")]


def test_stages_stand_in_the_order_in_which_they_act():
    chain = FluoroscopyOperator((DarkRate(2.0), VeilingGlare(), *PUBLISHED_OPERATOR.stages)).describe()
    assert [stage.name for stage in chain.stages] == [
        *("attenuation", "exposure_window", "charge_release_lag", "gain_drift"),
        *("veiling_glare", "scatter", "open_beam", "dark_rate"),
    ]
    text = str(chain)
    places = [text.index(f"→ {stage.name}") for stage in chain.stages]
    assert places == sorted(places)
    assert "(rate 2)" in text


def test_parameters_have_the_ranges_and_nominal_values_of_the_scene():
    ranges = SpecRanges.from_dict({"motion_blur": (-2.0, 3.0), "lag": (-1.0, 2.5), "gain_drift": (-0.25, 0.75)})
    acquisition = Acquisition(pulse_width_ms=6.0, lag_ms=12.0, electronic_noise=1.5)
    text = str(PUBLISHED_OPERATOR.describe(acquisition, ranges, (4, 24, 32)))
    assert "motion_blur: -2 … 3 ms (exposure window, offset from pulse_width_ms of 6 ms)" in text
    assert "lag: -1 … 2.5 ms (lag time constant, offset from lag_ms of 12 ms)" in text
    assert "gain_drift: -0.25 … 0.75 %/frame (gain drift)" in text
    assert "plus electronic noise of 1.5 quanta" in text
    assert "[4 × 24 × 32]" in text
    unknown = str(PUBLISHED_OPERATOR.describe())
    assert "motion_blur: -5 … 10 ms (exposure window, offset from pulse_width_ms)" in unknown
    assert "T × H × W" in unknown


def test_a_stage_of_ones_own_is_shown_and_its_text_is_escaped():
    chain = PUBLISHED_OPERATOR.with_stage(Haze()).describe()
    assert "A <b>haze</b> & more." in texts(chain)
    assert "<b>" not in chain.svg()
    assert any("haze_share: 0 … 0.5 (share of haze)" in text for text in texts(chain))
    assert chain._repr_html_() == chain.svg()


def test_the_picture_names_every_stage_and_parameter_and_stays_inside_its_frame():
    chain = PUBLISHED_OPERATOR.describe(Acquisition(), shape=(16, 128, 128))
    root = ElementTree.fromstring(chain.svg())
    shown = " ".join(texts(chain))
    for stage in chain.stages:
        assert f"{stage.name}, {stage.acts}" in shown
    for parameter in PUBLISHED_OPERATOR.parameters:
        assert f"{parameter.name}: " in shown
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    boxes = [[float(box.attrib[key]) for key in ("x", "y", "width", "height")] for box in root.iter(f"{SVG}rect")]
    for x, y, w, h in boxes:
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height
    for i, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[:i]:
            assert x >= x2 + w2 or x2 >= x + w or y >= y2 + h2 or y2 >= y + h


def test_the_picture_of_the_documentation_is_that_of_this_version():
    kept = (ROOT / "docs" / "imaging_chain.svg").read_text(encoding="utf-8")
    assert kept == PUBLISHED_OPERATOR.describe().svg() + "\n"


@pytest.mark.parametrize("shape", ["3", "a,b", "0,2,2", "1,2,3,4"])
def test_models_show_refuses_a_shape_that_is_none(shape, capsys):
    from fluorojax.cli import main

    assert main(["models", "--show", "sequence", "--shape", shape]) == 2
    assert "expected T,H,W or H,W" in capsys.readouterr().err


def test_models_show_prints_latents_and_chain_and_writes_the_picture(tmp_path, capsys):
    from fluorojax.cli import main

    out = tmp_path / "chain.svg"
    assert main(["models", "--show", "sequence", "--shape", "4,16,16", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "spec_base: 3, the unknown parameters of the imaging chain: motion_blur, lag, gain_drift" in printed
    assert "static_amplitude: one number, describes the prior" in printed
    assert "→ charge_release_lag" in printed
    assert ElementTree.parse(out).getroot().tag == f"{SVG}svg"
    assert main(["models", "--show", "sequence", "--shape", "4,16,16", "-o", str(out)]) == 2
    assert main(["models", "-o", str(out)]) == 2
    assert "expected --show MODEL" in capsys.readouterr().err
