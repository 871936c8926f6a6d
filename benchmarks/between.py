"""Images between frames against the truth: the network, linear interpolation, optical flow, and the last frame again.

    python -m benchmarks.between --scenes 8

Simulated runs of 7.5 and 15 frames/s are reconstructed (``learned``, or ``--method map``) and interpolated to 30 images/s.
PSNR is that of the images between the frames alone, over all pixels and over the fifth of the pixels that move most.
Optical flow is TV-L1 of scikit-image in both directions, warped linearly and blended. Seeds are those of no training.
"""

import argparse
import json
import time
import warnings

import numpy as np

from fluorojax.api import reconstruct
from fluorojax.between.images import at_times
from fluorojax.metrics.image import psnr
from fluorojax.metrics.interval_coverage import moving_pixels
from fluorojax.simulation import SimulationOptions, build_phantom, simulate_scene

RATE, DURATION_MS = 30.0, 1600.0
Z90 = 1.6449


def interpolations(x: np.ndarray, stride: int) -> dict[str, np.ndarray]:
    """The simple answers at every step of ``stride`` between the frames of x, frames left out; (n, H, W) each."""
    from scipy.ndimage import map_coordinates
    from skimage.registration import optical_flow_tvl1

    found: dict[str, list[np.ndarray]] = {"linear": [], "optical flow": [], "last frame": []}
    grid = np.indices(x.shape[1:], dtype=np.float32)
    for first, second in zip(x[:-1], x[1:], strict=True):
        # flow(a, b) is v with b(p + v) = a(p)
        there, back = optical_flow_tvl1(first, second), optical_flow_tvl1(second, first)
        for step in range(1, stride):
            u = step / stride
            a = map_coordinates(first, grid + u * back, order=1, mode="nearest")
            b = map_coordinates(second, grid + (1.0 - u) * there, order=1, mode="nearest")
            found["linear"].append((1.0 - u) * first + u * second)
            found["optical flow"].append((1.0 - u) * a + u * b)
            found["last frame"].append(first)
    return {name: np.stack(images) for name, images in found.items()}


def one(seed: int, fps: float, motion: str, photons: float, size: int, method: str) -> dict[str, float]:
    """Figures of one simulated run."""
    frames, stride = round(DURATION_MS * fps / 1000.0), round(RATE / fps)
    options = SimulationOptions(frames=frames, fps=fps, size=size, photons=photons, motion=motion, tier="dev")
    scene = simulate_scene(seed, options)
    phantom = build_phantom(seed, options)
    scale = scene.acquisition.as_dict()["attenuation_scale"]
    times = np.arange((frames - 1) * stride + 1) * (1000.0 / RATE)
    truth = np.stack([phantom.attenuation(t) for t in times]).astype(np.float32) / scale
    assert scene.x_true is not None
    assert np.abs(truth[::stride] - scene.x_true).max() < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = reconstruct(scene, method=method, held_out=0.0)
    begin = time.process_time()
    found = at_times(result, times)
    seconds = time.process_time() - begin
    between = np.arange(len(times)) % stride > 0
    true, moving = truth[between], moving_pixels(truth)
    answers = {"network": found.x_hat[between], **interpolations(result.x_hat, stride)}
    row: dict[str, float] = {"cpu_s_per_image": seconds / between.sum()}
    for name, x in answers.items():
        row[f"{name}"] = psnr(x, true)
        row[f"{name}, moving"] = psnr(x[:, moving], true[:, moving])
    row["frames"] = psnr(result.x_hat, scene.x_true)
    assert found.x_std is not None
    assert result.x_std is not None
    for name, inside in (
        ("cover", np.abs(found.x_hat - truth)[between] <= Z90 * found.x_std[between]),
        ("cover at frames", np.abs(found.x_hat - truth)[~between] <= Z90 * found.x_std[~between]),
    ):
        row[name], row[f"{name}, moving"] = float(inside.mean()), float(inside[:, moving].mean())
    width = np.sqrt(np.mean(found.x_std[between] ** 2) / np.mean(result.x_std**2))
    row["sd ratio"], row["sd ratio, moving"] = (
        float(width),
        float(
            np.sqrt(np.mean(found.x_std[between][:, moving] ** 2) / np.mean(result.x_std[:, moving] ** 2)),
        ),
    )
    return row


def main() -> None:
    """Print a table, one row a group of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--photons", type=float, nargs="+", default=[1500.0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--method", default="learned")
    parser.add_argument("--seed", type=int, default=70_000)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    for photons in asked.photons:
        for fps in (7.5, 15.0):
            for motion in ("slow", "fast"):
                rows = [
                    one(asked.seed + i, fps, motion, photons, asked.size, asked.method) for i in range(asked.scenes)
                ]
                means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
                wins = {
                    f"wins over {name}": int(sum(row["network"] > row[name] for row in rows))
                    for name in ("linear", "optical flow")
                }
                line = {"photons": photons, "fps": fps, "motion": motion, "scenes": len(rows), **means, **wins}
                if asked.json:
                    print(json.dumps(line), flush=True)
                else:
                    print(f"{photons:g} photons, {fps:g} → {RATE:g}, {motion}, {len(rows)} runs", flush=True)
                    for name, value in {**means, **wins}.items():
                        print(f"  {name:24s} {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
