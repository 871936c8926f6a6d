"""A validation report: what a model and a method were tested on, what was found, and where they fail, as one page.

Three parts: simulation-based calibration on draws from the prior of the model (:mod:`fluorojax.validation.check`);
interval coverage of the blind pipeline on simulated patients by dose and motion; and the same where the simulated
detector does what the model does not know (:mod:`fluorojax.validation.misspecification`).
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.runs.progress import ProgressDisplay
from fluorojax.simulation import SimulationOptions
from fluorojax.validation.misspecification import CaseResult, MisspecifiedCase, misspecified_cases, run_case
from fluorojax.validation.options import CheckOptions
from fluorojax.validation.report import CalibrationReport

LEVEL = 0.9
"""Level of the intervals whose coverage is judged."""
GOOD, ACCEPTABLE = (0.85, 0.95), (0.80, 0.98)
"""Coverage of 90 % intervals that counts as right, and that still counts as usable."""
MOTIONS = ("slow", "fast")


@dataclass(frozen=True)
class DossierOptions:
    """What a validation computes; a bad value raises ``ValueError`` naming it."""

    model: str = "sequence"
    method: str = "map"
    photons: tuple[float, ...] = (300.0, 1500.0, 6000.0)
    """Doses in the open beam, quanta per pixel and frame."""
    scenes: int = 3
    """Simulated patients for each dose and motion, and for each limit."""
    frames: int = 12
    size: int = 64
    replicates: int = 40
    """Draws of truth and data for each dose of the calibration on the prior, at least 20; 0 leaves this part out."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.photons or not all(0 < dose <= 1e7 for dose in self.photons):
            raise ValueError(f"photons is {self.photons}; expected positive doses, at most 1e7")
        if len(set(self.photons)) < len(self.photons):
            raise ValueError(f"photons is {self.photons}; expected each dose once")
        if self.scenes < 1:
            raise ValueError(f"scenes is {self.scenes}; expected at least one")
        if self.replicates != 0 and self.replicates < 20:
            raise ValueError(f"replicates is {self.replicates}; expected at least 20, or 0 to leave this part out")
        SimulationOptions(frames=self.frames, size=self.size)  # checks both

    @property
    def base(self) -> SimulationOptions:
        """Settings of the simulation that are the same for all scenes."""
        return SimulationOptions(
            frames=self.frames, size=self.size, photons=sorted(self.photons)[len(self.photons) // 2]
        )

    @property
    def reconstruct(self) -> ReconstructOptions:
        """Settings of the reconstruction of the simulated patients."""
        return ReconstructOptions(
            model=self.model, method=self.method, seed=self.seed, held_out=0.0, fallback=False, batch=1
        )

    @property
    def check(self) -> CheckOptions:
        """Settings of the calibration on the prior."""
        return CheckOptions(replicates=self.replicates, batch=min(20, self.replicates), seed=self.seed)


@dataclass(frozen=True)
class Finding:
    """A sentence of the verdict."""

    level: str
    """``good``, ``caution``, ``bad`` or ``unknown``."""
    topic: str
    text: str


@dataclass(frozen=True)
class Dossier:
    """Everything that was found."""

    options: DossierOptions
    calibration: CalibrationReport | None
    """None where the method does not use the model, where nothing can be drawn from the prior of the model, or where
    this part was left out."""
    coverage: tuple[tuple[float, str, CaseResult], ...]
    """Dose in the open beam, motion, result."""
    limits: tuple[CaseResult, ...]
    """The matched case first, then what the model does not know."""
    provenance: dict[str, str]
    seconds: float
    created: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))

    @property
    def passed(self) -> bool:
        """Whether no finding on matched data is bad. What the model does not know is a limit and no failure."""
        return all(finding.level != "bad" for finding in (*self._on_calibration(), *self._on_coverage()))

    def findings(self) -> tuple[Finding, ...]:
        """What the results say, part by part."""
        return (*self._on_calibration(), *self._on_coverage(), *self._on_limits())

    def _on_calibration(self) -> list[Finding]:
        topic = "Draws from the prior of the model"
        if self.calibration is None:
            why = (
                "This part was left out."
                if self.options.replicates == 0
                else "The method does not use the model, or nothing can be drawn from the prior of the model."
            )
            return [Finding("unknown", topic, why)]
        return [
            Finding("good" if self.calibration.passed else "bad", topic, " ".join(self.calibration.sentences()[:4]))
        ]

    def _on_coverage(self) -> list[Finding]:
        found = []
        for group in ("all", "moving"):
            shares = [(result.coverage[group][LEVEL], dose, motion) for dose, motion, result in self.coverage]
            low, high = min(shares), max(shares)
            level = worst(judge(low[0]), judge(high[0]))
            which = "all pixels" if group == "all" else "moving pixels"
            found.append(
                Finding(
                    level,
                    f"Simulated patients, {which}",
                    f"The 90 % intervals hold the truth in {_percent(low[0])} (I₀ = {low[1]:g}, {low[2]} motion) to "
                    f"{_percent(high[0])} (I₀ = {high[1]:g}, {high[2]} motion) of the cases.",
                )
            )
        return found

    def _on_limits(self) -> list[Finding]:
        matched = self.limits[0].coverage["all"][LEVEL]
        found = []
        for result in self.limits[1:]:
            if result.diverged == result.scenes:
                text = "The method gives no result for such scenes: it diverges, or does not serve them."
                found.append(Finding("caution", f"Limit: {result.case}", text))
                continue
            inside = result.coverage["all"][LEVEL]
            level = judge(inside)
            words = {"good": "the intervals stay right", "caution": "the intervals are usable with caution"}
            done = result.scenes - result.diverged
            missed = [name for name, count in result.spec_inside.items() if count < 0.5 * done]
            text = (
                f"{_percent(inside)} of the pixels are inside ({_percent(matched)} without): "
                f"{words.get(level, 'the intervals must not be relied on')}."
            )
            if result.diverged:
                text += f" {result.diverged} of {result.scenes} scenes have no result."
            if missed:
                text += f" The intervals of {', '.join(missed)} miss the truth in more than half of the scenes."
            found.append(Finding("caution" if missed and level == "good" else level, f"Limit: {result.case}", text))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "passed": self.passed,
            "options": asdict(self.options),
            "findings": [asdict(finding) for finding in self.findings()],
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "coverage": [
                {"photons": dose, "motion": motion, **asdict(result)} for dose, motion, result in self.coverage
            ],
            "limits": [asdict(result) for result in self.limits],
            "provenance": self.provenance,
            "seconds": self.seconds,
            "created": self.created,
        }


