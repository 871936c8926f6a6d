"""Models small enough to compile in seconds, for tests of whatever runs a model."""

# One image of independent pixels under a drifting gain: quick to compile, and Gaussian enough to know the answer.
MODEL = """
import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import spec_prior

HYPERPARAMETERS = ("amplitude",)


def model(data):
    spec = spec_prior(data.ranges)
    amplitude = 0.2 * jnp.exp(0.3 * numpyro.sample("amplitude", Normal(0.0, 1.0)))
    detail = numpyro.sample("detail", Normal(0.0, 1.0).expand(data.counts.shape[1:]).to_event(2))
    x = numpyro.deterministic("x", jnp.broadcast_to(0.5 + amplitude * detail, data.counts.shape))
    rate = numpyro.deterministic("rate", data.operator(x, spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)
"""
