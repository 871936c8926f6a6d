"""What a NUTS run returns: its convergence as ArviZ judges it, and its draws as ArviZ reads them."""

import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.reconstruction import QUANTILES
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.engines.nuts import NutsOptions, to_datatree, write_netcdf
from fluorojax.engines.nuts.convergence import convergence_of
from fluorojax.engines.nuts.kept import ImageStatistics
from fluorojax.engines.nuts.result import summarise
from fluorojax.engines.online_statistics import CoMoments, Grid, Moments, pool
from fluorojax.io import InputError

xarray = pytest.importorskip("xarray")

SHAPE = (2, 3, 4)
OPTIONS = NutsOptions(settle=5, warmup=20, draws=100, chains=4, min_ess=50.0)


def autoregressive(rho, chains=4, draws=400, seed=0):
    """Draws whose effective number is about ``(1−ρ)/(1+ρ)`` of their number."""
    noise = np.random.default_rng(seed).normal(size=(chains, draws))
    series = np.empty_like(noise)
    series[:, 0] = noise[:, 0]
    for i in range(1, draws):
        series[:, i] = rho * series[:, i - 1] + np.sqrt(1 - rho**2) * noise[:, i]
    return series


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_sample_sizes_of_a_known_process(rho):
    result = convergence_of(autoregressive(rho))
    expected = 1600 * (1 - rho) / (1 + rho)
    assert result.ess_bulk == pytest.approx(expected, rel=0.35)
    assert 0.3 * expected < result.ess_tail < 3 * expected + 200
    assert 0.99 < result.rhat < (1.01 if rho < 0.9 else 1.06)


