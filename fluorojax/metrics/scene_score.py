"""Everything that is scored about one scene, and about a file of scenes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, Status, matching_times
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.io import (
    InputError,
    list_reconstructions,
    open_reconstructed,
    read_reconstruction,
    read_skipped,
)
from fluorojax.metrics.image import psnr, ssim
from fluorojax.metrics.interval_coverage import Coverage, SpecError, coverage, spec_errors
from fluorojax.metrics.scores import blind_score, standard_score
from fluorojax.physics.extensions import as_reconstructed
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator

_DIVERGED = Status.DIVERGED.name.lower()


@dataclass(frozen=True)
class SceneScore:
    """Scores of one scene. Lists and mappings are empty where the file does not have what they need.

    A scene whose status is ``diverged`` has no scores, whatever its arrays hold: its numbers are NaN, and ``coverage``
    and ``spec`` are empty.
    """

    name: str
    psnr: float
    """dB, infinite for a perfect reconstruction."""
    ssim: float
    standard: float
    blind: float
    coverage: tuple[Coverage, ...]
    """Empty without ``x_std``."""
    spec: dict[str, SpecError]
    """Empty where the true specification is not public."""
    status: str
    seconds: float

    @property
    def diverged(self) -> bool:
        """Whether the result must not be used."""
        return self.status == _DIVERGED

    def coverage_at(self, level: float) -> Coverage:
        """The coverage at one of the reported levels; NaN where it is unknown."""
        unknown = Coverage(level, math.nan, math.nan, math.nan)
        return next((entry for entry in self.coverage if entry.level == level), unknown)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as ``fluorojax score --json`` prints them."""
        return {
            "scene": self.name,
            "psnr": self.psnr,
            "ssim": self.ssim,
            "standard": self.standard,
            "blind": self.blind,
            "coverage": {
                f"{c.level:.2f}": {"overall": c.overall, "moving": c.moving, "static": c.static} for c in self.coverage
            },
            "spec": {
                name: {
                    "estimate": e.estimate,
                    "truth": e.truth,
                    "error": e.error,
                    "std": e.std,
                    "in_interval": e.in_interval,
                }
                for name, e in self.spec.items()
            },
            "status": self.status,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class FileScore:
    """Scores of all scenes of a reconstruction file."""

    scenes: tuple[SceneScore, ...]
    skipped: dict[str, str]
    """Scenes that the reconstruction left out because they could not be read, with the reason. They enter no mean."""
    unpaired: frozenset[str] = frozenset()
    """Scenes that enter no mean because they diverged in a run this one is compared with."""

    @property
    def averaged(self) -> tuple[SceneScore, ...]:
        """The scenes that enter the means: all but those that diverged, here or in a run compared with."""
        return tuple(scene for scene in self.scenes if not scene.diverged and scene.name not in self.unpaired)

    @property
    def diverged(self) -> tuple[str, ...]:
        """Names of the scenes whose result must not be used."""
        return tuple(scene.name for scene in self.scenes if scene.diverged)

    def means(self) -> dict[str, Any]:
        """Means over :attr:`averaged`; absolute errors for the spec parameters, NaN where nothing is known."""
        scenes = self.averaged
        return {
            **{name: _mean([getattr(s, name) for s in scenes]) for name in ("psnr", "ssim", "standard", "blind")},
            "coverage": self._mean_coverage(),
            "abs_spec_error": {
                name: _mean([abs(s.spec[name].error) for s in scenes if name in s.spec])
                for name in dict.fromkeys(name for s in self.scenes for name in s.spec)
            },
            "seconds": _mean([s.seconds for s in scenes]),
        }

    def _mean_coverage(self) -> dict[str, dict[str, float]]:
        levels: dict[float, list[Coverage]] = {}
        for score in self.averaged:
            for entry in score.coverage:
                levels.setdefault(entry.level, []).append(entry)
        return {
            f"{level:.2f}": {
                part: _mean([getattr(c, part) for c in entries]) for part in ("overall", "moving", "static")
            }
            for level, entries in levels.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as ``fluorojax score --json`` prints them."""
        return {
            "scenes": [score.as_dict() for score in self.scenes],
            "mean": self.means(),
            "mean_over": [score.name for score in self.averaged],
            "skipped": self.skipped,
        }


def _mean(values: Sequence[float]) -> float:
    """Mean of the values that are known (not NaN)."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def expected_counts(
    x: Float[np.ndarray, "*shape"],
    spec: Spec,
    acquisition: Acquisition,
    operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
) -> Float[np.ndarray, "*shape"]:
    """Expected counts of a sequence, quanta per pixel and frame, by the imaging chain ``operator``."""
    return np.asarray(_expected(operator, np.asarray(x, np.float32), spec, acquisition))


@jax.jit
def _expected(operator: FluoroscopyOperator, x: Array, spec: Spec, acquisition: Acquisition) -> Array:
    """One program: on the host each operation of the imaging chain would be compiled by itself."""
    return operator(x, spec, acquisition)


def score_scene(result: Reconstruction, scene: Scene, *, file: str | PathLike[str] = "") -> SceneScore:
    """Score one reconstruction against a scene with truth; ``file`` is named in error messages.

    The blind score uses the corrected operator: the imaging chain of the scene at ``result.spec``. A diverged result is
    not scored (see :class:`SceneScore`).

    A result at other times than those of the frames is scored on the images whose times the scene has a truth for; the
    scene may have another frame rate than the run that was reconstructed. The blind score, which compares counts, is
    NaN unless the scene has the frame rate of the run, and all of its frames are among the images.

    Raises :class:`fluorojax.io.InputError` where the scene has no truth, the
    shapes differ or ``x_hat`` is not finite.
    """
    if scene.x_true is None:
        raise InputError(file, scene.name, "x_true", "missing; expected the truth, which scoring needs")
    if result.times_ms is not None:
        return _score_between(result, scene, file)
    if result.x_hat.shape != scene.x_true.shape:
        shapes = f"has shape {result.x_hat.shape}; expected {scene.x_true.shape}, like x_true"
        raise InputError(file, scene.name, "x_hat", shapes)
    if result.status is Status.DIVERGED:
        nan = math.nan
        return SceneScore(scene.name, nan, nan, nan, nan, (), {}, _DIVERGED, result.seconds)
    if not np.isfinite(result.x_hat).all():
        raise InputError(file, scene.name, "x_hat", "holds NaN or infinite values; expected finite values")
    operator = as_reconstructed(scene.operator, result.diagnostics)
    rate = expected_counts(result.x_hat, result.spec, scene.acquisition, operator)
    try:
        quality, similarity = psnr(result.x_hat, scene.x_true), ssim(result.x_hat, scene.x_true)
        blind = blind_score(quality, similarity, scene.y, rate)
    except ValueError as error:
        raise InputError(file, scene.name, None, f"cannot be scored: {error}") from error
    return SceneScore(
        name=scene.name,
        psnr=quality,
        ssim=similarity,
        standard=standard_score(quality, similarity),
        blind=blind,
        coverage=() if result.x_std is None else coverage(result.x_hat, result.x_std, scene.x_true),
        spec={} if scene.true_spec is None else spec_errors(result, scene.true_spec),
        status=result.status.name.lower(),
        seconds=result.seconds,
    )


def _score_between(result: Reconstruction, scene: Scene, file: str | PathLike[str]) -> SceneScore:
    """The score of the images that the scene has a truth for."""
    assert result.times_ms is not None
    assert scene.x_true is not None
    if scene.x_true.ndim != 3:
        raise InputError(file, scene.name, "x_true", "is a single frame; expected a run, whose times are known")
    protocol = scene.acquisition.as_dict()
    period, scale = protocol["frame_time_ms"], protocol["attenuation_scale"]
    frames = np.arange(len(scene.x_true))
    index = matching_times(result.times_ms, period * frames)
    if not (index >= 0).any():
        problem = f"are at none of the times of the truth; expected one every {period:.4g} ms"
        raise InputError(file, scene.name, "times_ms", problem)
    known = frames[index >= 0]
    truth = scene.x_true[known] * np.float32(scale / result.nominal.get("attenuation_scale", scale))
    same_rate = abs(result.nominal.get("frame_time_ms", math.nan) - period) <= 1e-6 * period
    part = replace(scene, x_true=truth, y=scene.y[known])
    score = score_scene(result.images(index[known]), part, file=file)
    return score if same_rate and len(known) == len(frames) else replace(score, blind=math.nan)


def score_files(
    reconstruction: str | PathLike[str],
    truth: str | PathLike[str],
    *,
    allow_other: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> FileScore:
    """Score a reconstruction file against a challenge file with the truth of the same scenes.

    The frames and pixels that were reconstructed are taken from the truth. A scene that stands in only one of the two
    files is an :class:`fluorojax.io.InputError`, unless the reconstruction file says that it was skipped or not asked
    for; so is a truth file that is not the one that was reconstructed, unless ``allow_other``
    (:func:`fluorojax.io.open_reconstructed`, which ``notify`` is for).
    """
    scenes = open_reconstructed(reconstruction, truth, allow_other=allow_other, notify=notify)
    skipped = read_skipped(reconstruction)
    results = list_reconstructions(reconstruction)
    names = [name for name in scenes.names if name not in skipped]
    for file, lacking in ((reconstruction, set(names) - set(results)), (truth, set(results) - set(names))):
        if lacking:
            raise InputError(file, min(lacking), None, "missing; expected the same scenes in both files")
    scores = [
        score_scene(read_reconstruction(reconstruction, name), scenes[name], file=reconstruction) for name in names
    ]
    return FileScore(tuple(scores), skipped)
