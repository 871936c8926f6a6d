"""The imaging chain of a run that is longer than memory, calibrated on the whole of it.

The drift is that of the whole run: its reduced model needs no more than the sums of cells of 4 × 4 pixels, and of a run
of more than 256 frames the sums of consecutive frames. Window and lag show in devices that move fast, which need every
frame, but not all frames: stretches that are spread over the run are looked at one after the other, and their
likelihoods are multiplied.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fluorojax.calibration.drift import STRIDE, cell_sums, drift_from_cells, scattered_quanta
from fluorojax.calibration.posterior import (
    Marginal,
    SpecPosterior,
    calibrate,
    calibrate_shares,
    counts_from_the_beam,
    first_frames,
    levelled,
)
from fluorojax.calibration.shares import unknown_shares, with_known_shares
from fluorojax.calibration.start import StartEvidence
from fluorojax.calibration.transients import transient_log_likelihood
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import GAIN_DRIFT, LAG, MOTION_BLUR
from fluorojax.io.long_runs import LongRun
from fluorojax.physics.lag import ChargeReleaseLag
from fluorojax.physics.scatter import Scatter

MOST_TIMES = 256
"""Frames, or sums of frames, that the drift is fitted to."""
STRETCHES = 8
"""Most stretches of frames in which fast devices are looked for."""
# Counts of a stretch, and its fewest and most frames.
_STRETCH_PIXELS, _SHORTEST, _LONGEST = 1 << 22, 12, 64

_scattered = jax.jit(scattered_quanta)


def calibrate_run(run: LongRun) -> SpecPosterior:
    """:func:`~fluorojax.calibration.posterior.calibrate` of a run that is read part by part, in bounded memory.

    A run of one stretch (64 frames at most, fewer where images are large) is calibrated as any scene. Raises
    :class:`~fluorojax.io.InputError` where the counts cannot be read.
    """
    total, height, width = run.shape
    length = int(np.clip(_STRETCH_PIXELS // (height * width), _SHORTEST, _LONGEST))
    if total <= length:
        return calibrate(run.part(slice(0, total)))
    head = run.head
    bounds, parameters = head.ranges.as_dict(), head.operator.parameters
    marginals = {parameter.name: Marginal.flat(*bounds[parameter.name]) for parameter in parameters}
    if unknown_shares(head.operator):
        marginals |= calibrate_shares(run.part(slice(0, length)))
    drift = GAIN_DRIFT.nominal
    from_dark = _from_dark(run, length, marginals)
    if from_dark is not None:
        marginals[LAG.name] = Marginal.from_log(from_dark.lag_grid, from_dark.lag_log_likelihood)
    if GAIN_DRIFT in parameters and min(height, width) >= STRIDE:
        marginals[GAIN_DRIFT.name] = _drift(run, bounds[GAIN_DRIFT.name], marginals)
        drift = marginals[GAIN_DRIFT.name].quantile(0.5)
    release = head.operator.stage(ChargeReleaseLag)
    if {MOTION_BLUR, LAG} <= set(parameters) and release is not None:
        found = []
        for start in np.unique(np.linspace(0, total - length, min(STRETCHES, total // length)).round().astype(int)):
            part = with_known_shares(run.part(slice(int(start), int(start) + length)), marginals)
            counts, acquisition = counts_from_the_beam(part)
            found.append(transient_log_likelihood(counts, acquisition, part.ranges, drift, release))
        blur = np.sum([each.motion_blur_log_likelihood for each in found], axis=0)
        lag = np.sum(
            [each.lag_log_likelihood for each in (*found, *([] if from_dark is None else [from_dark]))], axis=0
        )
        marginals[MOTION_BLUR.name] = Marginal.from_log(found[0].motion_blur_grid, blur)
        marginals[LAG.name] = Marginal.from_log(found[0].lag_grid, lag)
    return SpecPosterior(marginals, parameters)


def _from_dark(run: LongRun, length: int, marginals: dict[str, Marginal]) -> StartEvidence | None:
    release = run.head.operator.stage(ChargeReleaseLag)
    if release is None or release.start == "steady":
        return None
    first = with_known_shares(run.part(slice(0, length)), marginals)
    return first_frames(first, counts_from_the_beam(first)[0])


def _drift(run: LongRun, bounds: tuple[float, float], found: dict[str, Marginal]) -> Marginal:
    cells, background, variances = [], [], []
    for frames in run.slabs():
        part = with_known_shares(run.part(frames), found)
        counts, acquisition = counts_from_the_beam(part)
        counts = levelled(part, counts, found)
        variances.append(acquisition.as_dict()["electronic_noise"] ** 2)
        cells.append(np.asarray(cell_sums(jnp.asarray(counts))))
        scatter, fraction = part.operator.stage(Scatter), acquisition.as_dict()["scatter_fraction"]
        if scatter is None or fraction == 0:
            background.append(np.zeros_like(cells[-1]))
        else:
            background.append(np.asarray(cell_sums(_scattered(counts, np.float32(fraction), scatter))))
    together = -(-run.shape[0] // MOST_TIMES)
    sums = [_summed(np.concatenate(parts), together) for parts in (cells, background)]
    noise = float(together * np.mean(variances)) ** 0.5
    protocol = Acquisition.from_dict({**run.head.acquisition.as_dict(), "electronic_noise": noise})
    # The drift from sum to sum is that of so many frames.
    low, high = (100.0 * ((1.0 + end / 100.0) ** together - 1.0) for end in bounds)
    grid, log = map(np.asarray, drift_from_cells(*sums, protocol, low, high))
    steps = np.log1p(grid.astype(float) / 100.0) / together
    return Marginal.from_log(100.0 * np.expm1(steps), log + (together - 1) * steps)


def _summed(values: np.ndarray, together: int) -> np.ndarray:
    frames = len(values) // together
    return values[: frames * together].reshape(frames, together, *values.shape[1:]).sum(axis=1)
