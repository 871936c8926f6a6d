"""A linear model with Gaussian noise, whose posterior is known in closed form."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.distributions import Normal

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.engines.energy import posterior
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_prior

SHAPE = (2, 3, 4)
LATENTS = 7
SIGMA = 0.3
RNG = np.random.default_rng(0)
TO_X = RNG.normal(size=(24, LATENTS)).astype(np.float32)
TO_RATE = (RNG.normal(size=(24, 24)) / 5 + np.eye(24)).astype(np.float32)


@pytest.fixture(scope="session")
def linear():
    """``x = B·ξ``, ``rate = C·x``, ``counts ~ Normal(rate, σ)``, with the exact posterior in float64."""

    def model(data):
        spec_prior(data.ranges)
        first = numpyro.sample("first", Normal(0.0, 1.0).expand((3,)).to_event(1))
        second = numpyro.sample("second", Normal(0.0, 1.0).expand((2, 2)).to_event(2))
        flat = jnp.asarray(TO_X, first.dtype) @ jnp.concatenate([first, second.ravel()])
        x = numpyro.deterministic("x", flat.reshape(SHAPE))
        rate = numpyro.deterministic("rate", (jnp.asarray(TO_RATE, first.dtype) @ x.ravel()).reshape(SHAPE))
        numpyro.sample("counts", Normal(rate, SIGMA).to_event(3), obs=data.counts)

    counts = RNG.normal(size=SHAPE).astype(np.float32)
    data = SceneData(jnp.asarray(counts), Acquisition(), SpecRanges.for_tier("public"))
    jacobian = TO_RATE.astype(np.float64) @ TO_X
    metric = jacobian.T @ jacobian / SIGMA**2 + np.eye(LATENTS)
    mode = np.linalg.solve(metric, jacobian.T @ counts.ravel() / SIGMA**2)
    return SimpleNamespace(
        data=data,
        counts=counts,
        target=posterior(SceneModel("linear", model), data, {SPEC_SITE: jnp.zeros(3)}),
        at={"first": jnp.asarray(mode[:3], jnp.float32), "second": jnp.asarray(mode[3:].reshape(2, 2), jnp.float32)},
        scale={"first": jnp.full(3, 0.1), "second": jnp.full((2, 2), 0.1)},
        to_x=TO_X.astype(np.float64),
        jacobian=jacobian,
        metric=metric,
        mode=mode,
        sigma=SIGMA,
        shape=SHAPE,
    )


@pytest.fixture(scope="session")
def poisson_model():
    """A small Poisson model with a window-free chain: ``rate = 200·exp(-2x)``."""

    def model(data):
        spec_prior(data.ranges)
        z = numpyro.sample("z", Normal(0.0, 1.0).expand((2, 3, 4)).to_event(3))
        x = numpyro.deterministic("x", 0.5 + 0.3 * z + 0.1 * jnp.roll(z, 1, axis=0))
        rate = numpyro.deterministic("rate", 200.0 * jnp.exp(-2.0 * x))
        numpyro.sample("counts", numpyro.distributions.Poisson(rate).to_event(3), obs=data.counts)

    return SceneModel("poisson", model)
