"""Which part of a file is meant: scenes by name, frames, a window of the detector, and a protocol that overrides."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Num

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import TIERS
from fluorojax.io.counting import AS_THEY_ARE, Counting
from fluorojax.io.errors import InputError
from fluorojax.physics.distortion import Distortion
from fluorojax.physics.extensions import check_extensions, extended

if TYPE_CHECKING:
    from fluorojax.detectors.detector import Detector

Window = tuple[tuple[int, int], tuple[int, int]]
"""Rows and columns of the detector, each (first, past the last)."""


@dataclass(frozen=True)
class Selection:
    """A part of a file; the default is all of it, as the file describes it.

    The gain drift counts from the first selected frame, and the detector is taken to be in its steady state there.
    """

    scenes: tuple[str, ...] | None = None
    """Names of scenes, or None for all."""
    frames: tuple[int, int] | None = None
    """First frame and the one past the last, or None for all."""
    crop: Window | None = None
    """Rows and columns of the detector, or None for all."""
    protocol: Mapping[str, float] = field(default_factory=dict)
    """Values by the field names of :class:`~fluorojax.data.acquisition.Acquisition`; they stand in place of what the
    file says."""
    tier: str | None = None
    """Spec ranges of a file that has none, by the name of a tier; None for those of the public tier."""
    counting: Counting = AS_THEY_ARE
    """How stored values become counts, for files that hold no counts."""
    detector: "Detector | None" = None
    """The detector: its lag and electronic noise stand in place of what the file says, :attr:`protocol` in place of
    both; its veiling glare becomes a stage of the imaging chain; its gain and offset serve files of stored values."""
    chain: tuple[str, ...] = ()
    """Extensions of the imaging chain, names among :data:`fluorojax.physics.EXTENSIONS`."""

    def __post_init__(self) -> None:
        if self.detector is not None:
            object.__setattr__(self, "protocol", {**self.detector.protocol(), **self.protocol})
        for name in self.protocol:
            if name not in Acquisition.__dataclass_fields__:
                expected = ", ".join(Acquisition.__dataclass_fields__)
                raise ValueError(f"protocol has {name}; expected names among {expected}")
        check_extensions(self.chain)
        if self.tier is not None and self.tier not in TIERS:
            raise ValueError(f"tier is {self.tier!r}; expected one of {', '.join(TIERS)}")

    @property
    def of_stored_values(self) -> Counting:
        """How the stored values of a file that holds no counts become counts: by option, else by the detector."""
        return self.counting if self.detector is None else self.detector.counting(self.counting)

    def as_settings(self) -> dict[str, Any]:
        """What the selection says, as JSON values for the provenance of a file; nothing for the whole file."""
        found: dict[str, Any] = {
            "scenes": None if self.scenes is None else list(self.scenes),
            "frames": None if self.frames is None else list(self.frames),
            "crop": None if self.crop is None else [list(bounds) for bounds in self.crop],
            "protocol": dict(self.protocol) or None,
            "counting": self.counting.as_settings() or None,
            "tier": self.tier,
            "detector": None if self.detector is None else self.detector.as_settings(),
            "chain": list(self.chain) or None,
        }
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Selection":
        """Inverse of :meth:`as_settings`; other settings are passed over. Raises ``ValueError`` for other values."""
        from fluorojax.detectors.detector import Detector

        try:
            detector = settings.get("detector")
            scenes, frames, crop = (settings.get(name) for name in ("scenes", "frames", "crop"))
            rows, columns = (None, None) if crop is None else crop
            if scenes is not None and not scenes:
                raise ValueError("the recorded selection names no scene; expected at least one")
            return cls(
                scenes=None if scenes is None else tuple(str(name) for name in scenes),
                frames=None if frames is None else _pair(frames),
                crop=None if rows is None or columns is None else (_pair(rows), _pair(columns)),
                protocol={str(name): float(value) for name, value in (settings.get("protocol") or {}).items()},
                counting=Counting.from_settings(settings.get("counting") or {}),
                tier=settings.get("tier"),
                detector=None if detector is None else Detector.from_settings(detector),
                chain=tuple(str(name) for name in settings.get("chain") or ()),
            )
        except (TypeError, AttributeError) as error:
            raise ValueError(f"the recorded selection of scenes, frames and pixels cannot be read: {error}") from error

    def shape(self, shape: tuple[int, ...], where: tuple[str, str]) -> tuple[int, ...]:
        """The shape that is left of counts of ``shape``; raises :class:`InputError` where that is nothing."""
        left = tuple(stop - start for start, stop in self.bounds(shape, where))
        return left[1:] if len(left) == 3 and self.frames is not None and left[0] == 1 else left

    def apply(self, scene: Scene, file: str) -> Scene:
        """The selected frames and pixels of ``scene``, with the imaging chain of the detector and its extensions.

        Raises :class:`InputError` where the scene has none of them, or the detector does not fit.
        """
        scene = self.behind_detector(scene, file)
        if self.frames is None and self.crop is None:
            return scene
        where = (file, scene.name)
        truth = None if scene.x_true is None else self.cut(scene.x_true, where)
        metadata = {**scene.metadata, "selection": self.as_settings()}
        if self.crop is not None and scene.operator.stage(Distortion) is not None:
            raise InputError(*where, "stages", "has a map of the whole field (distortion); expected no --crop")
        y, operator = self.cut(scene.y, where), scene.operator
        if self.frames is not None:
            first, last = self.frames
            operator = operator.of_frames(first, last)
            if mask := scene.metadata.get("mask_frames"):
                metadata["mask_frames"] = [frame - first for frame in mask if first <= frame < last]
        return replace(scene, y=y, x_true=truth, metadata=metadata, operator=operator)

    def behind_detector(self, scene: Scene, file: str) -> Scene:
        """The scene with the imaging chain of the detector, extended by :attr:`chain`.

        Raises :class:`InputError` where the detector does not fit.
        """
        scene = scene if self.detector is None else _behind(self.detector, scene, file)
        return replace(scene, operator=extended(scene.operator, self.chain)) if self.chain else scene

    def cut(self, images: Num[np.ndarray, "*shape"], where: tuple[str, str]) -> Num[np.ndarray, "*selected"]:
        """The selected frames and pixels of images of shape (T, H, W) or (H, W); ``where`` is (file, scene).

        One selected frame of a sequence has the shape (H, W), as single frames have. Raises :class:`InputError` where
        the images have no such frames or pixels.
        """
        if self.frames is None and self.crop is None:
            return images
        found = images[tuple(slice(*pair) for pair in self.bounds(images.shape, where))]
        return found[0] if self.frames is not None and len(found) == 1 else np.ascontiguousarray(found)

    def bounds(self, shape: tuple[int, ...], where: tuple[str, str]) -> list[tuple[int, int]]:
        """First index and the one past the last along each axis of counts of ``shape``; raises :class:`InputError`."""
        bounds = [(0, size) for size in shape]
        if self.frames is not None:
            if len(shape) != 3:
                raise InputError(*where, "y", f"is a single frame of shape {shape}; expected no selection of frames")
            bounds[0] = _within(self.frames, shape[0], "frames", where)
        if self.crop is not None:
            for axis, what in ((-2, "rows"), (-1, "columns")):
                bounds[axis] = _within(self.crop[axis], shape[axis], what, where)
        return bounds


NO_SELECTION = Selection()
"""All of a file, as the file describes it."""


def parse_range(name: str, text: str) -> tuple[int, int]:
    """A range ``A:B`` (B excluded), as the first index and the one past the last; raises ``ValueError`` about ``name``.

    Both ends are whole numbers, 0 ≤ A < B.
    """
    first, colon, last = text.partition(":")
    try:
        bounds = (int(first), int(last))
    except ValueError:
        bounds = (0, 0)
    if not colon or not 0 <= bounds[0] < bounds[1]:
        raise ValueError(f"{name} is {text!r}; expected A:B with whole numbers 0 ≤ A < B (B is excluded)")
    return bounds


def parse_window(name: str, text: str) -> Window:
    """A window ``R0:R1,C0:C1`` of rows and columns (ends excluded); raises ``ValueError`` about ``name``."""
    parts = text.split(",")
    if len(parts) != 2:
        raise ValueError(f"{name} is {text!r}; expected R0:R1,C0:C1 (rows, then columns; R1 and C1 are excluded)")
    return parse_range(name, parts[0]), parse_range(name, parts[1])


def _behind(detector: "Detector", scene: Scene, file: str) -> Scene:
    """The scene with the stages and the pixel size of its detector."""
    pixel = scene.metadata.get("pixel_mm")
    try:
        operator = detector.operator(scene.operator, pixel)
    except ValueError as error:
        raise InputError(file, scene.name, "detector", str(error)) from error
    metadata = {**scene.metadata, "detector": detector.name}
    if pixel is None and (own := detector.value("pixel_mm")) is not None:
        metadata["pixel_mm"] = own
    return replace(scene, operator=operator, metadata=metadata)


def _pair(values: Any) -> tuple[int, int]:
    first, last = values
    if type(first) is not int or type(last) is not int or not 0 <= first < last:
        raise ValueError(f"a range is {values!r}; expected two whole numbers A and B with 0 ≤ A < B")
    return first, last


def _within(bounds: tuple[int, int], size: int, what: str, where: tuple[str, str]) -> tuple[int, int]:
    if bounds[1] > size:
        problem = f"has {size} {what}; expected at least {bounds[1]}, which the selection {bounds[0]}:{bounds[1]} needs"
        raise InputError(*where, "y", problem)
    return bounds
