"""An unrolled network: proximal-gradient steps on the Poisson likelihood of the operator, with learned proximal maps.

S. Diamond, V. Sitzmann, F. Heide and G. Wetzstein, "Unrolled optimization with deep priors", arXiv:1705.08041 (2017):
the proximal gradient method. Poisson likelihoods are unrolled by Y. Sanghvi, A. Gnanasambandam
and S. H. Chan, "Photon limited non-blind deblurring using algorithm unrolling", IEEE Trans. Comput. Imaging 8:851
(2022), arXiv:2110.15314.

Every step goes down the gradient of ``Σ λ − y log λ``, λ from :data:`fluorojax.physics.PUBLISHED_OPERATOR` with the
given spec, and then applies a proximal map. Drift, lag and exposure window are therefore undone by the operator itself
and not by corrected inputs, and all frames of a run are solved together.

What differs: three steps, with a small network each. The gradient is divided by the larger one of counts and expected
counts, which bounds the curvature of the likelihood. The proximal map is that of a Gaussian prior whose local mean and
precision a network of three convolutions gives, ``a·z + (1 − a)·μ``: exact for such a prior at any a between 0 and 1.
Scatter is removed from the result, as for every network here.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.learned.features import BLOCK, Level, SpecState, correct_counts, run_level
from fluorojax.learned.networks import Conv, StdSource, architecture, rectify, shuffle, unshuffle
from fluorojax.physics.operator import PUBLISHED_OPERATOR

_SIDE = 2
_DEPTHS = (-1.0, 14.0)
_OPERATOR = PUBLISHED_OPERATOR.without_stage("scatter")


class Proximal(eqx.Module):
    """The proximal map of a Gaussian prior with local mean and precision, frames in blocks of BLOCK."""

    enter: Conv
    layers: tuple[Conv, ...]
    leave: Conv

    def __init__(self, key: PRNGKeyArray, width: int, depth: int):
        first, *keys, last = jax.random.split(key, depth + 1)
        self.enter = Conv(first, 4 * (BLOCK + 2 * _SIDE + 4), width)
        self.layers = tuple(Conv(k, width, width) for k in keys)
        self.leave = Conv(last, width, 8 * BLOCK, gain=0.1)

    def __call__(self, f: Float[Array, "T H W"], level: Level, frames: Int[ArrayLike, ""]) -> Float[Array, "T H W"]:
        """f in units of the noise after one proximal map; T is a multiple of BLOCK."""
        starts = np.arange(0, f.shape[0], BLOCK)
        slots = jnp.abs(starts[:, None] + np.arange(-_SIDE, BLOCK + _SIDE))
        last = frames - 1
        slots = jnp.clip(jnp.where(slots > last, 2 * last - slots, slots), 0, last)
        valid = (jnp.arange(f.shape[0]) < frames)[:, None, None]
        spread = jnp.sqrt(jnp.sum(jnp.where(valid, f**2, 0.0), axis=0) / frames)
        shared = jnp.concatenate([level.images, jnp.arcsinh(spread)[..., None]], axis=-1)
        images = jnp.concatenate(
            [jnp.moveaxis(f[slots], 1, -1), jnp.broadcast_to(shared, (len(starts), *shared.shape))], axis=-1
        )
        x = rectify(self.enter(unshuffle(images)))
        for layer in self.layers:
            x = rectify(layer(x))
        share, mean = jnp.split(shuffle(self.leave(x)), 2, axis=-1)
        share, mean = (jnp.moveaxis(v, -1, 1).reshape(f.shape) for v in (jax.nn.sigmoid(share), mean))
        return share * f + (1.0 - share) * mean


class Unrolled(eqx.Module):
    """See the module docstring."""

    proximals: tuple[Proximal, ...]
    log_steps: Float[Array, " steps"]
    reach: int = eqx.field(static=True)

    def __init__(self, key: PRNGKeyArray, steps: int = 3, width: int = 24, depth: int = 2):
        self.proximals = tuple(Proximal(k, width, depth) for k in jax.random.split(key, steps))
        self.log_steps = jnp.zeros(steps)
        self.reach = 2 * steps * (depth + 1) + 16

    @property
    def std_source(self) -> StdSource:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return "none"

    def solve(
        self,
        counts: Float[Array, "T H W"],
        frames: Int[ArrayLike, ""],
        spec: SpecState,
        photons: Float[ArrayLike, ""],
    ) -> Float[Array, "T H W"]:
        """See :class:`~fluorojax.learned.networks.RunNetwork`."""
        total = counts.shape[0]
        length = -(-total // BLOCK) * BLOCK
        level = run_level(correct_counts(counts, spec), frames)
        index = jnp.minimum(jnp.arange(length), frames - 1)
        measured = counts[index]
        seen = (jnp.arange(length) < frames)[:, None, None].astype(counts.dtype)
        acquisition = Acquisition(
            photons_per_pixel=photons,
            attenuation_scale=1.0,
            frame_time_ms=spec.frame_time_ms,
            pulse_width_ms=spec.window_ms,
            lag_ms=spec.tau_ms,
            readout_delay_ms=spec.readout_delay_ms,
        )
        known = Spec(gain_drift=spec.drift)
        root, base = jnp.sqrt(level.mean), -jnp.log(level.mean / photons)

        def rate(f: Array) -> Array:
            return _OPERATOR(jnp.clip(base - f / root, *_DEPTHS), known, acquisition)

        f = jnp.zeros((length, *counts.shape[1:]), counts.dtype)
        for log_step, proximal in zip(self.log_steps, self.proximals, strict=True):
            expected, pull = jax.vjp(rate, f)
            (gradient,) = pull(seen * (1.0 - measured / jnp.maximum(expected, 1e-3)))
            curvature = (jnp.maximum(measured, expected) + 0.5) / level.mean
            f = proximal(f - jnp.exp(log_step) * gradient / curvature, level, frames)[index]
        return (base - f / root)[:total]


@architecture("unrolled")
def _unrolled(key: PRNGKeyArray) -> Unrolled:
    return Unrolled(key)
