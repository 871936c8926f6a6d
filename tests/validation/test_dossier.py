"""The validation report: what it says of results, and a small one from beginning to end."""

import json
from dataclasses import replace

import pytest

from fluorojax.cli import main
from fluorojax.validation import CaseResult
from fluorojax.validation.dossier import Dossier, DossierOptions, judge, worst

LEVELS = (0.5, 0.8, 0.9, 0.95)


def case(name, inside=0.9, moving=0.9, held=3):
    groups = {"all": inside, "moving": moving, "static": inside}
    return CaseResult(
        case=name,
        scenes=3,
        coverage={group: dict.fromkeys(LEVELS, share) for group, share in groups.items()},
        coverage_error=0.01,
        x_z_rms=1.0,
        spec_z={"motion_blur": (0.0,), "lag": (0.0,), "gain_drift": (0.0,)},
        spec_inside={"motion_blur": 3, "lag": 3, "gain_drift": held},
        spec_error={"motion_blur": 1.0, "lag": 1.0, "gain_drift": 0.1},
        counts=40.0,
        psnr=38.0,
    )


def dossier(cells, limits):
    options = DossierOptions(replicates=0)
    return Dossier(options, None, tuple(cells), (case("matched"), *limits), {"seed": "0"}, 1.0)


def of(found, topic):
    return next(finding for finding in found.findings() if topic in finding.topic)


@pytest.mark.parametrize(
    ("share", "level"), [(0.9, "good"), (0.96, "caution"), (0.82, "caution"), (0.5, "bad"), (0.999, "bad")]
)
def test_levels(share, level):
    assert judge(share) == level
    assert judge(float("nan")) == "bad"


def test_the_worst_of_several():
    assert worst("good", "caution", "unknown") == "caution"
    assert worst("good", "bad", "caution") == "bad"


def test_too_narrow_intervals_on_matched_data_fail_and_are_named():
    cells = [(300.0, "slow", case("a")), (1500.0, "fast", case("b", inside=0.91, moving=0.6))]
    found = dossier(cells, [])
    assert not found.passed
    assert of(found, "moving pixels").level == "bad"
    assert "60.0 % (I₀ = 1500, fast motion) to 90.0 % (I₀ = 300, slow motion)" in of(found, "moving pixels").text
    assert of(found, "all pixels").level == "good"


def test_what_the_model_does_not_know_is_a_limit_and_no_failure():
    cells = [(300.0, "slow", case("a"))]
    found = dossier(cells, [case("scatter, unknown", inside=0.4), case("start from dark", held=0)])
    assert found.passed
    assert of(found, "Limit: scatter, unknown").level == "bad"
    assert "must not be relied on" in of(found, "Limit: scatter, unknown").text
    dark = of(found, "Limit: start from dark")
    assert dark.level == "caution"
    assert "gain_drift miss the truth in more than half" in dark.text
    assert of(found, "Draws from the prior").level == "unknown"
    assert json.loads(json.dumps(found.as_dict()))["passed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photons": ()}, "photons is"),
        ({"photons": (100.0, 100.0)}, "expected each dose once"),
        ({"scenes": 0}, "scenes is 0"),
        ({"replicates": 5}, "replicates is 5"),
        ({"size": 4}, "size"),
    ],
)
def test_bad_options(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(DossierOptions(), **changes)


def test_a_small_validation_is_one_page(tmp_path, capsys):
    """With a filter that states an uncertainty: everything but the computing time of a model."""
    page = tmp_path / "page.html"
    command = ["validate", "-o", str(page), "--method", "stream", "--photons", "1500", "--scenes", "1", "--frames", "5"]
    assert main([*command, "--size", "16"]) in (0, 1)
    told = capsys.readouterr().out
    assert "Limit: scatter, unknown" in told
    text = page.read_text(encoding="utf-8")
    for words in (
        "Validation of sequence with stream",
        "1500, fast",
        "read noise 1.5, known",
        "SHA-256",
        "<svg",
        "lag",
    ):
        assert words in text
    assert "The method does not use the model" in text
    assert main([*command, "--size", "16"]) == 2
    assert "exists" in capsys.readouterr().err
