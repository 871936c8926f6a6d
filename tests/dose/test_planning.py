"""Dose planning: the law, its limits, and the check by simulation and by thinning."""

from dataclasses import replace

import numpy as np
import pytest
from planned import CHAIN, NOISE, RANGES, REGION, SHAPE, TOTAL, Law, make_result

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.dose.planning import PlanCheck, Region, UnreachableError, check_plan, plan_dose, predicted_sd


def test_the_two_parts_and_the_law():
    target = np.hypot(NOISE / 2, CHAIN)
    plan = plan_dose(make_result(), REGION, target, exponent=(0.5, 0.8, 1.0))
    assert (plan.sd, plan.noise_sd, plan.chain_sd) == tuple(pytest.approx(v, rel=1e-5) for v in (TOTAL, NOISE, CHAIN))
    # half the noise is a quarter of its variance
    assert plan.factor == pytest.approx(4 ** (1 / 0.8), rel=1e-4)
    assert plan.factor_range == (pytest.approx(4, rel=1e-4), pytest.approx(16, rel=1e-4))
    assert plan.planned_photons == pytest.approx(1000 * plan.factor)
    assert predicted_sd(plan, plan.factor) == pytest.approx(target, rel=1e-4)
    assert predicted_sd(plan, 1.0) == pytest.approx(TOTAL, rel=1e-5)


def test_a_larger_target_saves_dose():
    plan = plan_dose(make_result(), REGION, 0.07, exponent=(0.5, 0.8, 1.0))
    assert plan.factor < 1
    assert plan.factor_range[0] < plan.factor < plan.factor_range[1]


def test_what_the_chain_alone_exceeds_is_refused():
    with pytest.raises(UnreachableError, match=r"imaging chain alone leaves 0\.04"):
        plan_dose(make_result(), REGION, CHAIN * 0.99)


def test_only_the_region_counts():
    std = np.full(SHAPE, 10.0, np.float32)
    std[1:, 2:6, 2:6] = TOTAL
    result = make_result(x_std=std)
    assert plan_dose(result, replace(REGION, frames=(1, 3)), 0.06).sd == pytest.approx(TOTAL, rel=1e-5)
    assert plan_dose(result, REGION, 6.0).sd > 1


def test_frames_cannot_be_shorter_than_the_exposure_window():
    result = make_result()
    half = plan_dose(result, REGION, 0.06, exponent=(1.0, 1.0, 1.0))
    assert half.planned_frames_per_second == pytest.approx(30 * half.factor)
    # 30 frames per second times 2 leaves 16.7 ms for a window of up to 18 ms
    more = plan_dose(result, REGION, np.sqrt(NOISE**2 / 2 + CHAIN**2), exponent=(1.0, 1.0, 1.0))
    assert more.factor == pytest.approx(2, rel=1e-3)
    assert more.planned_frames_per_second is None


def test_far_plans_are_marked():
    assert plan_dose(make_result(), REGION, np.hypot(NOISE / 30, CHAIN)).extrapolated
    assert not plan_dose(make_result(), REGION, 0.045).extrapolated


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"x_std": None}, "has no x_std"),
        ({"spec_correlation": None}, "has no spec_correlation"),
        ({"status": Status.PRIOR_ONLY}, "prior only"),
        ({"status": Status.DIVERGED}, "diverged"),
        ({"x_std": np.full(SHAPE, np.nan, np.float32)}, "no positive, finite standard deviation"),
        ({"x_std": np.zeros(SHAPE, np.float32)}, "no positive, finite standard deviation"),
    ],
)
def test_results_that_cannot_be_planned_with(changes, problem):
    with pytest.raises(ValueError, match=problem):
        plan_dose(make_result(**changes), REGION, 0.05)


@pytest.mark.parametrize(
    ("region", "target", "exponent", "problem"),
    [
        (Region((0, 9), (0, 4)), 0.05, None, "the region has rows 0:9; expected a range within 0:8"),
        (Region((0, 4), (3, 3)), 0.05, None, "columns 3:3"),
        (Region((0, 4), (0, 4), (2, 5)), 0.05, None, "frames 2:5"),
        (REGION, 0.0, None, "expected a positive number"),
        (REGION, float("nan"), None, "expected a positive number"),
        (REGION, 0.05, (0.9, 0.5, 1.0), "expected 0 < low"),
    ],
)
def test_bad_arguments(region, target, exponent, problem):
    with pytest.raises(ValueError, match=problem):
        plan_dose(make_result(), region, target, exponent=exponent)


