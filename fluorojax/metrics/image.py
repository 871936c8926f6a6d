"""Image quality of a reconstructed sequence against the truth."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5  # the Gaussian window is cut at 3.5 σ, as in Wang et al. (11×11 pixels)


def psnr(x_hat: Float[np.ndarray, "*shape"], x_true: Float[np.ndarray, "..."]) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of a scene, data range 1.

    ``PSNR = −10 log10(mean((x̂ − x)²))``; the value is infinite where the two are equal. Values of ``x_hat``
    outside [0, 1] are not clipped. Raises ``ValueError`` where the shapes differ.
    """
    error = _difference(x_hat, x_true)
    mean_square = float(np.mean(error**2))
    return float("inf") if mean_square == 0 else -10.0 * float(np.log10(mean_square))


def ssim(x_hat: Float[np.ndarray, "*shape"], x_true: Float[np.ndarray, "..."]) -> float:
    """Structural similarity of two sequences, computed for each frame and averaged; shapes (T, H, W) or (H, W).

    Wang et al., IEEE Trans. Image Process. 13:600 (2004), eq. 13 with data range 1, K₁ = 0.01, K₂ = 0.03, Gaussian
    window of σ = 1.5 pixels cut at 5 pixels, population covariances, averaged over the pixels whose window lies inside
    the frame. Equal to scikit-image's ``structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1)``. Raises ``ValueError`` for frames smaller than 11×11.
    """
    _difference(x_hat, x_true)
    if x_hat.ndim not in (2, 3) or min(x_hat.shape[-2:]) <= 2 * _SSIM_RADIUS:
        raise ValueError(f"SSIM of shape {x_hat.shape}; expected (T, H, W) or (H, W) with frames of at least 11×11")
    if x_hat.ndim == 2:
        return _ssim_frame(x_hat, x_true)
    # frame by frame: the intermediate fields of a long sequence would need several times its memory
    return float(np.mean([_ssim_frame(a, b) for a, b in zip(x_hat, x_true, strict=True)]))


def _ssim_frame(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)

    def local_mean(image: np.ndarray) -> np.ndarray:
        inside = slice(_SSIM_RADIUS, -_SSIM_RADIUS)
        return gaussian_filter(image, _SSIM_SIGMA, radius=_SSIM_RADIUS)[inside, inside]

    mean_a, mean_b = local_mean(a), local_mean(b)
    var_a = local_mean(a * a) - mean_a**2
    var_b = local_mean(b * b) - mean_b**2
    covariance = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return float(np.mean(luminance * structure))


def _difference(x_hat: np.ndarray, x_true: np.ndarray) -> np.ndarray:
    if x_hat.shape != x_true.shape:
        raise ValueError(f"x_hat has shape {x_hat.shape}; expected {x_true.shape}, like x_true")
    return x_hat.astype(np.float64) - x_true
