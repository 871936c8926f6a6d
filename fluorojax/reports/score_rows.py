"""Scores as rows of a table, for the terminal and the page alike."""

from fluorojax.metrics import FileScore, SceneScore
from fluorojax.reports.numbers import number, status_words

QUALITY_COLUMNS = ("scene", "PSNR (dB)", "SSIM", "standard", "blind", "cover 90 %", "moving", "static", "status")


def quality_row(score: SceneScore) -> list[str]:
    """Image quality, challenge scores, coverage of 90 % pixel intervals and status of one scene."""
    at_90 = score.coverage_at(0.9)
    covered = (at_90.overall, at_90.moving, at_90.static)
    quality = (number(value, 4) for value in (score.ssim, score.standard, score.blind))
    status = status_words(score.status)
    return [score.name, number(score.psnr), *quality, *(number(value, 3) for value in covered), status]


def mean_row(scores: FileScore) -> list[str]:
    """The means of a file, in the same columns. The name says over how many scenes, where some are left out."""
    mean, count, total = scores.means(), len(scores.averaged), len(scores.scenes)
    covered = mean["coverage"].get("0.90", {})
    return [
        "mean" if count == total else f"mean of {count}",
        number(mean["psnr"]),
        *(number(mean[name], 4) for name in ("ssim", "standard", "blind")),
        *(number(covered.get(part), 3) for part in ("overall", "moving", "static")),
        "",
    ]
