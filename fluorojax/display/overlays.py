"""Contrast agent in colour over live pictures: digital subtraction and road maps, where they stand out of the noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from fluorojax.display.pictures import Pictures, cut
from fluorojax.io import InputError, Selection
from fluorojax.io.hdf5 import numeric_dataset, open_hdf5, read_array, scene_group, single_precision
from fluorojax.subtraction.dsa import Run, SubtractOptions, road_map, subtract

COLOUR = (0xD5, 0x5E, 0x00)
"""Vermilion of Okabe & Ito (2008), which the colour-blind tell from grey."""

AS_USUAL = SubtractOptions()
"""The mask is shifted to each frame, and a brightness offset removed."""


@dataclass(frozen=True)
class Overlay:
    """Contrast against a mask, positive where attenuation was added, in units of x."""

    contrast: Float[np.ndarray, "frames H W"]
    """Of each frame, or of one frame that stands for all."""
    sd: Float[np.ndarray, "frames H W"]

    def cut(self, selection: Selection, pictures: Pictures, file: str) -> "Overlay":
        """The selected frames and pixels."""
        values = []
        for images in (self.contrast, self.sd):
            images = np.broadcast_to(images, (pictures.values.shape[0], *images.shape[1:]))
            values.append(cut(images, selection, (file, pictures.name)))
        return Overlay(*values)

    def strength(self, least: float = 3.0) -> Float[np.ndarray, "frames H W"]:
        """How strongly a pixel is coloured, 0 to 1: its contrast over the 99.5 % quantile of all that is coloured.

        Zero where the contrast is less than ``least`` standard deviations.
        """
        if not least >= 0:
            raise ValueError(f"least is {least:g}; expected at least 0 standard deviations")
        seen = np.nan_to_num(self.contrast) > np.maximum(least * np.nan_to_num(self.sd, nan=np.inf), 0.0)
        found = self.contrast[seen]
        top = float(np.quantile(found, 0.995)) if found.size else 1.0
        return np.where(seen, np.clip(np.nan_to_num(self.contrast) / top, 0.0, 1.0), 0.0).astype(np.float32)


def dsa_overlay(run: Run, mask: Sequence[int], options: SubtractOptions = AS_USUAL) -> Overlay:
    """Digital subtraction of every frame (:func:`fluorojax.subtraction.dsa.subtract`, which says what is raised)."""
    found = subtract(run, mask, options)
    return Overlay(found.contrast, found.std)


def road_map_overlay(
    run: Run, mask: Sequence[int], peak: Sequence[int] | None = None, options: SubtractOptions = AS_USUAL
) -> Overlay:
    """The opacified vessels over every frame (:func:`fluorojax.subtraction.dsa.road_map`)."""
    found = road_map(run, mask, peak, options=options)
    return Overlay(found.vessels[None], found.vessels_std[None])


def read_overlay(path: str | PathLike[str], pictures: Pictures) -> Overlay:
    """The overlay of a file of ``fluorojax subtract``: its vessels where it is a road map, else its subtraction.

    Raises :class:`~fluorojax.io.InputError` for another file, and where its shape is not that of the pictures.
    """
    name, where = pictures.name, (str(path), pictures.name)
    with open_hdf5(Path(path)) as handle:
        group = scene_group(handle, name)
        field = "vessel_map" if "vessel_map" in group else "subtraction"
        expected = "a file of `fluorojax subtract`"
        contrast, sd = (
            single_precision(read_array(numeric_dataset(group, key, where, expected), key, where))
            for key in (field, f"{field}_std")
        )
    shape = pictures.values.shape[-contrast.ndim :]
    if contrast.shape != shape or sd.shape != shape:
        raise InputError(*where, field, f"has shape {contrast.shape}; expected {shape}, like the pictures")
    return Overlay(contrast, sd) if contrast.ndim == 3 else Overlay(contrast[None], sd[None])


def blend(
    grey: UInt8[np.ndarray, "T H W"], strength: Float[np.ndarray, "frames H W"], opacity: float = 0.8
) -> UInt8[np.ndarray, "T H W 3"]:
    """Grey pictures with :data:`COLOUR` over them: ``(1 − a) grey + a colour``, ``a = opacity · strength``.

    Raises ``ValueError`` unless ``opacity`` is between 0 and 1.
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity:g}; expected 0 to 1")
    share = (opacity * strength)[..., None]
    mixed = (1.0 - share) * grey[..., None] + share * np.array(COLOUR, np.float32)
    return np.rint(mixed).astype(np.uint8)
