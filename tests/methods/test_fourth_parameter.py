"""A stage from outside the package with an unknown parameter of its own: simulator, files, MAP and NUTS."""

from dataclasses import replace

import numpy as np
import pytest
from small_models import MODEL
from test_stages import OFFSET, OPERATOR

from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.data.spec import SPEC_NAMES, Spec
from fluorojax.io import read_reconstruction, read_scene, write_challenge
from fluorojax.metrics import score_scene
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.files import reconstruct_file
from fluorojax.simulation import SimulationOptions, simulate_scene

NAMES = (*SPEC_NAMES, "dark_offset")
TRUE = 12.0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("fourth") / "mine.py"
    path.write_text(MODEL)
    return str(path)


@pytest.fixture(scope="module")
def scene():
    """Many quanta behind a thin patient, so that the field shows gain drift and dark offset apart."""
    options = SimulationOptions(frames=6, size=16, photons=400.0, operator=OPERATOR, spec=Spec(dark_offset=TRUE))
    return simulate_scene(2, options)


def test_the_simulator_adds_the_offset(scene):
    plain = simulate_scene(2, SimulationOptions(frames=6, size=16, photons=400.0, spec=Spec()))
    assert scene.operator.parameters[-1] == OFFSET
    assert scene.y.mean() - plain.y.mean() == pytest.approx(TRUE, rel=0.1)


def test_the_file_names_the_stage(scene, tmp_path):
    write_challenge(tmp_path / "in.h5", [scene])
    again = read_scene(tmp_path / "in.h5", scene.name)
    assert again.ranges.names == NAMES
    assert again.true_spec.as_dict() == scene.true_spec.as_dict()
    assert [type(stage) for stage in again.operator.stages] == [type(stage) for stage in OPERATOR.stages]


def test_map_carries_the_whole_prior_of_what_nothing_calibrates(scene, model):
    known = replace(scene, true_spec=scene.true_spec)
    (blind,) = reconstruct_scenes([scene], ReconstructOptions(model=model))
    (true,) = reconstruct_scenes([known], ReconstructOptions(model=model, spec="true"))
    assert blind.spec.names == NAMES
    assert blind.spec_std.dark_offset == pytest.approx((OFFSET.high - OFFSET.low) / np.sqrt(12), rel=1e-2)
    assert blind.spec_correlation.shape == (4, *scene.y.shape)
    assert blind.diagnostics["variance_share_of_chain"]["dark_offset"] > 0.2
    assert true.spec.dark_offset == pytest.approx(TRUE)
    assert true.x_std.mean() < 0.8 * blind.x_std.mean()
    # The truth lies inside what the uncertainty of the offset allows.
    assert np.mean(np.abs(blind.x_hat - true.x_hat) <= 2 * blind.x_std) > 0.95


def test_nuts_infers_the_offset_with_the_scene(scene, model, tmp_path):
    source, out = tmp_path / "in.h5", tmp_path / "out.h5"
    write_challenge(source, [scene])
    options = ReconstructOptions(model=model, method="nuts", spec="joint", chains=2, warmup=100, draws=100, seed=1)
    reconstruct_file(source, out, options)
    result = read_reconstruction(out, scene.name)
    assert [parameter.name for parameter in result.parameters] == list(NAMES)
    assert result.parameters[-1].unit == "quanta"
    assert result.status in (Status.CONVERGED, Status.NOT_CONVERGED)
    assert result.draws["dark_offset"].shape == (2, 100)
    low, high = result.spec_interval["dark_offset"]
    assert OFFSET.low < low < high < OFFSET.high
    scores = score_scene(result, scene)
    assert set(scores.spec) == set(NAMES)
    assert scores.spec["dark_offset"].unit == "quanta"
