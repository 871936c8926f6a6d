"""Subtraction of a whole file: the input is a challenge file or a reconstruction, the output has a group per scene.

Layout::

    /            attrs: variant, version, mode ("subtraction" or "road map"), source ("counts" or "reconstruction"),
                 input_file, input_sha256, versions and settings (JSON), skipped (JSON)
    /sample_00/  subtraction, subtraction_std   (T, H, W) float32, in the unit of x; NaN where there is no mask
                 shift, shift_std               (T, 2) pixels, rows and columns
                 level (T,) in the unit of x, registered (T,) bool
                 vessel_map, vessel_map_std     (H, W) float32, road maps only
                 attrs: mask_frames, peak_frames (JSON), counts_sha256 of the counts it goes back to
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import h5py
import numpy as np

from fluorojax.data.digest import counts_digest
from fluorojax.data.reconstruction import Status
from fluorojax.io import (
    InputError,
    atomic_output,
    check_output,
    file_sha256,
    list_reconstructions,
    open_scenes,
    package_versions,
    read_count_digests,
    read_reconstruction,
    writing,
)
from fluorojax.io.disk import hdf5_output
from fluorojax.io.hdf5 import open_hdf5, scene_group
from fluorojax.io.hdf5_scenes import Hdf5Reader
from fluorojax.io.json_fields import write_json
from fluorojax.io.texts import put_text
from fluorojax.runs.progress import Progress, ProgressDisplay
from fluorojax.subtraction.dsa import (
    CountRun,
    EstimateRun,
    RoadMap,
    Run,
    Subtraction,
    SubtractOptions,
    check_frames,
    road_map,
    subtract,
)

FORMAT_VERSION = "1"
MODES = ("subtraction", "road map")
FIRST_FRAMES = (0, 1, 2, 3)
"""Mask frames where neither the user nor the file names any."""


@dataclass(frozen=True)
class SubtractSettings:
    """Settings of a run of :func:`subtract_file`; they are written to the file as provenance."""

    mask: tuple[int, ...] | None = None
    """Indices of the frames before contrast; None takes those that the file names, else the first four."""
    mode: str = "subtraction"
    """``subtraction``, or ``road map``: every frame minus the most opacified ones."""
    peak: tuple[int, ...] | None = None
    """Frames a road map takes as opacified; None finds them."""
    register: bool = True
    match_level: bool | None = None
    """Whether to remove a brightness offset from each frame. None does so for counts, whose gain may drift, and not for
    reconstructions, in which the drift is corrected."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; expected one of {', '.join(MODES)}")
        if self.peak is not None and self.mode != "road map":
            raise ValueError("peak frames are given; expected them for a road map only")


