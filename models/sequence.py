"""Generative model of a fluoroscopy sequence, from the priors to the photon counts.

    spec     the parameters that the scene's imaging chain declares, uniform on their ranges
    x(p, t)  = level + field(p, t)
    field    = sum over levels l of a pyramid of splines and temporal cosines n of  a_ln(p) · Gaussian field,
               power static_l (n = 0 only) + dynamic_ln,  static_l ~ (1+k)^-slope,
               dynamic_ln ~ (1+k)^-slope · (1+(n/n_c(k))²)^-3/2 · temporal_n²
    rate     = I_0 · gain · lag · exposure window of exp(-A·x)
    counts   ~ Poisson(rate)      (the engines add the electronic noise of the protocol)

Every latent is standard normal, so MAP, linear-response sampling and NUTS use the same coordinates. The local scales
``a`` are in ``data.aux``. They are one if ``aux`` is None; otherwise the functions at the end of this file estimated
them (empirical Bayes). To make a model of your own, copy this file, change it, and pass its path as ``--model``.
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
    dynamic_spectrum,
    local_variance,
    scene_field,
    static_spectrum,
    update_scales,
)

# Latents that describe the prior rather than the scene. MAP leaves them at their prior median: its local scales do the
# same work without the bias of a joint MAP over amplitudes. NUTS samples them.
HYPERPARAMETERS = ("static_amplitude", "static_slope", "dynamic_amplitude", "dynamic_slope", "dynamic_temporal")

# Rounds of scale estimation; later ones change x by less than its noise.
AUX_ROUNDS = 9


def model(data: SceneData) -> None:
    pyramid = Pyramid(*data.counts.shape)
    scales = LocalScales.ones(pyramid) if data.aux is None else data.aux

    spec = spec_prior(data.ranges)

    power = powers(
        pyramid,
        data,
        static_amplitude=white("static_amplitude"),
        static_slope=white("static_slope"),
        dynamic_amplitude=white("dynamic_amplitude"),
        dynamic_slope=white("dynamic_slope"),
        dynamic_temporal=white("dynamic_temporal", pyramid.frames),
    )
    level = 0.5 + 0.25 * white("level")
    x = level + scene_field(pyramid, scales, power, white("field", pyramid.size, pyramid.frames))
    numpyro.deterministic("x", x)
    rate = numpyro.deterministic("rate", data.operator(jnp.asarray(x), spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)


def white(name, *shape):
    """Standard normal latents."""
    return numpyro.sample(name, Normal(0.0, 1.0).expand(shape).to_event(len(shape)))


def powers(pyramid, data, *, static_amplitude, static_slope, dynamic_amplitude, dynamic_slope, dynamic_temporal):
    """Variances of the latents from their standard-normal hyperparameters; prior medians at zero."""
    static = static_spectrum(pyramid, 0.1 * jnp.exp(static_amplitude), 3.0 + 0.3 * static_slope)
    dynamic = dynamic_spectrum(
        pyramid,
        0.05 * jnp.exp(dynamic_amplitude),
        3.0 + 0.3 * dynamic_slope,
        jnp.exp(0.3 * dynamic_temporal),
        data.acquisition.frame_time_ms,
    )
    return static + dynamic


def initial_aux(data, spec):
    """Local scales before any reconstruction: a stationary field."""
    return LocalScales.ones(Pyramid(*data.counts.shape))


def update_aux(data, sites):
    """Local scales given a reconstruction; ``sites`` holds the values of all latent and deterministic sites."""
    pyramid, power, precision = _state(data, sites)
    return update_scales(pyramid, data.aux, power, sites["field"], precision)


def carry_latents(data, aux, sites):
    """The latents that give the same image under the local scales ``aux``."""
    return {"field": carried(Pyramid(*data.counts.shape), data.aux, aux, sites["field"])}


def latent_curvature(data, sites):
    """Diagonal of the posterior precision of the latents, in the locally stationary approximation."""
    pyramid, power, precision = _state(data, sites)
    level = 1.0 + 0.25**2 * pyramid.frames * jnp.sum(precision)
    return {"level": level, "field": curvature(pyramid, data.aux, power, precision)}


def pixel_variance(data, sites):
    """Posterior variance of x at fixed spec, shape (T, H, W), in the locally stationary approximation."""
    pyramid, power, precision = _state(data, sites)
    return local_variance(pyramid, data.aux, power, precision)


def _state(data, sites):
    pyramid = Pyramid(*data.counts.shape)
    power = powers(pyramid, data, **{name: sites[name] for name in HYPERPARAMETERS})
    spec = spec_of(sites, data)
    information = data.operator.pixel_information(sites["x"], sites["rate"], spec, data.acquisition)
    return pyramid, power, jnp.mean(information, axis=0)
