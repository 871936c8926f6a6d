"""The Laplace marginal is exact where the rate is linear in the scene, whatever the outer latents do to it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.distributions import Normal, Poisson
from scipy.stats import multivariate_normal, norm

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SPEC_NAMES, SpecRanges
from fluorojax.engines.energy import diagonal_scale, posterior
from fluorojax.engines.evidence import laplace_evidence, stochastic_log_determinant
from fluorojax.engines.linear_response import metric
from fluorojax.engines.marginal import LaplaceMarginal, as_spec_posterior, laplace_marginal
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_prior, spec_to_base

SIGMA = 0.5
RNG = np.random.default_rng(2)
TO_RATE = RNG.normal(size=(12, 5))
OF_SPEC = RNG.normal(size=(12, 3))
RANGES = SpecRanges.for_tier("public")
HELD = {SPEC_SITE: jnp.zeros(3)}


def white(name, size):
    return numpyro.sample(name, Normal(0.0, 1.0).expand((size,)).to_event(1))


def offset(data):
    """``rate = J·ξ + K·z``, z the base of the chain: linear throughout."""
    base = spec_to_base(spec_prior(data.ranges), data.ranges)
    x = jnp.asarray(TO_RATE, base.dtype) @ white("scene", 5)
    numpyro.deterministic("x", x.reshape(3, 4))
    rate = numpyro.deterministic("rate", (x + jnp.asarray(OF_SPEC, base.dtype) @ base).reshape(3, 4))
    numpyro.sample("counts", Normal(rate, SIGMA).to_event(2), obs=data.counts)


def amplitude(data):
    """``rate = exp(a/2)·J·ξ`` with Gaussian noise: linear in the scene only."""
    spec_prior(data.ranges)
    size = jnp.exp(0.5 * white("amplitude", 1))
    x = numpyro.deterministic("x", size * (jnp.asarray(TO_RATE, size.dtype) @ white("scene", 5)).reshape(3, 4))
    numpyro.deterministic("rate", x)
    numpyro.sample("counts", Normal(x, SIGMA).to_event(2), obs=data.counts)


def photons(data):
    """The same with an exponential rate and Poisson counts."""
    spec_prior(data.ranges)
    size = jnp.exp(0.5 * white("amplitude", 2))
    x = size[0] * (jnp.asarray(TO_RATE, size.dtype) @ white("scene", 5)).reshape(3, 4) + 0.3 * size[1]
    numpyro.deterministic("x", x)
    rate = numpyro.deterministic("rate", 20.0 * jnp.exp(-0.5 * x))
    numpyro.sample("counts", Poisson(rate).to_event(2), obs=data.counts)


MODELS = {function.__name__: SceneModel(function.__name__, function) for function in (offset, amplitude, photons)}
COUNTS = {
    "offset": RNG.normal(size=(3, 4)) * 2,
    "amplitude": RNG.normal(size=(3, 4)) * 3,
    "photons": RNG.poisson(15.0, size=(3, 4)).astype(float),
}


def scene(name):
    return SceneData(jnp.asarray(COUNTS[name], jnp.result_type(float)), Acquisition(), RANGES)


@partial(jax.jit, static_argnames=("name", "probes"))
def evidence_of(name, outer, key=None, probes=None):
    """V and its gradient from the prior mean of the scene."""
    start = {"scene": jnp.zeros(5, jnp.result_type(float))}
    scale = {"scene": jnp.full(5, 0.2, jnp.result_type(float))}
    return laplace_evidence(
        MODELS[name], scene(name), {"amplitude": outer}, start, scale, fixed=HELD, probes=probes, key=key
    )


@pytest.fixture(scope="module")
def offset_marginal():
    return jax.jit(lambda data: laplace_marginal(MODELS["offset"], data, jax.random.key(0)))


def test_mean_covariance_and_evidence_of_a_linear_model_are_exact(offset_marginal):
    found = offset_marginal(scene("offset"))
    joint = np.concatenate([OF_SPEC, TO_RATE], axis=1)
    precision = joint.T @ joint / SIGMA**2 + np.eye(8)
    covariance = np.linalg.inv(precision)
    mean = covariance @ joint.T @ COUNTS["offset"].ravel() / SIGMA**2
    sd = np.sqrt(np.diag(covariance))
    assert bool(found.converged)
    # The search ends within a twentieth of a standard deviation.
    assert np.abs((np.asarray(found.mean[SPEC_SITE]) - mean[:3]) / sd[:3]).max() < 0.1
    np.testing.assert_allclose(found.covariance, covariance[:3, :3], rtol=0.02, atol=0.02 * sd[0] ** 2)
    of_data = SIGMA**2 * np.eye(12) + joint @ joint.T
    exact = multivariate_normal(cov=of_data).logpdf(COUNTS["offset"].ravel())
    assert float(found.log_evidence) == pytest.approx(exact, abs=0.05)


def test_the_evidence_of_an_amplitude_is_that_of_its_covariance():
    """Given the amplitude, y ~ N(0, σ² + eᵃ·J·Jᵀ): the scene is integrated out without error."""
    for a in (-2.0, 0.0, 1.5):
        found = evidence_of("amplitude", jnp.array([a]))
        of_data = SIGMA**2 * np.eye(12) + np.exp(a) * TO_RATE @ TO_RATE.T
        exact = -multivariate_normal(cov=of_data).logpdf(COUNTS["amplitude"].ravel()) + 0.5 * a**2
        assert float(found.value) == pytest.approx(exact, abs=0.01)


def test_the_gradient_is_the_derivative_of_the_evidence():
    """In float64, for Poisson counts, where the log-determinant also depends on the amplitude through the mode."""
    with jax.enable_x64(True):
        evidence = partial(evidence_of, "photons")
        at = jnp.array([0.4, -0.7], jnp.float64)
        step = 1e-3
        differences = [
            (evidence(at.at[i].add(step)).value - evidence(at.at[i].add(-step)).value) / (2 * step) for i in range(2)
        ]
        np.testing.assert_allclose(evidence(at).gradient, differences, rtol=1e-3, atol=1e-3)


def test_sampled_traces_average_to_the_exact_gradient():
    outer = jnp.array([0.4, -0.7])
    exact = np.asarray(evidence_of("photons", outer).gradient)
    keys = jax.random.split(jax.random.key(1), 40)
    sampled = np.array([evidence_of("photons", outer, key, probes=20).gradient for key in keys])
    error = sampled.std(axis=0) / np.sqrt(len(sampled))
    assert np.abs(sampled.mean(axis=0) - exact).max() < 5 * error.max() + 0.01
    assert (error > 1e-4).any()


def test_sampled_probes_need_a_key():
    with pytest.raises(ValueError, match="key is None"):
        evidence_of("photons", jnp.zeros(2), probes=4)


def test_lanczos_agrees_with_cholesky():
    target = posterior(MODELS["offset"], scene("offset"), HELD)
    at = {"scene": jnp.zeros(5)}

    @jax.jit
    def lanczos(key):
        linear = metric(target, at, diagonal_scale(target, at, jax.random.key(0)))
        return stochastic_log_determinant(linear, key, probes=100)

    exact = np.linalg.slogdet(TO_RATE.T @ TO_RATE / SIGMA**2 + np.eye(5))[1]
    estimates = [float(lanczos(jax.random.key(k))) for k in range(4)]
    error = np.std(estimates, ddof=1) / 2
    assert np.mean(estimates) == pytest.approx(exact, abs=5 * error + 0.01)
    assert 0 < error < 0.02 * exact


def test_sampled_marginals_find_the_same_mode(offset_marginal):
    exact = offset_marginal(scene("offset"))
    sampled = jax.jit(lambda data: laplace_marginal(MODELS["offset"], data, jax.random.key(0), probes=32))(
        scene("offset")
    )
    sd = np.sqrt(np.diag(exact.covariance))
    assert np.abs((sampled.mean[SPEC_SITE] - exact.mean[SPEC_SITE]) / sd).max() < 0.2
    np.testing.assert_allclose(np.diag(sampled.covariance), sd**2, rtol=0.05)
    # Only the log-determinant is estimated.
    assert float(sampled.log_evidence) == pytest.approx(float(exact.log_evidence), abs=0.5)


@pytest.mark.slow
def test_a_batch_is_its_scenes_one_by_one(offset_marginal):
    other = SceneData(scene("offset").counts * 0.5 + 1, Acquisition(), RANGES)
    batch = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), scene("offset"), other)
    together = jax.jit(jax.vmap(lambda data: laplace_marginal(MODELS["offset"], data, jax.random.key(0))))(batch)
    for i, data in enumerate((scene("offset"), other)):
        single = offset_marginal(data)
        np.testing.assert_allclose(together.mean[SPEC_SITE][i], single.mean[SPEC_SITE], atol=0.02)
        np.testing.assert_allclose(together.covariance[i], single.covariance, rtol=0.01, atol=1e-3)


def gaussian(mean, std):
    """A marginal of the chain alone."""
    nothing = jnp.zeros(())
    values = jnp.full(3, mean, float)
    return LaplaceMarginal({SPEC_SITE: values}, std * jnp.eye(3), {}, {}, nothing, nothing, nothing, nothing > -1)


def test_a_base_that_is_its_prior_gives_the_flat_posterior():
    for name, marginal in as_spec_posterior(gaussian(0.0, 1.0), RANGES).marginals.items():
        low, high = RANGES.as_dict()[name]
        np.testing.assert_allclose(marginal.density, 1 / (high - low), rtol=1e-3)


@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 0.2), (1.2, 0.3), (-1.5, 0.2), (0.31, 0.01), (-1.1, 0.001), (3.0, 0.1)]
)
def test_the_density_over_the_range_is_that_of_the_squashed_base(mean, std):
    found = as_spec_posterior(gaussian(mean, std), RANGES)
    draws = norm.cdf(mean + std * np.random.default_rng(0).normal(size=200_000))
    for name in SPEC_NAMES:
        low, high = RANGES.as_dict()[name]
        values = low + (high - low) * draws
        assert found.marginals[name].mean == pytest.approx(values.mean(), abs=0.03 * values.std())
        assert found.marginals[name].std == pytest.approx(values.std(), rel=0.03)
