"""The ratio of the errors of a reconstruction, measured from its residuals, to its posterior variance.

A prior that does not fit a scene states wrong variances. The residuals show this without a truth, by Stein's unbiased
estimate of the risk. With λ̂ the rate at the mode, F the Fisher information about a pixel's rate, y the data and v an
unbiased estimate of their noise variance (y itself for Poisson, σ² for Normal), the risk and the posterior variance are

    R = E[ F·((y − λ̂)² − v) ] + 2·H,    H = (1/n)·tr( F·J·M⁻¹·Jᵀ ),

both per pixel and in units of the noise variance; J M⁻¹ Jᵀ is the posterior covariance of the rate, and its trace with
F the divergence of the estimate (Stein, Ann. Stat. 9:1135, 1981; for counts, to first order in the change of one pixel,
Hudson, Ann. Stat. 6:473, 1978). If the model is right, R = H on average. R/H is the factor by which its variances are
wrong. The spec is taken as given.

A prior whose local scales come from the same counts is wrong in two directions at once: an average over a neighbourhood
states too much variance for the pixels that rest and too little for the few that move. The factor is therefore one
value for rest and one for motion, f = (1 − w)·f_rest + w·f_motion, where the share w of motion of a pixel follows from
the variance of x̂ over the frames (:func:`motion_shares`). Both values start from what simulated scenes have shown, and
the residuals correct them as far as they can tell (linear regression with a Gaussian prior).
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fluorojax.engines.energy import Latents, Posterior
from fluorojax.engines.linear_response import Metric, metric

# Draws for the trace, which averages over all pixels: one is good to 1/√(degrees of freedom of the image).
_DRAWS = 2
# A ratio less certain than this is no measurement.
_USELESS = 100.0
# Variance of x̂ over the frames, in units of its posterior variance, at which a pixel counts half as moving.
_HALF_MOTION = 0.3


class Expectation(NamedTuple):
    """What is known of a factor before the residuals are seen."""

    mean: tuple[float, ...]
    """The factor; or the factors of rest and of motion."""
    std: tuple[float, ...]
    lowest: float
    highest: float
    """Residuals beyond what a factor in this range explains point to noise that the model does not have."""
    adaptation: float = 0.0
    """Share by which the divergence of an estimate exceeds the trace because local scales follow the same counts."""


FIXED_PRIOR = Expectation(mean=(1.0,), std=(0.2,), lowest=0.5, highest=1.5)
"""For models that state their prior: the model is trusted."""
ADAPTED_PRIOR = Expectation(mean=(0.52, 1.05), std=(0.1, 0.25), lowest=0.3, highest=2.5, adaptation=0.05)
"""For models whose local scales are estimated from the counts (``update_aux``): set on simulated scenes, see
``benchmarks/RESULTS.md``, "Motion and the variance factor"."""


class VarianceFactor(eqx.Module):
    """The factor for the posterior variances of one scene at fixed spec."""

    applied: Float[Array, "*pixels"]
    """The factor of each pixel (H, W), or one number for all; see the module docstring."""
    measured: Float[Array, ""]
    """R/H over the whole scene; negative values occur where it is uncertain. NaN where the data say next to nothing
    about the scene."""
    std: Float[Array, ""]
    """Standard deviation of ``measured``; NaN with it."""

    def facts(self) -> dict[str, Array]:
        """The mean of ``applied`` and the measurement under the names they have in the diagnostics of a result."""
        return {
            "variance_factor": jnp.mean(self.applied),
            "variance_factor_measured": self.measured,
            "variance_factor_std": self.std,
        }


def motion_shares(x: Float[Array, "T H W"], variance: Float[Array, "T H W"]) -> Float[Array, "2 H W"]:
    """Shares 1 − w of rest and w of motion of every pixel, from a reconstruction and its posterior variance.

    ``w = r/(r + 0.3)``, r the variance of ``x`` over the frames in units of the mean posterior variance: an estimate
    that rests has r near 0, one that moves by several posterior standard deviations has w near 1.
    """
    ratio = jnp.var(x, axis=0) / jnp.maximum(jnp.mean(variance, axis=0), jnp.finfo(variance.dtype).tiny)
    moving = ratio / (ratio + _HALF_MOTION)
    return jnp.stack([1.0 - moving, moving])


def variance_factor(
    target: Posterior,
    mode: Latents,
    scale: Latents,
    key: Array,
    *,
    expected: Expectation = FIXED_PRIOR,
    shares: Float[Array, "kinds H W"] | None = None,
) -> VarianceFactor:
    """Compare the residuals at ``mode`` with the posterior variance there; see the module docstring.

    **Arguments:** ``target`` at fixed spec; ``scale`` the preconditioner of the metric, ``1/√diag(M)``, of any
    accuracy; ``expected`` and ``shares`` as in :func:`factor_of`. Costs two solves of conjugate gradients. Pure and
    traceable.
    """
    linear = metric(target, mode, scale)

    def divergence(noise: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        return noise * linear.push(linear.solve(linear.pull(noise)).solution)

    return factor_of(target.excess(mode), jax.lax.map(divergence, noise_probes(linear, key)), expected, shares)


def noise_probes(linear: Metric, key: Array) -> Float[Array, "draws *shape"]:
    """Draws ``√F·n`` of the noise whose propagation to the mode :func:`factor_of` wants."""
    root = jnp.sqrt(linear.information)
    return root * jax.lax.map(lambda k: jax.random.normal(k, root.shape, root.dtype), jax.random.split(key, _DRAWS))


def factor_of(
    excess: Float[Array, "*shape"],
    divergence: Float[Array, "draws *shape"],
    expected: Expectation = FIXED_PRIOR,
    shares: Float[Array, "kinds *pixels"] | None = None,
) -> VarianceFactor:
    """The factor from the residuals and from ``b·J M⁻¹ Jᵀ b`` of each probe ``b = √F·n``, pixel by pixel.

    With the shares s_k of a pixel, ``e + 2d`` estimates its risk without bias, and ``Σ_k f_k s_k d`` is what the
    factors say of it. The factors are the mean of the Gaussian posterior given the sums of both over all pixels, each
    weighted with every s_k; the variance of e is 2. Without ``shares``, there is one factor for all pixels.
    """
    stated = jnp.mean(divergence, axis=0)
    whole, noise = jnp.mean(stated), 2.0 / excess.size
    risk = excess + 2.0 * (1.0 + expected.adaptation) * stated
    kinds = jnp.ones((1, 1)) if shares is None else shares.reshape(shares.shape[0], -1)
    # Shares are those of the trailing axes: a sequence has the same ones in all its frames.
    risk, stated = (jnp.mean(values.reshape(-1, kinds.shape[1]), axis=0) for values in (risk, stated))
    slope = jnp.einsum("ip,jp,p->ij", kinds, kinds, stated) / stated.size
    seen = kinds @ risk / stated.size
    # The last term stands for a kind that no pixel has, of which the residuals say nothing.
    scatter = noise * (kinds @ kinds.T) / stated.size + 1e-10 * jnp.eye(len(kinds))
    mean, prior = jnp.asarray(expected.mean), jnp.diag(jnp.asarray(expected.std) ** 2)
    gain = jnp.linalg.solve(slope @ prior @ slope + scatter, slope @ prior).T
    factors = mean + gain @ (seen - slope @ mean)
    applied = factors[0] if shares is None else jnp.tensordot(factors, shares, axes=1)
    std = jnp.sqrt(noise) / whole
    told = std < _USELESS
    measured = (jnp.mean(excess) + 2.0 * (1.0 + expected.adaptation) * whole) / whole
    return VarianceFactor(
        jnp.clip(applied, expected.lowest, expected.highest),
        jnp.where(told, measured, jnp.nan),
        jnp.where(told, std, jnp.nan),
    )
