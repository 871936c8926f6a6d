"""Likelihood of the exposure window from how much wider devices look the faster they move."""

import numpy as np
from jaxtyping import Float
from scipy.special import logsumexp, ndtr

from fluorojax.calibration._transient_profiles import Profiles, blocks_of, gaussian, project_out
from fluorojax.calibration._transient_tracks import ACROSS, ALONG, Tracks

INFLATION = 2.0
"""Factor on the sandwich variance: with 1.3 simulated fast scenes scattered up to 1.3 times as far as they said."""
SLOWEST = 0.06
"""Least speed across the device, px/ms: slower points add background structure that looks wide, and little else."""
_PARTS = 12
_WIDTHS = np.linspace(0.65, 1.5, 9)
_WINDOWS = 16


def window_log_likelihood(
    profiles: Profiles,
    opacity: Float[np.ndarray, "n u"],
    grid: Float[np.ndarray, " points"],
    frame_time_ms: float,
) -> tuple[Float[np.ndarray, " points"], float]:
    """Log-likelihood of windows w (``grid``, ms) and the effective number of blocks behind it; 0 where flat.

    ``opacity`` is that of the profiles with the lag undone. Point i, moving at v_i across its device, has the profile
    ``a_i · Gaussian(σ_c) ∗ box(w v_i)`` on a constant and a slope, with a small shift. The width σ_c is shared by all
    points of a class c and integrated over; classes are twelfths of the distribution of the area under the profile,
    which exposure does not change, so that a thin fast wire is not compared with a thick slow catheter. The sum over
    points is multiplied by the ratio of naive to sandwich variance of the score (efficient for σ_c).
    """
    flat = np.zeros_like(grid)
    if len(profiles.counts) < 20:
        return flat, 0.0
    velocity = _speeds(profiles.tracks) / frame_time_ms
    area = _areas(profiles, opacity)
    keep = (velocity >= SLOWEST) & (profiles.amplitude > 0.3)
    if keep.sum() < 20:
        return flat, 0.0
    profiles, opacity, velocity, area = profiles[keep], opacity[keep], velocity[keep], area[keep]
    windows = np.linspace(grid[0], grid[-1], _WINDOWS)
    likelihood = _point_log_likelihood(profiles, opacity, velocity, windows)
    part = np.searchsorted(np.quantile(area, np.arange(1, _PARTS) / _PARTS), area)

    joint = np.zeros((_PARTS, _WINDOWS, len(_WIDTHS)))
    np.add.at(joint, part, likelihood)
    marginal = np.asarray(logsumexp(joint, axis=2))
    total = marginal.sum(axis=0)
    best = int(np.clip(total.argmax(), 1, _WINDOWS - 2))
    posterior = np.exp(joint[:, best] - marginal[:, best, None])[part]
    score = ((likelihood[:, best + 1] - likelihood[:, best - 1]) * posterior).sum(1)
    of_width = ((likelihood[:, best, 2:] - likelihood[:, best, :-2]) * posterior[:, 1:-1]).sum(1)
    shared = np.bincount(part, score * of_width, _PARTS) / np.maximum(np.bincount(part, of_width**2, _PARTS), 1e-9)
    score -= shared[part] * of_width

    block = blocks_of(profiles.tracks)
    naive, sums = np.bincount(block, score**2), np.bincount(block, score)
    cells = float(naive.sum() ** 2 / max((naive**2).sum(), 1e-12))
    if cells < 2.0:
        return flat, 0.0
    sandwich = INFLATION * ((sums - sums.mean()) ** 2).sum()
    trust = np.clip(naive.sum() / max(sandwich, 1e-9), 0.02, 1.0)
    from scipy.interpolate import CubicSpline  # slow to import, and few scenes have devices that are fast enough

    return trust * CubicSpline(windows, total - total.max())(grid), cells


