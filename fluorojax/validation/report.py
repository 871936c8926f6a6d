"""Outcome of a check: its tests, the verdict, and their meaning in words."""

from dataclasses import asdict, dataclass
from typing import Any

from fluorojax.validation.coverage import GroupCoverage, resolution
from fluorojax.validation.options import CheckOptions
from fluorojax.validation.sbc import LOG_LIKELIHOOD, REGIONS, Uniformity

# Below this share of the prior variance removed, uniform ranks say little about a spec parameter.
_UNINFORMATIVE = 0.1
# Failures of a kind that are spelled out; all are in the tables.
_SPELLED_OUT = 3


@dataclass(frozen=True)
class CalibrationReport:
    """Result of a check; :meth:`as_dict` is JSON-serialisable."""

    model: str
    method: str
    options: CheckOptions
    uniformity: tuple[Uniformity, ...]
    coverage: tuple[GroupCoverage, ...]
    failed_replicates: dict[float, int]
    """Number of replicates whose draws were not finite, by dose; they are left out of all tests."""
    seconds: float

    @property
    def skewed(self) -> tuple[Uniformity, ...]:
        """Quantities whose ranks are not uniform, worst first."""
        found = [test for test in self.uniformity if test.adjusted_p < self.options.alpha / 2]
        return tuple(sorted(found, key=lambda test: test.adjusted_p))

    @property
    def miscovered(self) -> tuple[GroupCoverage, ...]:
        """Groups of pixels whose coverage lies outside the margin, worst first."""
        found = [cell for cell in self.coverage if cell.adjusted_p < self.options.alpha / 2]
        return tuple(sorted(found, key=lambda cell: cell.adjusted_p))

    @property
    def passed(self) -> bool:
        """No test failed and every replicate gave finite draws.

        Ranks and coverage get half of ``alpha`` each, Holm-adjusted over their tests, so a correct method fails with
        probability ``alpha`` at most.
        """
        return not (self.skewed or self.miscovered or any(self.failed_replicates.values()))

    def sentences(self) -> tuple[str, ...]:
        """The verdict and its reasons, most important first."""
        options = self.options
        shape = "×".join(map(str, options.shape))
        lines = [
            f"{'PASSED' if self.passed else 'FAILED'}: {self.method} on {self.model}, {options.replicates} replicates "
            f"of {shape} at each of {len(options.doses)} doses, {options.draws} draws each."
        ]
        lines += [
            f"{count} of {options.replicates} replicates at {dose:g} counts gave draws that are not finite."
            for dose, count in self.failed_replicates.items()
            if count
        ]
        lines += _first(
            [
                f"{test.quantity} at {test.dose:g} counts: ranks not uniform, {test.departure()} "
                f"(adjusted p = {test.adjusted_p:.1g})."
                for test in self.skewed
            ],
            "quantities",
        )
        lines += _first(
            [
                f"{cell.group} pixels at {cell.dose:g} counts: {100 * cell.level:g} % intervals are "
                f"{'too narrow' if cell.coverage < cell.level else 'too wide'}, they hold the truth in "
                f"{100 * cell.coverage:.1f} ± {100 * cell.standard_error:.1f} % of cases "
                f"(adjusted p = {cell.adjusted_p:.1g})."
                for cell in self.miscovered
            ],
            "coverages",
        )
        if self.uniformity and not self.skewed:
            worst = min(self.uniformity, key=lambda test: test.adjusted_p)
            lines.append(
                f"No ranks depart from uniform: the smallest of {len(self.uniformity)} adjusted p-values is "
                f"{worst.adjusted_p:.2g} ({worst.quantity} at {worst.dose:g} counts)."
            )
        return (*lines, *self._limits())

    def _limits(self) -> list[str]:
        """What this number of replicates could not have seen."""
        options, lines = self.options, []
        if any(cell.level == 0.9 for cell in self.coverage):
            widest = options.margin + resolution(list(self.coverage), 0.9, options.alpha / 2)
            lines.append(
                f"With this many replicates the 90 % coverage of all pixels fails where it is off by "
                f"{100 * widest:.1f} points or more at every dose."
            )
        by_prior = [
            f"{test.quantity} at {test.dose:g}"
            for test in self.uniformity
            if test.quantity not in (*REGIONS, LOG_LIKELIHOOD) and test.contraction < _UNINFORMATIVE
        ]
        if by_prior:
            lines.append(
                "The data hardly inform these, so their ranks only show that the posterior is the prior: "
                f"{', '.join(by_prior)} counts."
            )
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "passed": self.passed,
            "sentences": list(self.sentences()),
            "model": self.model,
            "method": self.method,
            "settings": asdict(self.options),
            "uniformity": [
                {**asdict(test), "p_value": test.p_value, "departure": test.departure()} for test in self.uniformity
            ],
            "coverage": [asdict(cell) for cell in self.coverage],
            "failed_replicates": {f"{dose:g}": count for dose, count in self.failed_replicates.items()},
            "seconds": self.seconds,
        }


def _first(lines: list[str], what: str) -> list[str]:
    left = len(lines) - _SPELLED_OUT
    return [*lines[:_SPELLED_OUT], *([f"… and {left} more {what}."] if left > 0 else [])]
