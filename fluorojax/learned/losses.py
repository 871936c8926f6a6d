"""What a network minimises: squared error in units of the noise, and a likelihood for its standard deviation alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from fluorojax.learned.data import Batch
from fluorojax.learned.features import block_inputs, correct_counts, depth_of, run_level
from fluorojax.learned.networks import Network

LOG_STD_RANGE = (-6.0, 3.0)
"""Limits of log s."""
_FLOOR = 0.01
_POWER = 0.8
_LIKELIHOOD = 0.02


def predict(network: Network, batch: Batch) -> tuple[Float[Array, "B K H W block"], ...]:
    """Optical depth, log s and noise unit 1/√m of the blocks of a batch."""

    def prepare(counts, frames, starts, spec):
        corrected = correct_counts(counts, spec)
        level = run_level(corrected, frames)
        images, conditions = jax.vmap(lambda start: block_inputs(corrected, level, frames, start, spec))(starts)
        return images, conditions, level.mean

    images, conditions, level = jax.vmap(prepare)(batch.counts, batch.frames, batch.starts, batch.spec)
    groups, blocks = batch.starts.shape
    flat = lambda x: x.reshape((groups * blocks, *x.shape[2:]))  # noqa: E731
    mean, log_std = network(flat(images), flat(conditions))
    deep = lambda x: x.reshape((groups, blocks, *x.shape[1:]))  # noqa: E731
    mean, log_std = deep(mean), jnp.clip(deep(log_std), *LOG_STD_RANGE)
    depth = jax.vmap(jax.vmap(depth_of, (None, 0, None)))(level, mean, batch.photons)
    unit = jnp.broadcast_to(jax.lax.rsqrt(level)[:, None, :, :, None], depth.shape)
    return depth, log_std, unit


def loss(network: Network, batch: Batch) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Loss of a batch, and its mean squared error in units of the mean noise variance of each patch.

    A power below one of each patch's error keeps patches of fast motion from deciding alone. The likelihood of s sees
    the error as a constant, so that it cannot trade accuracy for a larger s.
    """
    depth, log_std, unit = predict(network, batch)
    weight = jnp.broadcast_to(batch.weight[:, :, None, None, :], depth.shape)
    error = depth - batch.depth
    total = jnp.sum(weight, axis=(2, 3, 4))
    squares = jnp.sum(weight * error**2, axis=(2, 3, 4)) / jnp.sum(weight * unit**2, axis=(2, 3, 4))
    fixed = jax.lax.stop_gradient(error) / unit
    likelihood = jnp.sum(weight * (0.5 * fixed**2 * jnp.exp(-2.0 * log_std) + log_std), axis=(2, 3, 4)) / total
    return jnp.mean((squares + _FLOOR) ** _POWER + _LIKELIHOOD * likelihood), jnp.mean(squares)
