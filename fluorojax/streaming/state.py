"""One frame in, its estimate and standard deviation out: the pure step of a stream.

:func:`start` makes the state of a stream, :func:`step` takes one frame. A step computes the same for every frame, so it
is compiled once per shape, and the state never grows. The parts of a step, in their order:

1. the time stamp says how many frames are missing and whether the frame rate has changed
   (:mod:`fluorojax.streaming.clock`);
2. the charge that earlier frames left in the detector is taken off, by the recursion of
   :class:`fluorojax.physics.lag.ChargeReleaseLag` solved for the exposures;
3. block means tell steps of dose and the drift of the gain (:mod:`fluorojax.streaming.gain`);
4. a filter of every pixel of every band averages in time what is at rest and in space what moves
   (:mod:`fluorojax.streaming.tracking`).

The state is held in counts of the last frame: a drift or step of the gain rescales it, and only what is returned is
divided by the gain, with the best estimate so far.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import TIERS
from fluorojax.streaming.clock import Clock, tick
from fluorojax.streaming.gain import Gain, block_counts, change_of, start_gain, update_gain
from fluorojax.streaming.network import AFTER, BEFORE, Features, Refiner, features, rate_of
from fluorojax.streaming.tracking import Belief, Link, Tuning, look_back, observe, unknown

LARGEST_DELAY = AFTER
"""Largest number of frames that a result may be late."""
MOVED = 0.5
"""Share of blocks that change at once which tells of a moving table or another view."""
_DOUBT = 2.0  # process noise of all pixels where the view changes, in units of the noise of a frame
_OFFSET = 0.375  # of Anscombe's transform
_LEAST = 0.02  # least argument of its root
# Standard deviation of the image over that of its bands taken as independent, for many quanta, and the rates between
# which it falls for few: chosen with the constants of the filter, so that 90 % intervals hold 90 % at 3 to 300 quanta.
_SPREAD, _FEW, _MANY = 1.15, 1.5, 2.5


class News(eqx.Module):
    """What the last step noticed; all scalars. :func:`fluorojax.streaming.events_of` puts it in words."""

    missing: Float[Array, ""]
    """Frames that are missing before this one."""
    rate_changed: Float[Array, ""]
    """One where the frame rate has changed, else zero."""
    log_dose: Float[Array, ""]
    """Log of the factor of a step of dose; zero without one."""
    log_dose_std: Float[Array, ""]
    """Standard deviation of :attr:`log_dose`."""
    changed: Float[Array, ""]
    """Share of the blocks of the frame that have changed by more than their noise."""


class State(eqx.Module):
    """Everything a stream remembers; a pytree whose size does not change."""

    acquisition: Acquisition
    tuning: Tuning
    frame: Int[Array, ""]
    """Number of frames so far."""
    clock: Clock
    tau_ms: Float[Array, ""]
    """Time constant of the lag, ms."""
    trapped: Float[Array, "H W"]
    """Charge that the detector holds, in quanta at the gain of the last frame."""
    gain: Gain
    belief: Belief
    """Filtered bands of the last frame."""
    past: tuple[tuple[Belief, Link], ...]
    """The beliefs about the frames before, latest first, each with its link to the frame after it."""
    network: Refiner | None
    """What corrects the results of the filter."""
    recent: tuple[Float[Array, "H W"], ...]
    """Stabilised counts of the last frames, latest first, which the network sees; none without a network."""
    news: News

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return self.trapped.shape  # pyright: ignore[reportReturnType]

    @property
    def delay(self) -> int:
        """Number of frames that a result is late."""
        return len(self.past)

    @property
    def gain_drift(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Posterior mean and standard deviation of the gain drift, %/frame."""
        rate = jnp.exp(self.gain.drift)
        return 100 * jnp.expm1(self.gain.drift), 100 * rate * self.gain.drift_std


