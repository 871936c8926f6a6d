"""A model of your own: a stationary image at rest behind a detector with veiling glare."""

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import spec_prior
from fluorojax.physics import FluoroscopyOperator, VeilingGlare
from fluorojax.priors import LocalScales, Pyramid, scene_field, static_spectrum

# The imaging chain of the published task, with one more stage.
OPERATOR = FluoroscopyOperator().with_stage(VeilingGlare(share=0.079, radius=20.0))


def model(data):
    pyramid = Pyramid(1, *data.counts.shape[1:])
    spec = spec_prior(data.ranges)

    white = numpyro.sample("static", Normal(0.0, 1.0).expand((pyramid.size, 1)).to_event(2))
    level = numpyro.sample("level", Normal(0.0, 1.0))
    power = static_spectrum(pyramid, 0.1, 3.0)
    image = 0.5 + 0.25 * level + scene_field(pyramid, LocalScales.ones(pyramid), power, white)

    x = numpyro.deterministic("x", jnp.broadcast_to(image, data.counts.shape))
    rate = numpyro.deterministic("rate", OPERATOR(x, spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)
