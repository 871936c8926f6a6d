"""Error of the exposure window's interpolations against a simulation in 0.1 ms steps.

Prints a Markdown table: root-mean-square and largest relative error (%) of the exposure, over pixels and frames, for
slow and fast motion. Run it from the repository root: ``python -m benchmarks.exposure_quadrature``.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from fluorojax.physics import BeerLambert, ExposureWindow

FRAME_TIME_MS = 1000 / 30
FRAMES = 16
OPTICAL_DEPTH = 7.0
STEP_MS = 0.1
PIXELS = np.arange(128.0)

Scene = Callable[[float], np.ndarray]


def breathing_edge(hertz: float) -> Scene:
    """A soft organ border (tanh of 3 pixels) that moves sinusoidally by ±8 pixels; time in ms."""
    return lambda t: 0.4 + 0.2 * np.tanh((PIXELS - 64 - 8 * np.sin(2e-3 * np.pi * hertz * t)) / 3)


def perfusion(hertz: float) -> Scene:
    """A travelling sinusoid of attenuation; time in ms."""
    return lambda t: 0.4 + 0.2 * np.sin(2e-3 * np.pi * hertz * t + PIXELS / 10)


def wire(pixels_per_ms: float) -> Scene:
    """A guide wire of Gaussian profile (σ = 1.5 pixels, depth 2.1) at constant speed; time in ms."""
    return lambda t: 0.4 + 0.3 * np.exp(-0.5 * ((PIXELS - 12 - pixels_per_ms * t) / 1.5) ** 2)


MOTIONS: dict[str, Scene] = {
    **{f"edge, {hertz} Hz": breathing_edge(hertz) for hertz in (0.25, 0.6, 1.2)},
    **{f"perfusion, {hertz} Hz": perfusion(hertz) for hertz in (0.25, 1.2)},
    **{f"wire, {speed} px/ms": wire(speed) for speed in (0.02, 0.05, 0.1, 0.2)},
}


def fine_exposure(scene: Scene, width_ms: float, step_ms: float = STEP_MS) -> np.ndarray:
    """Exposure (T, pixels) by the midpoint rule in steps of ``step_ms``: the definition, independent of the library."""
    steps = round(width_ms / step_ms)
    offsets = (np.arange(steps) + 0.5) * width_ms / steps - width_ms / 2
    frames = (np.exp(-OPTICAL_DEPTH * np.stack([scene(t + u) for u in offsets])) for t in frame_times())
    return np.stack([exposures.mean(axis=0) for exposures in frames])


def frame_times() -> np.ndarray:
    return FRAME_TIME_MS * np.arange(FRAMES)


def exposure(scene: Scene, width_ms: float, interpolation: str) -> np.ndarray:
    """Exposure (T, pixels) by the library; ``"none"`` leaves the window out."""
    x = jnp.asarray(np.stack([scene(t) for t in frame_times()]), jnp.float32)
    transmission = BeerLambert().transmission(x, OPTICAL_DEPTH)
    if interpolation == "none":
        return np.asarray(transmission)
    window = ExposureWindow(interpolation)  # pyright: ignore[reportArgumentType]
    return np.asarray(window.matrix(width_ms, FRAME_TIME_MS, FRAMES) @ transmission)


def attenuation_exposure(scene: Scene, width_ms: float) -> np.ndarray:
    """Two Gauss–Legendre nodes on x interpolated by parabolas: twice the exponentials, for comparison."""
    x = np.stack([scene(t) for t in frame_times()])
    before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
    node = 0.5 * width_ms / FRAME_TIME_MS / np.sqrt(3)
    paths = [x + 0.5 * v * (after - before) + 0.5 * v**2 * (after - 2 * x + before) for v in (-node, node)]
    return np.mean(np.exp(-OPTICAL_DEPTH * np.stack(paths)), axis=0)


def relative_error(estimate: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Root mean square and maximum of the relative error, %, without the edge frames (their neighbour is unknown)."""
    error = 100 * (estimate / reference - 1)[1:-1]
    return float(np.sqrt(np.mean(error**2))), float(np.max(np.abs(error)))


def main() -> None:
    columns = ("none", "linear", "quadratic", "cubic")
    print(f"Relative error of the exposure, rms / max in %; Δ = {FRAME_TIME_MS:.1f} ms, reference {STEP_MS} ms steps\n")
    print(f"| motion | w (ms) | {' | '.join(columns)} | x quadratic, 2 nodes |")
    print("|---" * (len(columns) + 3) + "|")
    for width_ms in (8.0, 18.0):
        for name, scene in MOTIONS.items():
            reference = fine_exposure(scene, width_ms)
            estimates = [exposure(scene, width_ms, column) for column in columns]
            estimates.append(attenuation_exposure(scene, width_ms))
            cells = ["{:.3f} / {:.2f}".format(*relative_error(estimate, reference)) for estimate in estimates]
            print(f"| {name} | {width_ms:g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
