"""Subtractions of simulated scenes, scored on the contrast that the simulator put there."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from jaxtyping import Bool, Float

from fluorojax.data.scene import Scene
from fluorojax.io import InputError, list_scenes, read_scene
from fluorojax.io.hdf5 import numeric_dataset, open_hdf5, read_array, scene_group
from fluorojax.io.json_fields import read_json
from fluorojax.metrics.contrast import VesselScore, vessel_score
from fluorojax.simulation import scene_layers
from fluorojax.simulation.replay import recorded_options

_DEVICE = 0.02  # optical depth by which a device may change before its pixels are left out


def true_contrast(
    scene: Scene, mask_frames: Sequence[int]
) -> tuple[Float[np.ndarray, "T H W"], Bool[np.ndarray, "T H W"]]:
    """What contrast agent added to each frame of a simulated scene since the mean of the mask frames, in the unit of x.

    Also the pixels where devices changed by more than 0.02 of optical depth, whose subtraction shows those. Raises
    ``ValueError`` for scenes that are not the simulator's.
    """
    layers = scene_layers(scene)
    chosen = list(mask_frames)
    vessel, device = (layers[name] - layers[name][chosen].mean(axis=0) for name in ("vessel", "device"))
    return vessel, np.abs(device) * scene.acquisition.as_dict()["attenuation_scale"] > _DEVICE


def check_truth(path: str | PathLike[str], truth: str | PathLike[str]) -> None:
    """Raise :class:`fluorojax.io.InputError` unless ``truth`` holds every scene of ``path``, made by the simulator."""
    for name in list_scenes(path):
        scene = read_scene(truth, name)
        try:
            recorded_options(scene)
        except ValueError as error:
            raise InputError(truth, name, None, str(error)) from error


def score_subtractions(path: str | PathLike[str], truth: str | PathLike[str]) -> dict[str, VesselScore]:
    """Score each scene of a file of :func:`fluorojax.subtraction.files.subtract_file`; of a road map its vessel map.

    ``truth`` is the simulated challenge file of the same scenes. Raises :class:`fluorojax.io.InputError` where a scene
    is missing there, is not the simulator's, or shows no contrast.
    """
    scores = {}
    for name in list_scenes(path):
        scene = read_scene(truth, name)
        with open_hdf5(path) as handle:
            group, where = scene_group(handle, name), (str(path), name)
            mask_frames = read_json(group, "mask_frames", *where)
            peak_frames = read_json(group, "peak_frames", *where)
            field = "subtraction" if peak_frames is None else "vessel_map"
            expected = "a file of `fluorojax subtract`"
            found, std = (
                read_array(numeric_dataset(group, key, where, expected), key, where) for key in (field, f"{field}_std")
            )
        if not isinstance(mask_frames, list):
            raise InputError(*where, "mask_frames", f"missing; expected {expected}")
        try:
            contrast, device = true_contrast(scene, mask_frames)
            if peak_frames is not None:
                contrast, device = contrast[peak_frames].mean(axis=0), np.asarray(device[peak_frames].any(axis=0))
            scores[name] = vessel_score(found, contrast, std, exclude=device)
        except (ValueError, IndexError) as error:
            raise InputError(truth, name, None, str(error)) from error
    return scores
