"""Simulated scenes: reproducible, in range, and moving as they say."""

import json

import numpy as np
import pytest

from fluorojax.data.spec import TIERS, Spec
from fluorojax.simulation import (
    SimulationOptions,
    build_phantom,
    device_masks,
    draw_thorax,
    frame_times,
    render_layers,
    simulate_scene,
    simulate_scenes,
)

SMALL = SimulationOptions(frames=3, size=32)


def options(**changes) -> SimulationOptions:
    return SimulationOptions(**{"frames": 3, "size": 32, **changes})


def test_seed_fixes_everything_and_seeds_differ():
    first, again, other = simulate_scene(3, SMALL), simulate_scene(3, SMALL), simulate_scene(4, SMALL)
    np.testing.assert_array_equal(first.y, again.y)
    np.testing.assert_array_equal(first.x_true, again.x_true)
    assert first.metadata == again.metadata
    assert np.abs(first.x_true - other.x_true).mean() > 0.01
    assert first.true_spec.as_dict() != other.true_spec.as_dict()


def test_scenes_of_a_file_are_named_and_independent_of_their_number():
    scenes = list(simulate_scenes(2, 5, options(frames=1)))
    assert [scene.name for scene in scenes] == ["sample_00", "sample_01"]
    np.testing.assert_array_equal(scenes[1].y, simulate_scene(5, options(frames=1), index=1).y)
    assert np.abs(scenes[0].x_true - scenes[1].x_true).mean() > 0.01


@pytest.mark.parametrize("bad", [-1, 1.5, True])
def test_bad_seed(bad):
    with pytest.raises((ValueError, TypeError), match="seed"):
        simulate_scene(bad, SMALL)


@pytest.mark.parametrize("tier", list(TIERS))
def test_every_tier_draws_inside_its_ranges(tier):
    scene = simulate_scene(1, options(tier=tier, frames=2))
    for name, (low, high) in TIERS[tier].items():
        assert low <= scene.true_spec.as_dict()[name] <= high
    scene.acquisition.check(scene.ranges)
    assert scene.ranges.as_dict()["lag"] == pytest.approx(TIERS[tier]["lag"])


@pytest.mark.parametrize("motion", ["slow", "fast"])
@pytest.mark.parametrize("size", [32, (32, 48), (48, 32)])
def test_scene_is_well_formed(motion, size):
    setting = options(motion=motion, size=size)
    scene = simulate_scene(2, setting)
    assert scene.y.shape == scene.x_true.shape == (3, *setting.shape)
    assert scene.y.dtype == scene.x_true.dtype == np.float32
    assert (scene.y == np.round(scene.y)).all()
    assert 0.0 <= scene.x_true.min()
    assert 0.9 < scene.x_true.max() <= 1.0
    assert 5.0 < scene.acquisition.attenuation_scale < 10.0
    assert 0.008 < scene.y.mean() / 1500.0 < 0.06
    assert json.loads(json.dumps(scene.metadata)) == scene.metadata
    assert scene.metadata["shape"] == [3, *setting.shape]


def test_one_frame_has_no_time_axis_anywhere():
    single = options(frames=1, size=(32, 48))
    scene = simulate_scene(2, single)
    arrays = [scene.y, scene.x_true, *render_layers(2, single).values(), *device_masks(2, single).values()]
    assert {array.shape for array in arrays} == {(32, 48)}
    assert scene.metadata["shape"] == [32, 48]


def test_dose_changes_the_noise_and_not_the_patient():
    normal, low = simulate_scene(2, SMALL), simulate_scene(2, options(photons=250.0))
    np.testing.assert_array_equal(normal.x_true, low.x_true)
    assert normal.true_spec.as_dict() == low.true_spec.as_dict()
    assert low.y.mean() == pytest.approx(normal.y.mean() / 6.0, rel=0.03)


def test_no_mismatch_and_a_given_spec():
    assert simulate_scene(0, options(mismatch=False, frames=1)).true_spec.as_dict() == {
        "motion_blur": 0.0,
        "lag": 0.0,
        "gain_drift": 0.0,
    }
    given = Spec(3.0, 1.0, 0.5)
    assert simulate_scene(0, options(spec=given, frames=1)).true_spec is given


def test_gain_drift_shows_in_the_counts():
    high, flat = (
        simulate_scene(0, options(frames=12, spec=Spec(0.0, 0.0, drift), photons=1e5)) for drift in (1.0, 0.0)
    )
    ratio = high.y.sum(axis=(1, 2)) / flat.y.sum(axis=(1, 2))
    np.testing.assert_allclose(ratio, 1.01 ** np.arange(12), rtol=0.005)


