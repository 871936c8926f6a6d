"""What a network minimises: squared error in units of the noise, and a likelihood for its standard deviation alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.learned.data import Batch
from fluorojax.learned.features import BLOCK, block_inputs, correct_counts, depth_of, run_level
from fluorojax.learned.networks import AnyNetwork

LOG_STD_RANGE = (-6.0, 3.0)
"""Limits of log s."""
_FLOOR = 0.01
_POWER = 0.8
_LIKELIHOOD = 0.02


def predict(network: AnyNetwork, batch: Batch) -> tuple[Float[Array, "B K H W block"], ...]:
    """Optical depth, log s and its unit of the blocks of a batch; log s is zero where a network has none.

    The unit is the noise 1/√m of the mean counts m of the run, or what a network that solves blocks returns.
    """
    if (solve := getattr(network, "solve_blocks", None)) is not None:
        # Such a network finds the gain drift from whole frames; a patch would say little about it.
        spec = replace(batch.spec, drift=batch.drift)
        return jax.vmap(solve)(batch.counts, batch.frames, batch.starts, spec, batch.photons)
    if (solve := getattr(network, "solve", None)) is not None:
        return _solved(solve, batch)
    images, conditions, level = block_inputs_of(batch)
    mean, log_std = network(images, conditions)  # pyright: ignore[reportCallIssue]
    return _in_depth(mean, log_std, level, batch)


def block_inputs_of(
    batch: Batch,
) -> tuple[Float[Array, "N H W channels"], Float[Array, "N conditions"], Float[Array, "B H W"]]:
    """Input images and conditions of all blocks, and the mean counts of the runs."""

    def prepare(counts, frames, starts, spec):
        corrected = correct_counts(counts, spec)
        level = run_level(corrected, frames)
        images, conditions = jax.vmap(lambda start: block_inputs(corrected, level, frames, start, spec))(starts)
        return images, conditions, level.mean

    images, conditions, level = jax.vmap(prepare)(batch.counts, batch.frames, batch.starts, batch.spec)
    groups, blocks = batch.starts.shape
    flat = lambda x: x.reshape((groups * blocks, *x.shape[2:]))  # noqa: E731
    return flat(images), flat(conditions), level


def _in_depth(mean: Array, log_std: Array, level: Array, batch: Batch) -> tuple[Float[Array, "B K H W block"], ...]:
    """What :func:`predict` returns, from the outputs of a network for all blocks."""
    groups, blocks = batch.starts.shape
    deep = lambda x: x.reshape((groups, blocks, *x.shape[1:]))  # noqa: E731
    mean, log_std = deep(mean), jnp.clip(deep(log_std), *LOG_STD_RANGE)
    depth = jax.vmap(jax.vmap(depth_of, (None, 0, None)))(level, mean, batch.photons)
    unit = jnp.broadcast_to(jax.lax.rsqrt(level)[:, None, :, :, None], depth.shape)
    return depth, log_std, unit


def _solved(solve, batch: Batch) -> tuple[Float[Array, "B K H W block"], ...]:
    """What :func:`predict` returns, from a network that takes whole runs."""

    def one(counts, frames, starts, spec, photons):
        depth = solve(counts, frames, spec, photons)
        index = jnp.minimum(starts[:, None] + jnp.arange(BLOCK), counts.shape[0] - 1)
        unit = jax.lax.rsqrt(run_level(correct_counts(counts, spec), frames).mean)
        depth = jnp.moveaxis(depth[index], 1, -1)
        return depth, jnp.broadcast_to(unit[None, :, :, None], depth.shape)

    depth, unit = jax.vmap(one)(batch.counts, batch.frames, batch.starts, batch.spec, batch.photons)
    return depth, jnp.zeros_like(depth), unit


def loss(
    network: AnyNetwork, batch: Batch, key: PRNGKeyArray | None = None
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Loss of a batch, and its mean squared error in units of the mean noise variance of each patch.

    A power below one of each patch's error keeps patches of fast motion from deciding alone. The likelihood of s sees
    the error as a constant, so that it cannot trade accuracy for a larger s. A network that draws from the posterior
    has a loss for its draws instead of the likelihood, with random numbers from ``key``.
    """
    refinement = getattr(network, "refinement_loss", None)
    if refinement is not None and key is None:
        raise ValueError("key is None; expected a key, because this network is trained with random numbers")
    if refinement is None:
        depth, log_std, unit = predict(network, batch)
    else:
        images, conditions, level = block_inputs_of(batch)
        mean = network.predict(images, conditions)  # pyright: ignore[reportAttributeAccessIssue]
        depth, log_std, unit = _in_depth(mean, jnp.zeros_like(mean), level, batch)
    weight = jnp.broadcast_to(batch.weight[:, :, None, None, :], depth.shape)
    error = depth - batch.depth
    total = jnp.sum(weight, axis=(2, 3, 4))
    squares = jnp.sum(weight * error**2, axis=(2, 3, 4)) / jnp.sum(weight * unit**2, axis=(2, 3, 4))
    main = jnp.mean((squares + _FLOOR) ** _POWER)
    if refinement is not None:
        flat = lambda x: x.reshape((-1, *x.shape[2:]))  # noqa: E731
        # The error of the depth is that of −f/√m.
        truth = mean + flat(error / unit)
        main = main + refinement(images, conditions, mean, truth, flat(batch.weight), key)
    elif network.std_source == "head":
        fixed = jax.lax.stop_gradient(error) / unit
        likelihood = jnp.sum(weight * (0.5 * fixed**2 * jnp.exp(-2.0 * log_std) + log_std), axis=(2, 3, 4)) / total
        main = main + _LIKELIHOOD * jnp.mean(likelihood)
    return main, jnp.mean(squares)
