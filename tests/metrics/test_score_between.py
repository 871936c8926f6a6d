"""Scores of images between the frames, against truths of the same and of another frame rate."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import InputError
from fluorojax.metrics import expected_counts, score_scene

PERIOD = 100.0


def scene(period=PERIOD, frames=3, scale=2.0):
    rng = np.random.default_rng(0)
    x_true = (2.0 / scale * rng.uniform(0.2, 0.8, (5, 12, 12))).astype(np.float32)
    x_true = x_true[:: round(period / 50.0)][:frames]
    acquisition = Acquisition(photons_per_pixel=200.0, attenuation_scale=scale, frame_time_ms=period)
    counts = expected_counts(x_true, Spec(), acquisition)
    return Scene("sample_00", counts, acquisition, SpecRanges.for_tier("public"), x_true=x_true, true_spec=Spec())


def result(times, error=0.02):
    """Images at multiples of 50 ms that are off by ``error``."""
    images = scene(50.0, 5).x_true[[round(t / 50.0) for t in times]] + np.float32(error)
    return Reconstruction(
        name="sample_00",
        x_hat=images,
        x_std=np.full(images.shape, 0.05, np.float32),
        spec=Spec(),
        spec_std=Spec(1.0, 1.0, 1.0),
        spec_interval={},
        status=Status.CONVERGED,
        seconds=1.0,
        nominal=scene().acquisition.as_dict(),
        times_ms=np.array(times, np.float64),
        diagnostics={"between": {"frames": 3}},
    )


def test_the_images_at_the_frames_are_scored_as_a_run():
    found = score_scene(result([0, 50, 100, 150, 200]), scene())
    same = score_scene(replace(result([0, 100, 200]), times_ms=None), scene())
    assert found.as_dict() == same.as_dict()
    assert found.psnr == pytest.approx(-20 * math.log10(0.02), abs=0.01)


def test_some_frames_have_no_blind_score():
    found = score_scene(result([50, 100]), scene())
    assert found.psnr == pytest.approx(-20 * math.log10(0.02), abs=0.01)
    assert math.isnan(found.blind)


@pytest.mark.parametrize("scale", [2.0, 1.6])
def test_a_truth_of_another_rate_and_scale_serves(scale):
    found = score_scene(result([0, 50, 100, 150, 200]), scene(50.0, 5, scale))
    assert found.psnr == pytest.approx(-20 * math.log10(0.02), abs=0.01)
    assert math.isnan(found.blind)


def test_no_common_time_is_told():
    with pytest.raises(InputError, match="at none of the times of the truth; expected one every 100 ms"):
        score_scene(result([50, 150]), scene())
