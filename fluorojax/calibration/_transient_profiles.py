"""Opacity profiles across tracked devices, and the least squares that both likelihoods share."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from fluorojax.calibration._transient_tracks import ACROSS, ALONG, Tracks, background, find_tracks

BLOCK = 8
"""Side of the blocks whose scores are taken as independent, pixels."""
_PROFILE_SD = 1.05


@dataclass(frozen=True)
class Profiles:
    """Tracks that look like devices, with what their profiles need."""

    tracks: Tracks
    touched: Bool[np.ndarray, "T H W"]
    weight: Float[np.ndarray, "n u"]
    counts: Float[np.ndarray, " n"]
    """Background of each profile, as the number of quanta that would be as noisy without electronic noise."""
    amplitude: Float[np.ndarray, " n"]

    def opacity(self, signal: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "n u"]:
        """1 − signal/background along the normals; 0 where the background is unknown.

        The background is that of ``signal``: one made with another lag would hold a part of the ghost.
        """
        level, known = background(signal, self.touched)
        # Both are averaged over the known pixels only, so that their ratio is an opacity.
        light, level = (self.tracks.profiles(each * known) for each in (signal, level))
        return np.where(self.weight > 0, 1.0 - light / np.maximum(level, 1e-3), 0.0)

    def __getitem__(self, keep: Bool[np.ndarray, " n"]) -> "Profiles":
        kept = (getattr(self, name)[keep] for name in ("weight", "counts", "amplitude"))
        return Profiles(self.tracks[keep], self.touched, *kept)


def device_profiles(
    counts: Float[np.ndarray, "T H W"], signal: Float[np.ndarray, "T H W"], electronic_variance: float = 0.0
) -> Profiles | None:
    """Tracks whose opacity profile is that of a single thin device on a known background; ``None`` without any.

    ``counts`` are without gain drift, ``signal`` is the same with the nominal lag undone; ``electronic_variance``,
    quanta², adds to the noise of a count.
    """
    tracks, touched = find_tracks(counts, signal, electronic_variance=electronic_variance)
    if not len(tracks.frame):
        return None
    level, known = background(signal, touched)
    known = known.astype(float)
    share = tracks.profiles(known)
    weight = np.where(share > 0.35, share, 0.0)
    level = tracks.profiles(level * known)
    mean = (weight * level / np.maximum(share, 0.1)).sum(1) / np.maximum(weight.sum(1), 1e-6)
    mean = mean * (mean / np.maximum(mean + electronic_variance, 1e-6))
    found = Profiles(tracks, touched, weight, mean, np.zeros(len(mean)))

    opacity, shape = found.opacity(signal), np.broadcast_to(gaussian(ACROSS), weight.shape)
    flat, slope = np.ones_like(weight), np.broadcast_to(ACROSS, weight.shape)
    bare = project_out(shape, np.stack([flat, slope], axis=1), weight)
    amplitude = (bare * weight * opacity).sum(1) / np.maximum((bare * weight * shape).sum(1), 1e-6)
    device = np.stack([flat, slope, shape, shape * ACROSS, shape * ACROSS**2], axis=1)
    misfit = (weight * project_out(opacity, device, weight) ** 2).sum(1)
    misfit *= mean * len(ALONG) / np.maximum(weight.sum(1) * (1 - 5 / len(ACROSS)), 1e-6)

    row, column = (tracks.point[:, i] for i in (0, 1))
    edge = np.abs(ACROSS).max() + 1
    height, width = counts.shape[1:]
    inside = (row > edge) & (row < height - 1 - edge) & (column > edge) & (column < width - 1 - edge)
    complete = (weight[:, np.abs(ACROSS) <= 2] > 0).all(1) & ((weight > 0).sum(1) >= 11)
    keep = inside & complete & (mean > 0.3) & (amplitude > 0.15) & (amplitude < 1.2) & (misfit < 3.0)
    return Profiles(tracks, touched, weight, mean, amplitude)[keep]


def blocks_of(tracks: Tracks) -> Int[np.ndarray, " n"]:
    """Number of the block each point lies in; a block keeps its pixels through all frames."""
    row, column = (tracks.point // BLOCK).astype(int).T
    return np.unique(row * (column.max() + 1) + column, return_inverse=True)[1]


def gaussian(u: np.ndarray) -> np.ndarray:
    """Cross-section that devices are compared with (σ = 1.05 px), at ``u`` pixels from the axis."""
    return np.exp(-0.5 * (u / _PROFILE_SD) ** 2)


def project_out(
    target: Float[np.ndarray, "n u"], basis: Float[np.ndarray, "n k u"], weight: Float[np.ndarray, "n u"]
) -> Float[np.ndarray, "n u"]:
    """Residual (n, u) of ``target`` after weighted least squares on the rows of ``basis`` (n, k, u)."""
    gram = np.einsum("nku,nu,nlu->nkl", basis, weight, basis) + 1e-6 * np.eye(basis.shape[1])
    moments = np.einsum("nku,nu,nu->nk", basis, weight, target)
    return target - np.einsum("nk,nku->nu", np.linalg.solve(gram, moments[..., None])[..., 0], basis)
