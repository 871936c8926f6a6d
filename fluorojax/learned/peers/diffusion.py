"""A conditional diffusion model that draws from the posterior in a few steps: predict and refine.

J. Whang, M. Delbracio, H. Talebi, C. Saharia, A. G. Dimakis and P. Milanfar, "Deblurring via stochastic refinement",
CVPR (2022), arXiv:2112.02475, figure 2: a network predicts the image, and a diffusion model draws the residual. The
diffusion is that of T. Karras, M. Aittala, T. Aila and S. Laine, "Elucidating the design space of diffusion-based
generative models", NeurIPS (2022), arXiv:2206.00364: the denoiser D is preconditioned by equation 7 and trained by
equation 8 with a log-normal noise level, and the flow of equation 1 is integrated by Euler steps over the noise levels
of equation 5 (ρ = 7).

What differs: both networks are small U-Nets without attention; six Euler steps; f in units of noise instead of pixel
values. The prediction has the loss of all networks here and its own gradient, and the weight of a patch in the loss of
the diffusion falls with the size of its residual, so that fast motion does not decide alone. The estimate is the mean
of the draws, the standard deviation that of the draws. The noise depends on the shape of what is solved together, so
that draws of neighbouring tiles are independent of each other.
"""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.learned.features import BLOCK, CHANNELS, CONDITIONS
from fluorojax.learned.networks import StdSource, UNet, architecture

_SIGMA_DATA = 0.35
"""Root mean square of a residual in units of the noise, about that of a trained network."""
_SIGMA_MIN, _SIGMA_MAX, _RHO = 0.02, 4.0, 7.0
_LOG_SIGMA = (-1.5, 1.2)
_WEIGHT = 0.1


def noise_levels(steps: int) -> Float[np.ndarray, " levels"]:
    """σ from largest to smallest, and zero at the end (Karras et al., equation 5)."""
    ends = _SIGMA_MAX ** (1 / _RHO), _SIGMA_MIN ** (1 / _RHO)
    levels = (ends[0] + np.arange(steps) / (steps - 1) * (ends[1] - ends[0])) ** _RHO
    return np.append(levels, 0.0).astype(np.float32)


class Diffusion(eqx.Module):
    """See the module docstring."""

    predictor: UNet
    denoiser: UNet
    draws: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __init__(
        self,
        key: PRNGKeyArray,
        widths: tuple[int, ...] = (24, 24, 24),
        encode: tuple[int, ...] = (1, 1, 1),
        decode: tuple[int, ...] = (1, 1),
        *,
        draws: int = 8,
        steps: int = 6,
    ):
        one, two = jax.random.split(key)
        self.predictor = UNet(one, widths, encode, decode, hidden=16, outputs=1)
        self.denoiser = UNet(
            two,
            widths,
            encode,
            decode,
            hidden=16,
            outputs=1,
            channels=CHANNELS + 2 * BLOCK,
            conditions=CONDITIONS + 1,
        )
        self.draws, self.steps = draws, steps

    @property
    def reach(self) -> int:
        """See :class:`~fluorojax.learned.networks.Network`; every step reaches as far again, with little weight."""
        return self.predictor.reach + self.denoiser.reach

    @property
    def std_source(self) -> StdSource:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return "draws"

    def predict(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> Float[Array, "N H W block"]:
        """f as the first network predicts it."""
        return self.predictor.outputs(images, conditions)[0]

    def denoise(
        self,
        noisy: Float[Array, "N H W block"],
        sigma: Float[Array, " N"],
        images: Float[Array, "N H W channels"],
        conditions: Float[Array, "N conditions"],
        prediction: Float[Array, "N H W block"],
    ) -> Float[Array, "N H W block"]:
        """D: the expected residual given the residual with noise of standard deviation σ (equation 7)."""
        total = sigma**2 + _SIGMA_DATA**2
        keep, out, into = _SIGMA_DATA**2 / total, sigma * _SIGMA_DATA * total**-0.5, total**-0.5
        keep, out, into = (v[:, None, None, None] for v in (keep, out, into))
        seen = jnp.concatenate([into * noisy, prediction, images], axis=-1)
        facts = jnp.concatenate([jnp.log(sigma)[:, None] / 4.0, conditions], axis=-1)
        return keep * noisy + out * self.denoiser.outputs(seen, facts)[0]

    def refinement_loss(
        self,
        images: Float[Array, "N H W channels"],
        conditions: Float[Array, "N conditions"],
        prediction: Float[Array, "N H W block"],
        truth: Float[Array, "N H W block"],
        weight: Float[Array, "N block"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        """Loss of the denoiser for one noise level and noise of each block (equation 8)."""
        one, two = jax.random.split(key)
        prediction = jax.lax.stop_gradient(prediction)
        residual = truth - prediction
        sigma = jnp.exp(_LOG_SIGMA[0] + _LOG_SIGMA[1] * jax.random.normal(one, residual.shape[:1]))
        noisy = residual + sigma[:, None, None, None] * jax.random.normal(two, residual.shape)
        found = self.denoise(noisy, sigma, images, conditions, prediction)
        mask = jnp.broadcast_to(weight[:, None, None, :], residual.shape)
        mean = lambda v: jnp.sum(mask * v, axis=(1, 2, 3)) / jnp.sum(mask, axis=(1, 2, 3))  # noqa: E731
        scale = (sigma**2 + _SIGMA_DATA**2) / (sigma * _SIGMA_DATA) ** 2
        share = 1.0 / (1.0 + mean(residual**2) / _SIGMA_DATA**2)
        return _WEIGHT * jnp.mean(share * scale * mean((found - residual) ** 2))

    def draw(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"], key: PRNGKeyArray
    ) -> Float[Array, "N H W block"]:
        """One draw of f from the posterior, the same for the same key."""
        prediction = self.predict(images, conditions)
        return prediction + self._residuals(images, conditions, prediction, key[None])[0]

    def _residuals(
        self, images: Array, conditions: Array, prediction: Array, keys: PRNGKeyArray
    ) -> Float[Array, "draws N H W block"]:
        """One draw of the residual for each key, all at once; no loop of the program, which is slow on a CPU."""
        count, shape = len(keys), prediction.shape
        many = lambda v: jnp.broadcast_to(v, (count, *v.shape)).reshape((-1, *v.shape[1:]))  # noqa: E731
        images, conditions, prediction = many(images), many(conditions), many(prediction)
        levels = noise_levels(self.steps)
        noisy = jax.vmap(lambda k: jax.random.normal(k, shape, prediction.dtype))(keys)
        noisy = levels[0] * noisy.reshape(prediction.shape)
        for sigma, following in pairwise(levels):
            clean = self.denoise(noisy, jnp.full(len(noisy), sigma), images, conditions, prediction)
            noisy = clean + following / sigma * (noisy - clean)
        return noisy.reshape((count, *shape))

    def __call__(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> tuple[Float[Array, "N H W block"], Float[Array, "N H W block"]]:
        """Mean, and log of the standard deviation, of draws with the same noise every time."""
        prediction = self.predict(images, conditions)
        residuals = self._residuals(images, conditions, prediction, jax.random.split(jax.random.key(0), self.draws))
        # The mean of so few draws has an error of its own.
        variance = (1.0 + 1.0 / self.draws) * jnp.var(residuals, axis=0, ddof=1)
        return prediction + jnp.mean(residuals, axis=0), 0.5 * jnp.log(jnp.maximum(variance, 1e-8))


@architecture("diffusion")
def _diffusion(key: PRNGKeyArray) -> Diffusion:
    return Diffusion(key)
