"""MGVI is exact for a linear model with Gaussian noise, and close to NUTS for Poisson counts."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.distributions import Normal, Poisson
from numpyro.infer import MCMC, NUTS

from fluorojax.calibration.posterior import Marginal, SpecPosterior
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SPEC_NAMES, SpecRanges
from fluorojax.engines.energy import posterior
from fluorojax.engines.marginal import LaplaceMarginal
from fluorojax.engines.mgvi import marginal_draws, outer_draws, solve_mgvi
from fluorojax.engines.mgvi.trajectory import hamiltonian_moves
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_prior, spec_to_base

SIGMA = 0.5
PAIRS = 300
RNG = np.random.default_rng(2)
TO_RATE = RNG.normal(size=(12, 5))
# Strong enough that the data, not the edges of the ranges, bound the chain.
OF_SPEC = 4 * RNG.normal(size=(12, 3))
TRUE_BASE = np.array([0.3, -0.2, 0.1])
COUNTS = OF_SPEC @ TRUE_BASE + TO_RATE @ RNG.normal(size=5) + SIGMA * RNG.normal(size=12)
RANGES = SpecRanges.for_tier("public")

JOINT = np.concatenate([OF_SPEC, TO_RATE], axis=1)
COVARIANCE = np.linalg.inv(JOINT.T @ JOINT / SIGMA**2 + np.eye(8))
MEAN = COVARIANCE @ JOINT.T @ COUNTS / SIGMA**2


def offset(data):
    """``x = J·ξ``, ``rate = x + K·z``, z the base of the chain."""
    base = spec_to_base(spec_prior(data.ranges), data.ranges)
    scene = numpyro.sample("scene", Normal(0.0, 1.0).expand((5,)).to_event(1))
    x = numpyro.deterministic("x", (jnp.asarray(TO_RATE, base.dtype) @ scene).reshape(3, 4))
    rate = numpyro.deterministic("rate", x + (jnp.asarray(OF_SPEC, base.dtype) @ base).reshape(3, 4))
    numpyro.sample("counts", Normal(rate, SIGMA).to_event(2), obs=data.counts)


MODEL = SceneModel("offset", offset)


def data_of(counts):
    return SceneData(jnp.asarray(counts.reshape(3, 4), jnp.result_type(float)), Acquisition(), RANGES)


def exact_marginal():
    """The posterior of the chain, as the Laplace marginal finds it."""
    dtype = jnp.result_type(float)
    root = jnp.asarray(np.linalg.cholesky(COVARIANCE[:3, :3]), dtype)
    zero = jnp.zeros((), dtype)
    return LaplaceMarginal({SPEC_SITE: jnp.asarray(MEAN[:3], dtype)}, root, {}, {}, zero, zero, zero, zero > -1)


def known(base):
    """A chain without uncertainty."""
    low, high = np.asarray(RANGES.low), np.asarray(RANGES.high)
    values = low + (high - low) * np.asarray(jax.scipy.stats.norm.cdf(jnp.asarray(base)))
    return SpecPosterior({name: Marginal.point(float(v)) for name, v in zip(SPEC_NAMES, values, strict=True)})


@jax.jit
def solve(data, outer, key, max_rounds=6):
    return solve_mgvi(MODEL, data, outer, key, max_rounds=max_rounds, cg_tolerance=1e-4)


@pytest.fixture(scope="module")
def result():
    return solve(data_of(COUNTS), marginal_draws(exact_marginal(), jax.random.key(1), PAIRS), jax.random.key(2))


def test_the_mean_is_that_of_the_joint_posterior(result):
    exact = (TO_RATE @ MEAN[3:]).reshape(3, 4)
    sd = np.sqrt(np.diag(TO_RATE @ COVARIANCE[3:, 3:] @ TO_RATE.T)).reshape(3, 4)
    assert np.abs((result.x - exact) / sd).max() < 0.03


def test_the_variance_is_split_into_noise_and_chain(result):
    """At fixed chain the scene has the covariance of its own block; the rest comes from the chain."""
    own = TO_RATE @ np.linalg.inv(TO_RATE.T @ TO_RATE / SIGMA**2 + np.eye(5)) @ TO_RATE.T
    total = TO_RATE @ COVARIANCE[3:, 3:] @ TO_RATE.T
    noise, chain = np.diag(own).reshape(3, 4), np.diag(total - own).reshape(3, 4)
    assert chain.mean() > 0.05 * noise.mean()
    # Mean squares of n draws scatter by √(2/n).
    np.testing.assert_allclose(result.noise_variance, noise, rtol=5 * np.sqrt(2 / PAIRS))
    np.testing.assert_allclose(result.spec_variance.sum(axis=0), chain, rtol=0.05, atol=1e-4)


def test_each_spec_parameter_has_its_correlation_with_the_image(result):
    cross = COVARIANCE[:3, 3:] @ TO_RATE.T
    total = np.diag(TO_RATE @ COVARIANCE[3:, 3:] @ TO_RATE.T)
    exact = cross / np.sqrt(np.outer(np.diag(COVARIANCE)[:3], total))
    assert np.abs(exact).max() > 0.2
    np.testing.assert_allclose(result.correlation.reshape(3, 12), exact, atol=0.06)


def test_draws_have_the_covariance_of_the_joint_posterior(result):
    draws = np.asarray(result.residuals["scene"]).reshape(-1, 5)
    white = draws @ np.linalg.inv(np.linalg.cholesky(COVARIANCE[3:, 3:])).T
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(5), atol=5 * np.sqrt(2 / PAIRS))


def test_mirrored_pairs_sum_to_zero(result):
    draws = np.asarray(result.residuals["scene"])
    assert np.abs(draws.sum(axis=0)).max() < 1e-2 * draws.std()
    assert np.abs(np.asarray(result.x_residuals).sum(axis=0)).max() < 2e-2 * float(np.std(result.x_residuals))


def test_the_report_says_how_the_run_ended(result):
    assert bool(result.converged)
    assert not bool(result.diverged)
    assert result.sentence().startswith("converged after 2 rounds")
    assert result.cg_residual.shape == (2, PAIRS)
    assert float(result.cg_residual.max()) <= 1e-4
    assert int(result.cg_iterations.max()) <= 10


def test_one_round_alone_does_not_count_as_converged():
    outer = outer_draws(known(TRUE_BASE), RANGES, PAIRS, seed=0)
    once = solve(data_of(COUNTS), outer, jax.random.key(0), 1)
    assert not bool(once.converged)
    assert once.sentence().startswith("stopped before converging after 1 rounds")
    broken = solve(data_of(np.full(12, np.nan)), outer, jax.random.key(0), 1)
    assert bool(broken.diverged)
    assert "must not be used" in broken.sentence()


def test_the_key_fixes_the_draws():
    outer = marginal_draws(exact_marginal(), jax.random.key(1), PAIRS)
    first, again, other = (solve(data_of(COUNTS), outer, jax.random.key(seed)) for seed in (2, 2, 3))
    np.testing.assert_array_equal(first.x_residuals, again.x_residuals)
    assert np.abs(np.asarray(first.x_residuals) - np.asarray(other.x_residuals)).max() > 1e-2


@pytest.mark.slow
def test_double_precision_agrees_with_single(result):
    with jax.enable_x64(True):
        outer = marginal_draws(exact_marginal(), jax.random.key(1), PAIRS)
        double = solve(data_of(COUNTS), outer, jax.random.key(2))
        assert double.x.dtype == jnp.float64
        np.testing.assert_allclose(double.x, result.x, atol=1e-2)
        # Other random numbers: only the moments agree.
        np.testing.assert_allclose(double.noise_variance, result.noise_variance, rtol=7 * np.sqrt(2 / PAIRS))


def test_a_batch_is_its_scenes_one_by_one(result):
    outer = marginal_draws(exact_marginal(), jax.random.key(1), PAIRS)
    scenes = [data_of(COUNTS), data_of(COUNTS + 1)]
    batch = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *scenes)
    together = jax.vmap(solve, in_axes=(0, None, None))(batch, outer, jax.random.key(2))
    for i, data in enumerate(scenes):
        single = result if i == 0 else solve(data, outer, jax.random.key(2))
        np.testing.assert_allclose(together.x[i], single.x, atol=2e-3)
        np.testing.assert_allclose(together.x_residuals[i], single.x_residuals, atol=1e-2)


def test_a_known_chain_adds_no_variance():
    outer = outer_draws(known(TRUE_BASE), RANGES, PAIRS, seed=0)
    found = solve(data_of(COUNTS), outer, jax.random.key(2))
    np.testing.assert_allclose(found.spec_variance, 0.0, atol=1e-8)
    np.testing.assert_array_equal(found.correlation, np.zeros((3, 3, 4)))


def test_chain_draws_follow_their_marginals_in_mirrored_pairs():
    grid = np.linspace(-0.5, 1.0, 101)
    marginals = {name: Marginal.flat(*RANGES.as_dict()[name]) for name in SPEC_NAMES}
    marginals["gain_drift"] = Marginal.from_log(grid, -0.5 * ((grid - 0.6) / 0.05) ** 2)
    outer = outer_draws(SpecPosterior(marginals), RANGES, 200, seed=4)
    scores = np.asarray(outer.scores)
    np.testing.assert_allclose(scores.mean(axis=(0, 1)), 0.0, atol=0.01)
    np.testing.assert_allclose(scores.std(axis=(0, 1)), 1.0, atol=0.02)
    # All three are symmetric here: the mirror image of a draw lies opposite it.
    np.testing.assert_allclose(scores[0], -scores[1], atol=0.1)
    assert np.abs(np.corrcoef(scores.reshape(-1, 3).T) - np.eye(3)).max() < 0.3
    drift = -0.5 + 1.5 * jax.scipy.stats.norm.cdf(outer.draws[SPEC_SITE][..., 2])
    assert float(drift.mean()) == pytest.approx(0.6, abs=1e-3)
    assert float(drift.std()) == pytest.approx(0.05, rel=0.02)
    again, other = (outer_draws(SpecPosterior(marginals), RANGES, 200, seed=s).scores for s in (4, 5))
    np.testing.assert_array_equal(scores, again)
    assert np.abs(scores - other).max() > 0.1


def test_poisson_counts_agree_with_nuts(poisson_model):
    """Some 70 counts per pixel; the Monte Carlo error of the reference is about a twentieth of the sd."""
    counts = jnp.asarray(np.random.default_rng(5).poisson(70.0, size=(2, 3, 4)), jnp.float32)
    data = SceneData(counts, Acquisition(), RANGES)
    held = {SPEC_SITE: jnp.zeros(3)}
    target = posterior(poisson_model, data, held)
    kernel = NUTS(potential_fn=lambda z: target.energy({"z": z}))
    reference = MCMC(
        kernel, num_warmup=200, num_samples=400, num_chains=2, chain_method="vectorized", progress_bar=False
    )
    reference.run(jax.random.key(0), init_params=jnp.zeros((2, 2, 3, 4)))
    x = np.asarray(jax.vmap(lambda z: target.x({"z": z}))(reference.get_samples()))
    outer = outer_draws(known(np.zeros(3)), RANGES, 200, seed=0)
    found = jax.jit(lambda: solve_mgvi(poisson_model, data, outer, jax.random.key(1)))()
    sd = np.sqrt(np.asarray(found.noise_variance))
    assert np.abs((x.mean(axis=0) - found.x) / sd).max() < 0.25
    assert np.median(x.std(axis=0) / sd) == pytest.approx(1.0, abs=0.08)
    assert np.sqrt(np.mean(((x.mean(axis=0) - found.x) / sd) ** 2)) < 0.1


LOW_COUNTS = np.array([[0, 0, 1, 2], [0, 1, 3, 5], [0, 2, 8, 12]], float)


def steep(data):
    """Independent pixels of unknown common width, two counts at x = 0 and a steep rate: few draws are linear."""
    spec_prior(data.ranges)
    width = jnp.exp(0.5 * numpyro.sample("width", Normal(0.0, 1.0)))
    x = numpyro.deterministic("x", width * numpyro.sample("scene", Normal(0.0, 1.0).expand((3, 4)).to_event(2)))
    rate = numpyro.deterministic("rate", 2.0 * jnp.exp(-4.0 * x))
    numpyro.sample("counts", Poisson(rate).to_event(2), obs=data.counts)


def test_draws_where_the_linear_response_overshoots_are_followed():
    zero = jnp.zeros(())
    given = LaplaceMarginal({SPEC_SITE: jnp.zeros(3), "width": zero}, jnp.eye(4), {}, {}, zero, zero, zero, zero > -1)
    outer = marginal_draws(given, jax.random.key(1), 200)
    solve = jax.jit(lambda data, key: solve_mgvi(SceneModel("steep", steep), data, outer, key))
    result = solve(data_of(LOW_COUNTS), jax.random.key(2))
    assert bool(result.converged)
    assert 40 < int(result.followed) < 400
    draws = np.asarray(result.x + result.x_residuals).reshape(400, 3, 4)
    # Exact draws of every pixel at each draw of the width, from its density on a grid.
    width = np.exp(0.5 * np.asarray(outer.draws["width"], float)).ravel()[:, None, None, None]
    grid = np.linspace(-8, 8, 2001)
    log = -4 * LOW_COUNTS[..., None] * width * grid - 2 * np.exp(np.minimum(-4 * width * grid, 50)) - grid**2 / 2
    weight = np.exp(log - log.max(-1, keepdims=True))
    below = np.cumsum(weight / weight.sum(-1, keepdims=True), axis=-1)
    uniform = np.random.default_rng(0).random((*below.shape[:-1], 1))
    exact = width[..., 0] * grid[(below < uniform).sum(-1).clip(max=grid.size - 1)]
    spread = np.subtract(*np.quantile(exact, [0.84, 0.16], axis=0)) / 2
    for level, most in ((0.05, 0.4), (0.16, 0.35), (0.5, 0.25), (0.84, 0.4), (0.95, 0.6)):
        error = (np.quantile(draws, level, axis=0) - np.quantile(exact, level, axis=0)) / spread
        assert np.abs(error).max() < most, (level, error)


@pytest.mark.parametrize("off", [0.3, 0.5, 1.0, 2.0])
def testhamiltonian_moves_forget_where_they_began_and_keep_the_distribution(off):
    """Widths ``off`` times what the scale says: no ratio may bring a coordinate back to where it began."""
    rng = np.random.default_rng(0)
    scale = {"a": jnp.asarray(rng.uniform(0.5, 2.0, 100), jnp.float32), "b": jnp.full((9, 9), 0.1)}

    def energy(at):
        return 0.5 * sum(jnp.sum((at[name] / (off * scale[name])) ** 2) for name in scale)

    start = jax.tree.map(lambda w: 3.0 * off * w * jnp.asarray(rng.choice([-1.0, 1.0], w.shape), jnp.float32), scale)
    moved = jax.jit(lambda key, moves: hamiltonian_moves(energy, start, scale, key, moves))
    ends = jax.vmap(moved, in_axes=(0, None))(jax.random.split(jax.random.key(3), 40), 16)
    for name, unit in scale.items():
        end, begin = np.asarray(ends[name] / (off * unit)), np.asarray(start[name] / (off * unit))
        assert abs(np.mean(end * begin)) / 9 < 0.1
        assert np.mean(end**2) == pytest.approx(1, abs=0.25)
    np.testing.assert_allclose(moved(jax.random.key(4), 0)["a"], start["a"], rtol=1e-6)


def test_nearly_linear_draws_are_not_followed(result):
    assert int(result.followed) == 0
