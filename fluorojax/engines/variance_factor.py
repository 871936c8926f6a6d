"""The ratio of the errors of a reconstruction, measured from its residuals, to its posterior variance.

A prior that does not fit a scene states wrong variances. The residuals show this without a truth, by Stein's unbiased
estimate of the risk. With λ̂ the rate at the mode, F the Fisher information about a pixel's rate, y the data and v an
unbiased estimate of their noise variance (y itself for Poisson, σ² for Normal), the risk and the posterior variance are

    R = E[ F·((y − λ̂)² − v) ] + 2·H,    H = (1/n)·tr( F·J·M⁻¹·Jᵀ ),

both per pixel and in units of the noise variance; J M⁻¹ Jᵀ is the posterior covariance of the rate, and its trace with
F the divergence of the estimate (Stein, Ann. Stat. 9:1135, 1981; for counts, to first order in the change of one pixel,
Hudson, Ann. Stat. 6:473, 1978). If the model is right, R = H on average. R/H is the factor by which its variances are
wrong. The spec is taken as given. Local scales that are estimated from the same counts add some per cent to the
divergence, which :data:`ADAPTATION` states.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, Float

from fluorojax.engines.energy import Latents, Posterior
from fluorojax.engines.linear_response import Metric, metric

ADAPTATION = 0.04
"""Share by which the divergence of an estimate exceeds the trace where its local scales come from the same counts;
set on three simulated scenes of the shipped model, so that their 90 % intervals contain 90 % of the pixels."""
# Draws for the trace, which averages over all pixels: one is good to 1/√(degrees of freedom of the image).
_DRAWS = 2
# Trust in the model: standard deviation of the ratio R/H that is expected before the residuals are seen.
_PRIOR_STD = 0.2
# Residuals beyond what an error of this size in the variances explains point to noise that the model does not have.
LOWEST, HIGHEST = 0.5, 1.5
# A ratio less certain than this is no measurement.
_USELESS = 100.0


class VarianceFactor(eqx.Module):
    """The factor for the posterior variances of one scene at fixed spec."""

    applied: Float[Array, ""]
    """The measured ratio, combined with a prior of 1 ± 0.2 according to its uncertainty, and kept in [0.5, 1.5]."""
    measured: Float[Array, ""]
    """R/H; negative values occur where it is uncertain. NaN where the data say next to nothing about the scene."""
    std: Float[Array, ""]
    """Standard deviation of ``measured``; NaN with it."""

    def facts(self) -> dict[str, Array]:
        """The three numbers under the names they have in the diagnostics of a result."""
        return {
            "variance_factor": self.applied,
            "variance_factor_measured": self.measured,
            "variance_factor_std": self.std,
        }


def variance_factor(
    target: Posterior, mode: Latents, scale: Latents, key: Array, *, adaptation: float = 0.0
) -> VarianceFactor:
    """Compare the residuals at ``mode`` with the posterior variance there; see the module docstring.

    **Arguments:** ``target`` at fixed spec; ``scale`` the preconditioner of the metric, ``1/√diag(M)``, of any
    accuracy; ``adaptation`` as in :func:`factor_of`. Costs two solves of conjugate gradients. Pure and traceable.
    """
    linear = metric(target, mode, scale)

    def trace(noise: Float[Array, "*shape"]) -> Float[Array, ""]:
        probe = linear.pull(noise)
        return jnp.asarray(optax.tree.vdot(probe, linear.solve(probe).solution))

    return factor_of(target.excess(mode), jax.lax.map(trace, noise_probes(linear, key)), adaptation)


def noise_probes(linear: Metric, key: Array) -> Float[Array, "draws *shape"]:
    """Draws ``√F·n`` of the noise whose propagation to the mode :func:`factor_of` wants."""
    root = jnp.sqrt(linear.information)
    return root * jax.lax.map(lambda k: jax.random.normal(k, root.shape, root.dtype), jax.random.split(key, _DRAWS))


def factor_of(excess: Float[Array, "*shape"], traces: Float[Array, "draws"], adaptation: float = 0.0) -> VarianceFactor:
    """The factor from the residuals and from ``bᵀM⁻¹b`` of each probe, ``b = Jᵀ√F·n``.

    ``adaptation`` is :data:`ADAPTATION` where the prior was fitted to the same counts, else zero.

    The error of an unfinished solve of ``M⁻¹b`` enters in second order.
    """
    share = jnp.mean(traces / excess.size)
    # R − H, and the variance of its mean: that of (y − λ)² − v is twice the squared noise variance, Poisson or Normal.
    difference, noise = jnp.mean(excess) + (1.0 + 2.0 * adaptation) * share, 2.0 / excess.size
    applied = 1.0 + difference * share * _PRIOR_STD**2 / ((_PRIOR_STD * share) ** 2 + noise)
    std = jnp.sqrt(noise) / share
    told = std < _USELESS
    return VarianceFactor(
        jnp.clip(applied, LOWEST, HIGHEST),
        jnp.where(told, 1.0 + difference / share, jnp.nan),
        jnp.where(told, std, jnp.nan),
    )
