"""NUTS draws from the posterior: closed forms, and runs that stop, resume, repeat and refuse as they should."""

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.distributions import Normal
from scipy.stats import norm

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import QUANTILES
from fluorojax.data.spec import SPEC_NAMES, SpecRanges
from fluorojax.engines.nuts import (
    ForeignStateError,
    NutsOptions,
    Watch,
    draw_from_quantiles,
    sample_nuts,
    spec_levels,
)
from fluorojax.engines.nuts.coordinates import shared_sites
from fluorojax.engines.nuts.run import coordinates_around
from fluorojax.engines.nuts.sampler import Problem, sampler_for
from fluorojax.engines.nuts.state_file import fingerprint
from fluorojax.engines.online_statistics import Grid, Moments
from fluorojax.foreign import Report
from fluorojax.foreign.identity import mark_of
from fluorojax.models.loading import list_models, load_model
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_prior
from fluorojax.simulation import SimulationOptions, simulate_scene

SHAPE = (2, 3, 4)
SIGMA = 0.3
RNG = np.random.default_rng(3)
# Eight fields from well determined by the data to hardly seen.
FIELDS = np.linalg.qr(RNG.normal(size=(24, 8)))[0] * np.geomspace(6, 0.05, 8)
DRIFT = RNG.normal(size=24)
RANGES = SpecRanges.for_tier("public")
TRACES = []


def amplitude_model(data):
    """``x = exp(h)·B·f``, ``rate = x + drift·u``, Normal noise: Gaussian given the amplitude h and the drift."""
    TRACES.append(data.counts.shape)
    spec = spec_prior(data.ranges)
    h = numpyro.sample("h", Normal(0.0, 1.0))
    f = numpyro.sample("f", Normal(0.0, 1.0).expand((8,)).to_event(1))
    x = numpyro.deterministic("x", (jnp.exp(h) * (jnp.asarray(FIELDS, f.dtype) @ f)).reshape(SHAPE))
    shift = jnp.asarray(DRIFT.reshape(SHAPE), f.dtype)
    rate = numpyro.deterministic("rate", x + spec.gain_drift * shift)
    numpyro.sample("counts", Normal(rate, SIGMA).to_event(3), obs=data.counts)


def plain_model(data):
    amplitude_model(data)


MODEL = SceneModel("amplitude", amplitude_model, hyperparameters=("h",))
COUNTS = (np.exp(0.5) * FIELDS @ RNG.normal(size=8) + 0.3 * DRIFT + SIGMA * RNG.normal(size=24)).reshape(SHAPE)
# The model has no use for local scales; these only take their way through the state file.
DATA = SceneData(jnp.asarray(COUNTS, jnp.float32), Acquisition(), RANGES, aux=jnp.ones(3))
# Runs of these settings share their compiled functions, whatever their number of draws.
SMALL = NutsOptions(settle=60, warmup=180, draws=10, chains=2, block=60)
START = {SPEC_SITE: jnp.zeros(3), "h": jnp.full((), 0.5), "f": jnp.zeros(8)}
EVERYWHERE = {f"x{index}": index for index in np.ndindex(SHAPE)}


def exact_posterior():
    """Moments of h, drift and x: Gaussian algebra in the fields, quadrature over the other two, in float64."""
    h, z = np.linspace(-3, 3, 241), np.linspace(-4, 4, 321)
    low, high = RANGES.as_dict()["gain_drift"]
    drift = low + (high - low) * norm.cdf(z)
    log_weight, mean, variance = np.zeros((241, 321)), np.zeros((241, 321, 24)), np.zeros((241, 24))
    residual = COUNTS.ravel() - drift[:, None] * DRIFT
    for i, value in enumerate(h):
        prior = np.exp(2 * value) * FIELDS @ FIELDS.T
        total = prior + SIGMA**2 * np.eye(24)
        gain = np.linalg.solve(total, prior).T
        log_weight[i] = -0.5 * np.sum(residual * np.linalg.solve(total, residual.T).T, axis=1)
        log_weight[i] -= 0.5 * np.linalg.slogdet(total)[1] + 0.5 * value**2 + 0.5 * z**2
        mean[i], variance[i] = residual @ gain.T, np.diag(prior - gain @ prior)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()

    def moments(values):
        first = np.sum(weight * values)
        return first, np.sqrt(np.sum(weight * values**2) - first**2)

    x_mean = np.einsum("ij,ijp->p", weight, mean)
    second = np.einsum("ij,ijp->p", weight, mean**2 + variance[:, None])
    return SimpleNamespace(
        h=moments(np.broadcast_to(h[:, None], weight.shape)),
        drift=moments(np.broadcast_to(drift, weight.shape)),
        x_mean=x_mean.reshape(SHAPE),
        x_variance=(second - x_mean**2).reshape(SHAPE),
    )


