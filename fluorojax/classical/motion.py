"""Temporal averaging along the motion."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from fluorojax.classical.anscombe import Stabilised


@dataclass(frozen=True)
class MotionCompensated(Stabilised):
    """Mean over neighbouring frames, each warped to the current one by optical flow (OpenCV DIS) and gated.

    The flow is found on stabilised frames smoothed by ``flow_pixels`` and ``flow_frames``. A neighbour counts where
    forward and backward flow agree within ``closure`` pixels and its locally smoothed difference from the current frame
    lies within the noise: weight ``exp(−½ (d/(gate·σ_d))²)``. Total variation with
    ``weight`` then reduces the remaining noise (0 leaves it out). X-ray layers are transparent, so that one flow per
    pixel is an approximation.
    """

    radius: int = 7
    flow_pixels: float = 1.0
    flow_frames: float = 0.7
    closure: float = 2.0
    gate: float = 1.5
    gate_pixels: float = 1.0
    weight: float = 0.2

    def denoise(self, z: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
        """See :class:`~fluorojax.classical.anscombe.Stabilised`."""
        cv2: Any = import_module("cv2")
        cv2.setNumThreads(1)
        solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        calm = gaussian_filter(z, (self.flow_frames, self.flow_pixels, self.flow_pixels))
        low, high = float(calm.min()), float(calm.max())
        coded = np.rint((calm - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
        rows, columns = np.mgrid[: z.shape[1], : z.shape[2]].astype(np.float32)
        # sd of the smoothed difference of two frames of unit noise
        spread = self.gate * np.sqrt(2.0) / (2 * np.sqrt(np.pi) * self.gate_pixels)

        def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
            at = (columns + flow[..., 0], rows + flow[..., 1])
            return cv2.remap(image, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)

        kept: dict[tuple[int, int], np.ndarray] = {}

        def flow(start: int, end: int) -> np.ndarray:
            """Needed twice, as the forward flow of one frame and the backward flow of another."""
            if (start, end) in kept:
                return kept.pop((start, end))
            kept[start, end] = solver.calc(coded[start], coded[end], None)
            return kept[start, end]

        out = np.empty_like(z)
        for t in range(len(z)):
            total, weights = z[t].astype(np.float32), np.ones(z.shape[1:], np.float32)
            for s in range(max(0, t - self.radius), min(len(z), t + self.radius + 1)):
                if s == t:
                    continue
                there, back = flow(t, s), flow(s, t)
                loop = np.hypot(*np.moveaxis(there + warp(back, there), -1, 0))
                moved = warp(z[s], there)
                difference = gaussian_filter(moved - z[t], self.gate_pixels)
                weight = np.exp(-0.5 * (difference / spread) ** 2) * (loop < self.closure)
                total += weight * moved
                weights += weight
            out[t] = total / weights
        if self.weight > 0:
            restoration: Any = import_module("skimage.restoration")
            out = restoration.denoise_tv_chambolle(out, weight=self.weight)
        return out
