#!/usr/bin/env python3
"""Measure the usual denoisers, side by side, on a challenge file that holds the truth.

usage:
    python benchmarks/peers.py IN.h5 [-o TABLE.md] [--json ROWS.json] [--methods raw,recursive,tv3d,nlm,bm3d,bm4d]
    python benchmarks/peers.py --tune      # re-derive the frozen TV and NLM parameters on a phantom made here

Needs numpy, scipy, h5py and scikit-image, and does not import fluorojax. ``bm3d`` and ``bm4d`` (PyPI) are licensed for
non-commercial use: they are optional, belong in an environment of their own, and a missing one becomes a row that says
so. Numbers of threads: ``--threads`` (default 1, which makes bm3d and bm4d repeatable); also set OMP_NUM_THREADS.

Each method estimates the detected rate; the attenuation is −log(rate/I₀)/A, clipped to the known range [0, 1]. None of
them knows the imaging chain. They are scored twice: blind, and with the true gain drift handed to them ("true drift
removed", rate divided by g_t), which is the bar that a blind calibration has to clear. Window, lag and scatter are left
as they are.

* raw: the counts themselves, at least 1, so that an empty pixel has a logarithm.
* recursive: z_t = α·y_t + (1−α)·z_{t−1} on the counts, α = 0.3, starting at the first frame. With the drift removed,
  the counts are divided by g_t before the recursion (it is linear and needs no variance stabilisation).
* tv3d, nlm, bm3d, bm4d: Anscombe transform of the raw counts (noise sd 1), denoise, closed-form approximation of the
  exact unbiased inverse (Mäkitalo & Foi 2011), then division by g_t. tv3d and bm4d take the (T, H, W) stack, nlm and
  bm3d one frame at a time. bm3d and bm4d use the profile 'np' with sigma 1.

No parameter is chosen on the file that is scored: the TV weight and the NLM strength come from ``--tune``.
"""

import argparse
import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter, shift
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

ALPHA = 0.3
# Frozen; chosen by --tune on its phantom, in units of the noise sd after the Anscombe transform.
# TV runs with scikit-image's default tolerance, which for weights of about 1 and more stops the solver well short of
# convergence, by amounts that depend on the scene; at the weight chosen here converging it changes the mean by 0.1 dB.
TV_WEIGHT = 0.6
NLM_STRENGTH = 0.8
NLM_PATCH_SIZE, NLM_PATCH_DISTANCE = 5, 6
BM3D_MIN_SIZE = 16


class InputError(Exception):
    """What is wrong with the file, in one line."""


@dataclass(frozen=True)
class Scene:
    name: str
    y: np.ndarray  # (T, H, W) counts
    x_true: np.ndarray  # (T, H, W)
    photons: float
    scale: float
    scatter: float
    drift: float | None  # true gain drift, %/frame; None where the file does not hold it


@dataclass(frozen=True)
class Method:
    label: str
    denoise: Callable[[np.ndarray, int], np.ndarray]  # counts (T, H, W), threads -> rate (T, H, W)
    package: str = "numpy"
    gain_first: bool = False  # linear in the counts: with the drift known, divide by the gain before, not after


# --- denoisers ----------------------------------------------------------------------------------------------------


def anscombe(y: np.ndarray) -> np.ndarray:
    return 2 * np.sqrt(np.maximum(y, 0) + 3 / 8)


def inverse_anscombe(z: np.ndarray) -> np.ndarray:
    """Closed-form approximation of the exact unbiased inverse (Mäkitalo & Foi, IEEE TIP 20(9), 2011)."""
    z = np.maximum(z, 2 * math.sqrt(3 / 8))
    root = math.sqrt(3 / 2)
    return np.maximum(z**2 / 4 + root / 4 / z - 11 / 8 / z**2 + 5 / 8 * root / z**3 - 1 / 8, 0)


def raw(y: np.ndarray, threads: int) -> np.ndarray:
    return np.maximum(y, 1)


