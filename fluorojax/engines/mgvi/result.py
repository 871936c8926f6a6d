"""What MGVI returns: moments of x from mirrored draws, split by cause, and how the run ended."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fluorojax.engines.energy import Latents
from fluorojax.engines.mgvi.outer import OuterDraws


class MgviResult(eqx.Module):
    """Posterior of one scene; every field gains a leading axis under ``vmap``."""

    x: Float[Array, "*shape"]
    """Posterior mean of the normalised attenuation."""
    noise_variance: Float[Array, "*shape"]
    """Variance of x at fixed spec: photon noise, prior, hyperparameters."""
    spec_variance: Float[Array, "parameters *shape"]
    """Variance of x from each spec parameter; correlated ones share by the symmetric root of their covariance."""
    correlation: Float[Array, "parameters *shape"]
    """Correlation of each spec parameter with x."""
    mean: Latents
    """Mean of the latents inferred here."""
    residuals: Latents
    """Draws minus ``mean``, leading axes (2, samples): mirrored pairs, but for draws that were followed."""
    outer: OuterDraws
    x_residuals: Float[Array, "2 samples *shape"]
    """Draws of x minus ``x``."""
    cg_iterations: Int[Array, "2 samples"]
    cg_residual: Float[Array, "2 samples"]
    """Relative preconditioned residual that each solve of the last round reached. Of draws that were followed the
    tolerance, or infinite where Newton's method did not reach its end."""
    followed: Int[Array, ""]
    """Draws of the last round at which the linear response did not hold and Newton's method went on."""
    energy: Float[Array, ""]
    """Energy averaged over the draws."""
    rounds: Int[Array, ""]
    change: Float[Array, ""]
    """Change of x in the last round, root mean square, relative to its posterior standard deviation."""
    converged: Bool[Array, ""]
    diverged: Bool[Array, ""]

    def sentence(self) -> str:
        """How the run ended, in words (unbatched results only)."""
        if self.diverged:
            return "diverged: the energy became non-finite; the result must not be used"
        state = "converged" if self.converged else "stopped before converging"
        followed = f"; {int(self.followed)} draws were not linear" if int(self.followed) else ""
        return (
            f"{state} after {int(self.rounds)} rounds: the last moved the mean by {float(self.change):.2g} posterior "
            f"standard deviations; conjugate gradients reached {float(self.cg_residual.max()):.1g} in at most "
            f"{int(self.cg_iterations.max())} iterations{followed}"
        )


class Moments(eqx.Module):
    """Moments of x, split into what the spec parameters explain and the rest; fields as in :class:`MgviResult`."""

    x: Float[Array, "*shape"]
    noise_variance: Float[Array, "*shape"]
    spec_variance: Float[Array, "parameters *shape"]
    correlation: Float[Array, "parameters *shape"]
    x_residuals: Float[Array, "2 samples *shape"]


def split_variance(
    draws: Float[Array, "draws *shape"], response: Float[Array, "coordinates *shape"], outer: OuterDraws
) -> Moments:
    """Moments of ``draws`` of x, of which ``response`` is the change per score of each coordinate of the spec."""
    x = jnp.mean(draws, axis=0)
    x_residuals = paired(draws - x)
    noise = x_residuals - jnp.tensordot(outer.scores, response, axes=1)
    noise_variance = jnp.mean(noise**2, axis=(0, 1))
    spec_variance = response**2
    total = noise_variance + jnp.sum(spec_variance, axis=0)
    correlation = jnp.tensordot(outer.loading, response, axes=1) / jnp.sqrt(total)
    return Moments(x, noise_variance, spec_variance, correlation, x_residuals)


def paired(leaf: Array) -> Array:
    """An array over all draws, first members before second ones, with leading axes (2, samples) instead."""
    return leaf.reshape(2, leaf.shape[0] // 2, *leaf.shape[1:])
