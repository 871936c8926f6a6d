"""The temporal stages against simulations in steps of 1 ms or less, for slow and fast motion.

Bounds are the measured errors rounded up; the table of ``benchmarks/exposure_quadrature.py`` has them all.
"""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fluorojax.physics import ChargeReleaseLag, ExposureWindow

benchmark = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "exposure_quadrature.py")))

# Motion, then bounds on the rms and on the largest relative error (%) for windows of 8 and 18 ms.
BOUNDS = [
    ("edge, 0.25 Hz", (0.001, 0.002), (0.001, 0.01)),
    ("edge, 1.2 Hz", (0.005, 0.05), (0.02, 0.3)),
    ("perfusion, 0.25 Hz", (0.001, 0.001), (0.001, 0.001)),
    ("perfusion, 1.2 Hz", (0.001, 0.001), (0.003, 0.01)),
    ("wire, 0.02 px/ms", (0.002, 0.01), (0.005, 0.04)),
    ("wire, 0.1 px/ms", (0.2, 1.5), (0.8, 6.0)),
    # 6.7 pixels per frame of a wire 3.5 pixels wide: the motion between frames is not sampled.
    ("wire, 0.2 px/ms", (1.3, 8.0), (5.0, 30.0)),
]


@pytest.mark.parametrize(("motion", "bounds_8ms", "bounds_18ms"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_default_window_against_fine_steps(motion, bounds_8ms, bounds_18ms):
    for width_ms, (rms_bound, max_bound) in ((8.0, bounds_8ms), (18.0, bounds_18ms)):
        reference = benchmark.fine_exposure(benchmark.MOTIONS[motion], width_ms, 1.0)
        exposure = benchmark.exposure(benchmark.MOTIONS[motion], width_ms, ExposureWindow().interpolation)
        rms, largest = benchmark.relative_error(exposure, reference)
        assert rms <= rms_bound
        assert largest <= max_bound


@pytest.mark.parametrize("motion", list(benchmark.MOTIONS))
def test_default_window_improves_on_none(motion):
    """The linear interpolation does not: on smooth motion it is worse than leaving the window out."""
    scene = benchmark.MOTIONS[motion]
    reference = benchmark.fine_exposure(scene, 18.0, 1.0)
    default, none = (
        benchmark.relative_error(benchmark.exposure(scene, 18.0, interpolation), reference)[0]
        for interpolation in (ExposureWindow().interpolation, "none")
    )
    assert default < none


def readouts(scene, width_ms, tau_ms, delta_ms, delay_ms, frames):
    """Charge read in every frame of a detector simulated in 1 ms steps, started from rest; no library code."""
    warm_up = 12
    kept = np.exp(-1.0 / tau_ms)
    trapped, bucket, read = 0.0, 0.0, []
    for ms in range(-warm_up * delta_ms - width_ms // 2, (frames - 1) * delta_ms + delay_ms):
        phase = (ms + width_ms // 2) % delta_ms
        if phase < width_ms:
            time = ms + 0.5 if ms >= 0 else 0.0
            deposit = np.exp(-benchmark.OPTICAL_DEPTH * scene(time)) / width_ms
            # Within its own step, charge decays for half a step on average.
            released = trapped * (1 - kept) + deposit * (1 - np.exp(-0.5 / tau_ms))
            trapped = trapped + deposit - released
        else:
            released = trapped * (1 - kept)
            trapped = trapped - released
        bucket = bucket + released
        if (ms + 1) % delta_ms == delay_ms % delta_ms:
            read, bucket = [*read, bucket], 0.0
    return np.stack(read[-frames:])


@pytest.mark.parametrize(
    ("motion", "rms_bound", "max_bound"),
    [
        ("edge, 0.25 Hz", 0.01, 0.06),
        ("edge, 1.2 Hz", 0.03, 0.25),
        ("wire, 0.02 px/ms", 0.03, 0.2),
        ("wire, 0.1 px/ms", 0.2, 1.8),
    ],
)
def test_window_and_lag_against_a_detector_in_1_ms_steps(motion, rms_bound, max_bound):
    """The bounds include what the lag leaves out: release while the pulse lasts (carry-over × sinh(h)/h, h = w/2τ)."""
    width, tau, delta, delay, frames = 8, 10.0, 32, 24, 12
    scene = benchmark.MOTIONS[motion]
    fine = readouts(scene, width, tau, delta, delay, frames)
    transmission = np.exp(-benchmark.OPTICAL_DEPTH * np.stack([scene(float(delta * t)) for t in range(frames)]))
    window = np.asarray(ExposureWindow().matrix(float(width), float(delta), frames), float)
    lag = np.asarray(ChargeReleaseLag().matrix(tau, float(delta), float(delay), frames), float)
    rms, largest = benchmark.relative_error(lag @ window @ transmission, fine)
    assert rms <= rms_bound
    assert largest <= max_bound