def recursive(y: np.ndarray, threads: int, alpha: float = ALPHA) -> np.ndarray:
    out = y.astype(float)
    for t in range(1, len(out)):
        out[t] = alpha * out[t] + (1 - alpha) * out[t - 1]
    return out


def tv3d(y: np.ndarray, threads: int, weight: float | None = None) -> np.ndarray:
    weight = TV_WEIGHT if weight is None else weight
    return inverse_anscombe(denoise_tv_chambolle(anscombe(y), weight=weight))


def nlm(y: np.ndarray, threads: int, strength: float | None = None) -> np.ndarray:
    strength = NLM_STRENGTH if strength is None else strength
    options = {"patch_size": NLM_PATCH_SIZE, "patch_distance": NLM_PATCH_DISTANCE, "sigma": 1.0, "fast_mode": True}
    return inverse_anscombe(np.stack([denoise_nl_means(z, h=strength, **options) for z in anscombe(y)]))


def bm3d(y: np.ndarray, threads: int) -> np.ndarray:
    package = importlib.import_module("bm3d")
    if min(y.shape[1:]) < BM3D_MIN_SIZE:  # smaller frames crash the binary
        raise ValueError(f"frames are {y.shape[1]}×{y.shape[2]}; expected at least {BM3D_MIN_SIZE} pixels a side")
    profile = package.BM3DProfile()
    profile.num_threads = threads
    return inverse_anscombe(np.stack([np.squeeze(package.bm3d(z, 1.0, profile)) for z in anscombe(y)]))


def bm4d(y: np.ndarray, threads: int) -> np.ndarray:
    package = importlib.import_module("bm4d")
    profile = package.BM4DProfile()
    profile.num_threads = threads
    return inverse_anscombe(package.bm4d(anscombe(y), 1.0, profile).reshape(y.shape))


METHODS = {
    "raw": Method("raw −log(y/I₀)/A", raw, gain_first=True),
    "recursive": Method(f"recursive, α = {ALPHA:g}", recursive, gain_first=True),
    "tv3d": Method("TV 3-D (scikit-image, Anscombe)", tv3d, "scikit-image"),
    "nlm": Method("NLM per frame (scikit-image, Anscombe)", nlm, "scikit-image"),
    "bm3d": Method("BM3D per frame (Anscombe)", bm3d, "bm3d"),
    "bm4d": Method("BM4D (Anscombe)", bm4d, "bm4d"),
}


# --- scores -------------------------------------------------------------------------------------------------------


def attenuation(rate: np.ndarray, scene: Scene) -> np.ndarray:
    low = scene.photons * math.exp(-scene.scale)
    x = -np.log(np.clip(rate, low, scene.photons) / scene.photons) / scene.scale
    return x.astype(np.float32)


