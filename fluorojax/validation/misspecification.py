"""How good the stated uncertainties are if the data contain effects that the model does not.

The blind pipeline (:func:`fluorojax.runs.batches.reconstruct_scenes`) runs on simulated scenes whose imaging chain or
devices differ from what the model assumes. This is no test that has to pass: the table says in which case intervals
fail, and by how much.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.metrics.image import psnr
from fluorojax.metrics.interval_coverage import LEVELS, coverage, spec_errors
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.progress import Progress
from fluorojax.simulation import SimulationOptions, simulate_scenes


@dataclass(frozen=True)
class MisspecifiedCase:
    """A way in which simulated scenes differ from the model."""

    name: str
    options: SimulationOptions
    hide_scatter: bool = False
    """Give the model a protocol without scatter, whatever was simulated."""
    hide_noise: bool = False
    """Give the model a protocol without electronic noise; negative counts become zero, since no reader takes them."""


@dataclass(frozen=True)
class CaseResult:
    """Interval coverage and errors of the blind pipeline in one case, over all its scenes."""

    case: str
    scenes: int
    coverage: dict[str, dict[float, float]]
    """Share of pixels inside, by group (``all``, ``moving``, ``static``; by the truth) and level."""
    coverage_error: float
    """Standard error between scenes of the coverage of all pixels at 90 %; NaN for one scene."""
    x_z_rms: float
    """Root mean square of (x̂ − x)/σ over pixels; one where intervals are right."""
    spec_z: dict[str, tuple[float, ...]]
    """(estimate − truth)/sd of each spec parameter, by scene."""
    spec_inside: dict[str, int]
    """Number of scenes whose truth lies in the 90 % interval of each spec parameter."""
    spec_error: dict[str, float]
    """Mean absolute error of each spec parameter, in its own unit."""
    counts: float
    """Mean counts per pixel and frame."""
    psnr: float
    """Peak signal-to-noise ratio of x̂, dB, mean over the scenes."""
    diverged: int = 0
    """Number of scenes without a result, which enter nothing else; with none left, all figures are NaN."""


def misspecified_cases(base: SimulationOptions) -> tuple[MisspecifiedCase, ...]:
    """The matched case and its misspecified variants; ``base`` gives size, frames and dose.

    The scatter-to-primary ratio is 0.4 (a share of 0.286 of all quanta), the read noise 1.5 quanta; the slow tails are
    those of real panels.
    """
    return (
        MisspecifiedCase("matched", base),
        MisspecifiedCase("slow lag tails", replace(base, slow_tails=True)),
        MisspecifiedCase("scatter, known", replace(base, scatter_fraction=0.4 / 1.4)),
        MisspecifiedCase("scatter, unknown", replace(base, scatter_fraction=0.4 / 1.4), hide_scatter=True),
        MisspecifiedCase("read noise 1.5", replace(base, read_noise=1.5), hide_noise=True),
        MisspecifiedCase("read noise 1.5, known", replace(base, read_noise=1.5)),
        MisspecifiedCase("start from dark", replace(base, from_dark=True)),
        MisspecifiedCase("fast devices", replace(base, motion="fast")),
    )


def run_case(
    case: MisspecifiedCase,
    scenes: int,
    seed: int,
    reconstruct: ReconstructOptions | None = None,
    *,
    progress: Progress | None = None,
) -> CaseResult:
    """Simulate, reconstruct blindly and compare with the truth.

    Scene i of a seed shows the same patient and motion in every case that does not change them. Raises ``ValueError``
    for fewer than one scene and what :func:`~fluorojax.runs.batches.reconstruct_scenes` raises.
    """
    if scenes < 1:
        raise ValueError(f"scenes is {scenes}; expected at least one")
    simulated = {scene.name: _as_told(scene, case) for scene in simulate_scenes(scenes, seed, case.options)}
    options = ReconstructOptions() if reconstruct is None else reconstruct
    shares, squares, errors, levels = [], [], [], []
    for result in reconstruct_scenes(simulated.values(), options, progress=progress):
        scene = simulated[result.name]
        if result.status is Status.DIVERGED:
            continue
        if result.x_std is None or scene.x_true is None or scene.true_spec is None:
            raise ValueError(f"method {options.method} gives no standard deviation of x; expected one")
        found = coverage(result.x_hat, result.x_std, scene.x_true)
        shares.append([[c.overall for c in found], [c.moving for c in found], [c.static for c in found]])
        squares.append(float(np.mean(((result.x_hat - scene.x_true) / result.x_std) ** 2, dtype=np.float64)))
        errors.append(spec_errors(result, scene.true_spec))
        levels.append(psnr(result.x_hat, scene.x_true))
    if not shares:
        shares.append(np.full((3, len(LEVELS)), math.nan))
        squares.append(math.nan)
        levels.append(math.nan)
    table = np.array(shares)
    mean = table.mean(axis=0)
    return CaseResult(
        case=case.name,
        scenes=scenes,
        coverage={
            group: dict(zip(LEVELS, map(float, row), strict=True))
            for group, row in zip(("all", "moving", "static"), mean, strict=True)
        },
        coverage_error=_standard_error(table[:, 0, LEVELS.index(0.9)]),
        x_z_rms=float(np.sqrt(np.mean(squares))),
        spec_z={name: tuple(float(e[name].error / e[name].std) for e in errors) for name in SPEC_NAMES},
        spec_inside={name: sum(bool(e[name].in_interval) for e in errors) for name in SPEC_NAMES},
        spec_error={
            name: float(np.mean([abs(e[name].error) for e in errors])) if errors else math.nan for name in SPEC_NAMES
        },
        counts=float(np.mean([scene.y.mean(dtype=np.float64) for scene in simulated.values()])),
        psnr=float(np.mean(levels)),
        diverged=scenes - len(errors),
    )


def _as_told(scene: Scene, case: MisspecifiedCase) -> Scene:
    """The scene with the protocol that the model is given."""
    protocol, counts = scene.acquisition.as_dict(), scene.y
    if case.hide_scatter:
        protocol["scatter_fraction"] = 0.0
    if case.hide_noise:
        protocol["electronic_noise"], counts = 0.0, np.maximum(counts, 0.0)
    return replace(scene, y=counts, acquisition=type(scene.acquisition).from_dict(protocol))


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / math.sqrt(values.size)) if values.size > 1 else math.nan
