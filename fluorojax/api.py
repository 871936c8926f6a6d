"""The functions that ``import fluorojax`` offers.

A stack of counts needs no file::

    result = fluorojax.reconstruct(counts, fps=15, pulse_ms=5, photons=2000)
    result.x_hat, result.x_std, result.spec

:func:`reconstruct` takes counts, a scene, several scenes, or the path of a file.
"""

import warnings
from collections.abc import Iterable
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.io.checks import check_scene
from fluorojax.io.errors import InputError
from fluorojax.io.stacks import narrowed_ranges
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator

_SHORT = {"photons": "photons_per_pixel", "pulse_ms": "pulse_width_ms"}


def scene_from_counts(
    counts: Num[np.ndarray, "*shape"],
    *,
    name: str = "sample_00",
    tier: str = "public",
    ranges: SpecRanges | None = None,
    operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
    **protocol: float,
) -> Scene:
    """A scene from a NumPy stack of counts and the values of its protocol.

    **Arguments:** ``counts`` detected quanta, shape (T, H, W), or (H, W) for a single frame; ``protocol`` any field of
    :class:`~fluorojax.data.acquisition.Acquisition`, or the short names ``fps`` (frames per second), ``pulse_ms``
    (nominal exposure window) and ``photons`` (quanta per pixel and frame with nothing in the beam); ``ranges`` of the
    spec parameters, by default those of the ``tier``. Where the nominal exposure window or lag time constant would
    reach zero inside the default range, the range is narrowed, with a warning that says to what.

    **Raises** :class:`~fluorojax.io.InputError` naming the argument, its value and what was expected.
    """
    acquisition = _acquisition(name, protocol)
    given = ranges is not None
    try:
        chosen = ranges if ranges is not None else SpecRanges.for_tier(tier)
        chosen = chosen.completed(operator.parameters)
    except ValueError as error:
        raise InputError("", name, "ranges" if given else "tier", str(error)) from error
    if not given:
        chosen = _narrowed(chosen, acquisition, operator)
    counts = np.asarray(counts)
    if counts.dtype.kind not in "uif":
        raise InputError("", name, "counts", f"have dtype {counts.dtype}; expected real numbers")
    if counts.ndim == 3 and len(counts) == 1:
        counts = counts[0]
    scene = Scene(name, np.asarray(counts, np.float32), acquisition, chosen, operator=operator)
    check_scene(scene)
    return scene


def _acquisition(scene: str, protocol: dict[str, Any]) -> Acquisition:
    known = [field.name for field in fields(Acquisition)]
    values: dict[str, float] = {}
    for argument, value in protocol.items():
        name = _SHORT.get(argument, argument)
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise InputError("", scene, argument, f"is {value!r}; expected a number") from error
        if argument == "fps":
            if not (np.isfinite(number) and number > 0):
                raise InputError("", scene, "fps", f"is {number:g}; expected a positive number of frames per second")
            name, number = "frame_time_ms", 1000.0 / number
        if name not in known:
            raise InputError("", scene, argument, f"is no protocol value; expected fps, {', '.join([*_SHORT, *known])}")
        if name in values:
            raise InputError("", scene, argument, f"gives {name} a second time; expected one value")
        values[name] = number
    return Acquisition(**values)


def _narrowed(ranges: SpecRanges, acquisition: Acquisition, operator: FluoroscopyOperator) -> SpecRanges:
    """The ranges, so that every quantity that a parameter offsets stays positive."""
    found, raised = narrowed_ranges(ranges, acquisition, operator.parameters)
    before, after, protocol = ranges.as_dict(), found.as_dict(), acquisition.as_dict()
    for parameter in operator.parameters:
        if parameter.name in raised and parameter.offset_of is not None:
            least, high = after[parameter.name]
            warnings.warn(
                f"range of {parameter.name} narrowed to {least:g} … {high:g} {parameter.unit}: with "
                f"{parameter.offset_of} {protocol[parameter.offset_of]:g} the {parameter.quantity} would reach zero at "
                f"{before[parameter.name][0]:g}",
                stacklevel=4,
            )
    return found


