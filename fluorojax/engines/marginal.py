"""Posterior of a few outer latents (spec, hyperparameters) with the scene integrated out by Laplace's method.

The outer latents φ have some twenty dimensions. Their negative log posterior V (:mod:`fluorojax.engines.evidence`) is
explored by Newton steps (:mod:`fluorojax.engines.marginal_mode`), and the Gaussian approximation of V at its mode is
the posterior. The joint mode of scene and spec is biased towards smoother scenes; the mode of V is not.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key
from scipy.special import ndtr, ndtri

from fluorojax.calibration.posterior import Marginal, SpecPosterior
from fluorojax.data.spec import PUBLISHED, Parameter, SpecRanges
from fluorojax.engines.energy import Latents, diagonal_scale, posterior
from fluorojax.engines.evidence import Evidence, laplace_evidence, stochastic_log_determinant
from fluorojax.engines.linear_response import metric
from fluorojax.engines.marginal_mode import evidence_mode
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel


class LaplaceMarginal(eqx.Module):
    """Gaussian posterior of the outer latents of one scene; every field gains a leading axis under ``vmap``."""

    mean: Latents
    root: Float[Array, "d d"]
    """Symmetric or triangular R with R·Rᵀ the covariance of the outer latents, flattened by name."""
    scene: Latents
    """Conditional mode of the scene latents at ``mean``."""
    scale: Latents
    """Their preconditioner."""
    log_evidence: Float[Array, ""]
    """``log p(y)``; of Poisson counts relative to the saturated model."""
    step: Float[Array, ""]
    """Length of the Newton step left at ``mean``, in posterior standard deviations."""
    hessians: Int[Array, ""]
    converged: Bool[Array, ""]

    @property
    def covariance(self) -> Float[Array, "d d"]:
        """Covariance of the outer latents, in the order of their flattening by name."""
        return self.root @ jnp.swapaxes(self.root, -1, -2)


def as_spec_posterior(
    marginal: LaplaceMarginal,
    ranges: SpecRanges,
    points: int = 201,
    *,
    parameters: tuple[Parameter, ...] = PUBLISHED,
) -> SpecPosterior:
    """The marginals of the spec parameters as densities over their ranges. On the host, for one scene.

    The posterior is Gaussian in the standard-normal base; its density over the range is that of ``Φ(base)``.
    **Arguments:** ``points`` cells over each range, and as many over each posterior; ``parameters`` as the stages of
    the imaging chain declare them, in the order of ``ranges``.
    """
    flat, unravel = ravel_pytree(marginal.mean)
    where = np.asarray(unravel(jnp.arange(flat.size, dtype=flat.dtype))[SPEC_SITE], int)
    mean, std = np.asarray(flat)[where], np.sqrt(np.diag(np.asarray(marginal.covariance)))[where]
    marginals = {}
    for i, name in enumerate(ranges.names):
        low, high = ranges.as_dict()[name]
        # Cells over the whole range and finer ones where the posterior is, each with its exact mass; the base reaches
        # the ends of the range only at infinity.
        fine = ndtr(mean[i] + std[i] * np.linspace(-6.0, 6.0, points))
        edges = np.unique(np.concatenate([np.linspace(0.0, 1.0, points), fine]))
        mass = np.diff(ndtr((ndtri(edges) - mean[i]) / std[i]))
        density = np.log(mass / np.diff(edges) + 1e-300)
        middles = low + (high - low) * 0.5 * (edges[1:] + edges[:-1])
        grid = np.concatenate([[low], middles, [high]])
        marginals[name] = Marginal.from_log(grid, np.concatenate([density[:1], density, density[-1:]]))
    return SpecPosterior(marginals, parameters)


def laplace_marginal(
    model: SceneModel,
    data: SceneData,
    key: Key[Array, ""],
    *,
    outer: tuple[str, ...] | None = None,
    fixed: Mapping[str, Array] | None = None,
    start: Mapping[str, Array] | None = None,
    probes: int | None = None,
) -> LaplaceMarginal:
    """Posterior of the latents named ``outer``, by default the spec and the model's hyperparameters.

    **Arguments:** ``fixed`` latents held at given values; ``start`` latents to begin from, e.g. the mode (missing ones
    begin at the prior mean); ``probes`` as in :func:`~fluorojax.engines.evidence.laplace_evidence`. Pure and traceable;
    batch with ``vmap``. The latents of ``outer`` and ``fixed`` together must leave some for the scene.
    """
    shapes = model.latent_shapes(data)
    fixed = dict(fixed or {})
    names = (SPEC_SITE, *model.hyperparameters) if outer is None else outer
    dtype = jnp.result_type(data.counts)
    begin = {n: (start or {}).get(n, jnp.zeros(s, dtype)) for n, s in shapes.items() if n not in fixed}
    flat, unravel = ravel_pytree({name: begin[name] for name in names if name in begin})
    scene = {name: value for name, value in begin.items() if name not in names}
    scale_key, probe_key = jax.random.split(key)
    scale = diagonal_scale(posterior(model, data, {**fixed, **unravel(flat)}), scene, scale_key)

    def evidence(flat: Array, start: Latents) -> Evidence:
        return laplace_evidence(model, data, unravel(flat), start, scale, fixed=fixed, probes=probes, key=probe_key)

    found = evidence_mode(evidence, flat, scene)
    value = found.evidence.value
    if probes is not None:
        at = posterior(model, data, {**fixed, **unravel(found.position)})
        linear = metric(at, found.evidence.scene, scale)
        value += 0.5 * stochastic_log_determinant(linear, probe_key, probes=probes)
    return LaplaceMarginal(
        mean=unravel(found.position),
        root=found.root,
        scene=found.evidence.scene,
        scale=scale,
        log_evidence=jnp.linalg.slogdet(found.root)[1] - value,
        step=found.left,
        hessians=found.steps,
        converged=found.converged,
    )
