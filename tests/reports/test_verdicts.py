"""Verdicts say in words what was found."""

import re

import numpy as np
import pytest

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.spec import Spec
from fluorojax.metrics import Coverage, SceneScore, whiteness
from fluorojax.reports.verdicts import (
    convergence_verdict,
    coverage_verdict,
    held_out_verdict,
    judge,
    residual_verdict,
    spec_verdict,
    variance_verdict,
)

NAN = float("nan")


def result(**changes):
    images = {"x_hat": np.zeros((2, 4, 4), np.float32), "x_std": np.ones((2, 4, 4), np.float32)}
    spec = {"spec": Spec(), "spec_std": Spec(1, 1, 1), "spec_interval": {}}
    run = {"status": Status.CONVERGED, "seconds": 1.0}
    return Reconstruction(name="sample_00", **{**images, **spec, **run, **changes})


HELD = {"level": "good", "verdict": "10 % of the quanta were held out. The prediction shows no bias that matters."}


def score(overall, moving, static):
    return SceneScore("s", 40.0, 0.9, 0.9, 0.9, (Coverage(0.9, overall, moving, static),), {}, "converged", 1.0)


@pytest.mark.parametrize(
    ("changes", "level", "part"),
    [
        ({}, "good", "reached its tolerance."),
        ({"diagnostics": {"iterations": 80}}, "good", "after 80 iterations."),
        ({"diagnostics": {"verdict": "converged: R-hat at most 1.01"}}, "good", "Converged: R-hat at most 1.01."),
        ({"seconds": NAN}, "unknown", "does not say"),
        ({"status": Status.ITERATION_LIMIT}, "caution", "iteration limit"),
        ({"status": Status.STALLED}, "caution", "single precision"),
        ({"status": Status.NOT_CONVERGED}, "bad", "Not converged: the Markov chains disagree"),
        ({"status": Status.DIVERGED}, "bad", "must not be used."),
        ({"status": Status.PRIOR_ONLY}, "bad", "hold no information"),
    ],
)
def test_convergence(changes, level, part):
    verdict = convergence_verdict(result(**changes))
    assert verdict.level == level
    assert part in verdict.text


@pytest.mark.parametrize(
    ("shares", "level", "part"),
    [
        ((0.91, 0.90, 0.912), "good", "intervals contain the truth in 91.0 % of the pixels (90.0 % of the moving"),
        ((0.96, 0.93, 0.97), "caution", "wider than necessary"),
        ((0.90, 0.85, 0.91), "caution", "somewhat too narrow"),
        ((0.90, 0.60, 0.97), "bad", "too narrow: the true error is larger than the stated one"),
        ((0.90, NAN, 0.90), "good", "(90.0 % of the static ones)"),
        ((NAN, NAN, NAN), "unknown", "truth of this scene is not known"),
    ],
)
def test_coverage(shares, level, part):
    verdict = coverage_verdict(result(), score(*shares))
    assert verdict.level == level
    assert part in verdict.text


def test_coverage_needs_standard_deviations_and_a_truth():
    verdict = coverage_verdict(result(x_std=None), score(0.9, 0.9, 0.9))
    assert verdict.text == "The file has no standard deviations of x, so that it states no errors."
    assert coverage_verdict(result(), None).level == "unknown"


def counts(kind):
    """Poisson counts of a rate, and the rate a reconstruction might claim."""
    rng = np.random.default_rng(0)
    rate = np.full((8, 48, 48), 50.0)
    y = rng.poisson(rate).astype(float)
    i = np.arange(48)
    wave = 0.15 * np.sin(i / 3)
    return {
        "truth": (y, rate),
        "missed rows": (rng.poisson(rate * (1 + 0.25 * wave[:, None])), rate),
        "missed device": (rng.poisson(rate * (1 + 4 * wave[:, None])), rate),
        "read noise": (y + rng.normal(0, 2.5, y.shape), rate),
        "followed noise": (y, np.maximum(0.2 * rate + 0.8 * y, 1.0)),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "level", "part"),
    [
        ("truth", "good", "what remains of the counts is photon noise"),
        ("missed rows", "caution", "The counts hold structure along time, rows and columns that"),
        ("missed device", "bad", "hold structure"),
        ("read noise", "caution", "scatter more than photon noise"),
        ("followed noise", "caution", "reproduces much of the photon noise"),
    ],
)
def test_residual(kind, level, part):
    verdict = residual_verdict(whiteness(*counts(kind)))
    assert verdict.level == level, verdict
    assert part in verdict.text
    if kind == "missed device":
        (y, rate), along = counts(kind), re.search(r"columns (\+[\d.]+\d)", verdict.text)[1]
        z = (y - rate) / np.sqrt(rate)
        assert float(along) == pytest.approx(np.corrcoef(z[..., 1:].ravel(), z[..., :-1].ravel())[0, 1], abs=0.01)


