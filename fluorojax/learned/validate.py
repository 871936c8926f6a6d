"""Validation on simulated runs of kept-apart seeds, with the same noise every time."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.learned.data import Batch, acquire, collate
from fluorojax.learned.features import BLOCK
from fluorojax.learned.losses import predict
from fluorojax.learned.networks import AnyNetwork
from fluorojax.learned.scenes import CleanSequence

COUNTS = (3.0, 10.0, 30.0, 60.0, 100.0, 300.0)
"""Mean counts behind the patient, one after the other over the runs."""
_FRAMES, _CROP = 16, 96
_TWO_SIDED = 1.6449


@dataclass(frozen=True)
class Validation:
    """Means over the runs. PSNR in dB as the package scores scenes; coverage of central 90 % intervals, None where a
    network states no standard deviation."""

    psnr: float
    psnr_moving: float
    coverage: float | None
    coverage_moving: float | None

    def as_dict(self) -> dict[str, float]:
        """The figures, rounded."""
        return {name: round(value, 4) for name, value in asdict(self).items() if value is not None}

    def sentence(self) -> str:
        """The figures in words."""
        text = f"validation {self.psnr:.2f} dB, moving {self.psnr_moving:.2f} dB"
        if self.coverage is None or self.coverage_moving is None:
            return text
        return f"{text}, coverage {100 * self.coverage:.1f} %, moving {100 * self.coverage_moving:.1f} %"


class Runs:
    """Prepared runs."""

    def __init__(self, groups: list[Batch]):
        self.groups = [jax.tree.map(jnp.asarray, group) for group in groups]

    def rows(self, network: AnyNetwork) -> Float[np.ndarray, "runs 5"]:
        """Per run: PSNR, PSNR of moving pixels, coverage, coverage of moving pixels, mean counts behind the patient."""
        return np.concatenate([np.asarray(_rows(network, group)) for group in self.groups])

    def measure(self, network: AnyNetwork) -> Validation:
        """Figures of a network."""
        found = Validation(*(float(v) for v in self.rows(network)[:, :4].mean(0)))
        return replace(found, coverage=None, coverage_moving=None) if network.std_source == "none" else found


def validation_runs(sequences: list[CleanSequence], *, seed: int = 77, most: int = 36) -> Runs:
    """Runs of 16 frames of 96 × 96 pixels of compacted sequences, doses in turn.

    **Raises:** ``ValueError`` where there is no sequence.
    """
    if not sequences:
        raise ValueError("no sequences to validate on; expected shards of a kept-apart seed")
    groups = []
    for i, sequence in enumerate(sequences[:most]):
        rng = np.random.default_rng([seed, i])
        depth = sequence.depth[:_FRAMES, :_CROP, :_CROP].astype(np.float32)
        smear = sequence.smeared[:_FRAMES, :_CROP, :_CROP].astype(np.float32)
        photons = COUNTS[i % len(COUNTS)] / float(np.exp(-depth[0]).mean())
        run = acquire(rng, depth, smear, photons=photons, frame_time_ms=1000.0 / sequence.fps)
        groups.append(collate(None, [run], _FRAMES // BLOCK))
    return Runs(groups)


def pixel_errors(network: AnyNetwork, runs: Runs) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Errors of every run, log s of the network, both in units of the noise, and mean counts; equal shapes."""
    for batch in runs.groups:
        depth, log_std, unit = _predict(network, batch)
        yield np.asarray((depth - batch.depth) / unit), np.asarray(log_std), np.asarray(unit) ** -2.0


_predict = eqx.filter_jit(predict)


@eqx.filter_jit
def _rows(network: AnyNetwork, batch: Batch) -> Float[Array, "runs 5"]:
    depth, log_std, unit = predict(network, batch)

    def one(depth, truth, std, counts, frames):
        scale = jnp.ceil(10.0 * truth.max() / 0.95) / 10.0
        error, spread = (depth - truth) / scale, jnp.std(truth, axis=(0, 3))
        moving = jnp.broadcast_to((spread >= jnp.quantile(spread, 0.8))[None, :, :, None], error.shape)
        inside = jnp.abs(error) * scale <= _TWO_SIDED * std
        share = jnp.sum(moving)
        level = -10.0 * jnp.log10(jnp.mean(error**2))
        level_moving = -10.0 * jnp.log10(jnp.sum(moving * error**2) / share)
        dose = jnp.sum(counts) / (frames * counts[0].size)
        return jnp.stack([level, level_moving, jnp.mean(inside), jnp.sum(moving * inside) / share, dose])

    return jax.vmap(one)(depth, batch.depth, jnp.exp(log_std) * unit, batch.counts, batch.frames)
