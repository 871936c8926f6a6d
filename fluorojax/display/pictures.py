"""The pictures of a file, whatever it is: results, subtractions, scenes of counts, or DICOM as a screen shows it."""

from dataclasses import dataclass, replace
from enum import StrEnum
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Status
from fluorojax.data.scene import Scene
from fluorojax.display.windows import dicom_window
from fluorojax.io import InputError, Selection, list_reconstructions, open_scenes, read_reconstruction
from fluorojax.io.dicom.stored import StoredRun, is_dicom, read_stored, stored_scenes
from fluorojax.io.hdf5 import has_signature, numeric_dataset, open_hdf5, read_array, scene_group, single_precision
from fluorojax.io.selection import NO_SELECTION
from fluorojax.io.texts import as_text
from fluorojax.plot.display import Window, raw_attenuation
from fluorojax.subtraction.dsa import CountRun, EstimateRun, Run

ATTENUATION = "attenuation x"
STORED_VALUES = "stored value"
CORRELATION = 0.75
"""Width in pixels over which the errors of reconstructions are taken as correlated: with it the amplified standard
deviation of ``map`` agrees with the true errors of simulated scenes (see the page "Pictures and movies")."""


class What(StrEnum):
    """Which images of a file."""

    X_HAT = "x_hat"
    """The reconstruction, with its posterior standard deviation."""
    COUNTS = "counts"
    """The counts on the scale of x, ``−log(max(y, ½)/I₀)/A``, with the standard deviation ``√(y + ½ + s²)/(A (y + ½))``
    for electronic noise s."""
    X_TRUE = "x_true"
    """The truth of a simulated scene."""
    SUBTRACTION = "subtraction"
    """The frames of a file of ``fluorojax subtract``."""
    VESSEL_MAP = "vessel_map"
    """The vessels of a road map."""
    STORED = "stored"
    """The values of a DICOM file after Rescale."""


@dataclass(frozen=True)
class Pictures:
    """Frames of one scene in one unit."""

    name: str
    values: Float[np.ndarray, "T H W"]
    sd: Float[np.ndarray, "T H W"] | None
    """Standard deviation of the values; None where nothing tells it."""
    unit: str
    windows: tuple[Window, ...] = ()
    """Windows that a DICOM file proposes."""
    inverted: bool = False
    """Whether the file asks for high values to be dark."""
    frame_time_ms: float | None = None
    pixel_mm: float | None = None
    run: Run | None = None
    """For subtraction; None for a single frame, a subtraction and stored values."""
    mask_frames: tuple[int, ...] = ()
    """Mask frames that the file names."""
    first: int = 0
    """Number of the first frame in the file."""
    correlation: float = 0.0
    """Width in pixels over which the errors are correlated (:class:`~fluorojax.display.Enhancement`)."""

    def cut(self, selection: Selection, file: str) -> "Pictures":
        """The selected frames and pixels; raises :class:`~fluorojax.io.InputError` where there are none."""
        values = cut(self.values, selection, (file, self.name))
        sd = None if self.sd is None else cut(self.sd, selection, (file, self.name))
        first = 0 if selection.frames is None else selection.frames[0]
        return replace(self, values=values, sd=sd, first=self.first + first, run=None)


def cut(values: Float[np.ndarray, "T H W"], selection: Selection, where: tuple[str, str]) -> np.ndarray:
    """The selected frames and pixels as (T, H, W), also of one frame."""
    found = selection.cut(values, where)
    return found if found.ndim == 3 else found[None]


def scene_names(path: str | PathLike[str]) -> list[str]:
    """Names of the scenes of a file of any kind, in numeric order; raises :class:`~fluorojax.io.InputError`."""
    path = Path(path)
    _check_there(path)
    if is_dicom(path):
        return stored_scenes(path)
    if path.is_file() and has_signature(path):
        return list(list_reconstructions(path))
    return list(open_scenes(path, selection=Selection(protocol={"photons_per_pixel": 1.0})).names)


def read_pictures(
    path: str | PathLike[str],
    name: str | None = None,
    what: What | str | None = None,
    selection: Selection = NO_SELECTION,
) -> Pictures:
    """All frames of one scene.

    **Arguments:** ``name`` of the scene, None for the only one; ``what`` images, by default ``x_hat`` of a
    reconstruction, ``subtraction`` of a subtraction, ``counts`` of a file of scenes, and ``stored`` of a DICOM run
    unless ``selection`` tells its gain. Of ``selection`` only what says how counts are read is used.

    **Raises** :class:`~fluorojax.io.InputError` for a file that cannot be shown, images that it does not hold, and a
    reconstruction that diverged; ``ValueError`` where ``name`` is None and there are several scenes.
    """
    path, what = Path(path), None if what is None else What(what)
    names = scene_names(path)
    if name is None and len(names) > 1:
        raise ValueError(f"{path} holds {len(names)} scenes; expected --scene with one of {', '.join(names[:8])}")
    if name is not None and name not in names:
        known = f"{', '.join(names[:8])}{', …' if len(names) > 8 else ''}"
        raise InputError(path, name, None, f"no such scene in this file; expected one of {known}")
    name = names[0] if name is None else name
    selection = replace(selection, scenes=None, frames=None, crop=None)
    if is_dicom(path) and (what is What.STORED or (what is None and selection.of_stored_values.gain is None)):
        return _of_dicom(name, read_stored(path, name))
    kind = _kind(path, name)
    if what is not None and what not in _HOLDS[kind]:
        raise InputError(path, name, None, f"holds no {what.value}; expected one of {', '.join(_HOLDS[kind])}")
    if kind != "counts" and selection != NO_SELECTION:
        raise ValueError(f"{path} is a {kind} file; expected no options of protocol or gain for it")
    if kind == "reconstruction":
        return _of_result(path, name)
    if kind == "subtraction":
        return _of_subtraction(path, name, what)
    scene = open_scenes(path, selection=selection)[name]
    return _of_truth(path, scene) if what is What.X_TRUE else _of_counts(scene)