@pytest.fixture(scope="module")
def run():
    """A long run with every pixel watched, from a start that knows nothing."""
    return small(key=0, options=replace(SMALL, draws=800))


@pytest.fixture(scope="module")
def exact():
    return exact_posterior()


def check_number(draws, convergence, mean, sd):
    """Mean and sd within 4.5 Monte Carlo errors."""
    size = min(convergence.ess_bulk, convergence.ess_tail)
    assert size > 200
    assert abs(draws.mean() - mean) < 4.5 * sd / np.sqrt(size)
    assert abs(draws.std() / sd - 1) < 4.5 / np.sqrt(size)


def test_amplitude_and_drift_have_their_exact_posteriors(run, exact):
    check_number(run.hyperparameter_draws["h"], run.convergence["h"], *exact.h)
    check_number(run.spec_draws[..., 2], run.convergence["gain_drift"], *exact.drift)


@pytest.mark.parametrize("name", ["motion_blur", "lag"])
def test_parameters_the_data_do_not_see_keep_their_prior(run, name):
    low, high = RANGES.as_dict()[name]
    draws = run.spec_draws[..., SPEC_NAMES.index(name)]
    assert np.all((draws >= low) & (draws <= high))
    check_number(draws, run.convergence[name], (low + high) / 2, (high - low) / np.sqrt(12))


def test_pixels_have_their_exact_mean_and_variance(run, exact):
    np.testing.assert_array_less(np.abs(run.x_mean - exact.x_mean), 5 * np.sqrt(exact.x_variance / 800))
    np.testing.assert_allclose(run.x_variance, exact.x_variance, rtol=0.2)


