"""Lag and exposure window from fast transients: devices that move farther in a frame than they are wide.

A Gaussian model of the scene with a free temporal spectrum uses second moments only. It cannot separate a filter along
time from that spectrum, so it determines neither. A catheter that crosses pixels is different: it leaves a ghost behind
it and none ahead of it, and it looks wider the faster it moves, whatever else happens in the scene.

1. Devices are tracked, frame by frame, by oriented line filters; each point of a track knows where its device crosses
   the normal one frame earlier, ``u₋``, and one later, ``u₊`` (pixels).
2. For a trial time constant τ the lag is undone exactly, ``s(τ) = L(τ)⁻¹ y`` with the matrix L of
   :class:`fluorojax.physics.lag.ChargeReleaseLag`, and the opacity ``R(u) = 1 − s/b`` is sampled along each normal; b
   is the background, interpolated in time from frames that no device touches.
3. **Lag.** A tube is symmetric about its axis, so the *odd* part of R holds what is left of the ghost at ``u₋`` and
   nothing of the device. Point i measures it by weighted least squares against ``h(u) = G(u − u₋) − G(u + u₋)``, after
   projecting out a constant, a slope, the profile G and its shift, widening and skewness. The odd part also is the
   time-reversed control: a steady device has ``u₊ ≈ −u₋``, where h has the opposite sign. At the true τ the weighted
   sum ``S(τ) = Σ_i w_i γ_i(τ)`` (each γ clipped at ±3 sd) has zero mean, a moment condition, hence
   ``log L(τ) = −(ν+1)/2 · log(1 + S²/(ν V))`` with V the sandwich variance over blocks of 8 × 8 pixels and all frames
   (at least the Poisson variance), and ν + 1 the effective number of blocks.
4. **Window.** Exposure convolves the profile with a box of width ``w v``, v the speed across the device (px/ms), and
   keeps the area under it. Profiles of all speeds share one unknown width per class of device; see
   :func:`fluorojax.calibration._transient_window.window_log_likelihood`.

Slow devices have ``u₋ ≈ 0``: h lies in the span of what is projected out, no profile is widened, no information
remains, and both likelihoods are flat.

Limits: the widening by a short window is too small to be seen (8 ms at 0.1 px/ms adds 0.05 px² to about 1.1 px²).
Windows below 8 ms can therefore be separated from long ones, but hardly from each other. The profiles of a catheter and
of the wire in it differ more than the effects of two windows. If few pixels are fast, or if all fast pixels belong to
one thin wire, the window keeps its prior.
"""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fluorojax.calibration._transient_profiles import Profiles, blocks_of, device_profiles, gaussian, project_out
from fluorojax.calibration._transient_tracks import ACROSS, ALONG
from fluorojax.calibration._transient_window import window_log_likelihood
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.physics.lag import ChargeReleaseLag

INFLATION = 1.3
"""Factor on the sandwich variance, for background errors that neighbouring blocks share."""
_NODES = 5
_RELEASE = ChargeReleaseLag()


# Smaller sequences hold no track of a device that moves fast.
_MIN_FRAMES = 5
_MIN_PIXELS = 16


@dataclass(frozen=True)
class TransientLikelihood:
    """Log-likelihoods on grids over the spec ranges (ms); the two parameters count as independent given the tracks.

    Only differences within an array have a meaning. A flat array means that the data do not determine the parameter.
    """

    motion_blur_grid: Float[np.ndarray, " points"]
    motion_blur_log_likelihood: Float[np.ndarray, " points"]
    lag_grid: Float[np.ndarray, " points"]
    lag_log_likelihood: Float[np.ndarray, " points"]
    motion_blur_cells: float
    """Effective number of independent blocks that informed ``motion_blur``; 0 where the likelihood is flat."""
    lag_cells: float
    """The same for ``lag``."""