def _speeds(tracks: Tracks) -> Float[np.ndarray, " n"]:
    """Speeds across the device, pixels per frame.

    The central difference of a swing sin(ωt) is too small by sin(ωΔ)/ωΔ; ωΔ = 2 atan(½ · acceleration/velocity), both
    rms over the tracks.
    """
    step, bend = 0.5 * (tracks.after - tracks.before), np.clip(tracks.after + tracks.before, -3.0, 3.0)
    turn = 2.0 * np.arctan(0.5 * np.sqrt(np.mean(bend**2) / max(np.mean(step**2), 0.05)))
    return np.abs(step) * min(turn / max(np.sin(turn), 1e-3), 1.2) if turn > 0 else np.abs(step)


def _areas(profiles: Profiles, opacity: Float[np.ndarray, "n u"]) -> Float[np.ndarray, " n"]:
    """Area under the profiles, smoothed along devices and along their paths through time."""
    weight, tracks = profiles.weight, profiles.tracks
    bell = np.broadcast_to(np.exp(-0.5 * (ACROSS / 2.2) ** 2), weight.shape)
    basis = np.stack([np.ones_like(weight), np.broadcast_to(ACROSS, weight.shape)], axis=1)
    bare = project_out(bell, basis, weight) * weight
    area = (bare * opacity).sum(1) / np.maximum((bare * bell).sum(1), 1e-6)

    from scipy.spatial import KDTree

    frames_apart = 60.0  # farther than any radius below, so that only points of the wanted frame are neighbours
    here = np.column_stack([tracks.point, tracks.frame * frames_apart])
    tree, count = KDTree(here), len(area)
    to, source, strength = [np.arange(count)], [np.arange(count)], [np.ones(count)]
    for shift, frames, radius in ((0.0 * tracks.after, 0, 4.0), (tracks.after, 1, 3.0), (tracks.before, -1, 3.0)):
        there = here + np.column_stack([tracks.normal * shift[:, None], np.full(count, frames * frames_apart)])
        pairs = KDTree(there).sparse_distance_matrix(tree, radius, output_type="ndarray")
        to.append(pairs["i"])
        source.append(pairs["j"])
        strength.append(np.exp(-0.5 * (2.0 * pairs["v"] / radius) ** 2))
    rows, columns = np.concatenate(to), np.concatenate(source)
    share = np.concatenate(strength) * profiles.counts[columns]
    for _ in range(3):
        area = np.bincount(rows, share * area[columns], count) / np.bincount(rows, share, count)
    return area


def _point_log_likelihood(
    profiles: Profiles, opacity: np.ndarray, velocity: np.ndarray, windows: np.ndarray
) -> Float[np.ndarray, "n windows widths"]:
    """Each point's log-likelihood, its amplitude, level, slope and shift at their least-squares values."""
    weight = profiles.weight
    root, slope = np.sqrt(weight), np.broadcast_to(ACROSS, weight.shape)
    basis = np.stack([np.ones_like(weight), slope, slope * gaussian(ACROSS)], axis=1) * root[:, None]
    gram = np.einsum("nku,nlu->nkl", basis, basis) + 1e-6 * np.eye(3)
    remove = np.eye(len(ACROSS)) - np.einsum("nku,nkl,nlv->nuv", basis, np.linalg.inv(gram), basis)
    data = np.einsum("nuv,nv->nu", remove, root * opacity)
    half = (0.5 * np.outer(velocity, windows) + 1e-3)[:, :, None, None]
    width = _WIDTHS[:, None]
    shape = (ndtr((ACROSS + half) / width) - ndtr((ACROSS - half) / width)) / (2.0 * half)
    shape = np.einsum("nuv,nwsv->nwsu", remove, shape * root[:, None, None])
    overlap = np.maximum(np.einsum("nwsu,nu->nws", shape, data), 0.0)
    precision = len(ALONG) * profiles.counts / 1.3
    return 0.5 * precision[:, None, None] * overlap**2 / np.maximum((shape**2).sum(-1), 1e-9)
