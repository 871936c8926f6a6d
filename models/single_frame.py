"""Generative model of one frame (H, W): a locally scaled image behind the imaging chain at rest.

A single frame cannot show the exposure window, the lag or the drift, so the spec parameters keep their priors, and the
reconstruction says so. Everything else is as in ``sequence.py``.
"""

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import SceneData, spec_of, spec_prior
from fluorojax.priors import Bands, LocalScales, local_variance, static_field, static_spectrum, update_scales

HYPERPARAMETERS = ("static_amplitude", "static_slope")
AUX_ROUNDS = 3


def model(data: SceneData) -> None:
    bands = Bands(1, *data.counts.shape)
    scales = LocalScales.ones(bands) if data.aux is None else data.aux
    spec = spec_prior(data.ranges)
    power = spectrum(bands, white("static_amplitude"), white("static_slope"))
    image = static_field(bands, scales, jnp.sqrt(power) * white("static", bands.height, bands.width))
    x = 0.5 + 0.25 * white("level") + image
    numpyro.deterministic("x", x)
    rate = numpyro.deterministic("rate", data.operator(jnp.asarray(x), spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(2), obs=data.counts)


def white(name, *shape):
    """Standard normal latents."""
    return numpyro.sample(name, Normal(0.0, 1.0).expand(shape).to_event(len(shape)))


def spectrum(bands, amplitude, slope):
    """Power spectrum from its standard-normal hyperparameters; prior medians at zero."""
    return static_spectrum(bands, 0.1 * jnp.exp(amplitude), 3.0 + 0.3 * slope)


def initial_aux(data, spec):
    """Local scales before any reconstruction: a stationary image."""
    return LocalScales.ones(Bands(1, *data.counts.shape))


def update_aux(data, sites):
    """Local scales given a reconstruction."""
    bands, power, precision = _state(data, sites)
    nothing = jnp.zeros((1, *power.shape))
    return update_scales(bands, data.aux, (power, jnp.sqrt(power) * sites["static"]), (nothing, nothing), precision)


def pixel_variance(data, sites):
    """Posterior variance of x, shape (H, W), in the locally stationary approximation."""
    bands, power, precision = _state(data, sites)
    return local_variance(bands, data.aux, power, jnp.zeros((1, *power.shape)), precision)[0]


def _state(data, sites):
    bands = Bands(1, *data.counts.shape)
    power = spectrum(bands, sites["static_amplitude"], sites["static_slope"])
    information = data.operator.pixel_information(sites["x"], sites["rate"], spec_of(sites, data), data.acquisition)
    return bands, power, information