def test_streamed_summaries_are_those_of_the_draws(run):
    draws = np.stack([run.watched_draws[name] for name in EVERYWHERE], axis=-1).reshape(2, 800, *SHAPE)
    flat = draws.reshape(-1, *SHAPE).astype(np.float64)
    np.testing.assert_allclose(run.x_mean, flat.mean(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.x_variance, flat.var(0, ddof=1), rtol=1e-3)
    exact = np.quantile(flat, QUANTILES, axis=0, method="inverted_cdf")
    assert np.all(np.abs(run.x_quantiles - exact) <= run.x_quantile_error * 1.001)
    halves = draws.reshape(4, 400, *SHAPE).astype(np.float64)
    ratio = halves.mean(1).var(0, ddof=1) / halves.var(1, ddof=1).mean(0)
    np.testing.assert_allclose(run.x_rhat, np.sqrt(399 / 400 + ratio), rtol=1e-4)
    assert run.x_outside < 0.01


def test_a_run_reports_its_effort_and_that_it_converged(run):
    assert run.converged
    assert run.verdict.startswith("converged: R-hat at most 1.0")
    assert run.divergences == 0
    assert 0.6 < run.acceptance < 0.99
    assert run.step_size.shape == (2,)
    assert run.step_size[0] == run.step_size[1]  # the chains pool what they learnt in the warm-up
    assert np.ptp(run.sample_stats["step_size"]) == 0
    assert run.leapfrog_steps == run.sample_stats["n_steps"].sum() >= 1600
    assert run.warmup_steps >= 400
    assert run.at_limit == 0
    assert np.all(run.x_rhat < 1.03)


def test_the_coordinates_know_their_determinant_and_centre_what_the_data_determine():
    coordinates = coordinates_around(MODEL, DATA, START, jax.random.key(0))
    position = coordinates.draw(jax.random.key(1))

    @jax.jit
    def log_determinant(z):
        jacobian = jax.jacobian(lambda z: jnp.concatenate([v.ravel() for v in coordinates.latents(z).values()]))
        blocks = jacobian(z)
        return jnp.linalg.slogdet(jnp.concatenate([blocks["fields"], blocks["shared"]], axis=1))[1]

    here, there = position, jax.tree.map(lambda leaf: -0.5 * leaf, position)
    change = float(log_determinant(here) - log_determinant(there))
    stated = float(coordinates.log_determinant(here) - coordinates.log_determinant(there))
    assert abs(change) > 0.1
    assert stated == pytest.approx(change, rel=1e-3)

    # A larger amplitude shrinks the fields the data determine, and leaves the others alone.
    share = 1 - np.asarray(coordinates.scale["f"]) ** 2
    moved = coordinates.latents({"fields": jnp.zeros(8), "shared": jnp.zeros(4).at[3].set(1.0)})
    np.testing.assert_allclose(coordinates.centring["f"][3], share, rtol=1e-4)
    assert float(moved["h"]) > 0.5
    np.testing.assert_allclose(coordinates.centring["f"][:3], 0.0)
    assert share.max() > 0.9


def test_only_as_many_hyperparameters_move_with_the_chain_as_stay_cheap():
    model = SceneModel("m", amplitude_model, hyperparameters=("small", "wide", "last"))
    shapes = {SPEC_SITE: (3,), "small": (4,), "wide": (10, 10), "last": ()}
    assert shared_sites(model, shapes) == (SPEC_SITE, "small", "last")


def test_a_given_chain_is_drawn_from_and_the_fields_follow():
    """The cut distribution of a linear model: fields given the chain, averaged over the chain as it was given."""
    # Drift mostly in the upper part of its range, whatever the data say; window and lag as good as known.
    levels = spec_levels(201)
    base = norm.ppf(0.55 + 0.4 * levels)
    table = np.stack([np.full(201, 0.3), 0.01 * levels, base], axis=-1)
    options = replace(SMALL, settle=0, draws=400)
    run = sample_nuts(MODEL, DATA, START, jax.random.key(0), options, spec_quantiles=table, watch=EVERYWHERE)
    assert run.converged, run.verdict
    assert run.hyperparameter_draws == {}

    low, high = RANGES.as_dict()["gain_drift"]
    drift = low + (high - low) * np.linspace(0.55, 0.95, 4001)
    drawn = run.spec_draws[..., 2].ravel()
    assert abs(drawn.mean() - drift.mean()) < 4.5 * drift.std() / np.sqrt(800)
    assert abs(drawn.std() / drift.std() - 1) < 4.5 / np.sqrt(800)
    assert np.ptp(run.spec_draws[..., 0]) == 0

    prior = np.exp(2 * 0.5) * FIELDS @ FIELDS.T
    gain = np.linalg.solve(prior + SIGMA**2 * np.eye(24), prior).T
    means = (COUNTS.ravel() - drift[:, None] * DRIFT) @ gain.T
    variance = np.diag(prior - gain @ prior) + means.var(0)
    spread = np.sqrt(variance).reshape(SHAPE)
    np.testing.assert_array_less(np.abs(run.x_mean - means.mean(0).reshape(SHAPE)), 5 * spread / np.sqrt(600))
    np.testing.assert_allclose(run.x_variance.ravel(), variance, rtol=0.25)
    # The response of x to the drift is linear, so x and drift correlate by the share of variance it explains.
    slope = -(gain @ DRIFT)
    expected = (slope * drift.std() / np.sqrt(variance)).reshape(SHAPE)
    np.testing.assert_allclose(run.spec_correlation[2], expected, atol=0.15)
    assert np.abs(expected).max() > 0.4


@pytest.mark.parametrize("relative", [0.3, 0.01])
def test_draws_from_quantiles_have_the_width_of_a_narrow_posterior(relative):
    """Also where the range is a hundred times wider: none of the tail ends at its edges."""
    grid = np.linspace(-1.0, 1.0, 20_001)
    density = norm.pdf(grid, 0.2, relative)
    cumulative = np.cumsum(density) / density.sum()
    table = np.interp(spec_levels(1025), cumulative, grid)[:, None]
    keys = jax.random.split(jax.random.key(0), 40_000)
    drawn = np.asarray(jax.vmap(lambda key: draw_from_quantiles(jnp.asarray(table), key))(keys))
    inside = norm(0.2, relative)
    assert drawn.std() == pytest.approx(
        np.sqrt(density @ (grid - density @ grid / density.sum()) ** 2 / density.sum()), rel=0.02
    )
    np.testing.assert_allclose(
        np.quantile(drawn, [0.05, 0.5, 0.95]), inside.ppf([0.05, 0.5, 0.95]), atol=0.06 * relative
    )


@pytest.mark.parametrize("table", [np.zeros((5, 2)), np.zeros(3), np.eye(3)[:, ::-1], np.full((4, 3), np.nan)])
def test_a_spec_posterior_that_is_no_table_of_quantiles_is_refused(table):
    with pytest.raises(ValueError, match=r"^spec_quantiles has shape .*; expected finite quantiles \(points, 3\)"):
        small(spec_quantiles=table)


def small(key=5, options=SMALL, **arguments):
    data, model = arguments.pop("data", DATA), arguments.pop("model", MODEL)
    return sample_nuts(model, data, {}, jax.random.key(key), options, watch=EVERYWHERE, **arguments)


def check_equal(first, second):
    """Every array and number of two results, bit for bit."""
    assert first.verdict == second.verdict
    for field in ("x_mean", "x_variance", "x_quantiles", "x_rhat", "spec_draws", "step_size"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field), err_msg=field)
    for name, values in first.sample_stats.items():
        np.testing.assert_array_equal(values, second.sample_stats[name], err_msg=name)
    for name, values in {**first.hyperparameter_draws, **first.watched_draws}.items():
        np.testing.assert_array_equal(values, {**second.hyperparameter_draws, **second.watched_draws}[name])


