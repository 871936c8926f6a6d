"""Energies of the prior: linear residuals are further Gaussian data, so that everything is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from jax.flatten_util import ravel_pytree
from numpyro.distributions import Normal

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.engines.energy import diagonal_scale, posterior
from fluorojax.engines.linear_response import metric, sample_variance, spec_information
from fluorojax.engines.newton import conditional_mode
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, add_energy, spec_prior
from fluorojax.validation import draw_prior

SHAPE, SIGMA = (2, 2, 3), 0.4
RNG = np.random.default_rng(3)
TO_RATE = RNG.normal(size=(12, 5)).astype(np.float32)
TO_RESIDUALS = (2.0 * RNG.normal(size=(4, 5))).astype(np.float32)
OFFSET = RNG.normal(size=4).astype(np.float32)
COUNTS = RNG.normal(size=SHAPE).astype(np.float32)
DATA = SceneData(jnp.asarray(COUNTS), Acquisition(), SpecRanges.for_tier("public"))
METRIC = TO_RATE.T @ TO_RATE / SIGMA**2 + TO_RESIDUALS.T @ TO_RESIDUALS + np.eye(5)
MODE = np.linalg.solve(METRIC, TO_RATE.T @ COUNTS.ravel() / SIGMA**2 - TO_RESIDUALS.T @ OFFSET)


def model(data, *, energy=True, bare=False):
    spec_prior(data.ranges)
    z = numpyro.sample("z", Normal(0.0, 1.0).expand((5,)).to_event(1))
    rate = numpyro.deterministic("rate", (jnp.asarray(TO_RATE) @ z).reshape(SHAPE))
    numpyro.deterministic("x", rate)
    if energy:
        add_energy("smooth", (jnp.asarray(TO_RESIDUALS) @ z + OFFSET).reshape(2, 2))
    if bare:
        numpyro.factor("bare", -jnp.sum(z**2))
    numpyro.sample("counts", Normal(rate, SIGMA).to_event(3), obs=data.counts)


MODEL = SceneModel("linear", model, energies=("smooth",))
TARGET = posterior(MODEL, DATA, {SPEC_SITE: jnp.zeros(3)})
AT = {"z": jnp.asarray(MODE, jnp.float32)}


def test_the_energy_is_that_of_the_factor():
    z = RNG.normal(size=5).astype(np.float32)
    misfit = 0.5 * np.sum((COUNTS.ravel() - TO_RATE @ z) ** 2) / SIGMA**2
    prior = 0.5 * np.sum((TO_RESIDUALS @ z + OFFSET) ** 2) + 0.5 * np.sum(z**2)
    other = RNG.normal(size=5).astype(np.float32)
    change = TARGET.energy({"z": jnp.asarray(z)}) - TARGET.energy({"z": jnp.asarray(other)})
    misfit -= 0.5 * np.sum((COUNTS.ravel() - TO_RATE @ other) ** 2) / SIGMA**2
    prior -= 0.5 * np.sum((TO_RESIDUALS @ other + OFFSET) ** 2) + 0.5 * np.sum(other**2)
    assert float(change) == pytest.approx(misfit + prior, rel=1e-4)


def test_the_mode_is_the_closed_form():
    start = {"z": jnp.zeros(5)}
    scale = diagonal_scale(TARGET, start, jax.random.key(0))
    found = conditional_mode(TARGET, start, scale)
    assert found.converged
    np.testing.assert_allclose(found.position["z"], MODE, atol=2e-3)


def test_the_metric_and_its_draws_have_the_energy():
    _, unravel = ravel_pytree(AT)
    linear = metric(TARGET, AT, {"z": jnp.full(5, 0.1)})
    columns = jax.vmap(lambda v: ravel_pytree(linear.product(unravel(v)))[0])(jnp.eye(5))
    np.testing.assert_allclose(columns, METRIC, rtol=1e-4, atol=1e-3)
    noise = jax.vmap(lambda key: linear.noise(key)["z"])(jax.random.split(jax.random.key(1), 20_000))
    np.testing.assert_allclose(np.cov(noise.T), METRIC, rtol=0.05, atol=0.03 * METRIC.max())
    variance = sample_variance(TARGET, AT, {"z": jnp.full(5, 0.1)}, jax.random.key(2), 3000)
    exact = np.diag(TO_RATE @ np.linalg.inv(METRIC) @ TO_RATE.T).reshape(SHAPE)
    np.testing.assert_allclose(variance, exact, rtol=5 * np.sqrt(2 / 3000))


def test_the_information_about_the_spec_counts_moves_against_the_energy():
    linear = metric(TARGET, AT, {"z": jnp.full(5, 0.1)})
    change = RNG.normal(size=(2, *SHAPE)).astype(np.float32)
    moves = -np.linalg.solve(METRIC, TO_RATE.T @ change.reshape(2, -1).T / SIGMA**2).T
    remains = change + (moves @ TO_RATE.T).reshape(2, *SHAPE)
    found = spec_information(linear, jnp.asarray(remains), {"z": jnp.asarray(moves, jnp.float32)})
    flat = change.reshape(2, -1)
    exact = flat @ flat.T / SIGMA**2 - (flat @ TO_RATE) @ np.linalg.solve(METRIC, TO_RATE.T @ flat.T) / SIGMA**4
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-2)


def test_the_protocol_wants_energies_named_and_with_residuals():
    assert set(MODEL.latent_shapes(DATA)) == {SPEC_SITE, "z"}
    with pytest.raises(ValueError, match="adds the energies smooth; expected those of ENERGIES, none"):
        SceneModel("m", model).latent_shapes(DATA)
    with pytest.raises(ValueError, match="adds the energies none; expected those of ENERGIES, other"):
        SceneModel("m", lambda data: model(data, energy=False), energies=("other",)).latent_shapes(DATA)
    bare = SceneModel("m", lambda data: model(data, energy=False, bare=True), energies=("bare",))
    with pytest.raises(ValueError, match="factor 'bare' has no residuals; expected a call of add_energy"):
        bare.latent_shapes(DATA)


def test_nothing_is_drawn_from_a_prior_with_energies():
    with pytest.raises(ValueError, match="nothing can be drawn from its energies smooth"):
        draw_prior(MODEL, DATA, jax.random.split(jax.random.key(0), 2))
