"""The reader of the napari plugin: the pictures of a file as layers, with lengths in mm where the pixel size is known.

napari finds it through the manifest ``fluorojax/napari.yaml`` and the entry point ``napari.manifest``. A reader returns
plain tuples ``(data, arguments of the layer, type of the layer)``, so that napari itself is not imported here.
"""

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fluorojax.data.scene import Scene
from fluorojax.display.pictures import (
    Pictures,
    What,
    read_pictures,
    scene_names,
)
from fluorojax.io import InputError, list_reconstructions, open_scenes, read_reconstruction
from fluorojax.io.dicom.stored import is_dicom
from fluorojax.io.hdf5 import has_signature, open_hdf5, scene_group
from fluorojax.plot.display import UNCERTAINTY_MAP, image_window, spread_window

LayerData: TypeAlias = tuple[np.ndarray, dict[str, Any], str]
"""Data, arguments of the layer and ``image``, as napari asks for."""


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """The function that reads ``path``, or None where it is no file of this package and no DICOM run.

    Several paths at once (a stack for napari) are read one after the other.
    """
    paths = [path] if isinstance(path, str) else list(path)
    return read_layers if paths and all(_readable(Path(one)) for one in paths) else None


def read_layers(path: str | PathLike[str] | list[str]) -> list[LayerData]:
    """All scenes of one or more files as image layers.

    A reconstruction has the layers ``x_hat`` and ``x_std``, a scene ``counts`` and ``x_true`` where public, a
    subtraction ``subtraction``, ``vessel_map`` where it is a road map, and their standard deviations, a DICOM run its
    stored values. Layers of several scenes lie on each other, and those of the first scene are visible.

    Data are (T, H, W), or (H, W) for a single frame; ``scale`` is (1, mm, mm) where the pixel size is known and 1
    pixel where not, and ``units`` says which. **Raises** :class:`~fluorojax.io.InputError` for what cannot be read.
    """
    paths = path if isinstance(path, list) else [path]
    layers: list[LayerData] = []
    for one in map(Path, paths):
        for index, name in enumerate(scene_names(one)):
            layers += [(data, {**facts, "visible": index == 0 and facts["visible"]}, kind)
                       for data, facts, kind in _scene_layers(one, name)]  # fmt: skip
    return layers


def _readable(path: Path) -> bool:
    try:
        if path.is_dir():
            return is_dicom(path)
        return path.is_file() and ((has_signature(path) and _holds_scenes(path)) or is_dicom(path))
    except InputError:
        return False


def _holds_scenes(path: Path) -> bool:
    """Whether an HDF5 file is of this package: other plugins read other ones."""
    names = list_reconstructions(path)
    with open_hdf5(path) as handle:
        group = scene_group(handle, names[0])
        return any(field in group for field in ("x_hat", "y", "subtraction"))


def _scene_layers(path: Path, name: str) -> list[LayerData]:
    if is_dicom(path):
        return [_picture(path, read_pictures(path, name, What.STORED), What.STORED)]
    with open_hdf5(path) as handle:
        group = scene_group(handle, name)
        fields = {field for field in ("x_hat", "y", "subtraction", "vessel_map") if field in group}
    if "x_hat" in fields:
        result = read_reconstruction(path, name)
        about = _about(path, name, result.pixel_mm, result.frame_time_ms)
        found = [_image("x_hat", result.x_hat, about)]
        return found if result.x_std is None else [*found, _spread("x_std", result.x_std, about)]
    if "y" in fields:
        return _of_scene(path, open_scenes(path)[name])
    found = []
    for what in (What.SUBTRACTION, What.VESSEL_MAP):
        if what.value in fields:
            pictures = read_pictures(path, name, what)
            about = _about(path, name, None, None)
            found.append(_image(what.value, pictures.values, about))
            if pictures.sd is not None:
                found.append(_spread(f"{what.value}_std", pictures.sd, about))
    return found


def _of_scene(path: Path, scene: Scene) -> list[LayerData]:
    pixel = scene.metadata.get("pixel_mm")
    about = _about(
        path,
        scene.name,
        float(pixel) if isinstance(pixel, int | float) and pixel > 0 else None,
        scene.acquisition.as_dict()["frame_time_ms"],
    )
    found = [_image("counts", scene.y, about)]
    return found if scene.x_true is None else [*found, _image("x_true", scene.x_true, about)]


def _picture(path: Path, pictures: Pictures, what: What) -> LayerData:
    about = _about(path, pictures.name, pictures.pixel_mm, pictures.frame_time_ms)
    data, facts, kind = _image(what.value, pictures.values, about)
    if pictures.windows:
        facts["contrast_limits"] = [pictures.windows[0].low, pictures.windows[0].high]
    if pictures.inverted:
        facts["colormap"] = "gray_r"
    return data, facts, kind


def _about(path: Path, name: str, pixel_mm: float | None, frame_time_ms: float | None) -> dict[str, Any]:
    return {"file": path.name, "scene": name, "pixel_mm": pixel_mm, "frame_time_ms": frame_time_ms}


def _image(field: str, values: np.ndarray, about: dict[str, Any]) -> LayerData:
    window = image_window(values)
    return _layer(field, values, about, "gray", (window.low, window.high), True)


def _spread(field: str, values: np.ndarray, about: dict[str, Any]) -> LayerData:
    window = spread_window(values)
    return _layer(field, values, about, UNCERTAINTY_MAP, (window.low, window.high), False)


def _layer(
    field: str, values: np.ndarray, about: dict[str, Any], colours: str, limits: tuple[float, float], visible: bool
) -> LayerData:
    pixel = about["pixel_mm"]
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    lead = (1.0,) * (values.ndim - 2)
    facts = {
        "name": f"{about['scene']} {field}",
        "scale": (*lead, pixel or 1.0, pixel or 1.0),
        "units": (*("pixel",) * len(lead), *(("mm" if pixel else "pixel"),) * 2),
        "axis_labels": ("frame", "row", "column")[-values.ndim :],
        "colormap": colours,
        "contrast_limits": list(limits),
        "visible": visible,
        "metadata": about,
    }
    return values, facts, "image"
