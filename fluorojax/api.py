"""The functions that ``import fluorojax`` offers.

A stack of counts needs no file::

    result = fluorojax.reconstruct(counts, fps=15, pulse_ms=5, photons=2000)
    result.x_hat, result.x_std, result.spec

:func:`reconstruct` takes counts, a scene, several scenes, or the path of a file.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.digest import counts_digest
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.io.checks import check_scene
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import single_precision
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
    if ranges is not None:
        _check_type("ranges", ranges, SpecRanges, name)
    _check_type("operator", operator, FluoroscopyOperator, name)
    acquisition = _acquisition(name, protocol)
    given = ranges is not None
    try:
        chosen = ranges if ranges is not None else SpecRanges.for_tier(tier)
        chosen = chosen.completed(operator.parameters)
    except ValueError as error:
        raise InputError("", name, "ranges" if given else "tier", str(error)) from error
    if not given:
        chosen = _narrowed(chosen, acquisition, operator)
    try:
        counts = np.asanyarray(counts)
    except ValueError as error:  # nested lists of different lengths
        raise InputError("", name, "counts", "are frames of different shapes; expected an array (T, H, W)") from error
    if np.ma.is_masked(counts):
        raise InputError("", name, "counts", "are a masked array; expected a count in every pixel")
    if counts.dtype.kind not in "uif":
        raise InputError("", name, "counts", f"have dtype {counts.dtype}; expected real numbers")
    if counts.ndim == 3 and len(counts) == 1:
        counts = counts[0]
    scene = Scene(name, single_precision(counts), acquisition, chosen, operator=operator)
    check_scene(scene)
    return scene


def _acquisition(scene: str, protocol: dict[str, Any]) -> Acquisition:
    known = [field.name for field in fields(Acquisition)]
    values: dict[str, float] = {}
    for argument, value in protocol.items():
        name = _SHORT.get(argument, argument)
        try:
            if isinstance(value, bool | str):
                raise TypeError
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
    method: str = "",
    model: str = "sequence",
    spec: str = "calibrated",
    seed: int = 0,
    batch: int | None = None,
    progress: bool = False,
    held_out: float | None = None,
    fallback: bool = True,
    times: "Sequence[float] | Num[np.ndarray, ' n'] | None" = None,
    to_fps: float | None = None,
    settings: dict[str, Any] | None = None,
    **scene: Any,
) -> "Reconstruction | list[Reconstruction]":
    """Clean sequence, corrected specification and uncertainty of one or several scenes.

    **Arguments:**

    - `source`: counts (T, H, W) or (H, W), as an array or as frames in a list; a
      :class:`~fluorojax.data.scene.Scene`; several scenes; or the path of a file.
    - `method`: ``learned`` (a second), ``map`` (seconds), ``mgvi`` (minutes), ``nuts`` (hours), or a classical
      method. By default ``learned``, and ``map`` with another model than ``sequence``.
    - `model`: name of a shipped model or path of your own ``.py`` file, whose code is run.
    - `spec`: where the spec parameters come from: ``calibrated``, ``joint``, ``nominal`` or ``true``.
    - `seed`, `batch`: seed of all randomness; scenes computed together.
    - `progress`: whether to show progress on standard error.
    - `held_out`: share of the quanta that is held out to check the result, at the cost of one more reconstruction
      (:func:`fluorojax.metrics.held_out`); the verdict stands in ``result.diagnostics["held_out"]``. By default 0.1
      with ``learned``, and no check otherwise.
    - `fallback`: whether ``map`` takes the scenes that ``learned`` does not serve, with a warning.
    - `times`: times of the images in ms from the first frame, ascending, in place of those of the frames; `to_fps`
      so many images per second. The result then has ``times_ms`` (:mod:`fluorojax.between.images`).
    - `settings`: further fields of :class:`fluorojax.data.reconstruction.ReconstructOptions`, e.g. ``{"samples": 8}``.
    - `scene`: for counts, what :func:`scene_from_counts` takes: ``fps``, ``pulse_ms``, ``photons``, ``tier``, …

    **Returns** a :class:`~fluorojax.data.reconstruction.Reconstruction` for counts and for a scene, a list of them
    otherwise.

    **Raises** :class:`~fluorojax.io.InputError` for a source that cannot be used, and ``ValueError`` for an option.
    """
    from fluorojax.runs.batches import reconstruct_scenes
    from fluorojax.runs.notes import notices
    from fluorojax.runs.progress import ProgressDisplay, make_progress

    options = ReconstructOptions(
        method=method,
        model=str(model),
        spec=spec,
        seed=seed,
        batch=batch,
        held_out=held_out,
        fallback=fallback,
        times=times,  # pyright: ignore[reportArgumentType]  # made a tuple there
        to_fps=to_fps,
        **_settings(settings),
    )
    scenes, single = _scenes_of(source, scene)
    names = [one.name for one in scenes]
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError("", min(twice), None, "is the name of more than one scene; expected distinct names")
    with make_progress("reconstruct") if progress else ProgressDisplay() as display:
        results = list(reconstruct_scenes(scenes, options, progress=display))
    for told in notices(results):
        warnings.warn(told, stacklevel=2)
    results.sort(key=lambda result: names.index(result.name))
    return results[0] if single else results


def _settings(settings: object) -> dict[str, Any]:
    """The further fields of the options, checked by name."""
    if settings is None:
        return {}
    if not isinstance(settings, Mapping):
        raise ValueError(f"settings is {settings!r}; expected a mapping such as {{'samples': 8}}")
    arguments = ("method", "model", "spec", "seed", "batch", "held_out", "fallback", "times", "to_fps")
    known = [field.name for field in fields(ReconstructOptions) if field.name not in arguments]
    for name in settings:
        if name in arguments:
            raise ValueError(f"settings name {name}; expected it as an argument of its own, {name}=…")
        if name not in known:
            raise ValueError(f"settings name {name!r}; expected {', '.join(known)}")
    return dict(settings)


def _scenes_of(source: Any, protocol: dict[str, Any]) -> tuple[list[Scene], bool]:
    """The scenes that a caller means by ``source``, and whether it is a single one.

    ``protocol`` is what :func:`scene_from_counts` takes beside counts.
    """
    if isinstance(source, str | PathLike):
        from fluorojax.io import open_scenes

        scenes, single = list(open_scenes(source)), False
    elif isinstance(source, Scene):
        scenes, single = [source], True
    elif hasattr(source, "__array__"):
        return [scene_from_counts(source, **protocol)], True
    else:
        expected = "expected counts, a scene, several scenes, or the path of a file"
        if not isinstance(source, Iterable) or isinstance(source, Mapping | bytes):
            raise InputError("", None, "source", f"is of type {type(source).__name__}; {expected}")
        parts = list(source)
        if parts and not any(isinstance(part, Scene | str) or part is None for part in parts):
            return [scene_from_counts(parts, **protocol)], True  # pyright: ignore[reportArgumentType]
        for i, part in enumerate(parts):
            if not isinstance(part, Scene):
                raise InputError("", None, "source", f"holds {type(part).__name__} at index {i}; {expected}")
        if not parts:
            raise InputError("", None, "source", f"is empty; {expected}")
        scenes, single = parts, False
    if protocol:
        argument = next(iter(protocol))
        raise InputError("", None, argument, "is given for a scene that has its own; expected it with counts only")
    return scenes, single


def _check_type(argument: str, value: object, kind: type, scene: str | None = None) -> None:
    if not isinstance(value, kind):
        raise InputError("", scene, argument, f"is of type {type(value).__name__}; expected {kind.__name__}")


def _path(argument: str, value: object, expected: str = "the path of a file") -> Path:
    if not isinstance(value, str | PathLike):
        raise InputError("", None, argument, f"is of type {type(value).__name__}; expected {expected}")
    return Path(value)


def simulate(
    count: int = 1, *, seed: int = 0, output: str | PathLike[str] | None = None, **options: Any
) -> "list[Scene]":
    """Simulated fluoroscopy scenes with their truth.

    **Arguments:** ``count`` scenes of ``seed``; ``output`` a challenge file to write them to as well; ``options`` the
    fields of :class:`fluorojax.simulation.SimulationOptions`: ``frames``, ``size``, ``fps``, ``photons``, ``motion``,
    ``tier``, …

    **Raises** ``ValueError`` naming an option that cannot be used, :class:`~fluorojax.io.InputError` for the output.
    """
    from fluorojax.io import check_output, write_challenge
    from fluorojax.simulation import SimulationOptions, simulate_scenes

    known = [field.name for field in fields(SimulationOptions)]
    for name in options:
        if name not in known:
            raise ValueError(f"{name} is no option of the simulator; expected {', '.join(known)}")
    chosen = SimulationOptions(**options)
    if output is not None:
        check_output(_path("output", output))
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

    **Arguments:** a result and the scene with its truth, or two files; ``allow_other`` takes a truth that is not what
    was reconstructed (other counts, a scene of another name). **Returns** a
    :class:`fluorojax.metrics.SceneScore` or, for files, a :class:`fluorojax.metrics.FileScore`.

    **Raises** :class:`~fluorojax.io.InputError` where there is no truth, or the two do not belong together.
    """
    from fluorojax.metrics import score_files, score_scene

    if isinstance(result, Reconstruction) and isinstance(truth, Scene):
        check_scene(truth)
        if result.name != truth.name and not allow_other:
            problem = f"is the scene {truth.name}; expected {result.name}, which was reconstructed, or allow_other=True"
            raise InputError("", None, "truth", problem)
        if result.counts_sha256 not in (None, counts_digest(truth.y)) and not allow_other:
            problem = (
                f"has other counts than those that {result.name} was made from; expected those, or allow_other=True"
            )
            raise InputError("", truth.name, "truth", problem)
        return score_scene(result, truth)
    if isinstance(result, Reconstruction) or isinstance(truth, Scene):
        problem = (
            "belongs to a file and the result does not, or the reverse; expected two files, or a result and a scene"
        )
        raise InputError("", None, "truth", problem)
    expected = "a result and a scene, or the paths of two files"
    files = _path("result", result, expected), _path("truth", truth, expected)
    return score_files(*files, allow_other=allow_other)


