"""NUTS as a method of ``fluorojax reconstruct``: results, files, continuation, exit codes."""

import importlib.util
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from scipy.special import logsumexp
from scipy.stats import norm
from small_models import MODEL

from fluorojax.calibration.posterior import Marginal, SpecPosterior, calibrate
from fluorojax.cli import main as fluorojax
from fluorojax.data.reconstruction import QUANTILES, Reconstruction, ReconstructOptions, Status
from fluorojax.data.spec import LAG, SPEC_NAMES, Spec, SpecRanges
from fluorojax.engines.nuts import spec_levels, to_datatree
from fluorojax.io import read_provenance, read_reconstruction, read_scene, write_challenge
from fluorojax.methods.nuts import base_quantiles
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scenes

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = ("--method", "nuts", "--chains", "2", "--warmup", "150", "--seed", "3")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A challenge file of two small scenes, and the model."""
    folder = tmp_path_factory.mktemp("nuts")
    write_challenge(folder / "in.h5", simulate_scenes(2, 0, SimulationOptions(frames=4, size=16, photons=3000.0)))
    (folder / "mine.py").write_text(MODEL)
    return folder / "in.h5", folder / "mine.py"


def run(files, out, draws, *more):
    source, model = files
    return fluorojax(
        ["reconstruct", str(source), "-o", str(out), "--model", str(model), "--draws", str(draws), *SETTINGS, *more]
    )


@pytest.fixture(scope="module")
def joint(files):
    """Both scenes, the chain sampled with image and amplitude."""
    source, model = files
    options = ReconstructOptions(model=str(model), method="nuts", spec="joint", chains=2, warmup=150, draws=300, seed=1)
    return [read_scene(source, f"sample_0{i}") for i in range(2)], list(
        reconstruct_scenes([read_scene(source, f"sample_0{i}") for i in range(2)], options)
    )


def test_a_run_goes_on_where_it_was_left_unconverged(files, tmp_path, capsys):
    out = tmp_path / "out.h5"
    states = [tmp_path / f"out.h5.sample_0{i}.state" for i in range(2)]
    assert run(files, out, 10, "--verbose") == 1
    captured = capsys.readouterr()
    assert "not converged" in captured.out
    told = r"^reconstruct 0\.99/2 \(.+ left\): sample_00: draw 10/10, R-hat so far \d\.\d+ \(.+\), .* \d+ divergent, "
    assert re.search(told, captured.err, re.MULTILINE)
    assert re.search(r"sample_00: warm-up 25/150, too few draws to compare the chains, ", captured.err)
    assert re.search(r"out\.h5: sample_01: not converged: .*the effective sample size of .+ is", captured.err)
    assert all(state.exists() for state in states)
    short = read_reconstruction(out, "sample_00")
    assert short.status is Status.NOT_CONVERGED
    assert run(files, out, 10, "--overwrite", "--allow-unconverged", "-q") == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "R-hat so far" not in captured.err

    assert run(files, out, 400, "--overwrite", "--verbose") == 0
    # What was there before is no work of this run: no pace can be told yet.
    assert re.search(r"^reconstruct 0\.\d+/2: sample_00: 2 chains go on, draw 10/400$", capsys.readouterr().err, re.M)
    assert not any(state.exists() for state in states)
    result = read_reconstruction(out, "sample_00")
    assert result.status is Status.CONVERGED
    # The first draws are those of the short run: it was continued, not repeated.
    for name in SPEC_NAMES:
        np.testing.assert_array_equal(result.draws[name][:, :10], short.draws[name])
    assert result.draws["lag"].shape == (2, 400)
    assert result.sample_stats["diverging"].shape == (2, 400)
    assert result.x_quantiles.shape == (len(QUANTILES), *result.x_hat.shape)
    middle = np.abs(result.x_quantiles[2] - result.x_hat)
    assert np.all(middle < 0.3 * result.x_std)
    assert np.all(np.diff(result.x_quantiles, axis=0) >= 0)
    for name in ("verdict", "convergence", "divergences", "leapfrog_steps", "step_size", "identifiability"):
        assert name in result.diagnostics
    with h5py.File(out) as handle:
        np.testing.assert_array_equal(handle["sample_00/x_quantiles"].attrs["probabilities"], QUANTILES)


def test_a_calibrated_chain_keeps_its_posterior_and_widens_the_image(files, tmp_path):
    out = tmp_path / "out.h5"
    assert run(files, out, 400, "-q") == 0
    scene, result = read_scene(files[0], "sample_01"), read_reconstruction(out, "sample_01")
    posterior = calibrate(scene)
    assert result.spec.as_dict() == pytest.approx(posterior.spec.as_dict())
    for name, marginal in posterior.marginals.items():
        drawn = result.draws[name]
        assert abs(drawn.mean() - marginal.mean) < 5 * marginal.std / np.sqrt(drawn.size)
        assert drawn.std() == pytest.approx(marginal.std, rel=0.15)
    # A gain that grows faster means more attenuation: by 1.5 frames' worth in an image that is the same in all four.
    scale = scene.acquisition.attenuation_scale
    alone = 1 / np.sqrt(scale**2 * scene.y.sum(0) + 1 / 0.2**2)
    expected = 1.5 * posterior.std.gain_drift / 100 / scale / alone
    assert np.median(result.spec_correlation[2]) == pytest.approx(np.median(expected), rel=0.25)
    np.testing.assert_allclose(np.median(result.noise_std[0] / alone), 1.0, atol=0.1)


def exact_drift(scene):
    """Mean and sd of the drift of the model above by quadrature over drift, amplitude and every pixel."""
    low, high = scene.ranges.as_dict()["gain_drift"]
    drifts, frames = np.linspace(low, high, 61), np.arange(4)
    scale, photons = scene.acquisition.attenuation_scale, scene.acquisition.photons_per_pixel
    x = np.linspace(0.2, 1.0, 801)
    counts, index = scene.y.sum(0).ravel().astype(float), (frames[:, None, None] * scene.y).sum()
    log = np.empty((61, 13))
    heights = np.linspace(-3, 3, 13)
    for i, drift in enumerate(drifts):
        gains = (1 + drift / 100) ** frames
        fit = -scale * x[:, None] * counts - photons * gains.sum() * np.exp(-scale * x)[:, None]
        for j, height in enumerate(heights):
            amplitude = 0.2 * np.exp(0.3 * height)
            prior = -0.5 * ((x - 0.5) / amplitude) ** 2 - np.log(amplitude)
            log[i, j] = logsumexp(fit + prior[:, None], axis=0).sum() + index * np.log1p(drift / 100)
            log[i, j] -= 0.5 * height**2
    weight = np.exp(logsumexp(log, axis=1) - log.max())
    weight /= weight.sum()
    mean = weight @ drifts
    return mean, np.sqrt(weight @ (drifts - mean) ** 2)


def test_a_joint_run_samples_the_chain_and_the_hyperparameters(joint):
    scenes, results = joint
    for scene, result in zip(scenes, results, strict=True):
        assert result.status is Status.CONVERGED, result.diagnostics["verdict"]
        assert set(result.draws) >= {*SPEC_NAMES, "amplitude"}
        drift = result.draws["gain_drift"]
        assert result.spec.gain_drift == pytest.approx(np.median(drift))
        low, high = result.spec_interval["gain_drift"]
        assert (low, high) == pytest.approx(np.quantile(drift, [0.05, 0.95]))
        mean, sd = exact_drift(scene)
        assert abs(drift.mean() - mean) < 0.25 * sd
        assert drift.std() == pytest.approx(sd, rel=0.2)
        for name in ("motion_blur", "lag"):  # a static image shows neither
            low, high = scene.ranges.as_dict()[name]
            assert result.draws[name].std() == pytest.approx((high - low) / np.sqrt(12), rel=0.15)


def test_a_joint_answer_that_the_calibration_contradicts_says_so(files, joint, monkeypatch):
    scenes, results = joint
    drift = results[0].spec.gain_drift
    # A calibration that is sure of the far end of the range.
    grid = np.linspace(-0.5, 1, 151)
    end = -0.5 if drift > 0.25 else 1.0
    bounds = SpecRanges.for_tier("public").as_dict()
    wrong = {name: Marginal.flat(*bounds[name]) for name in SPEC_NAMES}
    wrong["gain_drift"] = Marginal.from_log(grid, -0.5 * ((grid - end) / 0.01) ** 2)
    monkeypatch.setattr(sys.modules["fluorojax.runs.batches"], "calibrate", lambda scene: SpecPosterior(wrong))
    options = ReconstructOptions(
        model=str(files[1]), method="nuts", spec="joint", chains=2, warmup=150, draws=20, seed=1
    )
    (result,) = reconstruct_scenes(scenes[:1], options)
    sentences = result.diagnostics["identifiability"]
    assert "do not agree: the scene prior may not fit" in sentences["gain_drift"]
    assert "do not agree" not in sentences["lag"]


def test_the_table_of_quantiles_reproduces_a_marginal():
    ranges = SpecRanges.for_tier("public")
    grid = np.linspace(-3, 6, 301)
    posterior = SpecPosterior(
        {
            "motion_blur": Marginal.point(2.0),
            "lag": Marginal.from_log(grid, -0.5 * ((grid - 5.0) / 1.5) ** 2),
            "gain_drift": Marginal.flat(-0.5, 1.0),
        }
    )
    table = base_quantiles(posterior, ranges)
    assert table.shape[1] == 3
    assert np.all(np.diff(table, axis=0) >= 0)
    low, high = np.asarray(ranges.low), np.asarray(ranges.high)
    values = low + (high - low) * norm.cdf(table)
    levels = spec_levels(len(table))
    for i, name in enumerate(SPEC_NAMES):
        expected = [posterior.marginals[name].quantile(level) for level in levels]
        np.testing.assert_allclose(values[:, i], expected, atol=2e-3)


def test_a_density_of_draws_has_their_shape():
    rng = np.random.default_rng(0)
    at_edge = Marginal.from_draws(6 - np.abs(rng.normal(0, 0.5, 4000)), -3, 6)
    assert at_edge.grid[at_edge.density.argmax()] > 5.8
    assert at_edge.std == pytest.approx(0.5 * np.sqrt(1 - 2 / np.pi), rel=0.05)
    assert "at an edge of the prior range −3 … 6 ms" in at_edge.sentence(LAG)
    flat = Marginal.from_draws(rng.uniform(-3, 6, 4000), -3, 6)
    assert flat.std == pytest.approx(9 / np.sqrt(12), rel=0.03)
    assert "not determined by these data" in flat.sentence(LAG)
    inside = Marginal.from_draws(rng.normal(1, 0.7, 4000), -3, 6)
    assert (inside.mean, inside.std) == pytest.approx((1, 0.7), rel=0.05)


@pytest.mark.slow
def test_mgvi_takes_the_joint_chain_from_the_laplace_marginal(files, joint, monkeypatch):
    scenes, sampled = joint
    options = ReconstructOptions(model=str(files[1]), method="mgvi", spec="joint", samples=32, seed=1)
    results = list(reconstruct_scenes(scenes, options))
    bounds = SpecRanges.for_tier("public").as_dict()
    for scene, result, other in zip(scenes, results, sampled, strict=True):
        assert result.status is Status.CONVERGED
        mean, sd = exact_drift(scene)
        assert result.spec_std.gain_drift == pytest.approx(sd, rel=0.15)
        assert abs(result.spec.gain_drift - mean) < 0.35 * sd  # 32 probes: 0.18 sd of error from those alone
        low, high = bounds["lag"]  # a static image does not show it
        assert result.spec_std.lag == pytest.approx((high - low) / np.sqrt(12), rel=0.15)
        assert "lag is not determined" in result.diagnostics["identifiability"]["lag"]
        assert result.diagnostics["newton_steps"] >= 1
        assert np.median(result.x_std / other.x_std) == pytest.approx(1.0, abs=0.15)
    drift = results[0].spec.gain_drift
    wrong = {name: Marginal.flat(*bounds[name]) for name in SPEC_NAMES}
    grid, end = np.linspace(-0.5, 1, 151), -0.5 if drift > 0.25 else 1.0
    wrong["gain_drift"] = Marginal.from_log(grid, -0.5 * ((grid - end) / 0.01) ** 2)
    monkeypatch.setattr(sys.modules["fluorojax.runs.batches"], "calibrate", lambda scene: SpecPosterior(wrong))
    (result,) = reconstruct_scenes(scenes[:1], options)
    assert abs(result.spec.gain_drift - drift) < 0.1 * results[0].spec_std.gain_drift
    assert "do not agree: the scene prior may not fit" in result.diagnostics["identifiability"]["gain_drift"]


def test_a_mode_has_no_joint_chain(files, tmp_path, capsys):
    out = tmp_path / "out.h5"
    source, model = files
    assert fluorojax(["reconstruct", str(source), "-o", str(out), "--model", str(model), "--spec", "joint"]) == 2
    assert "spec is 'joint' with method 'map'; expected calibrated, nominal or true" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_state_of_other_data_is_refused(files, tmp_path, capsys):
    out = tmp_path / "out.h5"
    assert run(files, out, 4, "--allow-unconverged", "-q") == 0
    state = tmp_path / "out.h5.sample_00.state"
    before = state.read_bytes()
    (tmp_path / "out.h5.sample_01.state").replace(state)
    moved = state.read_bytes()
    assert moved != before
    out.rename(tmp_path / "older.h5")
    capsys.readouterr()
    assert run(files, out, 4, "-q") == 2
    error = capsys.readouterr().err
    assert "out.h5.sample_00.state: state of a run with other data; expected the same run (--overwrite, or" in error
    assert error.count("\n") == 1
    assert state.read_bytes() == moved


def test_overwrite_discards_the_states_of_another_run(files, tmp_path, capsys):
    out = tmp_path / "out.h5"
    assert run(files, out, 4, "--allow-unconverged", "-q") == 0
    old = read_reconstruction(out, "sample_00")
    states = [tmp_path / f"out.h5.sample_0{i}.state" for i in range(2)]
    assert run(files, out, 4, "--overwrite", "--allow-unconverged", "--seed", "4") == 0
    error = capsys.readouterr().err
    for state in states:
        assert f"discarding {state}: state of a run with other seed\n" in error
        assert state.exists()  # that of the new run
    assert read_provenance(out).seed == 4
    assert not np.array_equal(read_reconstruction(out, "sample_00").x_hat, old.x_hat)


@pytest.mark.parametrize("option", ["--draws", "--warmup", "--chains"])
def test_counts_that_are_no_use_are_refused(files, tmp_path, capsys, option):
    out = tmp_path / "out.h5"
    assert fluorojax(["reconstruct", str(files[0]), "-o", str(out), "--method", "nuts", option, "0"]) == 2
    assert option in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_writes_draws_for_arviz(files, tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("recipe_nuts", ROOT / "inference" / "nuts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    out, folder = tmp_path / "out.h5", tmp_path / "draws"
    source, model = map(str, files)
    arguments = ["-o", str(out), "--model", model, "--chains", "2", "--draws", "40", "--netcdf", str(folder)]
    monkeypatch.setattr(sys, "argv", ["nuts.py", source, *arguments, "--allow-unconverged"])
    assert module.main() == 0
    assert "gradients" in capsys.readouterr().out
    with xarray.open_datatree(folder / "sample_01.nc", engine="h5netcdf") as stored_tree:
        tree = stored_tree.load()
    stored = read_reconstruction(out, "sample_01")
    for name in SPEC_NAMES:
        np.testing.assert_array_equal(tree["posterior"][name].values, stored.draws[name])
    assert tree["posterior"]["x"].shape == (2, 40, 16)
    np.testing.assert_allclose(tree["constant_data"]["x_mean"].values, stored.x_hat)
    assert set(tree["sample_stats"].data_vars) >= {"diverging", "energy"}


def test_a_result_without_draws_is_not_for_arviz():
    image, spec = np.zeros((2, 4, 4), np.float32), Spec()
    result = Reconstruction("sample_00", image, image, spec, spec, {}, Status.CONVERGED, 1.0)
    with pytest.raises(ValueError, match=r"^sample_00 has no draws; expected a reconstruction by the method nuts"):
        to_datatree(result)


def test_a_known_chain_stays_as_it_is(files):
    scene = read_scene(files[0], "sample_00")
    options = ReconstructOptions(model=str(files[1]), method="nuts", spec="true", chains=2, warmup=150, draws=300)
    (result,) = reconstruct_scenes([scene], options)
    assert result.status is Status.CONVERGED, result.diagnostics["verdict"]
    assert result.spec == Spec(**{n: pytest.approx(v) for n, v in scene.true_spec.as_dict().items()})
    assert all(np.ptp(result.draws[name]) < 1e-5 for name in SPEC_NAMES)
    np.testing.assert_allclose(result.spec_correlation, 0.0, atol=0.2)
