"""Scores of reconstructions: image quality, challenge scores, calibration of the stated uncertainties."""

from fluorojax.metrics.calibration import LEVELS, Coverage, SpecError, coverage, moving_pixels, spec_errors
from fluorojax.metrics.image import psnr, ssim
from fluorojax.metrics.scene_score import FileScore, SceneScore, expected_counts, score_files, score_scene
from fluorojax.metrics.scores import blind_score, standard_score

__all__ = [
    "LEVELS",
    "Coverage",
    "FileScore",
    "SceneScore",
    "SpecError",
    "blind_score",
    "coverage",
    "expected_counts",
    "moving_pixels",
    "psnr",
    "score_files",
    "score_scene",
    "spec_errors",
    "ssim",
    "standard_score",
]
