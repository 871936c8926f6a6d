"""The whole check: right posteriors pass, wrong ones fail, and the report says why."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fluorojax.io import dumps
from fluorojax.models.loading import load_model
from fluorojax.validation import (
    CheckOptions,
    PosteriorSummary,
    check_calibration,
    distorted,
    from_latent_draws,
    laplace,
    make_sampler,
    nuts,
)

SMALL = CheckOptions(doses=(3.0, 30.0), replicates=100, frames=3, size=4, draws=79, batch=50)
WRONG = {
    "sd × 0.7": {"sd_factor": 0.7},
    "sd × 1.4": {"sd_factor": 1.4},
    "mean + 0.6 sd": {"shift_sd": 0.6},
    "mean − 0.6 sd": {"shift_sd": -0.6},
}


@pytest.fixture(scope="module")
def sampled():
    """NUTS as a method; module-wide, so that it compiles once."""
    return nuts(warmup=150, thinning=3, max_tree_depth=6)


@pytest.mark.parametrize("seed", range(3))
def test_the_exact_posterior_passes(linear_model, exact, seed):
    report = check_calibration(linear_model, exact, replace(SMALL, seed=seed))
    assert report.passed, report.sentences()
    assert len(report.uniformity) == 2 * 9
    assert len(report.coverage) == 2 * 3 * 4


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_posterior_of_the_linear_model_fails(linear_model, exact, name):
    report = check_calibration(linear_model, distorted(exact, **WRONG[name]), SMALL)
    assert not report.passed
    assert report.skewed or report.miscovered
    if "sd ×" in name:
        assert {cell.level for cell in report.miscovered} & {0.8, 0.9}
    expected = {"0.7": "too narrow", "1.4": "too wide", "+": "too high", "−": "too low"}
    assert next(words for sign, words in expected.items() if sign in name) in " ".join(report.sentences())


def test_only_the_log_likelihood_tells_a_posterior_that_ignores_the_data(linear_model, ignorant):
    report = check_calibration(linear_model, ignorant, SMALL)
    assert not report.passed
    assert {test.quantity for test in report.skewed} == {"log likelihood"}
    assert "The data hardly inform these" in report.sentences()[-1]


def test_laplace_is_exact_for_a_linear_model(linear_model):
    assert check_calibration(linear_model, laplace(tolerance=1e-6), SMALL).passed


@pytest.mark.slow
def test_nuts_passes_on_poisson_counts_and_its_distortions_fail(spec_model, sampled):
    # One run serves all: distortions are applied to what it drew.
    options = replace(SMALL, doses=(30.0,), replicates=100, batch=100)
    kept = []

    def record(*arguments):
        kept.append(sampled(*arguments))
        return kept[-1]

    report = check_calibration(spec_model, record, options)
    assert report.passed, report.sentences()
    for name, wrong in WRONG.items():
        report = check_calibration(spec_model, distorted(lambda *_: kept[0], **wrong), options)
        assert not report.passed, name


def test_draws_that_are_not_finite_fail_the_check(linear_model, exact):
    def broken(model, data, keys, draws):
        right = exact(model, data, keys, draws)
        return PosteriorSummary(right.spec.at[0, 3, 1].set(np.nan), right.x)

    report = check_calibration(linear_model, broken, replace(SMALL, replicates=50))
    assert report.failed_replicates == {3.0: 1, 30.0: 1}
    assert not report.passed
    assert "1 of 50 replicates at 3 counts gave draws that are not finite" in report.sentences()[1]


def test_the_batch_size_changes_nothing(linear_model, exact):
    one = check_calibration(linear_model, exact, replace(SMALL, replicates=40, batch=40))
    other = check_calibration(linear_model, exact, replace(SMALL, replicates=40, batch=16))
    for first, second in zip(one.uniformity, other.uniformity, strict=True):
        # rounding of another vectorisation may move a truth past a draw
        assert np.abs(np.subtract(first.histogram, second.histogram)).sum() <= 2
    for first, second in zip(one.coverage, other.coverage, strict=True):
        assert first.coverage == pytest.approx(second.coverage, abs=2e-3)


def test_pixelwise_draws_leave_out_region_means(linear_model, exact):
    def pixelwise(*arguments):
        found = exact(*arguments)
        return PosteriorSummary(found.spec, found.x, joint=False)

    report = check_calibration(linear_model, pixelwise, replace(SMALL, replicates=20))
    assert {test.quantity for test in report.uniformity} == {"motion_blur", "lag", "gain_drift"}


def test_report_is_strict_json(linear_model, exact):
    report = check_calibration(linear_model, exact, replace(SMALL, replicates=20))
    loaded = json.loads(dumps(report.as_dict()))
    assert loaded["passed"] is report.passed
    assert loaded["settings"]["doses"] == [3.0, 30.0]
    assert loaded["uniformity"][-1]["contraction"] is None


def test_wrong_shapes_are_named(linear_model, exact):
    def few(model, data, keys, draws):
        return exact(model, data, keys, draws - 1)

    with pytest.raises(ValueError, match=r"spec has shape \(50, 78, 3\); expected \(50, 79, 3\)"):
        check_calibration(linear_model, few, SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"doses": (3.0, -1.0)}, "dose is -1; expected a positive number"),
        ({"doses": ()}, "doses is empty"),
        ({"doses": (3.0, 3.0)}, "expected each dose once"),
        ({"replicates": 10}, "replicates is 10; expected a whole number ≥ 20"),
        ({"draws": 80}, "draws is 80; expected one less than a multiple of 40"),
        ({"tier": "secret"}, "tier is 'secret'; expected one of"),
        ({"margin": 0.7}, "margin is 0.7"),
    ],
)
def test_bad_options(change, message):
    with pytest.raises(ValueError, match=message):
        CheckOptions(**change)


def test_unknown_method():
    with pytest.raises(ValueError, match="is 'magic'; expected one of learned, map, stream, mgvi, nuts, laplace"):
        make_sampler("magic")


def test_laplace_refuses_large_scenes():
    with pytest.raises(ValueError, match="at most 4096"):
        check_calibration(load_model("sequence"), laplace(), CheckOptions(frames=8, size=32, replicates=20))


def test_methods_draw_all_latents(spec_model):
    @from_latent_draws
    def incomplete(model, data, key, draws):
        return {}

    with pytest.raises(ValueError, match="draws lack the latents spec_base, amplitude, field, level of model chain"):
        check_calibration(spec_model, incomplete, replace(SMALL, replicates=20, batch=20))


@pytest.mark.slow
def test_nuts_passes_on_the_shipped_sequence_model_and_a_narrow_one_fails():
    options = CheckOptions(doses=(30.0,), replicates=60)
    kept = []

    def record(*arguments):
        kept.append(make_sampler("nuts")(*arguments))
        return kept[-1]

    model = load_model("sequence")
    assert check_calibration(model, record, options).passed
    replay = iter(kept)
    assert not check_calibration(model, distorted(lambda *_: next(replay), sd_factor=0.7), options).passed
