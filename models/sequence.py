"""Generative model of a fluoroscopy sequence, from the priors to the photon counts.

    spec     the parameters that the scene's imaging chain declares, uniform on their ranges
    x(p, t)  = level + static(p) + dynamic(p, t)
    static   = sum over bands of  a_b(p) · band-limited Gaussian field, power ~ (1+k)^-slope
    dynamic  = the same per temporal group, power ~ (1+k)^-slope · (1+(n/n_c(k))²)^-3/2 · temporal_n²
    rate     = I_0 · gain · lag · exposure window of exp(-A·x)
    counts   ~ Poisson(rate)

Every latent is standard normal, so MAP, linear-response sampling and NUTS use the same coordinates. The local scales
``a`` are in ``data.aux``. They are one if ``aux`` is None; otherwise the functions at the end of this file estimated
them (empirical Bayes). To make a model of your own, copy this file, change it, and pass its path as ``--model``.
"""

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import SceneData, spec_of, spec_prior
from fluorojax.priors import (
    Bands,
    LocalScales,
    dynamic_spectrum,
    initial_scales,
    local_variance,
    scene_field,
    static_spectrum,
    update_scales,
)

# Latents that describe the prior rather than the scene. MAP leaves them at their prior median: its local scales do the
# same work without the bias of a joint MAP over amplitudes. NUTS samples them.
HYPERPARAMETERS = ("static_amplitude", "static_slope", "dynamic_amplitude", "dynamic_slope", "dynamic_temporal")

# Rounds of scale estimation; later ones change x by less than its noise.
AUX_ROUNDS = 5


def model(data: SceneData) -> None:
    bands = Bands(*data.counts.shape)
    scales = LocalScales.ones(bands) if data.aux is None else data.aux
    pixels = (bands.height, bands.width)

    spec = spec_prior(data.ranges)

    static_power, dynamic_power = powers(
        bands,
        data,
        static_amplitude=white("static_amplitude"),
        static_slope=white("static_slope"),
        dynamic_amplitude=white("dynamic_amplitude"),
        dynamic_slope=white("dynamic_slope"),
        dynamic_temporal=white("dynamic_temporal", bands.frames),
    )
    level = 0.5 + 0.25 * white("level")
    static = jnp.sqrt(static_power) * white("static", *pixels)
    dynamic = jnp.sqrt(dynamic_power) * white("dynamic", bands.frames, *pixels)

    x = level + scene_field(bands, scales, static, dynamic)
    numpyro.deterministic("x", x)
    rate = numpyro.deterministic("rate", data.operator(jnp.asarray(x), spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)


def white(name, *shape):
    """Standard normal latents."""
    return numpyro.sample(name, Normal(0.0, 1.0).expand(shape).to_event(len(shape)))


def powers(bands, data, *, static_amplitude, static_slope, dynamic_amplitude, dynamic_slope, dynamic_temporal):
    """Power spectra from their standard-normal hyperparameters; prior medians at zero."""
    static = static_spectrum(bands, 0.1 * jnp.exp(static_amplitude), 3.0 + 0.3 * static_slope)
    dynamic = dynamic_spectrum(
        bands,
        0.05 * jnp.exp(dynamic_amplitude),
        3.0 + 0.3 * dynamic_slope,
        jnp.exp(0.3 * dynamic_temporal),
        data.acquisition.frame_time_ms,
    )
    return static, dynamic


def initial_aux(data, spec):
    """Local scales before any reconstruction, from the counts alone."""
    bands = Bands(*data.counts.shape)
    gains = data.operator.gains(spec, bands.frames)
    return initial_scales(bands, data.counts, gains, data.acquisition.attenuation_scale)


def update_aux(data, sites):
    """Local scales given a reconstruction; ``sites`` holds the values of all latent and deterministic sites."""
    bands, static_power, dynamic_power, precision = _state(data, sites)
    static = jnp.sqrt(static_power) * sites["static"]
    dynamic = jnp.sqrt(dynamic_power) * sites["dynamic"]
    return update_scales(bands, data.aux, (static_power, static), (dynamic_power, dynamic), precision)


def pixel_variance(data, sites):
    """Posterior variance of x at fixed spec, shape (T, H, W), in the locally stationary approximation."""
    bands, static_power, dynamic_power, precision = _state(data, sites)
    return local_variance(bands, data.aux, static_power, dynamic_power, precision)


def _state(data, sites):
    bands = Bands(*data.counts.shape)
    static_power, dynamic_power = powers(bands, data, **{name: sites[name] for name in HYPERPARAMETERS})
    spec = spec_of(sites, data)
    information = data.operator.pixel_information(sites["x"], sites["rate"], spec, data.acquisition)
    return bands, static_power, dynamic_power, jnp.mean(information, axis=0)