def test_without_a_measurement_the_residual_is_not_known():
    assert residual_verdict(None).level == "unknown"


@pytest.mark.parametrize(
    ("shares", "level", "part"),
    [
        (
            {"lag": 0.0002, "gain_drift": 0.05},
            "good",
            "causes 5.0 % of the variance of x (lag time constant less than 0.1 %,",
        ),
        ({"lag": 0.1, "gain_drift": 0.7}, "caution", "A better known imaging chain would reduce the errors"),
    ],
)
def test_chain(shares, level, part):
    verdict = spec_verdict(result(diagnostics={"variance_share_of_chain": shares}))
    assert verdict.level == level
    assert part in verdict.text


@pytest.mark.parametrize("shares", [None, {"lag": None}, {"lag": NAN}, [0.1]])
def test_the_share_of_the_chain_may_be_missing(shares):
    assert spec_verdict(result(diagnostics={"variance_share_of_chain": shares})) is None


@pytest.mark.parametrize(
    ("factor", "measured", "std", "level", "part"),
    [
        (0.7, 0.66, 0.05, "good", "0.66 ± 0.05 times what the model alone states; the standard deviations include"),
        (1.2, 1.24, 0.05, "good", "a factor of 1.20 for this."),
        (1.43, 1.48, 0.065, "caution", "noise or structure that it does not have"),
        (1.39, 2.0, 0.25, "caution", "noise or structure that it does not have"),
        (1.1, 1.6, 0.29, "good", "a factor of 1.10 for this."),
        (0.5, 0.33, 0.1, "good", "a factor of 0.50 for this."),
        (0.5, 0.1, 0.02, "caution", "wider than necessary"),
        (0.6, -0.02, 0.29, "good", "0.00 ± 0.29"),
    ],
)
def test_the_size_of_the_residual_is_told(factor, measured, std, level, part):
    facts = {"variance_factor": factor, "variance_factor_measured": measured, "variance_factor_std": std}
    verdict = variance_verdict(result(diagnostics=facts))
    assert verdict.level == level
    assert part in verdict.text
    assert variance_verdict(result(diagnostics=facts, status=Status.DIVERGED)) is None


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"variance_factor": 1.0, "variance_factor_measured": None, "variance_factor_std": None},
        {"variance_factor": 1.0, "variance_factor_measured": -3.0, "variance_factor_std": 50.0},
    ],
)
def test_a_factor_that_was_not_measured_is_not_told(facts):
    assert variance_verdict(result(diagnostics=facts)) is None


FACTOR = {"variance_factor": 1.0, "variance_factor_measured": 1.0, "variance_factor_std": 0.05}
OVERFULL = {"variance_factor": 1.5, "variance_factor_measured": 2.0, "variance_factor_std": 0.05}


def found(kind="truth"):
    return whiteness(*counts(kind))