def transient_log_likelihood(
    y: Float[ArrayLike, "T H W"],
    acquisition: Acquisition,
    ranges: SpecRanges,
    gain_drift: Float[ArrayLike, ""] | float,
    release: ChargeReleaseLag = _RELEASE,
    *,
    points: int = 41,
) -> TransientLikelihood:
    """Marginal likelihood of the exposure window and of the lag from devices that move fast.

    NumPy and SciPy, one scene at a time (the number of tracks differs from scene to scene); deterministic; about one
    second for 32 × 128 × 128.

    **Arguments:**

    - `y`: counts (T, H, W).
    - `acquisition`: nominal protocol of the scene, unbatched.
    - `ranges`: ranges of the spec parameters; the grids span them, ends included.
    - `gain_drift`: gain drift, %/frame, divided out of the counts first.
    - `release`: the lag stage of the imaging chain.
    - `points`: grid points of each parameter.

    **Returns:** a :class:`TransientLikelihood`. Sequences of fewer than five frames or of images smaller than
    16 × 16, and scenes without fast devices, give flat likelihoods.

    **Raises:** ``ValueError`` for counts that are not (T, H, W), or fewer than two points.
    """
    counts = np.asarray(y, dtype=np.float64)
    if counts.ndim != 3:
        raise ValueError(f"y has shape {counts.shape}; expected (T, H, W)")
    if points < 2:
        raise ValueError(f"points is {points}; expected at least 2")
    bounds = ranges.as_dict()
    blur_grid, lag_grid = (np.linspace(*bounds[name], points) for name in ("motion_blur", "lag"))
    blur_likelihood, blur_cells = np.zeros(points), 0.0
    lag_likelihood, lag_cells = np.zeros(points), 0.0
    if len(counts) >= _MIN_FRAMES and min(counts.shape[1:]) >= _MIN_PIXELS:
        drift = (1.0 + float(np.asarray(gain_drift)) / 100.0) ** np.arange(len(counts))
        counts = counts / drift[:, None, None]
        nodes = np.linspace(*bounds["lag"], _NODES)
        undo = _inverse_lag(release, nodes, acquisition, len(counts))
        electronic = acquisition.as_dict()["electronic_noise"] ** 2
        profiles = device_profiles(counts, np.tensordot(undo[_NODES // 2], counts, axes=1), electronic)
        if profiles is not None:
            lag_likelihood, lag_cells = _lag_log_likelihood(counts, profiles, undo, nodes, lag_grid)
            likely = np.exp(lag_likelihood - lag_likelihood.max())
            mean = np.sum(likely * lag_grid, keepdims=True) / np.sum(likely)
            signal = np.tensordot(_inverse_lag(release, mean, acquisition, len(counts))[0], counts, axes=1)
            protocol = acquisition.as_dict()
            blur_likelihood, blur_cells = window_log_likelihood(
                profiles, profiles.opacity(signal), protocol["pulse_width_ms"] + blur_grid, protocol["frame_time_ms"]
            )
    return TransientLikelihood(blur_grid, blur_likelihood, lag_grid, lag_likelihood, blur_cells, lag_cells)


@partial(jax.jit, static_argnames="frames")
def _lag_matrices(
    release: ChargeReleaseLag,
    taus: Float[Array, " nodes"],
    frame_time_ms: Float[ArrayLike, ""],
    readout_delay_ms: Float[ArrayLike, ""],
    frames: int,
) -> Float[Array, "nodes T T"]:
    """The matrices of the lag at several time constants; one program instead of one for each of its operations."""
    return jax.vmap(lambda tau: release.matrix(tau, frame_time_ms, readout_delay_ms, frames))(taus)


def _inverse_lag(
    release: ChargeReleaseLag, nodes: np.ndarray, acquisition: Acquisition, frames: int
) -> Float[np.ndarray, "k T T"]:
    protocol = acquisition.as_dict()
    times = protocol["frame_time_ms"], protocol["readout_delay_ms"]
    matrices = np.asarray(_lag_matrices(release, protocol["lag_ms"] + nodes, *times, frames), np.float64)
    return np.linalg.inv(matrices)


def _lag_log_likelihood(
    counts: np.ndarray, profiles: Profiles, undo: np.ndarray, nodes: np.ndarray, grid: np.ndarray
) -> tuple[Float[np.ndarray, " points"], float]:
    """Log-likelihood of the lag on ``grid`` and the effective number of blocks behind it."""
    before = np.abs(profiles.tracks.before)
    profiles = profiles[(before > 0.7) & (before < 8.0)]
    tracks, weight, amplitude = profiles.tracks, profiles.weight, profiles.amplitude
    if len(amplitude) < 5:
        return np.zeros_like(grid), 0.0
    there = tracks.before[:, None]
    ghost = gaussian(ACROSS - there) - gaussian(ACROSS + there)
    shape = np.broadcast_to(gaussian(ACROSS), weight.shape)
    slope = np.broadcast_to(ACROSS, weight.shape)
    device = [np.ones_like(weight), slope, shape, shape * slope, shape * slope**2, shape * slope**3]
    template = weight * project_out(ghost, np.stack(device, axis=1), weight)
    information = (template * ghost).sum(1)
    # The background of about eight frames adds to the noise of the profile.
    noise = 1.2 * (template**2).sum(1) / (len(ALONG) * profiles.counts)

    score = np.stack([(template * profiles.opacity(np.tensordot(inverse, counts, 1))).sum(1) for inverse in undo])
    # Clipped at every trial value by itself, so that the sum keeps its zero at the truth.
    score = np.clip(score, -3.0 * np.sqrt(noise), 3.0 * np.sqrt(noise))
    importance = amplitude * profiles.counts
    block = blocks_of(tracks)
    blocks = np.stack([np.bincount(block, importance * each) for each in score])
    power = np.bincount(block, importance * amplitude * information)
    cells = float(power.sum() ** 2 / max((power**2).sum(), 1e-12))
    if cells < 2.0:
        return np.zeros_like(grid), 0.0
    total = blocks.sum(axis=1)
    scatter = ((blocks - np.outer(total, power / power.sum())) ** 2).sum(axis=1) * cells / (cells - 1.0)
    least = (importance**2 * noise).sum()

    def on_grid(values: np.ndarray) -> np.ndarray:
        return np.polynomial.Polynomial.fit(nodes, values, 4)(grid)

    variance = INFLATION * np.maximum(on_grid(scatter), least)
    freedom = cells - 1.0
    return -0.5 * (freedom + 1.0) * np.log1p(on_grid(total) ** 2 / (freedom * variance)), cells
