"""Whether a run starts from dark, from its first frames.

After a pause the traps of a detector are empty: the first frame lacks the charge that a frame before it would have
released, and the second nearly nothing. A run that is taken to be in a steady state from the beginning then shows a
rise of some percent from the first to the second frame, everywhere in the field and never again. The log counts of the
first frame less those of the line through the next four do not depend on gain or drift. At rest they are zero from a
steady state, and ``log ρ_0 − Σ w_t log ρ_t`` from dark, ρ_t the response of frame t. Their most frequent value over
blocks of pixels, of which those that change little by themselves have the largest weights, is compared with the same
value at all later frames, which holds noise, motion and changes of dose.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fluorojax.data.scene import Scene
from fluorojax.data.spec import LAG
from fluorojax.physics.extensions import RECOGNITION, extended
from fluorojax.physics.lag import ChargeReleaseLag

RECOGNISED = 3.0
"""Least log evidence of a start from dark over a steady one at which a run is taken to start from dark."""
# The first of five frames less the line through the other four, at the first.
_LINE = np.array([1.0, -1.0, -0.5, 0.0, 0.5])
_STEPS = np.linspace(-0.2, 0.2, 401)
_POINTS, _BLOCK, _LEAST_FRAMES, _LEAST_BLOCKS, _MAD, _MOST_DEVIATIONS = 41, 4, 9, 16, 1.4826, 3.0
# Blocks that the most frequent value is looked for in: enough, and in bounded time for large images.
_MOST_BLOCKS = 4096


@dataclass(frozen=True)
class StartEvidence:
    """What the first frames say about the start of a run and, where it is from dark, about the lag."""

    lag_grid: Float[np.ndarray, " points"]
    """Offsets of the time constant over their range, ms."""
    lag_log_likelihood: Float[np.ndarray, " points"]
    """Log likelihood of a start from dark, relative to that of a steady start."""
    deviation: float
    """Distance of the closest start from dark, standard deviations."""
    missing: float
    """Share of the signal that the first frame lacks against the line through the next four."""

    @property
    def log_ratio(self) -> float:
        """Log evidence of a start from dark over a steady one, the lag uniform on its range."""
        top = float(self.lag_log_likelihood.max())
        return top + float(np.log(np.mean(np.exp(self.lag_log_likelihood - top))))

    @property
    def from_dark(self) -> bool:
        """Whether the run is taken to start from dark: it is far more probable, and it fits."""
        return self.log_ratio > RECOGNISED and self.deviation < _MOST_DEVIATIONS


def start_evidence(scene: Scene, counts: Float[np.ndarray, "T H W"]) -> StartEvidence | None:
    """The evidence in ``counts``, those of the scene at one dose, whose lag is ``scene.ranges`` around its protocol.

    None for runs of fewer than nine frames, images of fewer than 16 blocks of 4 × 4 pixels, and imaging chains
    without the published lag.
    """
    release = scene.operator.stage(ChargeReleaseLag)
    side = _BLOCK
    while np.prod([size // side for size in counts.shape[1:]]) > _MOST_BLOCKS:
        side *= 2
    rows, columns = (size // side for size in counts.shape[1:])
    if release is None or len(counts) < _LEAST_FRAMES or rows * columns < _LEAST_BLOCKS:
        return None
    cut = counts[:, : rows * side, : columns * side].astype(np.float64)
    sums = cut.reshape(len(cut), rows, side, columns, side).sum(axis=(2, 4)).reshape(len(cut), -1)
    step = np.stack([_LINE @ part for part in _windows(np.log(np.maximum(sums, 0.0) + 0.5))])
    noise = np.sum(_LINE**2) / np.maximum(np.median(sums, axis=0), 0.5)
    own = np.square(_MAD * np.median(np.abs(step[1:] - np.median(step[1:], axis=0)), axis=0))
    weight = noise / (noise + own)
    common = np.array([_most_frequent(values, np.sqrt(noise), weight) for values in step])
    later = common[1:] - np.median(common[1:])
    spreads = np.sqrt(np.mean(later**2)), _MAD * np.median(np.abs(later)), np.sum(weight / noise) ** -0.5
    width = float(max(spreads))
    freedom = max(len(later) - 1, 3)
    protocol = scene.acquisition.as_dict()
    grid = np.linspace(*scene.ranges.as_dict()[LAG.name], _POINTS)
    rest = np.asarray(
        _responses(jnp.asarray(protocol["lag_ms"] + grid), protocol["frame_time_ms"], protocol["readout_delay_ms"]),
        np.float64,
    )
    expected = np.log(rest) @ _LINE

    def log_density(z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return -0.5 * (freedom + 1) * np.log1p(z**2 / freedom)

    distance = (common[0] - expected) / width
    ratio = log_density(distance) - log_density(np.array(common[0] / width))
    return StartEvidence(grid, ratio, float(np.abs(distance).min()), float(-np.expm1(common[0])))


def _most_frequent(
    values: Float[np.ndarray, " N"], noise: Float[np.ndarray, " N"], weight: Float[np.ndarray, " N"]
) -> float:
    """Where the sum of the Gaussians of all blocks has its maximum."""
    density = (weight / noise * np.exp(-0.5 * ((_STEPS[:, None] - values) / noise) ** 2)).sum(axis=1)
    return float(_STEPS[density.argmax()])


def _windows(values: Float[np.ndarray, "T N"]) -> list[Float[np.ndarray, "window N"]]:
    return [values[t : t + _LINE.size] for t in range(len(values) - _LINE.size + 1)]


@jax.jit
def _responses(
    taus: Float[Array, " points"], frame_time_ms: Float[ArrayLike, ""], readout_delay_ms: Float[ArrayLike, ""]
) -> Float[Array, "points window"]:
    """Response at rest of the first frames of a run from dark."""
    release = ChargeReleaseLag(start="dark")
    return jax.vmap(lambda tau: release.matrix(tau, frame_time_ms, readout_delay_ms, _LINE.size).sum(axis=1))(taus)


def as_recognised(scene: Scene, counts: Float[np.ndarray, "T H W"]) -> tuple[Scene, str | None]:
    """The scene with the start that its first frames show, and a sentence where that is from dark."""
    release = scene.operator.stage(ChargeReleaseLag)
    if release is None or release.start == "dark":
        return scene, None
    found = start_evidence(scene, counts)
    if found is None or not found.from_dark:
        return scene, None
    sentence = (
        f"the run starts from dark: its first frame lacks {100 * found.missing:.2g} % of the signal of the "
        f"next ones, as after a pause of the beam (log evidence {found.log_ratio:.1f} over a steady state)"
    )
    stages = ["dark-start"]
    metadata = {**scene.metadata, RECOGNITION: {"stages": stages, "sentence": sentence}}
    return replace(scene, operator=extended(scene.operator, stages), metadata=metadata), sentence
