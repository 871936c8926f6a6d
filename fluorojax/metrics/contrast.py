"""Contrast of devices and vessels against their surroundings, and the error where something moves."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, generate_binary_structure, iterate_structure

from fluorojax.metrics.image import psnr
from fluorojax.metrics.interval_coverage import moving_pixels


def cnr(
    image: Float[np.ndarray, "*shape"], signal: Bool[np.ndarray, "..."], background: Bool[np.ndarray, "..."]
) -> float:
    """Contrast-to-noise ratio ``(mean over signal − mean over background)/std over background``, signed.

    The masks are broadcast to the image. All variation of the background counts as noise, that of the anatomy
    included. The ratio is infinite in a uniform background. Raises ``ValueError`` where a mask selects no pixel.
    """
    inside, outside = (np.broadcast_to(mask, image.shape) for mask in (signal, background))
    if not (inside.any() and outside.any()):
        raise ValueError("signal or background selects no pixel; expected at least one each")
    values = np.asarray(image, dtype=np.float64)
    contrast = float(values[inside].mean() - values[outside].mean())
    noise = float(values[outside].std())
    return contrast / noise if noise > 0 else float(np.copysign(np.inf, contrast))


def region_psnr(
    x_hat: Float[np.ndarray, "*shape"], x_true: Float[np.ndarray, "..."], mask: Bool[np.ndarray, "..."]
) -> float:
    """PSNR in dB over the pixels of ``mask``, which is broadcast to the sequence; NaN where it selects no pixel.

    The data range is 1.
    """
    if x_hat.shape != x_true.shape:
        raise ValueError(f"x_hat has shape {x_hat.shape}; expected {x_true.shape}, like x_true")
    inside = np.broadcast_to(mask, x_true.shape)
    return psnr(x_hat[inside], x_true[inside]) if inside.any() else float("nan")


def moving_psnr(x_hat: Float[np.ndarray, "*shape"], x_true: Float[np.ndarray, "..."]) -> float:
    """PSNR in dB over the moving pixels (:func:`fluorojax.metrics.moving_pixels`); NaN where no pixel moves."""
    return region_psnr(x_hat, x_true, moving_pixels(x_true))


@dataclass(frozen=True)
class DeviceContrast:
    """How a device stands out from a ring of background around it, pooled over frames."""

    contrast: float
    """Mean over the device minus mean over the ring, signed, in the unit of the images."""
    noise: float
    """Root mean square over frames of the standard deviation in the ring."""
    recovery: float
    """Contrast over true contrast; NaN without the truth. Temporal averaging of a moving device lowers it."""

    @property
    def cnr(self) -> float:
        """Contrast over noise; infinite without noise."""
        return self.contrast / self.noise if self.noise > 0 else float(np.copysign(np.inf, self.contrast))


def device_contrast(
    x_hat: Float[np.ndarray, "*shape"],
    device: Bool[np.ndarray, "..."],
    x_true: Float[np.ndarray, "..."] | None = None,
    *,
    gap: int = 2,
    width: int = 4,
    exclude: Bool[np.ndarray, "..."] | None = None,
) -> DeviceContrast:
    """Contrast and noise of a device in a sequence, frame by frame in a ring that follows it.

    The measure shows when a method smears a moving device. Smearing lowers the contrast of the device and leaves a
    trail in the ring around it, although the variance elsewhere falls. Contrast and trail both enter here.

    **Arguments:**

    - `x_hat`: (T, H, W) or (H, W).
    - `device`: where the device is in each frame, such as ``scene_masks(scene)["device"]`` of
      :mod:`fluorojax.simulation`; broadcast to ``x_hat``. Frames without it are left out.
    - `x_true`: the truth. With it the noise is the standard deviation of the *error* in the ring, without it that of
      the image, anatomy included.
    - `gap`, `width`: pixels between device and ring, and across the ring.
    - `exclude`: pixels kept out of the ring, such as other devices.

    **Raises** ``ValueError`` where shapes differ or no frame has both device and ring.
    """
    if x_true is not None and x_true.shape != x_hat.shape:
        raise ValueError(f"x_true has shape {x_true.shape}; expected {x_hat.shape}, like x_hat")
    frames = np.asarray(x_hat, dtype=np.float64).reshape(-1, *x_hat.shape[-2:])
    truth = None if x_true is None else np.asarray(x_true, dtype=np.float64).reshape(frames.shape)
    inside = np.broadcast_to(device, x_hat.shape).reshape(frames.shape)
    ring = ring_around(inside, gap, width)
    if exclude is not None:
        ring &= ~np.broadcast_to(exclude, x_hat.shape).reshape(frames.shape)
    usable = np.flatnonzero(inside.any(axis=(1, 2)) & ring.any(axis=(1, 2)))
    if usable.size == 0:
        raise ValueError("device and the ring around it share no frame; expected a mask that leaves background")

    def contrast(stack: np.ndarray) -> float:
        return float(np.mean([stack[t][inside[t]].mean() - stack[t][ring[t]].mean() for t in usable]))

    noise = frames if truth is None else frames - truth
    variance = np.mean([noise[t][ring[t]].var() for t in usable])
    found = contrast(frames)
    return DeviceContrast(found, float(np.sqrt(variance)), float("nan") if truth is None else found / contrast(truth))


def ring_around(mask: Bool[np.ndarray, "T H W"], gap: int, width: int) -> Bool[np.ndarray, "T H W"]:
    """Pixels farther than ``gap`` and at most ``gap + width`` from the mask in each frame, in city-block distance."""
    return grow(mask, gap + width) & ~grow(mask, gap)


def grow(mask: Bool[np.ndarray, "T H W"], pixels: int) -> Bool[np.ndarray, "T H W"]:
    """The mask and what lies within ``pixels`` of it in the same frame, in city-block distance."""
    if pixels == 0:
        return mask.copy()
    cross = iterate_structure(generate_binary_structure(2, 1), pixels)
    return binary_dilation(mask, np.asarray(cross)[None])


@dataclass(frozen=True)
class VesselScore:
    """How well a subtraction shows the true change of contrast agent. Values are in the unit of the subtraction."""

    recovery: float
    """Measured over true contrast, least squares over the vessels; 1 is unbiased."""
    rmse: float
    """Root mean square error over the vessels."""
    noise: float
    """Standard deviation over the background, where noise and misregistered anatomy remain."""
    cnr: float
    """Mean contrast over the vessels minus that over the background, over ``noise``."""
    z_vessels: float
    """Root mean square of the error in units of its stated standard deviation, on the vessels. The value is 1 where the
    stated errors are right; NaN where none are stated."""
    z_background: float
    """The same over the background."""
    pixels: int
    """Vessel pixels, over all frames."""


def vessel_score(
    subtraction: Float[np.ndarray, "*shape"],
    truth: Float[np.ndarray, "..."],
    std: Float[np.ndarray, "..."] | None = None,
    *,
    threshold: float = 0.1,
    gap: int = 3,
    exclude: Bool[np.ndarray, "..."] | None = None,
) -> VesselScore:
    """Score a subtraction against the true change of the vessels' attenuation since the mask.

    **Arguments:**

    - `subtraction`, `truth`, `std`: (T, H, W) or (H, W); values that are not finite in ``subtraction`` are left out.
    - `threshold`: pixels whose true change is at least this share of its largest count as vessel.
    - `gap`: pixels between vessels and background.
    - `exclude`: pixels that count as neither, such as devices.

    **Raises** ``ValueError`` where shapes differ or there is no vessel or no background.
    """
    for name, values in (("truth", truth), ("std", std)):
        if values is not None and values.shape != subtraction.shape:
            raise ValueError(f"{name} has shape {values.shape}; expected {subtraction.shape}, like the subtraction")
    change = np.asarray(truth, dtype=np.float64)
    usable = np.isfinite(subtraction)
    if exclude is not None:
        usable &= ~np.broadcast_to(exclude, subtraction.shape)
    vessel = np.abs(change) >= threshold * max(float(np.abs(change).max()), np.finfo(np.float32).tiny)
    near = grow(vessel.reshape(-1, *vessel.shape[-2:]), gap).reshape(vessel.shape)
    vessel, background = vessel & usable, ~near & usable
    if not (vessel.any() and background.any()):
        raise ValueError("truth shows no vessel, or nothing but vessels; expected a run in which contrast arrives")
    values = np.asarray(subtraction, dtype=np.float64)
    error = values - change
    noise = float(values[background].std())
    difference = float(values[vessel].mean() - values[background].mean())

    def spread(region: np.ndarray) -> float:
        return float("nan") if std is None else float(np.sqrt(np.mean((error[region] / std[region]) ** 2)))

    return VesselScore(
        recovery=float(np.sum(values[vessel] * change[vessel]) / np.sum(change[vessel] ** 2)),
        rmse=float(np.sqrt(np.mean(error[vessel] ** 2))),
        noise=noise,
        cnr=difference / noise if noise > 0 else float(np.copysign(np.inf, difference)),
        z_vessels=spread(vessel),
        z_background=spread(background),
        pixels=int(vessel.sum()),
    )