class Stop(Exception):
    pass


def interrupted(path, after, **arguments):
    """A run that is stopped when its state has been written ``after`` times."""
    calls = []

    def progress(fraction, note):
        calls.append((fraction, note))
        if len(calls) == 1 + after:  # the first tells of the beginning
            raise Stop

    with pytest.raises(Stop):
        small(state_file=path, progress=progress, **arguments)
    return calls


def test_progress_tells_the_agreement_of_the_chains_once_there_are_draws(tmp_path):
    path = tmp_path / "run.h5"
    begun = interrupted(path, 4)
    assert [note.split(", ")[0] for _, note in begun] == [
        "2 chains begin",
        *("warm-up 0/180", "warm-up 60/180", "warm-up 120/180", "draw 0/10"),
    ]
    assert begun[0] == (0.0, "2 chains begin, settling 0/60")
    with h5py.File(path) as handle:
        rows = {name: handle[f"['records']['{name}']"][()] for name in ("lp", "n_steps", "step_size")}
    steps, size = rows["n_steps"][:, -60:].mean(), rows["step_size"][:, -1].mean()
    assert begun[-1] == (240 / 250, f"draw 0/10, too few draws to compare the chains, {steps:.0f} steps of {size:.3g}")

    calls = []
    options = replace(SMALL, draws=300, max_rhat=9.0, max_rhat_places=9.0, min_ess=1.0)
    result = small(state_file=path, options=options, progress=lambda *call: calls.append(call))
    assert calls[0] == (240 / 540, "2 chains go on, draw 0/300")
    assert [note.split(", ")[0] for _, note in calls[1:]] == [f"draw {n}/300" for n in (60, 120, 180, 240, 300)]
    judged = {n: c for n, c in result.convergence.items() if n != "h"}
    worst = max(judged, key=lambda name: judged[name].rhat)
    least = min(judged, key=lambda name: min(judged[name].ess_bulk, judged[name].ess_tail))
    size = min(judged[least].ess_bulk, judged[least].ess_tail)
    standing = f"R-hat so far {judged[worst].rhat:.3f} ({worst}), effective size {size:.0f} ({least})"
    assert calls[-1][1].startswith(f"draw 300/300, {standing}, {result.divergences} divergent, ")
    assert "R-hat so far" in calls[1][1]


