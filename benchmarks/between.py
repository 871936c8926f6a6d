"""Images between frames against the truth: the network, linear interpolation, optical flow, and the last frame again.

    python -m benchmarks.between --scenes 8

Simulated runs of 7.5 and 15 frames/s are reconstructed (``learned``, or ``--method map``) and interpolated to 30
images/s. PSNR is that of the images between the frames alone, over all pixels and over the fifth that moves
most. Optical flow is TV-L1 of scikit-image in both directions, warped linearly and blended. Seeds are those of no
training.
"""

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fluorojax.api import reconstruct
from fluorojax.between.images import at_times
from fluorojax.data.reconstruction import Reconstruction
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
    for first, second in pairwise(x):
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


@dataclass(frozen=True)
class Prepared:
    """One simulated run with its reconstructed frames and the simple answers."""

    result: Reconstruction
    times: np.ndarray
    truth: np.ndarray
    stride: int
    answers: dict[str, np.ndarray]


def prepare(seed: int, fps: float, motion: str, photons: float, size: int, method: str) -> Prepared:
    """Simulate and reconstruct a run, and interpolate it without the network."""
    frames, stride = round(DURATION_MS * fps / 1000.0), round(RATE / fps)
    options = SimulationOptions(frames=frames, fps=fps, size=size, photons=photons, motion=motion, tier="dev")
    scene, phantom = simulate_scene(seed, options), build_phantom(seed, options)
    times = np.arange((frames - 1) * stride + 1) * (1000.0 / RATE)
    scale = scene.acquisition.as_dict()["attenuation_scale"]
    truth = (np.stack([phantom.attenuation(t) for t in times]) / scale).astype(np.float32)
    assert scene.x_true is not None
    assert np.abs(truth[::stride] - scene.x_true).max() < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = reconstruct(scene, method=method, held_out=0.0)
    assert isinstance(result, Reconstruction)
    return Prepared(result, times, truth, stride, interpolations(result.x_hat, stride))


def figures(run: Prepared) -> dict[str, float]:
    """Figures of the network and of the simple answers on the images between the frames."""
    begin = time.process_time()
    found = at_times(run.result, run.times)
    seconds = time.process_time() - begin
    between, moving = np.arange(len(run.times)) % run.stride > 0, moving_pixels(run.truth)
    true, frames = run.truth[between], run.truth[:: run.stride]
    row = {"cpu_s_per_image": seconds / between.sum(), "frames": psnr(run.result.x_hat, frames)}
    for name, x in {"network": found.x_hat[between], **run.answers}.items():
        row[name], row[f"{name}, moving"] = psnr(x, true), psnr(x[:, moving], true[:, moving])
    assert found.x_std is not None
    assert run.result.x_std is not None
    inside = np.abs(found.x_hat - run.truth) <= Z90 * found.x_std
    for name, part in (("cover", inside[between]), ("cover at frames", inside[~between])):
        row[name], row[f"{name}, moving"] = float(part.mean()), float(part[:, moving].mean())
    for name, pixels in (("sd ratio", np.ones_like(moving)), ("sd ratio, moving", moving)):
        squares = [float(np.mean(v[:, pixels] ** 2)) for v in (found.x_std[between], run.result.x_std)]
        row[name] = float(np.sqrt(squares[0] / squares[1]))
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
                seeds = range(asked.seed, asked.seed + asked.scenes)
                rows = [figures(prepare(seed, fps, motion, photons, asked.size, asked.method)) for seed in seeds]
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
