"""Replicates of an experiment under the prior of the model: the truth and the counts.

Simulation-based calibration starts from the joint draw (θ, x, y) ~ p(θ, x) p(y | θ, x): for any data, draws of the
exact posterior and the truth then have the same distribution.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.distributions import Normal

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.models.protocol import SceneData, SceneModel, _base, is_observation
from fluorojax.physics.scalars import scalar

# Above this rate a Poisson draw is a rounded Gaussian one: its skewness 1/√λ is below 0.001, and float32, which the
# engines see, no longer tells neighbouring counts apart soon after. It also keeps clear of the sampler's int32 limit.
_GAUSSIAN_RATE = 2.0**21
# Optical depth at x = 1 of the default protocol of a check. A prior draw of x wanders by several tenths, so with the 7
# of a chest one dose would span three orders of magnitude.
_ATTENUATION_SCALE = 3.0
_REFERENCE_X = 0.5


class PriorDraws(eqx.Module):
    """Truth and data of a batch of replicates; every field has a leading replicate axis."""

    data: SceneData
    """What a method may see; ``aux`` is None."""
    spec: Float[Array, "n parameters"]
    """True spec parameters in physical units, in the order of the ranges."""
    x: Float[Array, "n *shape"]
    """True normalised attenuation; a draw of the prior, so it may leave [0, 1]."""
    log_likelihood: Float[Array, "n"]
    """Of the counts given the truth, relative to the saturated model (:func:`log_likelihood`)."""


def protocol_for_dose(dose: float, base: Acquisition | None = None) -> Acquisition:
    """``base`` with the open-beam dose that gives ``dose`` counts per pixel and frame behind x = 0.5.

    ``I_0 = dose · exp(A/2)``. The default base is the nominal protocol with A = 3. Raises ``ValueError`` where the dose
    is not a positive number.
    """
    if not (np.isfinite(dose) and dose > 0):
        raise ValueError(f"dose is {dose:g}; expected a positive number of counts per pixel")
    base = Acquisition(attenuation_scale=_ATTENUATION_SCALE) if base is None else base
    photons = dose * np.exp(_REFERENCE_X * float(base.as_dict()["attenuation_scale"]))
    return Acquisition.from_dict({**base.as_dict(), "photons_per_pixel": photons})


def empty_scene(shape: tuple[int, ...], acquisition: Acquisition, ranges: SpecRanges) -> SceneData:
    """A scene without counts yet, as a prior is drawn for it."""
    return SceneData(
        jnp.zeros(shape),
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), acquisition),
        jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(float)), ranges),
    )


def draw_prior(model: SceneModel, scene: SceneData, keys: PRNGKeyArray) -> PriorDraws:
    """One draw of truth and counts per key, the local scales of the model at their defaults (``aux`` None).

    **Arguments:** ``scene`` the protocol and the shape (its counts are ignored); ``keys`` of shape (n,). A replicate
    depends on its own key only. **Raises** ``ValueError`` for a model outside the protocol, or with energies.
    """
    shapes = model.latent_shapes(scene)
    if model.energies:
        raise ValueError(
            f"model {model.name}: nothing can be drawn from its energies {', '.join(model.energies)}; "
            "expected a prior of latents alone"
        )

    def draw(key: PRNGKeyArray) -> PriorDraws:
        latent_keys = jax.random.split(jax.random.fold_in(key, 0), len(shapes))
        latents = {
            name: jax.random.normal(latent_key, shape)
            for latent_key, (name, shape) in zip(latent_keys, shapes.items(), strict=True)
        }
        trace = model.trace(scene, latents)
        site = next(s for s in trace.values() if is_observation(s))
        distribution = _base(site["fn"])
        rate = trace["rate"]["value"]
        noise_key = jax.random.fold_in(key, 1)
        if isinstance(distribution, Normal):
            counts = rate + distribution.scale * jax.random.normal(noise_key, rate.shape, rate.dtype)
        else:
            electronic = jax.random.normal(jax.random.fold_in(key, 2), rate.shape, rate.dtype)
            counts = poisson_counts(noise_key, rate)
            counts = counts + scalar("electronic_noise", scene.acquisition.electronic_noise, rate.dtype) * electronic
        data = eqx.tree_at(lambda d: d.counts, scene, counts)
        spec = jnp.stack([jnp.asarray(trace[name]["value"]) for name in scene.ranges.names])
        return PriorDraws(data, spec, trace["x"]["value"], log_likelihood(model, data, latents))

    return jax.vmap(draw)(keys)


def poisson_counts(key: PRNGKeyArray, rate: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Poisson counts as floats; rates above 2²¹ are served by rounded Gaussian draws of the same mean and variance."""
    exact_key, gaussian_key = jax.random.split(key)
    exact = jax.random.poisson(exact_key, jnp.minimum(rate, _GAUSSIAN_RATE)).astype(rate.dtype)
    gaussian = jnp.round(rate + jnp.sqrt(rate) * jax.random.normal(gaussian_key, rate.shape, rate.dtype))
    return jnp.where(rate > _GAUSSIAN_RATE, gaussian, exact)


def log_likelihood(model: SceneModel, data: SceneData, latents: Mapping[str, Array]) -> Float[Array, ""]:
    """Log likelihood of one scene: minus half the deviance (Poisson, see :mod:`fluorojax.engines.energy`) or minus
    half the squared residuals in units of their sd (Normal of known scale).
    """
    from fluorojax.engines.energy import posterior

    energy = posterior(model, data, {}).energy(dict(latents))
    return 0.5 * sum((jnp.sum(latent**2) for latent in latents.values()), jnp.zeros(())) - energy