def subtract_file(
    source: str | PathLike[str],
    output: str | PathLike[str],
    settings: SubtractSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Subtract every scene of a challenge or reconstruction file; the output appears complete or not at all.

    Returns the scenes that were left out, with the reason: reconstructions that diverged. Raises
    :class:`fluorojax.io.InputError` for a file or scene that cannot be subtracted (a single frame, mask frames outside
    the run, a reconstruction without ``x_std``) and for an output that cannot be written.
    """
    progress = ProgressDisplay() if progress is None else progress
    check_output(output, inputs=[source], overwrite=overwrite)
    kind = file_kind(source)
    names = list(list_reconstructions(source) if kind == "reconstruction" else open_scenes(source).names)
    digests = read_count_digests(source) if kind == "reconstruction" else {}
    match = kind == "counts" if settings.match_level is None else settings.match_level
    options = SubtractOptions(register=settings.register, match_level=match)
    skipped: dict[str, str] = {}
    progress.start(len(names))
    with atomic_output(output, inputs=[source], overwrite=overwrite) as temporary:
        with writing(output), hdf5_output(temporary) as handle:
            facts = {"variant": "fluoroscopy", "version": FORMAT_VERSION, "source": kind, "mode": settings.mode}
            facts |= {"input_file": Path(source).name, "input_sha256": file_sha256(source)}
            for field, text in facts.items():
                put_text(handle, field, text)
            write_json(handle, "versions", package_versions())
            write_json(handle, "settings", {**vars(settings), "match_level": match})
        for done, name in enumerate(names, start=1):
            run, mask = _read_run(source, name, kind, settings.mask, digests)
            if isinstance(run, str):
                skipped[name] = note = run
            else:
                try:
                    result = _process(run, mask, settings, options)
                except ValueError as error:
                    raise InputError(source, name, None, str(error)) from error
                # The file is closed while the next scene is computed, so that a failure there is not one of writing.
                with writing(output, name), hdf5_output(temporary, "r+") as handle:
                    _write(handle.create_group(name), result, mask, digests.get(name))
                live = result.live if isinstance(result, RoadMap) else result
                note = f"mask shifted by up to {np.abs(live.shift).max():.2f} pixels"
            progress.update(done, f"{name}: {note}")
        with writing(output), hdf5_output(temporary, "r+") as handle:
            write_json(handle, "skipped", skipped)
        if len(skipped) == len(names):
            raise InputError(source, None, None, "all scenes diverged; expected one that can be subtracted")
    return skipped


def file_kind(path: str | PathLike[str]) -> str:
    """``reconstruction`` or ``counts``: what the first scene of a file holds, whatever the format of the file."""
    path = Path(path)
    if not path.is_file() or not Hdf5Reader.recognises(path):
        return "counts"
    return source_kind(path, list_reconstructions(path)[0])


def source_kind(path: str | PathLike[str], name: str) -> str:
    """``reconstruction`` for a scene with ``x_hat``, ``counts`` for one with ``y``; else :class:`InputError`."""
    with open_hdf5(path) as handle:
        group = scene_group(handle, name)
        for field, kind in (("x_hat", "reconstruction"), ("y", "counts")):
            if field in group:
                return kind
    raise InputError(path, name, None, "holds neither x_hat nor y; expected a reconstruction or a challenge file")


def _read_run(
    path: str | PathLike[str], name: str, kind: str, mask: tuple[int, ...] | None, digests: dict[str, str]
) -> tuple[Run | str, tuple[int, ...]]:
    """The scene as a run, or why its result must not be used, and its mask frames; enters the digest of its counts."""
    if kind == "counts":
        scene = open_scenes(path)[name]
        _check_sequence(path, name, "y", scene.y.shape)
        digests[name] = counts_digest(scene.y)
        named = tuple(int(frame) for frame in scene.metadata.get("mask_frames", ()))
        return CountRun(scene.y, scene.acquisition), mask or named or FIRST_FRAMES
    return _read_estimate(path, name), mask or FIRST_FRAMES


def _read_estimate(path: str | PathLike[str], name: str) -> EstimateRun | str:
    result = read_reconstruction(path, name)
    if result.status is Status.DIVERGED:
        return Status.DIVERGED.value
    _check_sequence(path, name, "x_hat", result.x_hat.shape)
    if result.times_ms is not None:
        raise InputError(path, name, "times_ms", "are not those of the frames; expected a reconstruction of the frames")
    if result.x_std is None:
        raise InputError(path, name, "x_std", "missing; expected the standard deviation, which is propagated")
    if not (np.isfinite(result.x_hat).all() and np.isfinite(result.x_std).all() and (result.x_std > 0).all()):
        raise InputError(path, name, "x_std", "or x_hat has values that are not finite, or not positive")
    return EstimateRun(result.x_hat, result.x_std)


def _check_sequence(path: str | PathLike[str], name: str, field: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise InputError(path, name, field, f"has shape {shape}; expected a sequence (T, H, W), which has a mask")


def _process(
    run: Run, mask: tuple[int, ...], settings: SubtractSettings, options: SubtractOptions
) -> Subtraction | RoadMap:
    check_frames("mask", mask, run.shape[0])
    if settings.mode == "subtraction":
        return subtract(run, mask, options)
    return road_map(run, mask, settings.peak, options=options)


def _write(group: h5py.Group, result: Subtraction | RoadMap, mask: tuple[int, ...], digest: str | None) -> None:
    images = {}
    if isinstance(result, RoadMap):
        images = {"vessel_map": result.vessels, "vessel_map_std": result.vessels_std}
        write_json(group, "peak_frames", list(result.peak_frames))
    live = result.live if isinstance(result, RoadMap) else result
    images |= {"subtraction": live.contrast, "subtraction_std": live.std}
    for name, values in images.items():
        group.create_dataset(name, data=values, compression="gzip", compression_opts=4, shuffle=True)
    for name in ("shift", "shift_std", "level", "registered"):
        group.create_dataset(name, data=getattr(live, name))
    write_json(group, "mask_frames", list(mask))
    if digest is not None:
        put_text(group, "counts_sha256", digest)


def parse_frames(name: str, text: str) -> tuple[int, ...]:
    """Frames as a user writes them: ``A:B`` (B excluded, as in Python) or indices ``0,2,5``; else ``ValueError``."""
    try:
        if ":" in text:
            first, last = text.split(":")
            chosen: Sequence[int] = range(int(first or 0), int(last))
        else:
            chosen = [int(part) for part in text.split(",")]
    except ValueError:
        chosen = []
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise ValueError(f"{name} is {text!r}; expected frames A:B (B excluded) or indices such as 0,1,2, each once")
    return tuple(chosen)
