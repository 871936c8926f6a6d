"""Scores of reconstructions, coverage of the stated uncertainties, and the image-quality measures of the field."""

from fluorojax.metrics.contrast import (
    DeviceContrast,
    VesselScore,
    cnr,
    device_contrast,
    moving_psnr,
    region_psnr,
    vessel_score,
)
from fluorojax.metrics.detectability import Detectability, disk, npw_detectability, template_detectability, wire
from fluorojax.metrics.held_out import held_out, thinned
from fluorojax.metrics.held_out_verdict import Bias, HeldOut, IntervalSize
from fluorojax.metrics.image import psnr, ssim
from fluorojax.metrics.interval_coverage import LEVELS, Coverage, SpecError, coverage, moving_pixels, spec_errors
from fluorojax.metrics.noise import NoisePower, ensemble_noise, noise_power
from fluorojax.metrics.resolution import EdgeTransfer, edge_transfer, slanted_edge
from fluorojax.metrics.scene_score import FileScore, SceneScore, expected_counts, score_files, score_scene
from fluorojax.metrics.scores import blind_score, standard_score
from fluorojax.metrics.tasks import Task, task_detectability, task_lag, task_noise, task_transfer
from fluorojax.metrics.temporal import StepResponse, step_response
from fluorojax.metrics.whiteness import Whiteness, standardised_residuals, whiteness

__all__ = [
    "LEVELS",
    "Bias",
    "Coverage",
    "Detectability",
    "DeviceContrast",
    "EdgeTransfer",
    "FileScore",
    "HeldOut",
    "IntervalSize",
    "NoisePower",
    "SceneScore",
    "SpecError",
    "StepResponse",
    "Task",
    "VesselScore",
    "Whiteness",
    "blind_score",
    "cnr",
    "coverage",
    "device_contrast",
    "disk",
    "edge_transfer",
    "ensemble_noise",
    "expected_counts",
    "held_out",
    "moving_pixels",
    "moving_psnr",
    "noise_power",
    "npw_detectability",
    "psnr",
    "region_psnr",
    "score_files",
    "score_scene",
    "slanted_edge",
    "spec_errors",
    "ssim",
    "standard_score",
    "standardised_residuals",
    "step_response",
    "task_detectability",
    "task_lag",
    "task_noise",
    "task_transfer",
    "template_detectability",
    "thinned",
    "vessel_score",
    "whiteness",
    "wire",
]
