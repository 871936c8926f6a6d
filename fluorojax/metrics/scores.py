"""The two scores of the challenge."""

import numpy as np
from jaxtyping import Float


def standard_score(psnr: float, ssim: float) -> float:
    """The standard score of the challenge, from 0 to 1: ``0.5·clip((PSNR − 15)/30, 0, 1) + 0.5·SSIM``, PSNR in dB.

    A perfect reconstruction has an infinite PSNR and scores 1.
    """
    return 0.5 * float(np.clip((psnr - 15.0) / 30.0, 0.0, 1.0)) + 0.5 * ssim


def blind_score(psnr: float, ssim: float, y: Float[np.ndarray, "*shape"], rate: Float[np.ndarray, "..."]) -> float:
    """The blind score of the challenge, which also asks how well the corrected operator explains the counts.

    ``0.4·clip((PSNR − 10)/40, 0, 1) + 0.4·SSIM + 0.2·(1 − ‖y − Ĥx̂‖/‖y‖)``.

    **Arguments:** ``psnr`` in dB; ``y`` counts; ``rate`` the expected counts Ĥx̂ of the reconstruction under the
    corrected operator, same shape. The counts y are noisy, so that the last term is below 0.2 even for the truth. This
    term is not clipped and may be negative. **Raises** ``ValueError`` where the shapes differ or all counts are zero.
    """
    if y.shape != rate.shape:
        raise ValueError(f"rate has shape {rate.shape}; expected {y.shape}, like y")
    norm = float(np.linalg.norm(y.astype(np.float64)))
    if norm == 0:
        raise ValueError("all counts are zero; expected a measured sequence")
    residual = float(np.linalg.norm(y.astype(np.float64) - rate)) / norm
    return 0.4 * float(np.clip((psnr - 10.0) / 40.0, 0.0, 1.0)) + 0.4 * ssim + 0.2 * (1.0 - residual)