DRAWS = {
    "independent": autoregressive(0.0),
    "slow": autoregressive(0.9),
    "anti": autoregressive(-0.6),
    "shifted": autoregressive(0.3) + 0.3 * np.arange(4)[:, None],
    "wide": autoregressive(0.3) * (1 + np.arange(4)[:, None]),
    "heavy": np.random.default_rng(1).standard_cauchy((4, 301)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_convergence_is_what_arviz_says(name):
    """R-hat to rounding; effective sizes to how the tail of an autocorrelation is cut."""
    stats = pytest.importorskip("arviz_stats.base").array_stats
    draws, ours = DRAWS[name], convergence_of(DRAWS[name])
    assert ours.rhat == pytest.approx(float(stats.rhat(draws, chain_axis=0, draw_axis=1)), rel=1e-3)
    bulk = float(stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk"))
    tail = float(stats.ess(draws, chain_axis=0, draw_axis=1, method="tail", prob=(0.05, 0.95)))
    assert ours.ess_bulk == pytest.approx(bulk, rel=0.1)
    assert ours.ess_tail == pytest.approx(tail, rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_an_effective_sample_size_is_positive_and_bounded(seed):
    """Also where a handful of antithetic draws gives a negative correlation time."""
    draws = autoregressive(-0.9, chains=2, draws=10, seed=seed)
    assert 0 < convergence_of(draws).ess_bulk <= 20 * np.log10(20) * 1.001


def test_differences_in_scale_and_location_raise_rhat():
    assert convergence_of(DRAWS["shifted"]).rhat > 1.05
    assert convergence_of(DRAWS["wide"]).rhat > 1.05


def test_one_chain_is_judged_by_its_halves():
    trend = autoregressive(0.5, chains=1)
    assert convergence_of(trend).rhat < 1.03
    assert convergence_of(trend + np.linspace(0, 3, 400)).rhat > 1.1


def test_draws_that_are_all_the_same_have_no_convergence():
    assert np.isnan(convergence_of(np.ones((4, 100))).rhat)


def records(changes=None, shift=0.0):
    """Records of a run of independent draws, with ``shift`` between its chains' drifts."""
    rng = np.random.default_rng(5)
    shape = (4, 125)
    drift = 0.3 + 0.05 * rng.normal(size=shape) + shift * np.arange(4)[:, None]
    rows = {
        "spec": np.stack([rng.uniform(-5, 10, shape), rng.uniform(-3, 6, shape), drift], axis=-1),
        "hyper": rng.normal(size=(*shape, 3)),
        "watched": rng.normal(0.5, 0.1, size=(*shape, 2)),
        "lp": rng.normal(size=shape),
        "energy": rng.normal(size=shape),
        "acceptance_rate": np.full(shape, 0.8),
        "step_size": np.full(shape, 0.1),
        "n_steps": np.full(shape, 15),
        "diverging": np.zeros(shape, bool),
    }
    return {n: v if v.dtype.kind in "bi" else v.astype(np.float32) for n, v in (rows | (changes or {})).items()}


def result_of(rows, options=OPTIONS):
    grid = Grid(jnp.zeros(SHAPE), jnp.full(SHAPE, 1 / 64))
    moments = Moments(jnp.full((4, 2), 50.0), jnp.full((4, 2, *SHAPE), 0.5), jnp.full((4, 2, *SHAPE), 0.49))
    histogram = jnp.broadcast_to(grid.empty().at[30:36].set(20), (4, 66, *SHAPE))
    together = jax.tree.map(lambda leaf: jnp.ones((4, *leaf.shape)), CoMoments.zero(3, SHAPE))
    statistics = ImageStatistics(pool(moments), moments, histogram, together)
    hyperparameters = {"slope": (), "amplitude": (2,)}
    return summarise("toy", SPEC_NAMES, hyperparameters, ("node", "lung"), rows, statistics, grid, options)


def test_a_result_holds_the_draws_after_the_warmup():
    rows = records()
    result = result_of(rows)
    np.testing.assert_array_equal(result.spec_draws, rows["spec"][:, 25:])
    np.testing.assert_array_equal(result.hyperparameter_draws["amplitude"], rows["hyper"][:, 25:, 1:])
    np.testing.assert_array_equal(result.watched_draws["lung"], rows["watched"][:, 25:, 1])
    assert set(result.convergence) == {*SPEC_NAMES, "slope", "amplitude[0]", "amplitude[1]", "node", "lung"}
    assert (result.leapfrog_steps, result.warmup_steps) == (4 * 100 * 15, 4 * 25 * 15)
    np.testing.assert_allclose(result.x_variance, 8 * 0.49 / 399, rtol=1e-5)
    np.testing.assert_allclose(result.x_quantiles[2], 32 / 64, atol=1e-6)


def divergent(count):
    values = np.zeros((4, 125), bool)
    values[0, -count:] = True
    return {"diverging": values}


VERDICTS = {
    "fine": (records(), True, "converged: R-hat at most 1.0"),
    "one divergence": (records(divergent(1)), True, ", 1 divergence"),
    "apart": (records(shift=0.05), False, "not converged: R-hat of gain_drift is "),
    "divergent": (records(divergent(9)), False, "2.2 % of the draws diverged (at most 1 % wanted)"),
    "stuck": (records({"watched": np.ones((4, 125, 2))}), False, "R-hat of node is nan"),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_names_what_keeps_a_run_from_convergence(case):
    rows, converged, words = VERDICTS[case]
    result = result_of(rows, replace(OPTIONS, max_rhat=1.05))
    assert result.converged is converged
    assert words in result.verdict


def test_few_effective_draws_are_no_convergence():
    result = result_of(records(), replace(OPTIONS, max_rhat=1.5, min_ess=1e4))
    assert not result.converged
    assert "the effective sample size of" in result.verdict
    assert "(at least 10000 wanted)" in result.verdict


def test_hyperparameters_that_have_not_mixed_are_named_but_do_not_decide():
    rows = records()
    rows["hyper"] = rows["hyper"] + 2 * np.arange(4)[:, None, None].astype(np.float32)
    result = result_of(rows, replace(OPTIONS, max_rhat=1.05))
    assert result.converged
    assert "; hyperparameters have not mixed (R-hat of " in result.verdict


def test_trajectories_at_the_limit_are_counted():
    steps = np.full((4, 125), 15)
    steps[0, 25:] = 255
    assert result_of(records({"n_steps": steps})).at_limit == pytest.approx(0.25)


def test_the_tree_is_laid_out_as_arviz_expects():
    result = result_of(records())
    counts = np.arange(24.0).reshape(SHAPE)
    tree = to_datatree(result, counts)
    assert set(tree.children) == {"posterior", "sample_stats", "constant_data", "observed_data"}
    assert dict(tree["posterior"].sizes)["chain"] == 4
    assert tree["posterior/amplitude"].dims == ("chain", "draw", "amplitude_dim_0")
    assert tree["posterior/gain_drift"].attrs["units"] == "%/frame"
    np.testing.assert_array_equal(tree["posterior/x"].sel(place="lung"), result.watched_draws["lung"])
    assert {"diverging", "energy", "lp", "n_steps", "step_size"} <= set(tree["sample_stats"].data_vars)
    np.testing.assert_array_equal(tree["constant_data/x_quantiles"].sel(quantile=0.5), result.x_quantiles[2])
    np.testing.assert_array_equal(tree["observed_data/counts"], counts)
    attributes = tree["posterior"].attrs
    assert attributes["inference_library"] == "numpyro"
    assert attributes["verdict"] == result.verdict
    assert all(attributes[f"{name}_version"] for name in ("creation_library", "inference_library", "jax"))
    assert "observed_data" not in to_datatree(result).children


def test_arviz_summarises_the_tree():
    stats = pytest.importorskip("arviz_stats")
    result = result_of(records())
    summary = stats.summary(to_datatree(result), var_names=list(SPEC_NAMES), round_to="none")
    assert list(summary.index) == list(SPEC_NAMES)
    expected = [result.convergence[name].rhat for name in SPEC_NAMES]
    np.testing.assert_allclose(summary["r_hat"].astype(float), expected, rtol=1e-2)


def test_a_netcdf_file_gives_the_tree_again(tmp_path):
    path = tmp_path / "draws.nc"
    result = result_of(records())
    write_netcdf(path, result)
    with xarray.open_datatree(path, engine="h5netcdf") as read:
        xarray.testing.assert_equal(read.load(), to_datatree(result))
        assert read["posterior"].attrs["model"] == "toy"
        assert list(read["constant_data"].coords["quantile"].values) == list(QUANTILES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["draws.nc"]
    with pytest.raises(InputError, match="already exists"):
        write_netcdf(path, result)


@pytest.mark.parametrize("package", ["xarray", "h5netcdf"])
def test_a_missing_package_is_named_in_one_line(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"need {package}; install fluorojax\[arviz\]$"):
        write_netcdf(tmp_path / "draws.nc", result_of(records()))
    assert not list(tmp_path.iterdir())