@pytest.mark.parametrize(
    ("changes", "shares", "residual", "level", "part"),
    [
        ({}, (0.9, 0.9, 0.9), "truth", "good", "can be used: every check that was made was passed"),
        ({"diagnostics": {"held_out": HELD}}, (0.9, 0.9, 0.9), "truth", "good", "every check below was passed"),
        ({"diagnostics": {"held_out": {**HELD, "level": "bad"}}}, (0.9, 0.9, 0.9), "truth", "bad", "held-out quanta"),
        ({"diagnostics": FACTOR}, None, "truth", "good", "can be used"),
        ({}, None, "truth", "good", "its stated errors could not be checked without the truth"),
        ({}, None, None, "unknown", "its fit to the counts could not be checked without the measurement"),
        ({}, (0.5, 0.5, 0.5), "truth", "bad", "Do not rely on this result: the true errors are clearly larger"),
        ({}, (0.9, 0.9, 0.9), "missed device", "bad", "Do not rely on this result: the counts hold structure along"),
        ({"status": Status.ITERATION_LIMIT}, (0.9, 0.9, 0.9), "truth", "caution", "stopped at its iteration limit."),
        ({"status": Status.DIVERGED}, None, None, "bad", "must not be used"),
        ({"status": Status.PRIOR_ONLY}, (0.9, 0.9, 0.9), "truth", "bad", "says nothing about the patient"),
    ],
)
def test_the_overall_verdict_is_the_worst_with_its_reasons(changes, shares, residual, level, part):
    known = None if residual is None else found(residual)
    overall, verdicts = judge(result(**changes), None if shares is None else score(*shares), known)
    assert overall.level == level, overall
    assert part in overall.text
    order = ["good", "unknown", "caution", "bad"]
    if level != "unknown":
        worst = max((verdict.level for verdict in verdicts), key=order.index)
        assert worst == level or {worst, level} == {"unknown", "good"}


def test_held_out_quanta_have_a_verdict_or_a_way_to_get_one():
    told = held_out_verdict(result(diagnostics={"held_out": {**HELD, "level": "caution"}}))
    assert (told.level, told.text) == ("caution", HELD["verdict"])
    missing = held_out_verdict(result())
    assert missing.level == "unknown"
    assert "fluorojax reconstruct --held-out 0.1" in missing.text


def test_a_fallback_is_told():
    facts = {"method": "map", "instead_of": "learned", "reasons": ["it has 2 frames"]}
    text = convergence_verdict(result(diagnostics={"fallback": facts})).text
    assert text.startswith("Reconstructed by the method 'map' in place of 'learned': it has 2 frames.")
    assert "reached its tolerance" in text


def topics(verdicts):
    return {verdict.topic: verdict for verdict in verdicts}


def test_a_solver_that_stopped_early_does_no_harm_where_the_residual_is_noise():
    stalled = result(status=Status.STALLED)
    overall, verdicts = judge(stalled, score(0.9, 0.9, 0.9), found())
    assert (overall.level, verdicts[0].level) == ("good", "good")
    assert "does not matter here" in verdicts[0].text
    overall, verdicts = judge(stalled, score(0.9, 0.9, 0.9), found("missed rows"))
    assert (overall.level, verdicts[0].level) == ("caution", "caution")


@pytest.mark.parametrize(
    ("facts", "shares", "level", "part"),
    [
        (FACTOR, (0.5, 0.5, 0.5), "bad", "The size of the residual alone had shown nothing of this; the truth decides"),
        (OVERFULL, (0.9, 0.9, 0.9), "good", "alone had suggested otherwise; the truth decides"),
        (OVERFULL, None, "caution", "cannot be checked against the truth"),
        (FACTOR, None, "good", "cannot be checked against the truth"),
    ],
)
def test_the_truth_decides_about_the_stated_errors(facts, shares, level, part):
    known = None if shares is None else score(*shares)
    _, verdicts = judge(result(diagnostics=facts), known, found())
    assert sum(verdict.topic == "Stated errors" for verdict in verdicts) == 1
    assert topics(verdicts)["Stated errors"].level == level
    assert part in topics(verdicts)["Stated errors"].text


def test_errors_are_not_called_right_where_structure_is_unexplained():
    _, verdicts = judge(result(diagnostics=FACTOR), None, found("missed device"))
    assert topics(verdicts)["Stated errors"].level == "caution"
    assert "leaves unexplained" in topics(verdicts)["Stated errors"].text
    assert "caution" not in {v.level for v in judge(result(diagnostics=FACTOR), None, found())[1]}
