"""Denoisers of other packages, on stabilised counts: scikit-image, OpenCV, and where installed bm3d and bm4d."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float

from fluorojax.classical.anscombe import Stabilised

_BM3D_MIN_SIZE = 16


@dataclass(frozen=True)
class TotalVariation2D(Stabilised):
    """Total variation of each frame (Chambolle 2004), scikit-image; ``weight`` in units of the noise.

    The solver runs at its default tolerance. A tighter one lost 0.1 to 0.5 dB on the tuning scenes, here and in 3-D.
    """

    weight: float = 1.2

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        return np.stack([_restoration().denoise_tv_chambolle(frame, weight=self.weight) for frame in z])


@dataclass(frozen=True)
class TotalVariation3D(Stabilised):
    """Total variation over space and time (Chambolle 2004), scikit-image; ``weight`` in units of the noise."""

    weight: float = 0.6

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        return _restoration().denoise_tv_chambolle(z, weight=self.weight)


@dataclass(frozen=True)
class NonLocalMeans(Stabilised):
    """Non-local means of each frame (Buades et al. 2005), scikit-image; ``strength`` in units of the noise."""

    strength: float = 0.6
    patch: int = 5
    reach: int = 6

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        settings = {"patch_size": self.patch, "patch_distance": self.reach, "h": self.strength, "sigma": 1.0}
        return np.stack([_restoration().denoise_nl_means(frame, fast_mode=True, **settings) for frame in z])


@dataclass(frozen=True)
class Wavelets(Stabilised):
    """Soft thresholding of 3-D wavelets, scikit-image, with a threshold per subband (BayesShrink, Chang et al. 2000).

    The result is averaged over ``shifts`` diagonal shifts of the sequence, which removes the block artefacts of a
    decimated transform.
    ``noise`` is the noise that the thresholds assume; the true one is 1.
    """

    wavelet: str = "haar"
    levels: int = 3
    noise: float = 1.2
    shifts: int = 4

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        pywt: Any = import_module("pywt")
        levels = max(1, min(self.levels, pywt.dwtn_max_level(z.shape, self.wavelet)))
        total = np.zeros_like(z)
        for shift in range(self.shifts):
            moved = np.roll(z, (shift, shift), (1, 2))
            found = _restoration().denoise_wavelet(
                moved,
                sigma=self.noise,
                wavelet=self.wavelet,
                wavelet_levels=levels,
                method="BayesShrink",
                mode="soft",
                rescale_sigma=False,
            )
            total += np.roll(found, (-shift, -shift), (1, 2))
        return total / self.shifts


@dataclass(frozen=True)
class TemporalNonLocalMeans(Stabilised):
    """Non-local means over neighbouring frames, OpenCV 5 (``fastNlMeansDenoisingMulti``; 4.10 refuses 16 bits).

    L1 distance; ``strength`` is in units of the noise. Frames beyond either end are mirrored.
    """

    strength: float = 0.8
    frames: int = 7
    patch: int = 5
    search: int = 9

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        cv2: Any = import_module("cv2")
        cv2.setNumThreads(1)
        low = float(z.min())
        unit = 65535 / max(float(z.max()) - low, 1.0)
        # The window must be shorter than the sequence, and mirrored frames must exist.
        half = min(self.frames // 2, len(z) - 1)
        coded = np.rint((np.pad(z, ((half, half), (0, 0), (0, 0)), mode="reflect") - low) * unit).astype(np.uint16)
        out = [
            cv2.fastNlMeansDenoisingMulti(
                list(coded),
                t + half,
                2 * half + 1,
                h=[self.strength * unit],
                templateWindowSize=self.patch,
                searchWindowSize=self.search,
                normType=cv2.NORM_L1,
            )
            for t in range(len(z))
        ]
        return np.stack(out).astype(np.float32) / np.float32(unit) + np.float32(low)


@dataclass(frozen=True)
class BM3D(Stabilised):
    """Block matching of each frame (Dabov et al. 2007), package bm3d: non-commercial licence, never a dependency."""

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        package: Any = import_module("bm3d")
        if min(z.shape[1:]) < _BM3D_MIN_SIZE:  # smaller frames crash the binary
            raise ValueError(f"frames are {z.shape[1]}×{z.shape[2]}; expected at least {_BM3D_MIN_SIZE} pixels a side")
        profile = package.BM3DProfile()
        profile.num_threads = 1  # repeatable
        return np.stack([np.squeeze(package.bm3d(frame, 1.0, profile)) for frame in z])


@dataclass(frozen=True)
class BM4D(Stabilised):
    """Block matching over space and time (Maggioni et al. 2013), package bm4d: non-commercial, never a dependency."""

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        package: Any = import_module("bm4d")
        profile = package.BM4DProfile()
        profile.num_threads = 1  # repeatable
        return package.bm4d(z, 1.0, profile).reshape(z.shape)


def _restoration() -> Any:
    return import_module("skimage.restoration")
