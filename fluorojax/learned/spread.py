"""Calibration of the standard deviations of a trained network on simulated runs of kept-apart seeds.

The likelihood head of a network is a little too wide where errors are small and too narrow where they are large. A
quadratic in its log s and in the log of the mean counts corrects it: linear quantile regression (Koenker and Bassett,
Econometrica 46:33, 1978) of the 90 % quantile of the error makes central 90 % intervals cover 90 % at every dose and
level of motion, on simulated scenes.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float

from fluorojax.learned.features import log_level
from fluorojax.learned.losses import LOG_STD_RANGE
from fluorojax.learned.networks import AnyNetwork, StdSource
from fluorojax.learned.validate import Runs, pixel_errors

TERMS = 6
"""Coefficients of a correction."""
LARGEST = 0.7
"""Largest change of log s, in either direction."""
_QUANTILE, _TWO_SIDED = 0.9, 1.6449
_POINTS, _STEPS = 20_000, 1500


class CalibratedNetwork(eqx.Module):
    """A network whose log s is corrected; without coefficients (zeros) it is the network itself."""

    network: AnyNetwork
    coefficients: Float[Array, " terms"]

    def __init__(self, network: AnyNetwork, coefficients: Float[ArrayLike, " terms"] | None = None):
        self.network = network
        self.coefficients = jnp.zeros(TERMS) if coefficients is None else jnp.asarray(coefficients, jnp.float32)

    @property
    def reach(self) -> int:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return self.network.reach

    @property
    def std_source(self) -> StdSource:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return self.network.std_source

    @property
    def solve_blocks(self) -> Any:
        """The method ``solve_blocks`` of a :class:`~fluorojax.learned.networks.BlockNetwork`, corrected; else None."""
        solve = getattr(self.network, "solve_blocks", None)
        if solve is None:
            return None

        def solved(*arguments: Any) -> tuple[Array, Array, Array]:
            depth, log_std, unit = solve(*arguments)
            return depth, corrected(log_std, jnp.log(unit**-2.0 + 0.5), self.coefficients), unit

        return solved

    @property
    def solve(self) -> Any:
        """The method ``solve`` of a :class:`~fluorojax.learned.networks.RunNetwork`, None for any other network."""
        return getattr(self.network, "solve", None)

    def __call__(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> tuple[Float[Array, "N H W block"], Float[Array, "N H W block"]]:
        """See :class:`~fluorojax.learned.networks.Network`."""
        mean, log_std = self.network(images, conditions)  # pyright: ignore[reportCallIssue]
        if self.std_source == "none":
            return mean, log_std
        log_std = jnp.clip(log_std, *LOG_STD_RANGE)
        return mean, corrected(log_std, log_level(images)[..., None], self.coefficients)


def corrected(
    log_std: Float[Array, "*shape"], log_level: Float[Array, "#*shape"], coefficients: Float[Array, " terms"]
) -> Float[Array, "*shape"]:
    """log s with the correction; ``log_level`` is log(m + ½) of the mean counts m."""
    terms = _terms(log_std, log_level)
    change = jnp.sum(jnp.stack([c * term for c, term in zip(coefficients, terms, strict=True)]), axis=0)
    return log_std + jnp.clip(change, -LARGEST, LARGEST)


def fit_spread(network: AnyNetwork, runs: Runs, *, seed: int = 0) -> CalibratedNetwork:
    """The network with a correction from simulated runs that it has not seen.

    Only standard deviations of a head are corrected; those of draws stay what the draws have.

    **Arguments:** ``seed`` draws the pixels that the fit sees, the same number from every run.
    """
    if network.std_source != "head":
        return CalibratedNetwork(network)
    parts = []
    for number, (error, log_std, count) in enumerate(pixel_errors(network, runs)):
        some = np.random.default_rng([seed, number]).integers(0, error.size, _POINTS)
        parts.append(np.stack([v.ravel()[some] for v in (error, log_std, np.log(count + 0.5))]))
    error, log_std, level = jnp.asarray(np.concatenate(parts, axis=1))
    size = jnp.log(jnp.abs(error) + 1e-6) - log_std - np.log(_TWO_SIDED)
    terms = jnp.stack(_terms(log_std, level))
    scale = jnp.sqrt(jnp.mean(terms**2, axis=1))
    transform = optax.adam(optax.cosine_decay_schedule(0.03, _STEPS))

    def pinball(scaled: Array) -> Array:
        rest = size - (scaled / scale) @ terms
        return jnp.mean(jnp.maximum(_QUANTILE * rest, (_QUANTILE - 1.0) * rest))

    @jax.jit
    def step(state: tuple, _: None) -> tuple[tuple, None]:
        scaled, inner = state
        updates, inner = transform.update(jax.grad(pinball)(scaled), inner)
        return (optax.apply_updates(scaled, updates), inner), None

    start = jnp.zeros(TERMS)
    (scaled, _), _ = jax.lax.scan(step, (start, transform.init(start)), None, length=_STEPS)
    return CalibratedNetwork(network, scaled / scale)


def _terms(log_std: Array, level: Array) -> list[Array]:
    # Centred near typical values, so that the terms are not nearly parallel.
    s, m = log_std + 1.4, (level - 3.5) / 2.0
    return [jnp.ones_like(s), s, m + 0.0 * s, s * m, s**2, m**2 + 0.0 * s]
