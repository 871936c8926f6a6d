"""Runs with imaging chains that the file does not state whole: unknown scatter, and starts from dark."""

from dataclasses import replace

import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import Selection, open_scenes, read_reconstruction, read_summaries, write_challenge
from fluorojax.methods.registry import make_method
from fluorojax.physics import PUBLISHED_OPERATOR, ChargeReleaseLag, SlowLag, extended
from fluorojax.physics.extensions import RECOGNITION
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.long_calibration import calibrate_run
from fluorojax.runs.notes import notices
from fluorojax.simulation import SimulationOptions, simulate_scene

# A long time constant, so that much is missing from the first frame of a small scene.
DARK = SimulationOptions(frames=12, size=32, photons=6000.0, lag_ms=16.0, from_dark=True)


@pytest.fixture(scope="module")
def dark():
    return simulate_scene(5, DARK)


def one(scene, **options):
    (result,) = reconstruct_scenes([scene], ReconstructOptions(**options))
    return result


def test_unknown_scatter_is_carried_and_told_and_not_served_by_the_network():
    operator = extended(PUBLISHED_OPERATOR, ["scatter"])
    scene = simulate_scene(3, SimulationOptions(frames=5, size=16, operator=operator))
    assert "scatter_ratio" in make_method(ReconstructOptions()).unserved(scene)[0]
    result = one(scene, method="map")
    assert "not determined by these data" in result.diagnostics["identifiability"]["scatter_width"]
    shares = result.diagnostics["variance_share_of_chain"]
    assert shares["scatter_ratio"] + shares["scatter_width"] + shares["scatter_tail"] > 0.5
    assert len(result.spec_correlation) == 6


def test_a_start_from_dark_is_recognised_in_a_run_and_told(dark):
    result = one(dark, method="recursive")
    told = result.diagnostics[RECOGNITION]
    assert told["stages"] == ["dark-start"]
    assert notices([result]) == [f"sample_00: {told['sentence']}"]
    for options in ({"recognise": False}, {"spec": "nominal"}):
        assert RECOGNITION not in one(dark, method="recursive", **options).diagnostics


def test_a_file_records_what_was_recognised_and_an_option_states_it(dark, tmp_path):
    write_challenge(tmp_path / "in.h5", [dark], tier="public")
    lines = []
    options = ReconstructOptions(method="recursive")
    reconstruct_file(tmp_path / "in.h5", tmp_path / "out.h5", options, notify=lines.append)
    assert any("the run starts from dark" in line for line in lines)
    (summary,) = read_summaries(tmp_path / "out.h5")
    assert summary.diagnostics[RECOGNITION]["stages"] == ["dark-start"]
    stated = Selection(chain=("dark-start",))
    reconstruct_file(tmp_path / "in.h5", tmp_path / "stated.h5", options, selection=stated)
    results = [read_reconstruction(tmp_path / name, "sample_00") for name in ("out.h5", "stated.h5")]
    assert RECOGNITION not in results[1].diagnostics
    assert results[0].spec.as_dict() == pytest.approx(results[1].spec.as_dict())


def test_the_later_parts_of_a_long_run_are_steady(dark, tmp_path):
    write_challenge(tmp_path / "in.h5", [dark], tier="public")
    run = open_scenes(tmp_path / "in.h5").run("sample_00").with_stages(["dark-start", "slow-lag"])
    assert run.head.operator.stage(ChargeReleaseLag).start == "dark"
    later = run.part(slice(4, 12)).operator
    assert later.stage(ChargeReleaseLag).start == "steady"
    assert later.stage(SlowLag).exposed == 4.0
    assert calibrate_run(run).std.lag < 2.0


def test_a_simulated_chain_that_starts_from_dark_is_the_option_from_dark():
    operator = PUBLISHED_OPERATOR.with_stage(ChargeReleaseLag(start="dark"))
    chain = simulate_scene(5, replace(DARK, from_dark=False, operator=operator))
    np.testing.assert_array_equal(chain.y, simulate_scene(5, DARK).y)
    slow = simulate_scene(5, replace(DARK, operator=extended(operator, ["slow-lag"])))
    assert 0.0 <= slow.true_spec.as_dict()["slow_lag_share"] <= 0.03
