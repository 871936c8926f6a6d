"""The causal filter as a method of ``reconstruct``: the same numbers as a live stream, and nothing from the future."""

from dataclasses import replace

import numpy as np
import pytest

import fluorojax
from fluorojax.data.reconstruction import Status
from fluorojax.data.spec import Spec
from fluorojax.simulation import SimulationOptions, simulate_scene
from fluorojax.streaming import scene_frames, stream


@pytest.fixture(scope="module")
def scene():
    return simulate_scene(5, SimulationOptions(frames=8, size=24, photons=2000.0))


@pytest.fixture(scope="module")
def result(scene):
    return fluorojax.reconstruct(scene, method="stream", spec="nominal")


def test_the_method_is_the_stream(scene, result):
    nominal = Spec.nominal(scene.operator.parameters)
    drift = float(nominal.gain_drift)
    told = list(stream(scene_frames(scene), scene.acquisition, lag=0.0, drift_range=(drift - 1e-3, drift + 1e-3)))
    np.testing.assert_allclose(result.x_hat, np.stack([one.x for one in told]), atol=2e-5)
    np.testing.assert_allclose(result.x_std, np.stack([one.sd for one in told]), rtol=2e-4)


def test_later_frames_change_nothing_before_them(scene, result):
    changed = scene.y.copy()
    changed[5:] = changed[5:, ::-1]
    other = fluorojax.reconstruct(replace(scene, y=changed), method="stream", spec="nominal")
    np.testing.assert_array_equal(other.x_hat[:5], result.x_hat[:5])
    assert np.abs(other.x_hat[5:] - result.x_hat[5:]).max() > 0.01


def test_the_filter_states_the_drift_that_it_found(scene):
    found = fluorojax.reconstruct(scene, method="stream")
    assert found.status is Status.CONVERGED
    low, high = found.spec_interval["gain_drift"]
    assert low < float(found.spec.gain_drift) < high
    assert abs(float(found.spec.gain_drift) - float(scene.true_spec.gain_drift)) < 4 * float(found.spec_std.gain_drift)
    assert float(found.spec_std.gain_drift) < 0.9 * np.ptp(scene.ranges.as_dict()["gain_drift"]) / 12**0.5


def test_a_single_frame_is_refused_in_words(scene):
    still = replace(scene, y=scene.y[0], x_true=scene.x_true[0])
    found = fluorojax.reconstruct(still, method="stream", spec="nominal")
    assert found.status is Status.DIVERGED
    assert "the filter needs at least 2" in found.diagnostics["verdict"]