def report(
    result: str | PathLike[str],
    output: str | PathLike[str],
    *,
    truth: str | PathLike[str] | None = None,
    source: str | PathLike[str] | None = None,
    overwrite: bool = False,
    allow_other: bool = False,
    dose: Sequence[str | PathLike[str]] = (),
) -> Path:
    """Write the interactive HTML page of a reconstruction file; returns its path.

    **Arguments:** ``result`` the reconstruction file; ``truth`` and ``source`` challenge files that add scores and the
    measurement; ``allow_other`` takes such a file even if it is not the one that was reconstructed; ``dose`` dose
    reports and images of the patient, whose dose the page then shows. **Raises**
    :class:`~fluorojax.io.InputError` for a file that cannot be used.
    """
    from fluorojax.reports import write_report

    expected = "the path of a reconstruction file, as `fluorojax reconstruct` writes it"
    page, file = _path("output", output), _path("result", result, expected)
    for argument, value in (("truth", truth), ("source", source)):
        if value is not None:
            _path(argument, value)
    if isinstance(dose, str | PathLike):
        raise InputError("", None, "dose", f"is of type {type(dose).__name__}; expected a list of paths")
    for value in dose:
        _path("dose", value)
    write_report(page, file, truth=truth, source=source, overwrite=overwrite, allow_other=allow_other, dose=dose)
    return page


__all__ = ["reconstruct", "report", "scene_from_counts", "score", "simulate"]
