"""Scores of subtractions of simulated scenes against the true contrast of the simulator."""

from collections.abc import Callable, Sequence
from os import PathLike

import numpy as np
from jaxtyping import Bool, Float

from fluorojax.data.digest import counts_digest
from fluorojax.data.scene import Scene
from fluorojax.io import (
    InputError,
    list_reconstructions,
    open_reconstructed,
    open_scenes,
    recorded_selection,
)
from fluorojax.io.hdf5 import numeric_dataset, open_hdf5, read_array, scene_group
from fluorojax.io.json_fields import read_json
from fluorojax.io.matching import check_same_counts
from fluorojax.metrics.contrast import VesselScore, vessel_score
from fluorojax.simulation import scene_layers
from fluorojax.simulation.replay import recorded_options
from fluorojax.subtraction.files import file_kind

_DEVICE = 0.02  # optical depth by which a device may change before its pixels are left out


def true_contrast(
    scene: Scene, mask_frames: Sequence[int]
) -> tuple[Float[np.ndarray, "T H W"], Bool[np.ndarray, "T H W"]]:
    """Change of the contrast agent in each frame of a simulated scene since the mean of the mask frames, in units of x.

    It also returns the pixels where devices changed by more than 0.02 of optical depth. Raises
    ``ValueError`` for scenes that are not the simulator's.
    """
    layers = scene_layers(scene)
    chosen = list(mask_frames)
    vessel, device = (layers[name] - layers[name][chosen].mean(axis=0) for name in ("vessel", "device"))
    return vessel, np.abs(device) * scene.acquisition.as_dict()["attenuation_scale"] > _DEVICE


def check_truth(
    path: str | PathLike[str],
    truth: str | PathLike[str],
    *,
    allow_other: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> None:
    """Raise :class:`fluorojax.io.InputError` unless ``truth`` holds every scene of ``path``, made by the simulator.

    ``path`` is a file of scenes or a reconstruction. The counts must be those of ``truth``, unless ``allow_other``
    (:func:`fluorojax.io.open_reconstructed`, which ``notify`` is for); all frames and pixels must be there, since the
    simulator is run again for the vessels.
    """
    if file_kind(path) == "reconstruction":
        selection = recorded_selection(path)
        if selection.frames is not None or selection.crop is not None:
            problem = "holds a part of the frames or pixels; expected whole scenes, which the vessels are known of"
            raise InputError(path, None, "settings", problem)
        scenes, measured = open_reconstructed(path, truth, allow_other=allow_other, notify=notify), None
        names = list_reconstructions(path)
    else:
        scenes, measured = open_scenes(truth), open_scenes(path)
        names = measured.names
    for name in names:
        scene = scenes[name]
        if measured is not None and not allow_other:
            check_same_counts(scene, counts_digest(measured[name].y), truth, path)
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
    truths = open_scenes(truth)
    for name in list_reconstructions(path):
        scene = truths[name]
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
