"""Two small models: one whose posterior is known in closed form, one with the real chain and Poisson counts."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from jax.scipy.stats import norm
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import SPEC_SITE, SceneModel, spec_prior
from fluorojax.validation import from_latent_draws

FRAMES, SIZE = 3, 4
SHAPE = (FRAMES, SIZE, SIZE)
PIXELS, FIELD, SIGMA = 48, 20, 0.5
RNG = np.random.default_rng(1)
TO_X = (RNG.normal(size=(PIXELS, FIELD)) / 2).astype(np.float32)
TO_RATE = (np.eye(PIXELS) + RNG.normal(size=(PIXELS, PIXELS)) / 20).astype(np.float32)
SPEC_TO_RATE = (RNG.normal(size=(PIXELS, 3)) / 4).astype(np.float32)
# Rate of the latents (spec base, then field), and the factor of their posterior covariance, which no data change.
JACOBIAN = np.concatenate([SPEC_TO_RATE, TO_RATE @ TO_X], axis=1).astype(np.float64)
COVARIANCE = np.linalg.inv(JACOBIAN.T @ JACOBIAN / SIGMA**2 + np.eye(FIELD + 3))
ROOT = np.linalg.cholesky(COVARIANCE).astype(np.float32)
GAIN = (COVARIANCE @ JACOBIAN.T / SIGMA**2).astype(np.float32)


@pytest.fixture(scope="session")
def linear_model():
    """``x = B ξ``, ``rate = C x + D z`` with z the normal coordinates of the spec, Gaussian noise."""

    def model(data):
        spec = spec_prior(data.ranges)
        low, high = jnp.asarray(data.ranges.low), jnp.asarray(data.ranges.high)
        z = norm.ppf((spec.as_array() - low) / (high - low))
        field = numpyro.sample("field", Normal(0.0, 1.0).expand((FIELD,)).to_event(1))
        x = TO_X @ field
        numpyro.deterministic("x", x.reshape(SHAPE))
        rate = numpyro.deterministic("rate", (TO_RATE @ x + SPEC_TO_RATE @ z).reshape(SHAPE))
        numpyro.sample("counts", Normal(rate, SIGMA).to_event(3), obs=data.counts)

    return SceneModel("linear", model)


@pytest.fixture(scope="session")
def exact():
    """The posterior of the linear model in closed form."""

    @from_latent_draws
    def draw(model, data, key, draws):
        noise = jax.random.normal(key, (draws, FIELD + 3))
        latents = GAIN @ data.counts.ravel() + noise @ ROOT.T
        return {SPEC_SITE: latents[:, :3], "field": latents[:, 3:]}

    return draw


@pytest.fixture(scope="session")
def ignorant():
    """Draws of the prior, whatever the data."""

    @from_latent_draws
    def draw(model, data, key, draws):
        shapes = model.latent_shapes(data)
        keys = jax.random.split(key, len(shapes))
        return {
            name: jax.random.normal(k, (draws, *shape)) for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    return draw


@pytest.fixture(scope="session")
def spec_model():
    """An uncorrelated sequence of unknown amplitude behind the default chain, with Poisson counts."""

    def model(data):
        spec = spec_prior(data.ranges)
        amplitude = numpyro.sample("amplitude", Normal(0.0, 1.0))
        field = numpyro.sample("field", Normal(0.0, 1.0).expand(SHAPE).to_event(3))
        level = numpyro.sample("level", Normal(0.0, 1.0))
        x = numpyro.deterministic("x", 0.5 + 0.1 * level + 0.2 * jnp.exp(0.5 * amplitude) * field)
        rate = numpyro.deterministic("rate", data.operator(x, spec, data.acquisition))
        numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)

    return SceneModel("chain", model, hyperparameters=("amplitude",))
