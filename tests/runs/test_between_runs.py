"""``times`` and ``to_fps`` through the pipeline and the front door: by any method, after the checks of the frames."""

import numpy as np
import pytest

import fluorojax
from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import InputError
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.estimate import in_blocks
from fluorojax.runs.inputs import read_times
from fluorojax.simulation import SimulationOptions, simulate_scene


@pytest.fixture(scope="module")
def scene():
    return simulate_scene(5, SimulationOptions(frames=3, size=16, fps=10.0, photons=3000.0))


def test_a_method_gives_images_between_its_frames(scene):
    plain = fluorojax.reconstruct(scene, method="raw")
    found = fluorojax.reconstruct(scene, method="raw", to_fps=20.0)
    assert found.times_ms.tolist() == [0.0, 50.0, 100.0, 150.0, 200.0]
    np.testing.assert_array_equal(found.x_hat[::2], plain.x_hat)
    assert np.isfinite(found.x_hat).all()
    assert found.spec == plain.spec


def test_times_outside_are_an_input_error(scene):
    with pytest.raises(InputError, match="sample_00: times: the time 250 ms is outside of the run"):
        list(reconstruct_scenes([scene], ReconstructOptions(method="raw", times=(0.0, 250.0))))


def test_settings_do_not_hide_times(scene):
    with pytest.raises(ValueError, match="expected it as an argument of its own, times"):
        fluorojax.reconstruct(scene, method="raw", settings={"times": (0.0,)})


def test_images_between_the_frames_are_made_of_the_whole_run():
    from fluorojax.methods.registry import make_method

    options = ReconstructOptions()
    shape = (4000, 512, 512)
    assert in_blocks(make_method(options), shape, options)
    assert not in_blocks(make_method(options), shape, ReconstructOptions(to_fps=60.0))


def test_lists_and_files_of_times(tmp_path):
    assert read_times("0, 2.5,10") == (0.0, 2.5, 10.0)
    file = tmp_path / "times.txt"
    file.write_text("# ms\n0 1,2\n\n3.5  # last\n", encoding="utf-8")
    assert read_times(str(file)) == (0.0, 1.0, 2.0, 3.5)
    file.write_text("0\none\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2: holds 'one'"):
        read_times(str(file))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as text"):
        read_times(str(file))
    with pytest.raises(ValueError, match="--times is 'soon'"):
        read_times("soon")
