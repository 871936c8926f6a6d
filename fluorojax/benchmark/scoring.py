"""What is measured about one result."""

import math
from contextlib import suppress
from typing import Any

import numpy as np
from jaxtyping import Bool

from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.metrics import score_scene
from fluorojax.metrics.contrast import device_contrast, moving_psnr, region_psnr

_LEVEL = 0.90


def score_row(
    result: Reconstruction, scene: Scene, device: Bool[np.ndarray, "T H W"] | None
) -> dict[str, float | None]:
    """Both challenge scores, PSNR of moving pixels and devices, device contrast, 90 % coverage, errors of the spec.

    None where a method or scene has nothing to score. Raises as :func:`fluorojax.metrics.score_scene` does.
    """
    assert scene.x_true is not None  # checked before the run
    scores = score_scene(result, scene)
    seen = None
    if device is not None:
        with suppress(ValueError):  # no device in view, or nothing but devices
            seen = device_contrast(result.x_hat, device, scene.x_true)
    covered = scores.coverage_at(_LEVEL)
    values: dict[str, Any] = {
        "psnr": scores.psnr,
        "ssim": scores.ssim,
        "standard": scores.standard,
        "blind": scores.blind,
        "moving_psnr": moving_psnr(result.x_hat, scene.x_true),
        "device_psnr": None if device is None else region_psnr(result.x_hat, scene.x_true, device),
        "device_cnr": None if seen is None else seen.cnr,
        "device_recovery": None if seen is None else seen.recovery,
        "coverage": covered.overall,
        "coverage_moving": covered.moving,
        "coverage_static": covered.static,
    }
    for name in SPEC_NAMES:
        values[f"{name}_error"] = scores.spec[name].error if name in scores.spec else None
    return {name: None if value is None or math.isnan(value) else value for name, value in values.items()}
