"""Runs: the check by held-out quanta with any method, and scenes that the network does not serve."""

from dataclasses import replace

import numpy as np
import pytest

import fluorojax
from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.io import read_summaries, write_challenge
from fluorojax.methods.learned import LearnedMethod
from fluorojax.methods.registry import make_method
from fluorojax.metrics.held_out_verdict import HeldOut
from fluorojax.physics.dark import DarkRate
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.operator import PUBLISHED_OPERATOR
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.notes import fallback_notice, fallback_notices
from fluorojax.simulation import SimulationOptions, simulate_scene

OPTIONS = SimulationOptions(frames=5, size=16, photons=1500.0)


@pytest.fixture(scope="module")
def scene():
    return simulate_scene(77, OPTIONS)


def one(scene, **options):
    # The nominal spec: calibration takes most of the time, and is not what is tested here.
    (result,) = reconstruct_scenes([scene], ReconstructOptions(**{"spec": "nominal", **options}))
    return result


def gridded(scene):
    """A scene of the same protocol that shows a grid of wires everywhere."""
    rows, columns = np.mgrid[:64, :64]
    depth = 1.0 * ((rows % 8 < 1) | (columns % 8 < 1))
    counts = np.random.default_rng(0).poisson(60.0 * np.exp(-depth), (5, 64, 64))
    return replace(scene, name="sample_grid", y=counts.astype(np.float32), x_true=None, metadata={})


def test_the_check_serves_any_method_and_changes_no_result(scene):
    plain, checked = one(scene, method="recursive"), one(scene, method="recursive", held_out=0.2)
    np.testing.assert_array_equal(plain.x_hat, checked.x_hat)
    assert "held_out" not in plain.diagnostics
    facts = checked.diagnostics["held_out"]
    assert facts["share"] == 0.2
    assert facts["quanta"] == pytest.approx(0.2 * scene.y.sum(), rel=0.05)
    assert facts["verdict"].startswith("20 % of the quanta")
    again = one(scene, method="recursive", held_out=0.2)
    assert again.diagnostics["held_out"] == facts
    other = one(scene, method="recursive", held_out=0.2, seed=1)
    assert other.diagnostics["held_out"]["quanta"] != facts["quanta"]


def test_what_cannot_be_checked_says_why(scene):
    read = replace(scene, y=scene.y + np.float32(0.25))
    facts = one(read, method="recursive", held_out=0.1).diagnostics["held_out"]
    assert facts["level"] == "unknown"
    assert "not whole numbers" in facts["verdict"]


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="held_out is"):
        ReconstructOptions(held_out=share)


@pytest.mark.slow
def test_the_network_is_checked_by_itself(scene):
    facts = one(scene, method="learned").diagnostics
    assert facts["held_out"]["share"] == 0.1
    assert facts["held_out"]["sizes"]
    assert "held_out" not in one(scene, method="learned", held_out=0.0).diagnostics


def test_reasons_name_what_the_network_does_not_know(scene):
    unserved = make_method(ReconstructOptions()).unserved
    assert unserved(scene) == []
    assert "2 frames" in unserved(replace(scene, y=scene.y[:2]))[0]
    assert "1 frame," in unserved(replace(scene, y=scene.y[0]))[0]
    dark = replace(scene, operator=PUBLISHED_OPERATOR.with_stage(DarkRate(1.0)))
    assert "dark_rate" in unserved(dark)[0]
    start = replace(scene, operator=PUBLISHED_OPERATOR.with_stage(ChargeReleaseLag(start="dark")))
    assert "starts from dark" in unserved(start)[0]
    assert unserved(replace(scene, operator=PUBLISHED_OPERATOR.without_stage("scatter"))) == []


def test_the_network_is_the_default_and_map_where_a_model_is_asked_for():
    assert ReconstructOptions().method == "learned"
    assert ReconstructOptions(model="mine.py").method == "map"
    assert replace(ReconstructOptions(model="mine.py"), model="sequence").method == "map"
    assert ReconstructOptions(method="nlm").method == "nlm"


def test_scenes_of_two_frames_go_to_the_fallback_together_and_are_told_in_one_line(scene, monkeypatch):
    monkeypatch.setattr(LearnedMethod, "fallback", "recursive")
    short = [replace(scene, name=f"sample_{i}", y=scene.y[:2], x_true=None) for i in range(5)]
    results = list(reconstruct_scenes(short, ReconstructOptions(spec="nominal")))
    instead = list(reconstruct_scenes(short, ReconstructOptions(method="recursive", spec="nominal")))
    for one, other in zip(results, instead, strict=True):
        np.testing.assert_array_equal(one.x_hat, other.x_hat)
    (line,) = fallback_notices(results + instead)
    assert line.startswith(
        "sample_0, sample_1, sample_2 and 2 more: reconstructed by the method 'recursive' in place of"
    )
    assert "it has 2 frames" in line


@pytest.mark.slow
def test_scenes_unlike_the_training_go_to_the_fallback_one_by_one(scene, monkeypatch, tmp_path):
    monkeypatch.setattr(LearnedMethod, "fallback", "recursive")
    scenes = [
        scene,
        gridded(scene),
        replace(scene, name="sample_short", y=scene.y[:2], x_true=None),
        replace(scene, name="sample_bright", y=400.0 + scene.y),
    ]
    write_challenge(tmp_path / "in.h5", scenes, tier="public")
    lines = []
    options = ReconstructOptions(method="learned", spec="nominal", held_out=0.0)
    outcome = reconstruct_file(tmp_path / "in.h5", tmp_path / "out.h5", options, notify=lines.append)
    assert outcome.exit_code == 0
    found = {result.name: result.diagnostics.get("fallback") for result in read_summaries(tmp_path / "out.h5")}
    assert found.pop(scene.name) is None
    assert {name: facts["method"] for name, facts in found.items()} == dict.fromkeys(found, "recursive")
    assert "unlike any anatomy" in found["sample_grid"]["reasons"][0]
    assert "mean counts per pixel" in found["sample_bright"]["reasons"][0]
    told = [line for line in lines if "in place of 'learned'" in line]
    assert len(told) == 3
    assert any("sample_short: reconstructed by the method 'recursive'" in line for line in told)


@pytest.mark.slow
def test_a_failed_check_goes_to_the_fallback(scene, monkeypatch):
    monkeypatch.setattr(LearnedMethod, "fallback", "recursive")
    monkeypatch.setattr(HeldOut, "level", "bad")
    result = one(scene, method="learned")
    assert "held-out quanta speak against it" in result.diagnostics["fallback"]["reasons"][0]
    assert "fallback" not in one(scene, method="learned", fallback=False).diagnostics


@pytest.mark.slow
def test_the_network_can_be_insisted_on(scene):
    result = one(gridded(scene), method="learned", fallback=False, held_out=0.0)
    assert "unlike any anatomy" in result.diagnostics["verdict"]
    assert fallback_notice(result) is None
    short = one(replace(scene, y=scene.y[:2], x_true=None), method="learned", fallback=False)
    assert short.status is Status.DIVERGED
    assert "sample_00: the method 'learned' does not serve this scene: it has 2 frames" in short.diagnostics["verdict"]


@pytest.mark.slow
def test_counts_of_two_frames_are_served_by_map_with_a_warning(scene):
    with pytest.warns(UserWarning, match="'map' in place of 'learned': it has 2 frames"):
        result = fluorojax.reconstruct(scene.y[:2], method="learned", photons=1500.0)
    assert result.diagnostics["fallback"]["instead_of"] == "learned"
    assert result.x_std is not None
