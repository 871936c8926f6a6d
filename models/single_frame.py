"""Generative model of one frame (H, W): a locally scaled image behind the imaging chain at rest.

A single frame cannot show the exposure window, the lag or the drift, so the spec parameters keep their priors, and the
reconstruction says so. Everything else is as in ``sequence.py``.
"""

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import SceneData, spec_of, spec_prior
from fluorojax.priors import (
    LocalScales,
    Pyramid,
    carried,
    curvature,
    local_variance,
    scene_field,
    static_spectrum,
    update_scales,
)

HYPERPARAMETERS = ("static_amplitude", "static_slope")
AUX_ROUNDS = 9


def model(data: SceneData) -> None:
    pyramid = Pyramid(1, *data.counts.shape)
    scales = LocalScales.ones(pyramid) if data.aux is None else data.aux
    spec = spec_prior(data.ranges)
    power = spectrum(pyramid, white("static_amplitude"), white("static_slope"))
    x = 0.5 + 0.25 * white("level") + scene_field(pyramid, scales, power, white("field", pyramid.size, 1))[0]
    numpyro.deterministic("x", x)
    rate = numpyro.deterministic("rate", data.operator(jnp.asarray(x), spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(2), obs=data.counts)


def white(name, *shape):
    """Standard normal latents."""
    return numpyro.sample(name, Normal(0.0, 1.0).expand(shape).to_event(len(shape)))


def spectrum(pyramid, amplitude, slope):
    """Variances of the latents from their standard-normal hyperparameters; prior medians at zero."""
    return static_spectrum(pyramid, 0.1 * jnp.exp(amplitude), 3.0 + 0.3 * slope)


def initial_aux(data, spec):
    """Local scales before any reconstruction: a stationary image."""
    return LocalScales.ones(Pyramid(1, *data.counts.shape))


def update_aux(data, sites):
    """Local scales given a reconstruction."""
    pyramid, power, precision = _state(data, sites)
    return update_scales(pyramid, data.aux, power, sites["field"], precision)


def carry_latents(data, aux, sites):
    """The latents that give the same image under the local scales ``aux``."""
    return {"field": carried(Pyramid(1, *data.counts.shape), data.aux, aux, sites["field"])}


def latent_curvature(data, sites):
    """Diagonal of the posterior precision of the latents, in the locally stationary approximation."""
    pyramid, power, precision = _state(data, sites)
    level = 1.0 + 0.25**2 * jnp.sum(precision)
    return {"level": level, "field": curvature(pyramid, data.aux, power, precision)}


def pixel_variance(data, sites):
    """Posterior variance of x, shape (H, W), in the locally stationary approximation."""
    pyramid, power, precision = _state(data, sites)
    return local_variance(pyramid, data.aux, power, precision)[0]


def _state(data, sites):
    pyramid = Pyramid(1, *data.counts.shape)
    power = spectrum(pyramid, sites["static_amplitude"], sites["static_slope"])
    information = data.operator.pixel_information(sites["x"], sites["rate"], spec_of(sites, data), data.acquisition)
    return pyramid, power, information