def test_first_frame_is_steady_and_a_dark_start_is_dimmer():
    spec = Spec(0.0, 6.0, 0.0)
    bright = {"photons": 1e6, "frames": 2, "spec": spec}
    steady, dark = simulate_scene(0, options(**bright)), simulate_scene(0, options(**bright, from_dark=True))
    carry = np.exp(-1000.0 / 30.0 / 16.0)
    assert dark.y[0].sum() / steady.y[0].sum() == pytest.approx(1.0 - carry, rel=0.002)
    assert dark.metadata["readout"]["start"] == "dark"


def test_imperfections_are_recorded_and_change_the_data():
    plain = simulate_scene(0, SMALL)
    full = simulate_scene(0, options(scatter_fraction=0.3, read_noise=1.5, slow_tails=True))
    np.testing.assert_array_equal(plain.x_true, full.x_true)
    assert full.y.sum() > 1.25 * plain.y.sum()
    assert (full.y != np.round(full.y)).any()
    assert full.acquisition.scatter_fraction == 0.3
    assert (plain.acquisition.electronic_noise, full.acquisition.electronic_noise) == (0.0, 1.5)
    assert full.metadata["noise_model"] == "poisson+gaussian"
    assert full.metadata["readout"] == {"start": "steady", "read_noise": 1.5, "slow_tails": True}


@pytest.mark.parametrize("seed", range(4))
def test_fast_devices_reach_a_tenth_of_a_pixel_per_ms(seed):
    fast, slow = (
        build_phantom(seed, SimulationOptions(frames=4, size=128, motion=motion)) for motion in ("fast", "slow")
    )
    times = np.linspace(0.0, 133.0, 12)
    quick, calm = fast.speeds(times), slow.speeds(times)
    for part in ("catheter_tip", "catheter_shaft", "guidewire_tip", "guidewire_shaft"):
        assert quick[f"{part}_max"] >= 0.1
        assert calm[f"{part}_max"] < 0.1
    assert fast.devices[0].radius_mm * 2 >= 2.5 * fast.anatomy.grid.pixel_mm
    assert fast.devices[0].depth >= 0.4


def test_device_speed_scales_with_the_pixels():
    times = np.linspace(0.0, 100.0, 5)
    half, full = (build_phantom(0, SimulationOptions(size=size, motion="fast")).speeds(times) for size in (48, 96))
    assert half["catheter_tip_max"] == pytest.approx(0.5 * full["catheter_tip_max"], abs=2e-4)


def test_attenuation_is_continuous_in_time():
    phantom = build_phantom(1, SimulationOptions(size=48, motion="fast"))
    middle = phantom.attenuation(80.0)
    steps = [np.abs(phantom.attenuation(80.0 + dt) - middle).max() for dt in (0.4, 0.1, 0.025)]
    assert 0 < steps[2] < 0.3 * steps[1] < 0.09 * steps[0] * 1.2


def test_diaphragm_moves_and_bones_do_not():
    layers = render_layers(1, options(frames=12, fps=6.0))
    assert np.ptp(layers["fixed"], axis=0).max() == 0.0
    assert np.ptp(layers["soft"], axis=0).max() > 0.5
    assert np.ptp(layers["heart"], axis=0).max() > 0.1
    assert layers["vessel"][-1].max() > layers["vessel"][0].max()


def test_layers_add_up_to_the_truth():
    layers = render_layers(2, SMALL)
    scene = simulate_scene(2, SMALL)
    total = np.sum(list(layers.values()), axis=0) / scene.acquisition.attenuation_scale
    np.testing.assert_allclose(total, scene.x_true, atol=1e-5)


def test_masks():
    masks = device_masks(2, options(motion="fast", frames=4))
    assert set(masks) == {"device", "vessel", "moving"}
    for mask in masks.values():
        assert mask.shape == (4, 32, 32)
        assert mask.dtype == bool
    assert 0.005 < masks["device"].mean() < 0.3
    assert masks["moving"].any()
    assert not masks["moving"].all()


def test_frame_times():
    np.testing.assert_allclose(frame_times(options(fps=15.0)), [0.0, 1000 / 15, 2000 / 15])


def test_patients_look_alike_at_every_size():
    coarse, fine = (draw_thorax(np.random.default_rng(7), (n, n)) for n in (32, 64))
    assert coarse.grid.field_mm == fine.grid.field_mm
    assert coarse.heart_shape.centre == pytest.approx(fine.heart_shape.centre)
    images = []
    for anatomy in (coarse, fine):
        inner = (slice(anatomy.grid.margin, -anatomy.grid.margin),) * 2
        images.append(anatomy.fixed + anatomy.soft[inner] + anatomy.heart[inner])
    block = images[1].reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.corrcoef(block.ravel(), images[0].ravel())[0, 1] > 0.95
