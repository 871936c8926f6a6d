"""The network of a stream in training, and the one that the package contains.

In training the filter runs over a simulated run, and the network corrects what it returns for blocks of frames. The
filter gets the gain drift that the run has, because the drift of a small patch says little, and the time constant of
the lag as a calibration would give it. Half of the blocks are as in a causal stream; the results of the others are one
or two frames late. ``fluorojax train stream`` trains with the batches and the loss of the other networks.
"""

from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from fluorojax.data.acquisition import Acquisition
from fluorojax.learned.features import BLOCK, SpecState
from fluorojax.learned.networks import StdSource, architecture
from fluorojax.learned.weights import load_weights, shipped_file
from fluorojax.streaming.network import AFTER, BEFORE, Features, LiveNetwork, Refiner, level_of
from fluorojax.streaming.state import State, belief_about, seen_by_network, start, step

ARCHITECTURE = "stream"
"""Name of the architecture."""
_DRIFT = 1e-5  # half the range of the logarithm of the gain per frame
_LATE = (0, 1, 0, 2)  # frames that the results of a block are late, by its first frame


class StreamNetwork(eqx.Module):
    """A :class:`~fluorojax.streaming.network.LiveNetwork` behind the interface of training."""

    network: LiveNetwork

    @property
    def reach(self) -> int:
        """See :class:`~fluorojax.learned.networks.Network`; the filter alone reaches 24 pixels."""
        return 88

    @property
    def std_source(self) -> StdSource:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return "head"

    def solve_blocks(
        self,
        counts: Float[Array, "T H W"],
        frames: Int[ArrayLike, ""],
        starts: Int[Array, " K"],
        spec: SpecState,
        photons: Float[ArrayLike, ""],
    ) -> tuple[Float[Array, "K H W block"], Float[Array, "K H W block"], Float[Array, "K H W block"]]:
        """See :class:`~fluorojax.learned.networks.BlockNetwork`."""
        _, *shape = counts.shape
        state = _state((shape[0], shape[1]), spec, photons)
        seen = jax.lax.stop_gradient(_seen(state, counts))
        delays = jnp.asarray(_LATE)[starts % len(_LATE)]
        wanted = jnp.minimum(starts[:, None] + jnp.arange(BLOCK), jnp.asarray(frames) - 1)
        last = jnp.minimum(wanted + delays[:, None], jnp.asarray(frames) - 1)
        chosen = jax.tree.map(lambda part: part[last, last - wanted], seen)
        flat: Features = jax.tree.map(lambda part: part.reshape((-1, *part.shape[2:])), chosen)
        mean, log_std = self.network(flat.planes, flat.conditions)
        z = flat.mean + flat.std * mean
        level = level_of(z)
        times = last.reshape(-1).astype(z.dtype)
        gain = jnp.exp(times * jnp.log1p(jnp.asarray(spec.drift) / 100.0))[:, None, None]
        # The derivative of the logarithm is that of the counts, so that s of z is s of the depth in units of 1/√level.
        depth = -jnp.log(level / gain / photons)
        parts = (depth, jnp.log(flat.std) + log_std, jax.lax.rsqrt(jax.lax.stop_gradient(level)))
        blocks = lambda part: jnp.moveaxis(part.reshape(*wanted.shape, *shape), 1, -1)  # noqa: E731
        return tuple(blocks(part) for part in parts)  # pyright: ignore[reportReturnType]


def _state(shape: tuple[int, int], spec: SpecState, photons: Float[ArrayLike, ""]) -> State:
    """A stream before a run of the spec, with room for what the network sees; traceable, unlike ``start``."""
    blank = start(Acquisition(), shape, drift_range=(-1.0, 1.0), delay=AFTER)
    drift = jnp.log1p(jnp.asarray(spec.drift) / 100.0)
    gain = replace(blank.gain, drift=drift, prior=drift, low=drift - _DRIFT, high=drift + _DRIFT)
    acquisition = replace(
        blank.acquisition, photons_per_pixel=jnp.asarray(photons), readout_delay_ms=jnp.asarray(spec.readout_delay_ms)
    )
    return replace(
        blank,
        acquisition=acquisition,
        clock=replace(blank.clock, period=jnp.asarray(spec.frame_time_ms)),
        tau_ms=jnp.asarray(spec.tau_ms),
        gain=replace(gain, drift_std=jnp.full_like(gain.drift_std, _DRIFT)),
        recent=tuple(blank.trapped for _ in range(BEFORE + 1 + AFTER)),
    )


def _seen(state: State, counts: Float[Array, "T H W"]) -> Features:
    """What the network sees of every frame with every delay: arrays (T, delays, …), by the last frame that came."""

    def one(state: State, frame: Array) -> tuple[State, Features]:
        state, _, _ = step(state, frame)
        seen = [seen_by_network(state, belief_about(state, late), late) for late in range(AFTER + 1)]
        return state, jax.tree.map(lambda *parts: jnp.stack(parts), *seen)

    return jax.lax.scan(one, state, counts)[1]


@architecture(ARCHITECTURE)
def _stream(key: PRNGKeyArray) -> StreamNetwork:
    return StreamNetwork(LiveNetwork(key))


def load_refiner(file: Path) -> Refiner:
    """The network of a file of weights, as a stream takes it.

    **Raises** ``ValueError`` naming a file that is damaged, of another version, or of another architecture.
    """
    weights = load_weights(file)
    if not isinstance(weights.network.network, StreamNetwork):
        raise ValueError(f"{file}: architecture is {weights.recipe['architecture']!r}; expected {ARCHITECTURE!r}")
    return Refiner(weights.network.network.network, weights.network.coefficients)


@lru_cache(maxsize=1)
def live_network() -> Refiner:
    """The network that comes with the package."""
    return load_refiner(shipped_file(ARCHITECTURE))


@lru_cache(maxsize=1)
def shipped_sha256() -> str:
    """SHA-256 of the file of :func:`live_network`, hexadecimal, for the provenance of results."""
    return sha256(shipped_file(ARCHITECTURE).read_bytes()).hexdigest()
