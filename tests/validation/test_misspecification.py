"""The table of misspecified cases."""

import math
from dataclasses import replace

import numpy as np
import pytest

import fluorojax.validation.misspecification as module
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.spec import Spec
from fluorojax.simulation import SimulationOptions
from fluorojax.validation import misspecified_cases, run_case

BASE = SimulationOptions(frames=4, size=16, photons=500.0)


@pytest.fixture
def engine(monkeypatch):
    """A reconstruction whose errors are Gaussian of the stated sd, or half of it."""
    seen = []

    def reconstruct(scenes, options, *, progress=None):
        rng = np.random.default_rng(0)
        for scene in scenes:
            seen.append(scene)
            noise = rng.normal(0.0, reconstruct.error, scene.x_true.shape)
            yield Reconstruction(
                name=scene.name,
                x_hat=scene.x_true + noise.astype(np.float32),
                x_std=np.full_like(scene.x_true, 0.02),
                spec=Spec(*(v + 1.0 for v in scene.true_spec.as_dict().values())),
                spec_std=Spec(0.5, 1.0, 2.0),
                spec_interval=dict.fromkeys(scene.true_spec.as_dict(), (-math.inf, math.inf)),
                status=Status.CONVERGED,
                seconds=0.0,
            )

    reconstruct.error = 0.02
    monkeypatch.setattr(module, "reconstruct_scenes", reconstruct)
    return reconstruct, seen


def test_cases_differ_from_the_matched_one_in_one_thing():
    cases = misspecified_cases(BASE)
    assert cases[0].options == BASE
    assert len({case.name for case in cases}) == len(cases)
    for case in cases[1:]:
        assert case.options != BASE


def test_measures_are_those_of_the_errors(engine):
    _, seen = engine
    result = run_case(misspecified_cases(BASE)[0], 3, 0)
    assert len(seen) == 3
    assert result.x_z_rms == pytest.approx(1.0, abs=4 / math.sqrt(2 * 3 * 4 * 256))
    assert result.coverage["all"][0.9] == pytest.approx(0.9, abs=4 * math.sqrt(0.09 / (3 * 4 * 256)))
    assert result.spec_z["motion_blur"] == pytest.approx((2.0, 2.0, 2.0), rel=1e-4)
    assert result.spec_inside == {"motion_blur": 3, "lag": 3, "gain_drift": 3}
    assert result.spec_error["lag"] == pytest.approx(1.0, rel=1e-4)


def test_hidden_scatter_is_in_the_counts_but_not_in_the_protocol(engine):
    _, seen = engine
    known, unknown = (c for c in misspecified_cases(BASE) if c.name.startswith("scatter"))
    run_case(known, 1, 0)
    run_case(unknown, 1, 0)
    assert seen[0].acquisition.scatter_fraction == pytest.approx(0.4 / 1.4)
    assert seen[1].acquisition.scatter_fraction == 0.0
    np.testing.assert_array_equal(seen[0].y, seen[1].y)


def test_no_scenes():
    with pytest.raises(ValueError, match="scenes is 0; expected at least one"):
        run_case(misspecified_cases(BASE)[0], 0, 0)


def test_a_smaller_error_is_overcovered(engine):
    reconstruct, _ = engine
    reconstruct.error = 0.01
    result = run_case(replace(misspecified_cases(BASE)[0], name="half"), 1, 0)
    assert result.coverage["all"][0.9] > 0.98
    assert math.isnan(result.coverage_error)


def test_hidden_noise_is_in_the_counts_but_not_in_the_protocol(engine):
    _, seen = engine
    unknown, known = (c for c in misspecified_cases(BASE) if c.name.startswith("read noise"))
    run_case(known, 1, 0)
    run_case(unknown, 1, 0)
    assert [scene.acquisition.electronic_noise for scene in seen] == [1.5, 0.0]
    np.testing.assert_array_equal(np.maximum(seen[0].y, 0), seen[1].y)


def test_scenes_without_a_result_enter_no_figure(engine, monkeypatch):
    reconstruct, _ = engine

    def first_diverges(scenes, options, *, progress=None):
        for index, result in enumerate(reconstruct(scenes, options)):
            yield replace(result, status=Status.DIVERGED, x_std=0 * result.x_std) if index == 0 else result

    monkeypatch.setattr(module, "reconstruct_scenes", first_diverges)
    found = run_case(misspecified_cases(BASE)[0], 3, 0)
    assert found.diverged == 1
    assert 0.8 < found.coverage["all"][0.9] < 1.0
    assert len(found.spec_z["lag"]) == 2
    none = run_case(misspecified_cases(BASE)[0], 1, 0)
    assert none.diverged == 1
    assert math.isnan(none.coverage["all"][0.9])
    assert math.isnan(none.psnr)


def test_a_method_without_error_bars_is_refused(engine, monkeypatch):
    reconstruct, _ = engine
    monkeypatch.setattr(
        module, "reconstruct_scenes", lambda *args, **more: (replace(r, x_std=None) for r in reconstruct(*args, **more))
    )
    with pytest.raises(ValueError, match="gives no standard deviation of x"):
        run_case(misspecified_cases(BASE)[0], 1, 0)