_HOLDS = {
    "reconstruction": (What.X_HAT,),
    "subtraction": (What.SUBTRACTION, What.VESSEL_MAP),
    "counts": (What.COUNTS, What.X_TRUE),
}


def _check_there(path: Path) -> None:
    if not path.exists():
        raise InputError(path, None, None, "no such file; expected a reconstruction, subtraction, scenes or DICOM")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(path, None, None, "is empty; expected a reconstruction, subtraction, scenes or DICOM")


def _kind(path: Path, name: str) -> str:
    if not (path.is_file() and has_signature(path)):
        return "counts"
    with open_hdf5(path) as handle:
        group = scene_group(handle, name)
        for field, kind in (("x_hat", "reconstruction"), ("y", "counts"), ("subtraction", "subtraction")):
            if field in group:
                return kind
    raise InputError(path, name, None, "holds neither x_hat nor y nor subtraction; expected images")


def _of_dicom(name: str, run: StoredRun) -> Pictures:
    windows = []
    for centre, width, function in run.windows:
        try:
            windows.append(dicom_window(centre, width, function))
        except ValueError:  # a window of another kind is none; the percentiles serve
            continue
    return Pictures(
        name,
        run.values,
        None,
        STORED_VALUES,
        tuple(windows),
        run.inverted,
        run.frame_time_ms,
        run.pixel_mm,
    )


def _of_result(path: Path, name: str) -> Pictures:
    result = read_reconstruction(path, name)
    if result.status is Status.DIVERGED:
        raise InputError(path, name, None, Status.DIVERGED.value)
    x, sd = (None if v is None else _sequence(v) for v in (result.x_hat, result.x_std))
    assert x is not None
    run = EstimateRun(x, sd) if sd is not None and len(x) > 1 else None
    return Pictures(
        name,
        x,
        sd,
        ATTENUATION,
        frame_time_ms=result.frame_time_ms,
        pixel_mm=result.pixel_mm,
        run=run,
        correlation=CORRELATION,
    )


def _of_subtraction(path: Path, name: str, what: What | None) -> Pictures:
    field = (what or What.SUBTRACTION).value
    with open_hdf5(path) as handle:
        group, where = scene_group(handle, name), (str(path), name)
        values, sd = (
            _sequence(single_precision(read_array(numeric_dataset(group, key, where, "images"), key, where)))
            for key in (field, f"{field}_std")
        )
        smooth = as_text(handle.attrs.get("source", "")) == "reconstruction"
    if sd.shape != values.shape:
        raise InputError(path, name, f"{field}_std", f"has shape {sd.shape}; expected {values.shape}")
    return Pictures(name, values, sd, ATTENUATION, correlation=CORRELATION if smooth else 0.0)


def _of_counts(scene: Scene) -> Pictures:
    protocol = scene.acquisition.as_dict()
    y = _sequence(scene.y)
    mean = np.maximum(y, 0.0) + 0.5
    spread = np.sqrt(mean + protocol["electronic_noise"] ** 2) / mean
    sd = (spread / protocol["attenuation_scale"]).astype(np.float32)
    run = CountRun(y, scene.acquisition) if len(y) > 1 else None
    return replace(_about(scene), values=_sequence(raw_attenuation(scene)).astype(np.float32), sd=sd, run=run)


def _of_truth(path: Path, scene: Scene) -> Pictures:
    if scene.x_true is None:
        raise InputError(path, scene.name, "x_true", "missing; expected the true sequence")
    return replace(_about(scene), values=_sequence(scene.x_true))


def _about(scene: Scene) -> Pictures:
    pixel, named = scene.metadata.get("pixel_mm"), scene.metadata.get("mask_frames")
    return Pictures(
        scene.name,
        np.zeros((0, 0, 0), np.float32),
        None,
        ATTENUATION,
        frame_time_ms=scene.acquisition.as_dict()["frame_time_ms"],
        pixel_mm=float(pixel) if isinstance(pixel, int | float) and pixel > 0 else None,
        mask_frames=tuple(frame for frame in named if type(frame) is int) if isinstance(named, list) else (),
    )


def _sequence(values: np.ndarray) -> np.ndarray:
    return values if values.ndim == 3 else values[None]