def start(
    acquisition: Acquisition,
    shape: tuple[int, int],
    *,
    tier: str = "public",
    drift_range: tuple[float, float] | None = None,
    lag: float | None = None,
    delay: int = 0,
    tuning: Tuning | None = None,
    network: Refiner | None = None,
) -> State:
    """The state of a stream before its first frame.

    **Arguments:**

    - `acquisition`: the nominal protocol.
    - `shape`: rows and columns of a frame, at least 4 each.
    - `tier`: spec ranges, ``public``, ``dev`` or ``hidden``.
    - `drift_range`: range of the gain drift, %/frame, in place of that of the tier.
    - `lag`: offset of the time constant of the detector lag, ms, as a calibration gives it; by default the middle of
      the range of the tier.
    - `delay`: 0 for a causal filter; 1 or 2 for a smoother whose results are one or two frames late.
    - `tuning`: constants of the filter.
    - `network`: what corrects the results of the filter, such as :func:`fluorojax.streaming.live_network` returns; by
      default the results are those of the filter alone.

    **Raises** ``ValueError`` for an argument outside of what is said here.
    """
    if tier not in TIERS:
        raise ValueError(f"tier is {tier!r}; expected one of {', '.join(TIERS)}")
    if len(shape) != 2 or min(shape) < 4:
        raise ValueError(f"shape is {tuple(shape)}; expected rows and columns, at least 4 each")
    if delay not in range(LARGEST_DELAY + 1):
        raise ValueError(f"delay is {delay!r}; expected 0, 1 or 2 frames")
    low, high = TIERS[tier]["gain_drift"] if drift_range is None else drift_range
    if not -100 < low < high:
        raise ValueError(f"drift_range is {low:g} to {high:g} %/frame; expected a range above -100")
    offset = sum(TIERS[tier]["lag"]) / 2 if lag is None else lag
    values = acquisition.as_dict()
    tau = values["lag_ms"] + offset
    if not tau > 0:
        raise ValueError(
            f"lag_ms {values['lag_ms']:g} plus the offset {offset:g} is {tau:g} ms; expected a positive sum"
        )
    rows, columns = (int(size) for size in shape)
    zeros = jnp.zeros((rows, columns))
    belief = unknown((rows, columns))
    link = Link(tuple(zeros for _ in belief.means), belief.variances)
    zero = jnp.zeros(())
    state = State(
        acquisition=acquisition,
        tuning=Tuning() if tuning is None else tuning,
        frame=jnp.zeros((), jnp.int32),
        clock=Clock(jnp.asarray(values["frame_time_ms"]), zero),
        tau_ms=jnp.asarray(tau),
        trapped=zeros,
        gain=start_gain((rows, columns), low, high, acquisition.electronic_variance),
        belief=belief,
        past=tuple((belief, link) for _ in range(delay)),
        network=network,
        recent=() if network is None else tuple(zeros for _ in range(BEFORE + 1 + delay)),
        news=News(zero, zero, zero, zero, zero),
    )
    # Arrays of one kind throughout, so that the first step is compiled for the same types as all others.
    return jax.tree.map(lambda leaf: leaf if leaf.dtype == jnp.int32 else leaf.astype(jnp.float32), _arrays(state))


def _arrays(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)


@jax.jit
def step(
    state: State, counts: Float[ArrayLike, "H W"], elapsed_ms: Float[ArrayLike, ""] = 0.0
) -> tuple[State, Float[Array, "H W"], Float[Array, "H W"]]:
    """Take one frame. Pure and traceable; compiled once per shape.

    **Arguments:** ``state`` of :func:`start` or of the step before; ``counts`` of the frame, finite, in quanta;
    ``elapsed_ms`` time since the frame before by the time stamps, zero where there are none.

    **Returns** the new state, the normalised attenuation and its standard deviation, both (H, W). With a delay of D
    frames they belong to the frame D steps ago; those of the first D steps are to be left out, and :func:`late` gives
    the last D ones.
    """
    counts = jnp.asarray(counts, jnp.float32)
    first = state.frame == 0
    clock, now = tick(state.clock, jnp.asarray(elapsed_ms, jnp.float32), first)
    growth = jnp.where(first, 1.0, jnp.exp(now.gap * state.gain.drift))

    # A frame that is missing was exposed: what it released and what it left behind is taken to be equal.
    kept = jnp.exp(-now.elapsed / now.gap / state.tau_ms)
    held = jnp.exp(-jnp.asarray(state.acquisition.readout_delay_ms) / state.tau_ms)
    trapped = jnp.where(first, held / (1 - kept) * counts, growth * state.trapped)
    exposed, trapped = without_lag(counts, trapped, kept, held)

    blocks = block_counts(exposed)
    change = change_of(state.gain, blocks, now.gap)
    change = jax.tree.map(lambda value: jnp.where(first, jnp.zeros_like(value), value), change)
    gain = update_gain(state.gain, blocks, now.gap, change, first)

    scale = growth * jnp.exp(change.log_dose)
    doubt = jnp.where(change.changed > MOVED, _DOUBT, 0.0)
    # Counts with electronic noise of variance σ² are stabilised as the Poisson counts y + σ² of rate λ + σ².
    electronic = jnp.asarray(state.acquisition.electronic_variance)
    stabilised = 2 * jnp.sqrt(jnp.maximum(exposed + electronic + _OFFSET, _LEAST))
    before = state.belief.scaled(scale)
    belief, link = observe(before, stabilised, 1 / (1 - held) ** 2, now.gap, doubt, state.tuning)
    older = tuple((one.scaled(scale), _scaled(its, scale)) for one, its in state.past)
    past = ((before, link), *older)[: state.delay]
    recent = (stabilised, *(jnp.sqrt(scale) * frame for frame in state.recent))[: len(state.recent)]
    news = News(
        missing=now.gap - 1,
        rate_changed=now.changed.astype(jnp.float32),
        log_dose=change.log_dose,
        log_dose_std=jnp.sqrt(change.variance),
        changed=change.changed,
    )
    after = State(
        state.acquisition,
        state.tuning,
        state.frame + 1,
        clock,
        state.tau_ms,
        trapped,
        gain,
        belief,
        past,
        state.network,
        recent,
        news,
    )
    x, sd = late(after, state.delay)
    return after, x, sd