@pytest.mark.parametrize("after", [1, 2, 4, 5])  # settled, in the warm-up, after it, after the draws
def test_a_resumed_run_is_the_uninterrupted_run(tmp_path, after):
    path = tmp_path / "run.h5"
    interrupted(path, after)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.h5"]
    check_equal(small(state_file=path), small())


def test_a_finished_state_gives_the_result_again_and_can_grow(tmp_path):
    path = tmp_path / "run.h5"
    first = small(state_file=path)
    check_equal(small(state_file=path), first)
    longer = small(options=replace(SMALL, draws=16), state_file=path)
    np.testing.assert_array_equal(longer.spec_draws[:, :10], first.spec_draws)
    assert longer.spec_draws.shape == (2, 16, 3)
    with pytest.raises(ValueError, match=r"^draws is 10; expected at least the 16 of .*run\.h5"):
        small(state_file=path)


def test_the_aux_of_the_state_is_the_one_that_counts(tmp_path):
    """Local scales are an estimate: a resumed run keeps those it began with."""
    path = tmp_path / "run.h5"
    interrupted(path, 2)
    other = replace(DATA, aux=jnp.zeros(3))
    check_equal(small(state_file=path, data=other), small())


OTHER_RUNS = {
    "model": {"model": SceneModel("plain", plain_model, hyperparameters=("h",))},
    "data": {"data": replace(DATA, counts=DATA.counts.at[0, 0, 0].add(1e-3))},
    "settings": {"options": replace(SMALL, target_accept=0.9)},
    "seed": {"key": 6},
}


@pytest.mark.parametrize("other", OTHER_RUNS)
def test_the_state_of_another_run_is_refused(tmp_path, other):
    path = tmp_path / "run.h5"
    interrupted(path, 1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"^resume is .*run\.h5: state of a run with other {other}; expected"):
        small(state_file=path, **OTHER_RUNS[other])
    assert path.read_bytes() == before


def test_the_state_of_another_run_is_discarded_where_that_is_wanted(tmp_path):
    path = tmp_path / "run.h5"
    interrupted(path, 1, key=6)
    told = []

    def discard(state, what):
        told.append((state, what, state.exists()))

    check_equal(small(state_file=path, on_foreign_state=discard), small())
    assert told == [(path, "state of a run with other seed", True)]
    check_equal(small(state_file=path, on_foreign_state=discard), small())
    assert len(told) == 1  # by now it is the state of this run


def test_a_changed_model_file_is_another_model(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(list_models()["single_frame"].read_text())
    watch = Watch.of(None, SHAPE)
    marks = fingerprint(load_model(path), DATA, {}, watch, jax.random.key(0))
    path.write_text(path.read_text().replace("0.25", "0.26"))
    os.utime(path, ns=(1, 1))
    changed = fingerprint(load_model(path), DATA, {}, watch, jax.random.key(0))
    assert {name for name in marks if marks[name] != changed[name]} == {"model"}


def test_a_scene_of_another_imaging_chain_is_another_run():
    watch, operator = Watch.of(None, SHAPE), DATA.operator
    marks, again, other = (
        fingerprint(MODEL, replace(DATA, operator=o), {}, watch, jax.random.key(0))
        for o in (operator, type(operator)(), operator.without_stage(operator.stages[-1].name))
    )
    assert marks == again
    assert {name for name in marks if marks[name] != other[name]} == {"data"}


def test_a_file_that_is_no_state_is_refused(tmp_path):
    names = ("text.h5", "cut.h5", "foreign.h5", "damaged.h5", "endless.h5")
    text, cut, foreign, damaged, endless = (tmp_path / name for name in names)
    text.write_text("hello")
    h5py.File(foreign, "w").close()
    interrupted(damaged, 1)
    cut.write_bytes(damaged.read_bytes()[:3000])
    endless.write_bytes(damaged.read_bytes())
    with h5py.File(endless, "a") as handle:
        del handle.attrs["iteration"]
    with h5py.File(damaged, "a") as handle:
        del handle[next(name for name in handle if "mean" in name)]
    none = "cannot be read as HDF5"
    cases = {text: none, cut: none, foreign: "not a NUTS state", damaged: "is missing", endless: "is damaged"}
    for path, problem in cases.items():
        with pytest.raises(ForeignStateError, match=rf"^resume is .*{path.name}: .*{problem}"):
            small(state_file=path)


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EAGAIN, errno.EIO])
def test_a_state_that_may_not_be_read_is_no_foreign_one(reason, tmp_path, monkeypatch):
    path = tmp_path / "run.h5"
    path.write_text("hello")

    def refuse(*arguments):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr("fluorojax.io.hdf5.ExaminedFile", refuse)
    monkeypatch.setattr("fluorojax.io.hdf5.has_signature", lambda path: True)
    monkeypatch.setattr("fluorojax.io.hdf5.examine", lambda path, kind: Report(mark_of(path)))
    with pytest.raises(ValueError, match=r"^resume is .*run\.h5: cannot be read") as caught:
        small(state_file=path, on_foreign_state=lambda state, what: None)
    assert not isinstance(caught.value, ForeignStateError)
    assert path.exists()


