"""Inputs of the networks: counts in units of their noise, and what is known of the imaging chain.

This module makes all inputs of a network, by the same functions in training and in use. With counts ``c_t`` from which
the lag and the gain drift are removed, and their mean over frames m, the deviations
``d_t = 2√(c_t + 3/8) − 2√(m + 3/8)`` have a standard deviation near one (Anscombe, Biometrika 35:246, 1948). A network
returns f and log s of a block of frames; the optical depth is ``−log(m/I_0) − f/√m`` with standard deviation ``s/√m``.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

PARAMETERS = ("motion_blur", "lag", "gain_drift")
"""Parameters of the spec that networks know, in the order of every array of them."""
BLOCK = 4
"""Frames that a network returns at once."""
SIDE = 4
"""Frames to each side of a block that a network sees."""
SPAN = 24
"""Longest run that is seen at once; longer ones are cut into overlapping runs."""
WINDOW = BLOCK + 2 * SIDE
FAR = ((-12, -8), (-8, -4), (8, 12), (12, 16))
"""Frames beyond the window, counted from the start of a block, of which a network sees the sums of each group."""
CHANNELS = WINDOW + 5 + len(FAR)
"""Channels of an input image."""
CONDITIONS = 8 + WINDOW + len(FAR)
"""Numbers that describe the spec and the place of a block."""
_RADIUS = 6


class SpecState(eqx.Module):
    """Spec of one run as a network sees it: posterior means and standard deviations, all scalars.

    The fields hold physical values, not offsets: ``window_ms`` is the nominal pulse width plus the offset, and so on.
    """

    window_ms: Float[ArrayLike, ""]
    """Exposure window w, ms."""
    tau_ms: Float[ArrayLike, ""]
    """Time constant τ of the lag, ms."""
    drift: Float[ArrayLike, ""]
    """Gain change, %/frame."""
    window_std: Float[ArrayLike, ""]
    tau_std: Float[ArrayLike, ""]
    drift_std: Float[ArrayLike, ""]
    frame_time_ms: Float[ArrayLike, ""]
    """Frame period Δ, ms."""
    readout_delay_ms: Float[ArrayLike, ""]
    """Time from exposure to readout t_r, ms."""


class Level(NamedTuple):
    """Images that all frames of a run share."""

    mean: Float[Array, "H W"]
    """Mean of the corrected counts over the run, kept positive."""
    images: Float[Array, "H W 3"]
    """Three views of the mean as input channels."""
    root: Float[Array, "H W"]
    """2√(m + 3/8)."""


def correct_counts(
    counts: Float[Array, "T H W"], spec: SpecState, first: Int[ArrayLike, ""] = 0
) -> Float[Array, "T H W"]:
    """Counts without gain drift and lag, by the posterior means of the spec.

    The recursion of :class:`fluorojax.physics.lag.ChargeReleaseLag` is solved for the exposures from a steady start.
    The result can be slightly negative where counts are few. Later frames do not change earlier ones, so a run may be
    padded at its end. ``first`` is the number of the first of these frames in the run that the gain drift counts from.
    """
    times = first + jnp.arange(counts.shape[0], dtype=counts.dtype)
    exposed = counts * jnp.exp(-times * jnp.log1p(jnp.asarray(spec.drift) / 100.0))[:, None, None]
    tau = jnp.asarray(spec.tau_ms)
    kept, held = jnp.exp(-jnp.asarray(spec.frame_time_ms) / tau), jnp.exp(-jnp.asarray(spec.readout_delay_ms) / tau)

    def frame(trapped: Array, y: Array) -> tuple[Array, Array]:
        s = (y - (1.0 - kept) * trapped) / (1.0 - held)
        return kept * trapped + held * s, s

    return jax.lax.scan(frame, held / (1.0 - kept) * exposed[0], exposed)[1]


def run_level(corrected: Float[Array, "T H W"], frames: Int[ArrayLike, ""]) -> Level:
    """The shared level of a run whose first ``frames`` frames are valid; the others are padding."""
    valid = (jnp.arange(corrected.shape[0]) < frames).astype(corrected.dtype)
    mean = jnp.maximum(jnp.tensordot(valid, corrected, axes=1) / frames, 0.0) + 0.5 / frames
    root = 2.0 * jnp.sqrt(mean + 0.375)
    level = smooth(root)
    detail = jnp.arcsinh(0.5 * jnp.sqrt(1.0 * frames) * (root - level))
    images = jnp.stack([detail, jnp.log(mean + 0.5) / 3.0 - 1.0, jnp.log(level) - 2.0], axis=-1)
    return Level(mean, images, root)


def block_inputs(
    corrected: Float[Array, "T H W"],
    level: Level,
    frames: Int[ArrayLike, ""],
    start: Int[ArrayLike, ""],
    spec: SpecState,
) -> tuple[Float[Array, "H W channels"], Float[Array, " conditions"]]:
    """Input image and conditions of the block of frames ``start … start + BLOCK − 1``.

    **Arguments:**

    - `corrected`: what :func:`correct_counts` returns, T ≥ ``frames``.
    - `level`: what :func:`run_level` returns.
    - `frames`: number of valid frames, at least 3; frames outside of them are reflected.
    - `start`: first frame of the block; the block may end after the last frame.
    - `spec`: the spec of the run.
    """
    slots = start + jnp.arange(-SIDE, BLOCK + SIDE)
    inside = ((slots >= 0) & (slots < frames)).astype(corrected.dtype)
    last = frames - 1
    mirrored = jnp.abs(slots)
    mirrored = jnp.clip(jnp.where(mirrored > last, 2 * last - mirrored, mirrored), 0, last)
    deviation = 2.0 * jnp.sqrt(jnp.maximum(corrected + 0.375, 0.02)) - level.root
    order = jnp.arange(corrected.shape[0])
    before = (order < start).astype(corrected.dtype)
    after = ((order >= start + BLOCK) & (order < frames)).astype(corrected.dtype)
    inner = (order < frames).astype(corrected.dtype)
    far = [inner * ((order >= start + a) & (order < start + b)) for a, b in FAR]
    sums = [jnp.tensordot(w, deviation, axes=1) / jnp.sqrt(jnp.maximum(w.sum(), 1.0)) for w in (before, after, *far)]
    images = jnp.concatenate([deviation[mirrored], jnp.stack(sums)])
    images = jnp.concatenate([jnp.moveaxis(images, 0, -1), level.images], axis=-1)

    held = jnp.exp(-jnp.asarray(spec.readout_delay_ms) / spec.tau_ms)
    held_std = held * spec.readout_delay_ms / spec.tau_ms**2 * spec.tau_std
    facts = [
        2.0 * spec.window_ms / spec.frame_time_ms,
        4.0 * spec.window_std / spec.frame_time_ms,
        8.0 * held,
        20.0 * held_std,
        jnp.arcsinh(spec.drift_std * frames),
        4.0 / jnp.sqrt(1.0 * frames),
        jnp.log1p(before.sum()) / 2.0,
        jnp.log1p(after.sum()) / 2.0,
    ]
    facts += [w.sum() / (b - a) for w, (a, b) in zip(far, FAR, strict=True)]
    return images, jnp.concatenate([jnp.stack([jnp.asarray(f, images.dtype) for f in facts]), inside])


def depth_of(
    level: Float[Array, "H W"], output: Float[Array, "H W block"], photons: Float[ArrayLike, ""]
) -> Float[Array, "H W block"]:
    """Optical depth from the mean counts of the run and the first output f of a network."""
    return -jnp.log(level / photons)[..., None] - output / jnp.sqrt(level)[..., None]


def log_level(images: Float[Array, "*batch H W channels"]) -> Float[Array, "*batch H W"]:
    """log(m + ½) from the input images of a network, m the mean counts of the run."""
    return 3.0 * (images[..., -2] + 1.0)


def smooth(image: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """Mean over a Gaussian window of 13 × 13 pixels, of standard deviation 3, that ends at the edges of the image."""
    taps = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / 3.0) ** 2).astype(np.float32)

    def blur(values: Array) -> Array:
        for axis in (0, 1):
            padded = jnp.pad(values, [(_RADIUS, _RADIUS) if i == axis else (0, 0) for i in (0, 1)])
            size = values.shape[axis]
            values = sum(
                tap * jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k, tap in enumerate(taps.tolist())
            )  # pyright: ignore[reportAssignmentType]
        return values

    return blur(image) / blur(jnp.ones_like(image))