def reconstruct(
    source: "Num[np.ndarray, '*shape'] | Scene | Iterable[Scene] | str | PathLike[str]",
    *,
    method: str = "map",
    model: str = "sequence",
    spec: str = "calibrated",
    seed: int = 0,
    batch: int | None = None,
    progress: bool = False,
    settings: dict[str, Any] | None = None,
    **scene: Any,
) -> "Reconstruction | list[Reconstruction]":
    """Clean sequence, corrected specification and uncertainty of one or several scenes.

    **Arguments:**

    - `source`: counts (T, H, W) or (H, W); a :class:`~fluorojax.data.scene.Scene`; several scenes; or the path of a
      file.
    - `method`: ``map`` (seconds), ``mgvi`` (minutes), ``nuts`` (hours), ``learned`` (a second), or a classical
      method.
    - `model`: name of a shipped model or path of your own ``.py`` file, whose code is run.
    - `spec`: where the spec parameters come from: ``calibrated``, ``joint``, ``nominal`` or ``true``.
    - `seed`, `batch`: seed of all randomness; scenes computed together.
    - `progress`: whether to show progress on standard error.
    - `settings`: further fields of :class:`fluorojax.data.reconstruction.ReconstructOptions`, e.g. ``{"samples": 8}``.
    - `scene`: for counts, what :func:`scene_from_counts` takes: ``fps``, ``pulse_ms``, ``photons``, ``tier``, …

    **Returns** a :class:`~fluorojax.data.reconstruction.Reconstruction` for counts and for a scene, a list of them
    otherwise.

    **Raises** :class:`~fluorojax.io.InputError` for a scene that cannot be used, and ``ValueError`` for an option.
    """
    from fluorojax.io import open_scenes
    from fluorojax.runs.batches import reconstruct_scenes
    from fluorojax.runs.progress import ProgressDisplay, make_progress

    options = ReconstructOptions(
        method=method, model=str(model), spec=spec, seed=seed, batch=batch, **({} if settings is None else settings)
    )
    single = isinstance(source, Scene)
    if isinstance(source, str | PathLike):
        scenes: list[Scene] = list(open_scenes(source))
    elif isinstance(source, Scene):
        scenes = [source]
    elif hasattr(source, "__array__") or _is_nested_list(source):
        single = True
        scenes = [scene_from_counts(np.asarray(source), **scene)]
        scene = {}
    else:
        scenes = list(source)  # pyright: ignore[reportArgumentType]
    if scene:
        argument = next(iter(scene))
        raise InputError("", None, argument, "is given for a scene that has its own; expected it with counts only")
    names = [one.name for one in scenes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError("", min(twice), None, "is the name of more than one scene; expected distinct names")
    with make_progress("reconstruct") if progress else ProgressDisplay() as display:
        results = list(reconstruct_scenes(scenes, options, progress=display))
    results.sort(key=lambda result: names.index(result.name))
    return results[0] if single else results


def _is_nested_list(source: object) -> bool:
    return isinstance(source, list | tuple) and len(source) > 0 and isinstance(source[0], list | tuple)


def simulate(
    count: int = 1, *, seed: int = 0, output: str | PathLike[str] | None = None, **options: Any
) -> "list[Scene]":
    """Simulated fluoroscopy scenes with their truth.

    **Arguments:** ``count`` scenes of ``seed``; ``output`` a challenge file to write them to as well; ``options`` the
    fields of :class:`fluorojax.simulation.SimulationOptions`: ``frames``, ``size``, ``fps``, ``photons``, ``motion``,
    ``tier``, …

    **Raises** ``ValueError`` naming an option that cannot be used, :class:`~fluorojax.io.InputError` for the output.
    """
    from fluorojax.io import write_challenge
    from fluorojax.simulation import SimulationOptions, simulate_scenes

    chosen = SimulationOptions(**options)
    scenes = list(simulate_scenes(count, seed, chosen))
    if output is not None:
        write_challenge(output, scenes, tier=chosen.tier)
    return scenes


def score(
    result: "Reconstruction | str | PathLike[str]",
    truth: "Scene | str | PathLike[str]",
    *,
    allow_other: bool = False,
) -> Any:
    """Scores of a result against the truth: PSNR, SSIM, standard and blind score, interval coverage, spec errors.

    **Arguments:** a result and the scene with its truth, or two files; ``allow_other`` takes a file of truth that is
    not the one that was reconstructed. **Returns** a :class:`fluorojax.metrics.SceneScore` or, for files, a
    :class:`fluorojax.metrics.FileScore`.

    **Raises** :class:`~fluorojax.io.InputError` where there is no truth, or the two do not belong together.
    """
    from fluorojax.metrics import score_files, score_scene

    if isinstance(result, Reconstruction) and isinstance(truth, Scene):
        return score_scene(result, truth)
    if isinstance(result, Reconstruction) or isinstance(truth, Scene):
        problem = (
            "belongs to a file and the result does not, or the reverse; expected two files, or a result and a scene"
        )
        raise InputError("", None, "truth", problem)
    return score_files(result, truth, allow_other=allow_other)


def report(
    result: str | PathLike[str],
    output: str | PathLike[str],
    *,
    truth: str | PathLike[str] | None = None,
    source: str | PathLike[str] | None = None,
    overwrite: bool = False,
    allow_other: bool = False,
) -> Path:
    """Write the interactive HTML page of a reconstruction file; returns its path.

    **Arguments:** ``result`` the reconstruction file; ``truth`` and ``source`` challenge files that add scores and the
    measurement; ``allow_other`` takes such a file even if it is not the one that was reconstructed. **Raises**
    :class:`~fluorojax.io.InputError` for a file that cannot be used.
    """
    from fluorojax.reports import write_report

    write_report(Path(output), Path(result), truth=truth, source=source, overwrite=overwrite, allow_other=allow_other)
    return Path(output)


__all__ = ["reconstruct", "report", "scene_from_counts", "score", "simulate"]