def test_a_seed_fixes_the_draws():
    first = small()
    check_equal(first, small())
    assert not np.array_equal(first.spec_draws, small(key=7).spec_draws)


def test_one_compilation_serves_all_blocks_scenes_and_seeds():
    small()
    TRACES.clear()
    small(key=8, data=replace(DATA, counts=DATA.counts + 0.1))
    small(options=replace(SMALL, draws=14))
    # Nothing is traced again, not even to check the protocol: the shapes of the scene are known.
    assert TRACES == []


def first_rows(layout):
    """What is recorded of three iterations: later ones amplify rounding."""
    sampler = sampler_for(MODEL, replace(SMALL, layout=layout))
    coordinates = coordinates_around(MODEL, DATA, START, jax.random.key(0))
    problem = Problem(DATA, coordinates, Grid.around(Moments.zero(SHAPE)), Watch.of(EVERYWHERE, SHAPE), None)
    chains = sampler.begin(problem, jax.random.split(jax.random.key(2), 2))
    return {name: np.asarray(row)[:, :3] for name, row in sampler.advance(problem, 0, 3, 185, 1, 99, chains)[1].items()}


def check_rows(first, second):
    np.testing.assert_array_equal(first["n_steps"], second["n_steps"])
    for name in ("spec", "hyper", "watched", "lp", "acceptance_rate"):
        np.testing.assert_allclose(first[name], second[name], rtol=2e-3, atol=2e-3, err_msg=name)


def test_vectorised_chains_are_chains_in_turn():
    check_rows(first_rows("auto"), first_rows("vectorised"))


def test_thinning_takes_more_iterations_per_draw():
    thinned = small(options=replace(SMALL, thin=3))
    np.testing.assert_array_equal(thinned.sample_stats["n_steps"] >= 3, True)
    assert thinned.leapfrog_steps > 2 * small().leapfrog_steps
    assert thinned.spec_draws.shape == (2, 10, 3)


DEVICES = """
import jax, numpy as np, test_nuts_run as tests
assert jax.local_device_count() == 2
assert len(tests.devices_for(tests.SMALL)) == 2
assert len(tests.devices_for(tests.replace(tests.SMALL, chains=3))) == 1
np.savez(OUT, **tests.first_rows("auto"))
result = tests.small(options=tests.replace(tests.SMALL, draws=400))
assert result.converged, result.verdict
"""


@pytest.mark.slow
def test_chains_may_be_spread_over_devices(tmp_path):
    out = tmp_path / "rows.npz"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()
    environment = os.environ | {"XLA_FLAGS": flags}
    script = DEVICES.replace("OUT", repr(str(out)))
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", script], cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check_rows(first_rows("auto"), np.load(out))


