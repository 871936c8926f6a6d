"""The page of a validation report."""

import math
from os import PathLike

from markupsafe import Markup

from fluorojax.data.spec import SPEC_NAMES, SPEC_UNITS
from fluorojax.io import check_output, write_text
from fluorojax.metrics.interval_coverage import LEVELS
from fluorojax.physics.operator import PUBLISHED_OPERATOR
from fluorojax.reports.document import document
from fluorojax.reports.fragments import definitions, table
from fluorojax.reports.numbers import number
from fluorojax.reports.templates import render
from fluorojax.simulation import SimulationOptions
from fluorojax.validation.dossier import Dossier
from fluorojax.validation.misspecification import CaseResult
from fluorojax.validation.report import CalibrationReport

_COVERAGE = ("counts", "PSNR (dB)", *(f"{100 * level:g} %" for level in LEVELS), "90 %, moving", "90 %, static")
_SPEC = tuple(f"{name} ({SPEC_UNITS[name]})" for name in SPEC_NAMES)


def write_validation(output: str | PathLike[str], dossier: Dossier, *, overwrite: bool = False) -> None:
    """Write a validation report as one self-contained HTML page, atomically.

    Raises :class:`fluorojax.io.InputError` where the page cannot be written.
    """
    check_output(output, overwrite=overwrite)
    title = f"Validation of {dossier.options.model} with {dossier.options.method}"
    write_text(output, document(title, [validation_body(title, dossier)]), overwrite=overwrite)


def validation_body(title: str, dossier: Dossier) -> Markup:
    """The page without its frame."""
    options = dossier.options
    base = SimulationOptions(frames=options.frames, size=options.size)
    chain = PUBLISHED_OPERATOR.describe(shape=(options.frames, options.size, options.size)).svg()
    return render(
        "validation",
        title=title,
        passed=dossier.passed,
        findings=dossier.findings(),
        calibration="" if dossier.calibration is None else _calibration(dossier.calibration),
        coverage=_tables(
            "dose in the open beam, motion", [(f"{dose:g}, {motion}", one) for dose, motion, one in dossier.coverage]
        ),
        limits=_tables("what the simulated detector does", [(result.case, result) for result in dossier.limits]),
        chain=Markup(chain),
        provenance=definitions(
            {
                **dossier.provenance,
                "simulated patients": f"{options.scenes} for each row, {options.frames} frames of {options.size} × "
                f"{options.size} pixels, {base.fps:g} frames/s, spec drawn from the ranges of the {base.tier} tier",
                "created": dossier.created,
                "computing time": f"{number(dossier.seconds, 0)} s",
            }
        ),
    )


def _calibration(report: CalibrationReport) -> Markup:
    """The p-values of the ranks, and the coverage of the intervals on draws from the prior."""
    ranks = table(
        ("rank of the truth", "counts", "adjusted p", "bias z", "spread z"),
        [
            [
                test.quantity,
                f"{test.dose:g}",
                number(test.adjusted_p, 3),
                number(test.bias_z, 1, sign=True),
                number(test.spread_z, 1, sign=True),
            ]
            for test in report.uniformity
        ],
        "Ranks",
    )
    cells = [cell for cell in report.coverage if cell.level in LEVELS]
    covered = table(
        ("pixels", "counts", "level", "coverage", "standard error", "adjusted p"),
        [
            [
                cell.group,
                f"{cell.dose:g}",
                f"{100 * cell.level:g} %",
                f"{100 * cell.coverage:.1f} %",
                f"{100 * cell.standard_error:.1f} %",
                number(cell.adjusted_p, 3),
            ]
            for cell in cells
        ],
        "Coverage on draws from the prior",
    )
    return Markup("\n").join([ranks, covered])


def _tables(title: str, results: list[tuple[str, CaseResult]]) -> Markup:
    """Coverage of the pixels, and below it the errors of the spec."""
    pixels = table((title, *_COVERAGE), [[name, *_pixels(one)] for name, one in results], f"Pixels by {title}")
    spec = table((title, *_SPEC), [[name, *_spec(one)] for name, one in results], f"Spec by {title}")
    return Markup("<br>\n").join([pixels, spec])


def _pixels(result: CaseResult) -> list[str]:
    covered = [_share(result.coverage["all"][level]) for level in LEVELS]
    if math.isfinite(result.coverage_error):
        covered[LEVELS.index(0.9)] += f" ± {100 * result.coverage_error:.0f}"
    groups = (_share(result.coverage[group][0.9]) for group in ("moving", "static"))
    return [f"{result.counts:.3g}", number(result.psnr, 1), *covered, *groups]


def _spec(result: CaseResult) -> list[str]:
    done = result.scenes - result.diverged
    return [
        f"{result.spec_error[name]:.2g}; {result.spec_inside[name]} of {done}" if done else "–" for name in SPEC_NAMES
    ]


def _share(value: float) -> str:
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"
