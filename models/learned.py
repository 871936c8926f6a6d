"""Generative model of a sequence whose prior is an energy learned from simulated sequences.

    spec     the parameters that the scene's imaging chain declares, uniform on their ranges
    x        = 0.5 + 0.5 · white, one latent for each pixel and frame
    prior    Normal(0, 1) of the latents · exp(−E(A·x)), E the convex ridges of ``fluorojax.learned.energy``
    rate     = I_0 · gain · lag · exposure window of exp(−A·x)
    counts   ~ Poisson(rate)

The normal prior of the latents is so wide that the energy decides. The energy is the same everywhere: nothing is
estimated from the counts, in contrast to ``sequence.py`` with its local scales.
"""

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.learned.energy import load_energy
from fluorojax.models.protocol import SceneData, add_energy, spec_prior

ENERGIES = ("ridges",)


def model(data: SceneData) -> None:
    spec = spec_prior(data.ranges)
    white = numpyro.sample("white", Normal(0.0, 1.0).expand(data.counts.shape).to_event(3))
    x = jnp.asarray(0.5 + 0.5 * white)
    numpyro.deterministic("x", x)
    add_energy("ridges", load_energy().residuals(jnp.asarray(data.acquisition.attenuation_scale) * x))
    rate = numpyro.deterministic("rate", data.operator(x, spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)