@pytest.fixture
def law(monkeypatch):
    stand_in = Law()
    monkeypatch.setattr("fluorojax.runs.batches.reconstruct_scenes", stand_in)
    return stand_in


def test_the_check_simulates_both_doses_and_finds_the_exponent(law):
    result = make_result()
    plan = plan_dose(result, REGION, 0.045, exponent=(1.0, 1.0, 1.0))
    found = check_plan(plan, result, ReconstructOptions(), seed=3)
    assert found.kind == "simulated"
    assert found.exponent == pytest.approx(0.5, rel=1e-3)
    assert found.reached == pytest.approx(np.hypot(NOISE * plan.factor**-0.25, CHAIN), rel=1e-4)
    assert found.error == 0.0  # the stand-in returns the x_hat that was simulated
    revised = plan_dose(result, REGION, 0.045, exponent=(0.5, 0.5, 0.5))
    assert found.factor == pytest.approx(revised.factor, rel=1e-2)
    present, planned = law.scenes["present"].y, law.scenes["planned"].y
    assert planned.mean() / present.mean() == pytest.approx(plan.factor, rel=0.02)
    # 1000 quanta behind an optical depth of 0.8, with a little gain drift
    assert present.mean() == pytest.approx(1000 * np.exp(-0.8), rel=0.02)


def measured(result, **changes):
    rng = np.random.default_rng(0)
    fields = {
        "name": result.name,
        "y": rng.poisson(450.0, SHAPE).astype(np.float32),
        "acquisition": Acquisition(photons_per_pixel=1000.0, attenuation_scale=2.0),
        "ranges": RANGES,
    }
    return Scene(**{**fields, **changes})


def test_less_dose_is_checked_on_thinned_counts(law):
    result = make_result()
    scene = measured(result)
    plan = plan_dose(result, REGION, 0.055, exponent=(0.5, 0.5, 0.5))
    found = check_plan(plan, result, ReconstructOptions(), scene=scene, seed=1)
    assert (found.kind, found.error) == ("thinned", None)
    thinned = law.scenes["planned"]
    assert (thinned.y <= scene.y).all()
    assert thinned.y.mean() / scene.y.mean() == pytest.approx(plan.factor, rel=0.03)
    assert found.reached == pytest.approx(plan.target, rel=1e-3)
    again = check_plan(plan, result, ReconstructOptions(), scene=scene, seed=1)
    assert isinstance(again, PlanCheck)
    assert again == found


def test_counts_that_are_no_whole_numbers_are_simulated(law):
    result = make_result()
    scene = measured(result)
    plan = plan_dose(result, REGION, 0.055, exponent=(0.5, 0.5, 0.5))
    found = check_plan(plan, result, ReconstructOptions(), scene=replace(scene, y=scene.y + 0.5))
    assert found.kind == "simulated"


def test_a_result_without_protocol_needs_the_scenes(law):
    result = make_result(nominal={}, prior_ranges={})
    plan = plan_dose(result, REGION, 0.055)
    with pytest.raises(ValueError, match="records no protocol"):
        check_plan(plan, result, ReconstructOptions())
    assert check_plan(plan, result, ReconstructOptions(), scene=measured(result)).kind == "thinned"


def test_counts_with_electronic_noise_are_simulated_with_it(law):
    result = make_result()
    scene = measured(result)
    noisy = Acquisition.from_dict({**scene.acquisition.as_dict(), "electronic_noise": 20.0})
    plan = plan_dose(result, REGION, 0.055, exponent=(0.5, 0.5, 0.5))
    assert check_plan(plan, result, ReconstructOptions(), scene=replace(scene, acquisition=noisy)).kind == "simulated"
    assert law.scenes["present"].acquisition.electronic_noise == 20.0
    counts = law.scenes["present"].y
    assert (counts != np.rint(counts)).any()