SCENES = {"sequence": (6, 16), "single_frame": (1, 16)}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_the_shipped_models_are_sampled(name):
    frames, size = SCENES[name]
    scene = simulate_scene(4, SimulationOptions(frames=frames, size=size, photons=3000.0))
    counts, truth = (np.asarray(a, np.float32) for a in (scene.y, scene.x_true))
    if frames == 1:
        counts, truth = counts.reshape(size, size), truth.reshape(size, size)
    data = SceneData(jnp.asarray(counts), scene.acquisition, scene.ranges)
    result = sample_nuts(
        load_model(name),
        data,
        {},
        jax.random.key(0),
        NutsOptions(settle=40, warmup=60, draws=40, chains=2, max_tree_depth=6),
    )
    raw = -np.log(np.maximum(counts, 0.5) / 3000.0) / 7.0
    assert np.mean((result.x_mean - truth) ** 2) < 0.6 * np.mean((raw - truth) ** 2)
    for i, (low, high) in enumerate(scene.ranges.as_dict().values()):
        assert np.all((result.spec_draws[..., i] >= low) & (result.spec_draws[..., i] <= high))
    assert np.all(result.x_variance > 0)
    if frames == 1:  # one frame shows nothing of the chain
        np.testing.assert_allclose(result.spec_draws.mean((0, 1)), scene.ranges.mean(), atol=3.0)


def test_too_short_a_run_says_that_it_has_not_converged():
    result = small(options=replace(SMALL, min_ess=500.0))
    assert not result.converged
    assert result.verdict.startswith("not converged: ")
    assert "effective sample size of" in result.verdict
    assert "(at least 500 wanted)" in result.verdict


BAD_OPTIONS = [
    ({"settle": -1}, "settle is -1; expected an integer of at least 0"),
    ({"settle": 50, "warmup": 40}, "settle is 50; expected at most 40"),
    ({"warmup": 0}, "warmup is 0; expected an integer of at least 20"),
    ({"draws": -5}, "draws is -5; expected an integer of at least 4"),
    ({"draws": 2.5}, "draws is 2.5; expected an integer"),
    ({"draws": 70_000}, "draws is 70000; expected at most 65535"),
    ({"chains": 0}, "chains is 0; expected an integer of at least 1"),
    ({"chains": True}, "chains is True; expected an integer"),
    ({"max_tree_depth": 0}, "max_tree_depth is 0; expected an integer of at least 1"),
    ({"max_tree_depth": 16}, "max_tree_depth is 16; expected at most 15"),
    ({"thin": 0}, "thin is 0; expected"),
    ({"block": 0}, "block is 0; expected"),
    ({"target_accept": 1.0}, "target_accept is 1.0; expected a probability"),
    ({"layout": "parallel"}, "layout is 'parallel'; expected one of auto, vectorised, sequential"),
    ({"max_rhat": 1.0}, "max_rhat is 1.0; expected a number above 1"),
    ({"min_ess": 0.0}, "min_ess is 0.0; expected a number above 0"),
]


@pytest.mark.parametrize(("setting", "message"), BAD_OPTIONS, ids=lambda value: str(value))
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=r"^\w+ is ") as caught:
        NutsOptions(**setting)
    assert message in str(caught.value)


def test_more_chains_than_fit_in_memory_are_refused():
    with pytest.raises(
        ValueError, match=r"^chains is 100000000, which needs about \d.* GiB .*; expected at most \d+ for"
    ):
        small(options=replace(SMALL, chains=100_000_000))


def test_a_model_outside_the_protocol_is_refused():
    def without_rate(data):
        spec_prior(data.ranges)
        x = numpyro.sample("z", Normal(0.0, 1.0).expand(SHAPE).to_event(3))
        numpyro.sample("counts", Normal(numpyro.deterministic("x", x), 1.0).to_event(3), obs=data.counts)

    with pytest.raises(ValueError, match="model broken: no deterministic site 'rate'; expected one"):
        small(model=SceneModel("broken", without_rate))


BAD_STARTS = {
    "unknown": ({"g": jnp.zeros(8)}, "start names g; expected latents of the model: "),
    "shape": ({"f": jnp.zeros(7)}, r"start has 'f' of shape \(7,\); expected \(8,\)"),
    "infinite": ({"f": jnp.full(8, jnp.inf)}, "start has non-finite values in 'f'"),
}


@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_start_that_does_not_fit_is_refused(case):
    start, message = BAD_STARTS[case]
    with pytest.raises(ValueError, match=message):
        sample_nuts(MODEL, DATA, start, jax.random.key(0), SMALL)
