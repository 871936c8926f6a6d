"""A start from dark is recognised in the first frames, and then no longer biases the drift."""

from dataclasses import replace

import numpy as np
import pytest

from fluorojax.calibration.posterior import calibrate, recognise
from fluorojax.calibration.start import start_evidence
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.physics import PUBLISHED_OPERATOR, ChargeReleaseLag, FrameDose, extended
from fluorojax.physics.extensions import RECOGNITION, as_reconstructed

DARK = extended(PUBLISHED_OPERATOR, ["dark-start"])
SPEC = Spec(lag=1.0, gain_drift=0.4)


def scene(operator, told=PUBLISHED_OPERATOR, frames=14, side=48, moving=0.0):
    """A scene at rest but for its lower third, which gets darker by ``moving`` a frame from the fifth frame on."""
    x = np.broadcast_to(np.linspace(0.2, 0.5, side), (frames, side, side)).astype(np.float32).copy()
    x[:, 2 * side // 3 :] += moving * np.maximum(np.arange(frames) - 4, 0)[:, None, None]
    counts = np.random.default_rng(0).poisson(np.asarray(operator(x, SPEC, Acquisition()))).astype(np.float32)
    return Scene("sample_00", counts, Acquisition(), SpecRanges.for_tier("public"), operator=told)


def test_a_start_from_dark_is_recognised_and_told():
    found, told = recognise(scene(DARK, moving=0.01))
    assert found.operator.stage(ChargeReleaseLag).start == "dark"
    assert told.startswith("the run starts from dark: its first frame lacks ")
    assert found.metadata[RECOGNITION] == {"stages": ["dark-start"], "sentence": told}
    assert as_reconstructed(PUBLISHED_OPERATOR, found.metadata) == found.operator
    assert as_reconstructed(PUBLISHED_OPERATOR, {}) is PUBLISHED_OPERATOR
    assert recognise(found) == (found, None)


def test_a_steady_run_stays_as_it_is():
    steady = scene(PUBLISHED_OPERATOR, moving=0.01)
    assert recognise(steady) == (steady, None)
    evidence = start_evidence(steady, steady.y)
    assert evidence.log_ratio < 0


def test_a_first_frame_of_half_the_dose_is_no_start_from_dark():
    steady = scene(PUBLISHED_OPERATOR)
    dimmed = replace(steady, y=steady.y * np.where(np.arange(14) == 0, 0.5, 1.0).astype(np.float32)[:, None, None])
    assert recognise(dimmed)[1] is None


@pytest.mark.parametrize(("frames", "side"), [(8, 48), (14, 12)])
def test_short_runs_and_small_images_say_nothing(frames, side):
    small = scene(DARK, frames=frames, side=side)
    assert recognise(small) == (small, None)
    assert start_evidence(small, small.y) is None
    single = replace(small, y=small.y[0])
    assert recognise(single) == (single, None)


def test_the_lag_is_known_from_the_first_frame_and_the_drift_is_not_biased():
    dark, steady = (calibrate(scene(DARK, told)) for told in (DARK, PUBLISHED_OPERATOR))
    assert abs(dark.spec.gain_drift - 0.4) < 3 * dark.std.gain_drift
    assert abs(dark.spec.gain_drift - 0.4) < 0.05
    assert steady.spec.gain_drift - 0.4 > 2 * abs(dark.spec.gain_drift - 0.4)
    assert dark.std.lag < 1.0
    assert abs(dark.spec.lag - 1.0) < 3 * dark.std.lag


def test_the_ghost_of_another_dose_does_not_pull_the_drift():
    dose = PUBLISHED_OPERATOR.with_stage(FrameDose((3.0,) * 3 + (1.0,) * 11))
    stages = [stage.name for stage in dose.stages]
    assert stages[-1] == "frame_dose"
    # A dose acts before the lag: its stage stands between window and lag.
    window, *others = PUBLISHED_OPERATOR.stages
    ordered = type(dose)((window, FrameDose((3.0,) * 3 + (1.0,) * 11), *others))
    found = calibrate(scene(ordered, ordered))
    assert abs(found.spec.gain_drift - 0.4) < 3 * found.std.gain_drift
    assert abs(found.spec.gain_drift - 0.4) < 0.05