def judge(coverage: float) -> str:
    """``good``, ``caution`` or ``bad`` for the coverage of 90 % intervals; not a number is ``bad``."""
    if GOOD[0] <= coverage <= GOOD[1]:
        return "good"
    return "caution" if ACCEPTABLE[0] <= coverage <= ACCEPTABLE[1] else "bad"


def worst(*levels: str) -> str:
    """The worst of several levels."""
    return max(levels, key=("good", "unknown", "caution", "bad").index)


def validate(
    options: DossierOptions,
    *,
    make_display: Callable[[str], ProgressDisplay] = lambda name: ProgressDisplay(),
) -> Dossier:
    """Compute a validation report.

    **Arguments:** ``make_display(name)`` gives the progress display of each part, as a context manager.

    **Raises** ``ValueError`` for options, a model or a method that cannot be used; a method without standard deviations
    cannot be validated.
    """
    from fluorojax.io.provenance import asset_digests, file_sha256, package_versions
    from fluorojax.methods.registry import make_method
    from fluorojax.models.loading import load_model, model_path
    from fluorojax.validation.check import check_calibration
    from fluorojax.validation.registry import make_sampler

    begin = time.perf_counter()
    method, model = make_method(options.reconstruct), load_model(options.model)
    calibration = None
    if method.uses_model and options.replicates and not model.energies:
        with make_display("calibration on the prior") as progress:
            calibration = check_calibration(
                model, make_sampler(options.method), options.check, name=options.method, progress=progress
            )
    cells = []
    for dose in options.photons:
        for motion in MOTIONS:
            case = MisspecifiedCase(
                f"I₀ = {dose:g}, {motion} motion",
                SimulationOptions(frames=options.frames, size=options.size, photons=dose, motion=motion),
            )
            cells.append((dose, motion, _case(case, options, make_display)))
    limits = [_case(case, options, make_display) for case in misspecified_cases(options.base)]
    provenance = {
        **{f"version of {name}": value for name, value in package_versions().items()},
        "model": f"{model.name}, SHA-256 {file_sha256(model_path(options.model))}",
        "method": options.method,
        **{f"file {name}": f"SHA-256 {digest}" for name, digest in asset_digests(method).items()},
        "seed": str(options.seed),
    }
    return Dossier(options, calibration, tuple(cells), tuple(limits), provenance, time.perf_counter() - begin)


def _case(
    case: MisspecifiedCase, options: DossierOptions, make_display: Callable[[str], ProgressDisplay]
) -> CaseResult:
    with make_display(case.name) as progress:
        return run_case(case, options.scenes, options.seed, options.reconstruct, progress=progress)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