def score(x: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """PSNR over all pixels and SSIM averaged over frames, data range 1."""
    if not np.isfinite(x).all():
        raise ValueError("the result is not finite")
    mse = float(np.mean((x.astype(float) - truth) ** 2))
    ssim = [
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in zip(truth, x, strict=True)
    ]
    return {"psnr": -10 * math.log10(max(mse, 1e-20)), "ssim": float(np.mean(ssim))}


def run(method: Method, scene: Scene, threads: int) -> dict[str, Any]:
    """Scores of one method on one scene, blind and with the true drift removed; a failure becomes its reason."""
    row: dict[str, Any] = {"scene": scene.name, "seconds": None, "blind": None, "drift_removed": None, "reason": None}
    try:
        start = time.perf_counter()
        rate = method.denoise(scene.y, threads)
        x = attenuation(rate, scene)
        row["seconds"] = time.perf_counter() - start
        row["blind"] = score(x, scene.x_true)
        if scene.drift is not None:
            gain = (1 + scene.drift / 100) ** np.arange(len(scene.y))[:, None, None]
            rate = method.denoise(scene.y / gain, threads) if method.gain_first else rate / gain
            row["drift_removed"] = score(attenuation(rate, scene), scene.x_true)
    except ModuleNotFoundError as error:
        row["reason"] = f"package {error.name} is not installed"
    except Exception as error:  # a failing peer is a row with its reason, not the end of the run
        row["reason"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return row


def mean(rows: list[dict[str, Any]], variant: str) -> dict[str, float] | None:
    """Mean over scenes; None unless every scene has the scores, so that rows always compare the same scenes."""
    scores = [row[variant] for row in rows]
    if any(s is None for s in scores):
        return None
    return {name: float(np.mean([s[name] for s in scores])) for name in ("psnr", "ssim")}


# --- files --------------------------------------------------------------------------------------------------------


def read_json(group: h5py.Group, name: str) -> Any:
    """A JSON field, which may stand as an attribute or as a scalar string dataset; None where absent."""
    if name in group.attrs:
        value = group.attrs[name]
    elif name in group:
        value = group[name][()]
    else:
        return None
    try:
        return json.loads(value.decode() if isinstance(value, bytes) else str(value))
    except json.JSONDecodeError as error:
        raise InputError(f"{group.name}: {name} is not JSON ({error})") from None


def read_scene(group: h5py.Group) -> Scene:
    where = group.name
    for name in ("y", "x_true"):
        if name not in group:
            raise InputError(f"{where}: has no {name}; expected a challenge file with counts and truth")
    y, x_true = np.asarray(group["y"], dtype=float), np.asarray(group["x_true"], dtype=np.float32)
    if y.ndim not in (2, 3) or y.shape != x_true.shape:
        raise InputError(f"{where}: y is {y.shape} and x_true {x_true.shape}; expected the same (T,H,W) or (H,W)")
    if not (np.isfinite(y).all() and np.isfinite(x_true).all()):
        raise InputError(f"{where}: y or x_true is not finite")
    protocol = read_json(group, "acquisition")
    for name in ("photons_per_pixel", "attenuation_scale"):
        try:
            positive = 0 < float(protocol[name]) < math.inf
        except (KeyError, TypeError, ValueError):
            positive = False
        if not positive:
            raise InputError(f"{where}: acquisition.{name} is missing or not a positive number")
    spec = read_json(group, "true_spec")
    drift = spec.get("gain_drift") if isinstance(spec, dict) else None
    return Scene(
        name=where.strip("/"),
        y=y if y.ndim == 3 else y[None],
        x_true=x_true if x_true.ndim == 3 else x_true[None],
        photons=float(protocol["photons_per_pixel"]),
        scale=float(protocol["attenuation_scale"]),
        scatter=float(protocol.get("scatter_fraction", 0.0)),
        drift=None if drift is None else float(drift),
    )


def scenes(path: Path) -> Iterator[Scene]:
    """The scenes of a file, one at a time."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = "no such file" if not path.exists() else f"not a readable HDF5 file ({error})"
        raise InputError(f"{path}: {reason}") from None
    with file:
        names = sorted(name for name in file if name.startswith("sample_"))
        if not names:
            raise InputError(f"{path}: holds no group sample_00, sample_01, …")
        for name in names:
            yield read_scene(file[name])


def write(path: Path, text: str) -> None:
    """Write to a temporary name beside the target, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(handle, 0o644)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


# --- report -------------------------------------------------------------------------------------------------------


def table(name: str, summary: list[dict[str, Any]], facts: dict[str, str]) -> str:
    def cell(scores: dict[str, float] | None) -> str:
        return "–" if scores is None else f"{scores['psnr']:.2f} / {scores['ssim']:.4f}"

    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"

    lines = [
        f"**{name}**: {facts['scenes']}. Mean over scenes, PSNR (dB) / SSIM, data range 1.",
        "",
        "| method | blind | true drift removed | s per scene | note |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['label']} | {cell(row['blind'])} | {cell(row['drift_removed'])} | {seconds(row['seconds'])} "
        f"| {row['note'].replace('|', '/')} |"
        for row in summary
    ]
    lines += ["", f"{facts['settings']}."]
    lines += ["", facts["scatter"]] if facts["scatter"] else []
    return "\n".join(lines) + "\n"


def benchmark(args: argparse.Namespace) -> None:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in args.methods}
    shapes, scatter = [], []
    for scene in scenes(args.input):
        shapes.append("×".join(map(str, scene.y.shape)))
        scatter.append(scene.scatter)
        for name in args.methods:
            print(f"{scene.name} {name} …", end=" ", flush=True, file=sys.stderr)
            row = run(METHODS[name], scene, args.threads)
            rows[name].append(row)
            blind = row["blind"]
            print(row["reason"] or f"{blind['psnr']:.2f} dB {row['seconds']:.2f} s", file=sys.stderr)

    summary = []
    for name in args.methods:
        times = [row["seconds"] for row in rows[name]]
        failures = {row["reason"]: row["scene"] for row in reversed(rows[name]) if row["reason"]}
        note = "; ".join(why if len(failures) == 1 else f"{scene}: {why}" for why, scene in failures.items())
        failed = sum(row["reason"] is not None for row in rows[name])
        if 0 < failed < len(times):
            note = f"failed on {failed} of {len(times)} scenes: {note}"
        summary.append(
            {
                "method": name,
                "label": METHODS[name].label,
                "blind": mean(rows[name], "blind"),
                "drift_removed": mean(rows[name], "drift_removed"),
                "seconds": None if None in times else float(np.mean(times)),
                "note": note,
                "scenes": rows[name],
            }
        )
    packages = ["numpy", "scikit-image"] + [m.package for m in map(METHODS.get, args.methods) if m.package[:2] == "bm"]
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    parameters = {"alpha": ALPHA, "tv_weight": TV_WEIGHT, "nlm_strength": NLM_STRENGTH}
    facts = {
        "scenes": f"{len(shapes)} scene{'s' * (len(shapes) > 1)} of {', '.join(dict.fromkeys(shapes))}",
        "settings": ", ".join(f"{k} {v}" if v else f"{k} not installed" for k, v in versions.items())
        + f"; {args.threads or 'automatic'} thread{'s' * (args.threads != 1)} for bm3d and bm4d; "
        + f"TV weight {TV_WEIGHT:g}, NLM h = {NLM_STRENGTH:g}, both in noise sd",
        "scatter": f"Scatter fraction up to {max(scatter):g}, not corrected by any row." if max(scatter) else "",
    }
    text = table(args.input.name, summary, facts)
    if args.json:
        record = {
            "file": args.input.name,
            "sha256": hashlib.sha256(args.input.read_bytes()).hexdigest(),
            "versions": versions,
            "threads": args.threads,
            "parameters": parameters,
            "methods": summary,
        }
        write(args.json, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if args.output:
        write(args.output, text)
    print(text, end="")


# --- choice of the frozen parameters ------------------------------------------------------------------------------


def phantom(seed: int, photons: float, shape: tuple[int, int, int] = (16, 128, 128)) -> Scene:
    """A chest-like scene made of random layers, with lag, drift and Poisson counts.

    A static layer (power-law texture and sharp-edged ribs), an organ that moves with respiration, a beating one, a
    vessel that fills with contrast and a thin wire that sways.
    """
    rng = np.random.default_rng(seed)
    frames, height, width = shape
    rows, columns = np.mgrid[:height, :width] / height

    def field(exponent: float, sd: float) -> np.ndarray:
        k = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) + 1 / height
        noise = np.fft.rfft2(rng.standard_normal((height, width)))
        out = np.fft.irfft2(noise * k**-exponent, s=(height, width))
        return sd * (out - out.mean()) / out.std()

    static = 0.5 + field(1.6, 0.07)
    for centre in np.arange(0.1, 1.0, 0.16) + rng.uniform(-0.03, 0.03):
        rib = np.abs(rows - centre - 0.25 * (columns - rng.uniform(0.3, 0.7)) ** 2) < 0.02
        static = static + gaussian_filter(0.05 * rib, 0.6)
    organ = field(1.8, 0.03) + 0.06 * gaussian_filter((rows > 0.7).astype(float), 0.8)
    heart_centre, radius = rng.uniform(0.4, 0.6, 2), rng.uniform(0.12, 0.2)
    vessel = np.abs(rows - 0.5 - 0.12 * np.sin(2 * np.pi * columns + rng.uniform(0, 6))) < 0.012
    vessel = gaussian_filter(vessel.astype(float), 0.6)
    phase = rng.uniform(0, 2 * np.pi, 3)
    x = np.empty(shape)
    for t in range(frames):
        breath = 2.0 * np.sin(2 * np.pi * t / 100 + phase[0])
        beat = 1 + 0.08 * np.sin(2 * np.pi * t / 25 + phase[1])
        heart = np.hypot(rows - heart_centre[0], columns - heart_centre[1]) < beat * radius
        front = 1 / (1 + np.exp((columns - 0.2 - 0.04 * t) / 0.03))
        wire = np.abs(columns - 0.5 - 0.15 * np.sin(4 * rows + phase[2]) - 0.02 * np.sin(2 * np.pi * t / 30)) < 0.009
        x[t] = static + shift(organ, (breath, 0), order=1, mode="nearest") + gaussian_filter(0.05 * heart, 0.8)
        x[t] += 0.08 * front * vessel + gaussian_filter(0.08 * wire, 0.5)
    x = np.clip(x, 0, 1)
    scale, drift, carry = 7.0, rng.uniform(-0.5, 1.0), math.exp(-33.3 / rng.uniform(7, 16))
    signal = np.exp(-scale * x)
    for t in range(1, frames):
        signal[t] = (1 - carry) * signal[t] + carry * signal[t - 1]
    rate = photons * signal * (1 + drift / 100) ** np.arange(frames)[:, None, None]
    return Scene(f"phantom_{seed}", rng.poisson(rate).astype(float), x.astype(np.float32), photons, scale, 0.0, drift)


def tune(args: argparse.Namespace) -> None:
    """Print mean PSNR over phantoms at several doses for a grid of parameters; the best becomes the constant above."""
    suite = [phantom(seed, photons) for photons in (250, 1500, 6000) for seed in range(4)]
    print("mean counts:", ", ".join(f"{scene.y.mean():.0f}" for scene in suite))
    for name, denoise, grid in (
        ("TV_WEIGHT", tv3d, (0.3, 0.4, 0.5, 0.6, 0.7, 1.0, 1.4, 2.0)),
        ("NLM_STRENGTH", nlm, (0.4, 0.6, 0.8, 1.0, 1.2)),
    ):
        for value in grid:
            method = Method(name, lambda y, threads, f=denoise, v=value: f(y, threads, v))
            psnr = [run(method, scene, args.threads)["drift_removed"]["psnr"] for scene in suite]
            print(f"{name} {value:g}: mean {np.mean(psnr):.2f} dB, by scene", " ".join(f"{p:.2f}" for p in psnr))


# --- command line -------------------------------------------------------------------------------------------------


def method_list(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown) or 'empty list'}; expected {','.join(METHODS)}")
    return names


def thread_count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{count} is negative; expected 0 (automatic) or more")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the usual denoisers on a challenge file with truth.")
    parser.add_argument("input", metavar="IN.h5", type=Path, nargs="?", help="challenge file with x_true")
    parser.add_argument("-o", "--output", metavar="TABLE.md", type=Path, help="also write the Markdown table here")
    parser.add_argument("--json", metavar="ROWS.json", type=Path, help="write per-scene rows and provenance here")
    parser.add_argument("--methods", metavar="A,B,…", type=method_list, default=list(METHODS), help=",".join(METHODS))
    parser.add_argument("--threads", type=thread_count, default=1, help="for bm3d and bm4d (default 1; 0 is automatic)")
    parser.add_argument("--tune", action="store_true", help="print the parameter grid on the phantom and stop")
    args = parser.parse_args()
    if args.tune:
        tune(args)
        return
    if args.input is None:
        parser.error("IN.h5 is missing")
    try:
        benchmark(args)
    except (InputError, OSError) as error:
        sys.exit(f"peers.py: {error}")


if __name__ == "__main__":
    main()
