"""The energy is the negative log posterior, exact where float32 would lose it."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.engines.energy import diagonal_scale, poisson_deviance, posterior
from fluorojax.models.protocol import SPEC_SITE, SceneData


def reference(counts, rate):
    """Half deviance in float64, from the log probabilities of the model and of the saturated model."""
    counts, rate = np.asarray(counts, np.float64), np.asarray(rate, np.float64)
    return np.sum(stats.poisson.logpmf(counts, counts) - stats.poisson.logpmf(counts, rate))


CASES = [(0, 0.01), (0, 30), (1, 0.2), (1, 1), (3, 3.3), (3, 50), (1e4, 9e3), (1e4, 1e4 + 70), (1e4, 12), (2, 1e4)]


@pytest.mark.parametrize(("count", "rate"), CASES)
def test_the_deviance_is_the_log_likelihood_below_the_saturated_model(count, rate):
    value = float(poisson_deviance(jnp.array([float(count)]), jnp.array([float(rate)])))
    assert value == pytest.approx(reference(count, rate), rel=1e-4, abs=1e-6)


def test_the_deviance_sums_over_pixels():
    counts, rate = np.array([c for c, _ in CASES]), np.array([r for _, r in CASES])
    value = float(poisson_deviance(jnp.asarray(counts, jnp.float32), jnp.asarray(rate, jnp.float32)))
    assert value == pytest.approx(reference(counts, rate), rel=1e-5)


@pytest.mark.parametrize("relative", [0.0, 1e-4, 1e-3, 1e-2, 0.09, 0.11])
@pytest.mark.parametrize("count", [50.0, 1e4, 1e6])
def test_float32_keeps_the_deviance_near_its_minimum(count, relative):
    rate = np.float32(count * (1 + relative))
    value = float(poisson_deviance(jnp.array([count]), jnp.array([rate])))
    with jax.enable_x64(True):
        exact = float(poisson_deviance(jnp.array([count]), jnp.array([float(rate)])))
    # The true value is about count·relative²/2; a rounding error of 1e-7·count·relative is below 1e-3 of a nat.
    assert value == pytest.approx(exact, rel=2e-3, abs=2e-7 * count * relative + 1e-6)
    assert value >= -1e-6


def test_the_float64_deviance_has_no_seams():
    with jax.enable_x64(True):
        rate = np.concatenate([np.linspace(0.5, 1.5, 200) * 100, [1e-3, 1e5]])
        values = jax.vmap(poisson_deviance, in_axes=(None, 0))(jnp.array(100.0), jnp.asarray(rate))
        np.testing.assert_allclose(values, rate - 100 + 100 * np.log(100 / rate), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rate", [1e-9, 0.5, 1.0, 1.05, 100.0])
@pytest.mark.parametrize("count", [0.0, 1.0, 7.0])
def test_gradients_are_finite_and_right(count, rate):
    slope = jax.grad(lambda r: poisson_deviance(jnp.array([count]), r))(jnp.array([rate]))[0]
    assert np.isfinite(slope)
    if rate > 1e-6:
        assert float(slope) == pytest.approx(1 - count / rate, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e-30])
def test_a_rate_that_vanished_leaves_a_finite_energy(rate):
    assert np.isfinite(poisson_deviance(jnp.array([5.0, 0.0]), jnp.full(2, rate)))


@pytest.fixture(scope="module")
def poisson_data():
    counts = np.random.default_rng(1).poisson(60, (2, 3, 4)).astype(np.float32)
    counts[0, 0] = 0
    return SceneData(jnp.asarray(counts), Acquisition(), SpecRanges.for_tier("public"))


def test_the_energy_differs_from_the_log_joint_by_a_constant(poisson_model, poisson_data):
    target = posterior(poisson_model, poisson_data, {SPEC_SITE: jnp.zeros(3)})
    differences = []
    for seed in range(3):
        z = np.random.default_rng(seed).normal(size=(2, 3, 4)).astype(np.float32)
        rate = np.asarray(target.rate({"z": jnp.asarray(z)}), np.float64)
        joint = stats.poisson.logpmf(np.asarray(poisson_data.counts), rate).sum() + stats.norm.logpdf(z).sum()
        differences.append(float(target.energy({"z": jnp.asarray(z)})) + joint)
    assert np.ptp(differences) < 1e-2


def test_the_gradient_of_the_energy_is_its_finite_difference(poisson_model, poisson_data):
    with jax.enable_x64(True):
        data = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), poisson_data)
        energy = jax.jit(posterior(poisson_model, data, {SPEC_SITE: jnp.zeros(3)}).energy)
        rng = np.random.default_rng(2)
        at, direction = (jnp.asarray(rng.normal(size=(2, 3, 4))) for _ in range(2))
        slope = float(jnp.vdot(jax.grad(energy)({"z": at})["z"], direction))
        step = 1e-5
        difference = (energy({"z": at + step * direction}) - energy({"z": at - step * direction})) / (2 * step)
        assert slope == pytest.approx(float(difference), rel=1e-6)


def test_fixed_latents_are_not_part_of_the_energy(poisson_model, poisson_data):
    z = {"z": jnp.zeros((2, 3, 4))}
    energies = [
        float(posterior(poisson_model, poisson_data, {SPEC_SITE: jnp.full(3, base)}).energy(z)) for base in (0.0, 1.5)
    ]
    assert energies[0] == energies[1]


def test_gaussian_observations_are_supported(linear):
    at = {"first": jnp.full(3, 0.2), "second": jnp.zeros((2, 2))}
    flat = np.concatenate([np.full(3, 0.2), np.zeros(4)])
    rate = linear.jacobian @ flat
    exact = -stats.norm.logpdf(linear.counts.ravel(), rate, linear.sigma).sum() + 0.5 * flat @ flat
    assert float(linear.target.energy(at)) == pytest.approx(exact, rel=1e-4)
    np.testing.assert_allclose(linear.target.rate(at).ravel(), rate, atol=1e-4)
    np.testing.assert_allclose(linear.target.x(at).ravel(), linear.to_x @ flat, atol=1e-5)
    np.testing.assert_allclose(linear.target.information(at), np.full(linear.shape, linear.sigma**-2), rtol=1e-6)


def test_the_poisson_information_about_the_rate_is_its_inverse(poisson_model, poisson_data):
    target = posterior(poisson_model, poisson_data, {SPEC_SITE: jnp.zeros(3)})
    z = {"z": jnp.ones((2, 3, 4))}
    np.testing.assert_allclose(target.information(z) * target.rate(z), np.ones((2, 3, 4)), rtol=1e-6)


def test_the_diagonal_scale_is_near_that_of_the_metric(poisson_model, poisson_data):
    target = posterior(poisson_model, poisson_data, {SPEC_SITE: jnp.zeros(3)})
    at = {"z": jnp.zeros((2, 3, 4))}
    scale = np.asarray(diagonal_scale(target, at, jax.random.key(0), probes=32)["z"])
    jacobian = np.asarray(jax.jacobian(target.rate)(at)["z"]).reshape(24, 24)
    metric = jacobian.T @ (np.asarray(target.information(at)).reshape(24, 1) * jacobian) + np.eye(24)
    np.testing.assert_allclose(scale.ravel() * np.sqrt(np.diag(metric)), np.ones(24), atol=0.25)


def test_the_diagonal_scale_is_one_where_the_data_say_nothing(poisson_model, poisson_data):
    target = posterior(poisson_model, poisson_data, {SPEC_SITE: jnp.zeros(3)})
    # No photons get through: the rate does not depend on the latents any more.
    scale = diagonal_scale(target, {"z": jnp.full((2, 3, 4), 60.0)}, jax.random.key(0))["z"]
    np.testing.assert_allclose(scale, np.ones((2, 3, 4)), atol=1e-3)


# --- electronic noise

SHAPE, RANGES = (2, 3, 4), SpecRanges.for_tier("public")


def each(counts, rates, *variance):
    """Deviance of every pair by itself, and its derivative by the rate."""
    terms = jax.vmap(jax.value_and_grad(poisson_deviance, argnums=1), in_axes=(0, 0, *[None] * len(variance)))
    return [np.asarray(found) for found in jax.jit(terms)(counts, rates, *variance)]


def exact_log_probability(counts, rate, sigma):
    """Log density of a Poisson count plus Gaussian noise, by summing over the count."""
    quanta = np.arange(150)
    return logsumexp(
        stats.poisson.logpmf(quanta, rate) + stats.norm.logpdf(np.asarray(counts)[:, None], quanta, sigma), axis=1
    )


@pytest.mark.parametrize(("sigma", "rate", "score_error", "information_error"), [
    (1.0, 1.0, 0.25, 0.07),
    (1.0, 3.0, 0.10, 0.01),
    (1.0, 10.0, 0.03, 0.001),
    (1.5, 0.5, 0.34, 0.13),
    (1.5, 3.0, 0.14, 0.02),
    (3.0, 0.0, 0.24, 0.06),
    (3.0, 1.0, 0.21, 0.05),
    (3.0, 10.0, 0.08, 0.01),
])  # fmt: skip
def test_the_shifted_poisson_is_near_the_exact_convolution(sigma, rate, score_error, information_error):
    grid = np.linspace(-8 * sigma, rate + 8 * np.sqrt(rate + sigma**2) + 4, 3001)
    weight = np.exp(exact_log_probability(grid, rate, sigma)) * (grid[1] - grid[0])
    # d/dλ p(y|λ) = p(y − 1|λ) − p(y|λ)
    exact = np.exp(exact_log_probability(grid - 1, rate, sigma) - exact_log_probability(grid, rate, sigma)) - 1
    information = np.sum(weight * exact**2)
    higher = rate + information**-0.5
    with jax.enable_x64(True):
        here, there = (each(jnp.asarray(grid), jnp.full(grid.shape, r), sigma**2) for r in (rate, higher))
    score = -here[1]
    assert np.sum(weight * score) == pytest.approx(0.0, abs=1e-4)
    assert np.sum(weight * score**2) * (rate + sigma**2) == pytest.approx(1.0, rel=1e-3)
    assert np.sqrt(np.sum(weight * (score - exact) ** 2) / information) < score_error
    # The information is never overstated.
    assert -1e-3 < information * (rate + sigma**2) - 1 < information_error
    # The log likelihood of a rate one standard deviation higher, relative to the true one.
    gain = exact_log_probability(grid, higher, sigma) - exact_log_probability(grid, rate, sigma)
    assert np.sqrt(np.sum(weight * (here[0] - there[0] - gain) ** 2)) < score_error


def test_without_electronic_noise_the_deviance_is_the_same_to_the_bit():
    counts, rates = (jnp.asarray(values, jnp.float32) for values in zip(*CASES, strict=True))
    for with_zero, without in zip(each(counts, rates, 0.0), each(counts, rates), strict=True):
        np.testing.assert_array_equal(with_zero, without)


@pytest.mark.parametrize("sigma", [0.1, 1.5, 30.0])
def test_float32_keeps_deviance_and_score_with_electronic_noise(sigma):
    pairs = list(product([-40.0, -2.25, -1.0, 0.0, 0.3, 12.0, 1e4], [0.0, 1e-3, 1.0, 13.0, 1e4]))
    counts, rates = np.array(pairs).T
    value, slope = each(jnp.float32(counts), jnp.float32(rates), sigma**2)
    with jax.enable_x64(True):
        exact, exact_slope = each(jnp.asarray(counts), jnp.asarray(rates), sigma**2)
    assert exact.dtype == np.float64
    assert (exact >= -1e-9).all()
    np.testing.assert_allclose(value, exact, rtol=1e-4, atol=1e-3)
    score = (rates - counts) / (rates + sigma**2)
    np.testing.assert_allclose(exact_slope, score, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slope, score, rtol=1e-4, atol=1e-5)


def test_electronic_noise_enters_information_coordinate_and_excess(poisson_model):
    sigma, z = 2.0, {"z": jnp.full(SHAPE, 4.0)}
    acquisition = Acquisition(electronic_noise=sigma)
    noisy = posterior(poisson_model, SceneData(jnp.zeros(SHAPE), acquisition, RANGES), {SPEC_SITE: jnp.zeros(3)})
    rate = np.asarray(noisy.rate(z))
    np.testing.assert_allclose(noisy.information(z), 1 / (rate + sigma**2), rtol=1e-6)
    np.testing.assert_allclose(noisy.standardised(z), 2 * np.sqrt(rate + sigma**2), rtol=1e-6)
    # The excess is zero on average: over draws of counts, for a fixed rate.
    rng = np.random.default_rng(3)
    draws = rng.poisson(rate, (4000, *rate.shape)) + sigma * rng.standard_normal((4000, *rate.shape))

    def excess(y):
        data = SceneData(y, acquisition, RANGES)
        return jnp.mean(posterior(poisson_model, data, {SPEC_SITE: jnp.zeros(3)}).excess(z))

    found = np.asarray(jax.jit(jax.vmap(excess))(jnp.asarray(draws, jnp.float32)))
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
