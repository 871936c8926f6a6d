"""What is said about the chain: Fisher directions in prior units, and sentences that follow the numbers."""

import numpy as np
import pytest
from small_models import MODEL

from fluorojax.calibration.identifiability import describe, fisher_information
from fluorojax.calibration.posterior import Marginal, SpecPosterior
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.data.spec import SPEC_NAMES, SpecRanges
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scene

RANGES = SpecRanges.for_tier("public")
PRIOR = np.array([15.0, 9.0, 1.5]) / np.sqrt(12)


def posterior_of(*stds):
    """Gaussian marginals of the given relative widths (prior sd = 1), flat ones for 1, known ones for 0."""
    marginals = {}
    for name, relative, (low, high) in zip(SPEC_NAMES, stds, RANGES.as_dict().values(), strict=True):
        grid = np.linspace(low, high, 401)
        middle, width = (low + high) / 2, relative * (high - low) / np.sqrt(12)
        if relative == 0:
            marginals[name] = Marginal.point(middle)
        elif relative == 1:
            marginals[name] = Marginal.flat(low, high)
        else:
            marginals[name] = Marginal.from_log(grid, -0.5 * ((grid - middle) / width) ** 2)
    return SpecPosterior(marginals)


def test_information_comes_out_in_prior_units_and_sorted():
    posterior = posterior_of(1, 0.3, 0.1)
    std = np.array([posterior.marginals[name].std for name in SPEC_NAMES])
    # 4 per prior variance of the window, 100 of the drift, nothing on the lag; stated per posterior sd.
    stated = np.diag([4.0, 0.0, 100.0]) * np.outer(std / PRIOR, std / PRIOR)
    fisher = fisher_information(stated, posterior, RANGES)
    np.testing.assert_allclose(fisher.eigenvalues, [100, 4, 0], atol=1e-9)
    np.testing.assert_allclose(fisher.directions, [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(fisher.std, [1 / np.sqrt(101), 1 / np.sqrt(5), 1])
    best, worst = fisher.sentences()
    assert best == (
        "judged by the model of the scene alone, these data determine gain_drift best: it keeps 0.1 of its prior "
        "standard deviation"
    )
    assert worst == "they hardly determine lag: it keeps 1 of its prior standard deviation"


def test_parameters_that_trade_against_each_other_are_named():
    vectors = np.array([[0, 0, 1], [0.8, 0.6, 0], [-0.6, 0.8, 0]])
    posterior = posterior_of(1, 1, 1)
    fisher = fisher_information(vectors.T @ np.diag([400.0, 80.0, 0.5]) @ vectors, posterior, RANGES)
    np.testing.assert_allclose(fisher.eigenvalues, [400, 80, 0.5], rtol=1e-3)
    assert fisher.sentences()[1].startswith("they hardly determine +0.80·lag -0.60·motion_blur: it keeps 0.82")
    assert fisher.sentences()[2].startswith("motion_blur and lag trade against each other")


def test_where_nothing_is_determined_nothing_is_named():
    (only,) = fisher_information(np.zeros((3, 3)), posterior_of(1, 1, 1), RANGES).sentences()
    assert "these data determine none of the parameters" in only
    assert only.endswith("keeps 1 of its prior standard deviation")


def test_rounding_below_zero_counts_as_no_information():
    fisher = fisher_information(np.diag([-1e-6, 1.0, 2.0]), posterior_of(1, 1, 1), RANGES)
    assert fisher.eigenvalues[-1] == 0
    assert fisher.std[-1] == 1


def test_a_known_parameter_leaves_no_fisher_information_to_report():
    facts = describe(posterior_of(0, 1, 0.1), np.zeros((3, 3)), RANGES)
    assert "fisher_information" not in facts
    assert "taken as known" in facts["identifiability"]["motion_blur"]
    assert facts["contraction"] == pytest.approx({"motion_blur": 1.0, "lag": 0.0, "gain_drift": 0.99}, abs=1e-3)


def test_a_reconstruction_reports_all_of_it(tmp_path):
    """A static image: only the drift changes it, and its information is that of the summed counts."""
    path = tmp_path / "static.py"
    path.write_text(MODEL)
    scene = simulate_scene(2, SimulationOptions(frames=5, size=16, photons=20_000.0))
    (result,) = reconstruct_scenes([scene], ReconstructOptions(model=str(path)))
    fisher = result.diagnostics["fisher_information"]
    assert fisher["parameters"] == list(SPEC_NAMES)
    assert "determine gain_drift best" in fisher["sentences"][0]
    matrix = np.array(fisher["matrix"])
    # Of the five frames' log totals only the slope is seen, not the level: variance of the frame index, 2.
    rate = scene.y.mean(axis=0).sum()
    expected = 5 * rate * 2.0 * (0.01 * PRIOR[2]) ** 2
    assert matrix[2, 2] == pytest.approx(expected, rel=0.05)
    np.testing.assert_allclose(np.delete(matrix, 2, axis=1), 0.0, atol=1e-3 * expected)
    assert set(result.diagnostics["contraction"]) == set(SPEC_NAMES)