def without_lag(
    counts: Float[Array, "H W"], trapped: Float[Array, "H W"], kept: Float[ArrayLike, ""], held: Float[ArrayLike, ""]
) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """The exposure of a frame from what was read and the charge that the detector held before, and the charge after.

    One step of :class:`fluorojax.physics.lag.ChargeReleaseLag` solved for the exposure. **Arguments:** ``kept``
    exp(−Δ/τ) of the frame period, ``held`` exp(−t_r/τ) of the readout delay.
    """
    exposed = (counts - (1 - jnp.asarray(kept)) * trapped) / (1 - jnp.asarray(held))
    return exposed, jnp.asarray(kept) * trapped + jnp.asarray(held) * exposed


def late(state: State, frames: int) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """Attenuation and standard deviation of the frame ``frames`` before the last, at most :attr:`State.delay`."""
    z, z_std = stabilised_estimate(state, frames)
    protocol = state.acquisition
    gain = jnp.exp(state.gain.log_gain)
    electronic = jnp.asarray(protocol.electronic_variance)
    rate = _rate_behind(z, state)
    x = -jnp.log(rate / protocol.photons_per_pixel) / protocol.attenuation_scale
    most = jnp.maximum(rate * gain, 0.25)
    relative = z_std**2 / most * (1 + electronic / most)
    return x, jnp.sqrt(relative + state.gain.log_gain_variance) / protocol.attenuation_scale


def stabilised_estimate(state: State, frames: int) -> tuple[Float[Array, "H W"], Float[Array, "H W"]]:
    """Stabilised counts of the frame ``frames`` before the last without noise, and their standard deviation."""
    belief = belief_about(state, frames)
    if state.network is not None:
        return state.network(seen_by_network(state, belief, frames))
    z = sum(belief.means[1:], belief.means[0])
    quanta = _rate_behind(z, state) * jnp.exp(state.gain.log_gain)
    spread = _SPREAD * (quanta + _FEW) / (quanta + _MANY)
    return z, spread * jnp.sqrt(sum(belief.variances[1:], belief.variances[0]))


def belief_about(state: State, frames: int) -> Belief:
    """What the filter knows of the frame ``frames`` before the last, in units of the last one."""
    belief = state.belief
    for before, link in state.past[:frames]:
        belief = look_back(before, link, belief)
    return belief


def seen_by_network(state: State, belief: Belief, frames: int) -> Features:
    """What the network sees of the frame ``frames`` before the last; ``belief`` is what the filter knows of it."""
    places = [frames - offset for offset in range(-BEFORE, AFTER + 1)]
    there = [place in range(len(state.recent)) for place in places]
    seen = tuple(state.recent[place] if known else state.recent[0] for place, known in zip(places, there, strict=True))
    inside = jnp.stack(
        [jnp.where(state.frame > place, 1.0 * known, 0.0) for place, known in zip(places, there, strict=True)]
    )
    held = jnp.exp(-jnp.asarray(state.acquisition.readout_delay_ms) / state.tau_ms)
    return features(belief, seen, inside, 1 / (1 - held) ** 2, state.frame)


def _scaled(link: Link, factor: Array) -> Link:
    return Link(link.kept, tuple(factor * p for p in link.predicted))


def _rate_behind(z: Float[Array, "H W"], state: State) -> Float[Array, "H W"]:
    """Quanta per frame before gain and electronic noise, within what an attenuation of 0 to 1 gives."""
    protocol = state.acquisition
    least = protocol.photons_per_pixel * jnp.exp(-jnp.asarray(protocol.attenuation_scale))
    rate = (rate_of(z) - jnp.asarray(protocol.electronic_variance)) / jnp.exp(state.gain.log_gain)
    return jnp.clip(rate, least, protocol.photons_per_pixel)


__all__ = ["LARGEST_DELAY", "MOVED", "News", "State", "late", "start", "step", "without_lag"]
