"""Same seed and platform, same bits: for other batch sizes, orders and names too."""

import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest
from small_models import MODEL

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import write_challenge
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.runs.progress import ProgressDisplay
from fluorojax.simulation import SimulationOptions, simulate_scenes

pytestmark = pytest.mark.slow

FIELDS = ("x_hat", "x_std", "spec_correlation", "x_quantiles")
METHODS = {
    "map": {},
    "learned": {},
    "nuts": {"chains": 2, "warmup": 20, "draws": 4},
    "nlm": {},
}


@pytest.fixture(scope="module")
def scenes():
    return list(simulate_scenes(3, 0, SimulationOptions(frames=4, size=16)))


def run(scenes, **options):
    found = reconstruct_scenes(scenes, ReconstructOptions(seed=3, **options), progress=ProgressDisplay())
    return {result.name: result for result in found}


def check_same_bits(first, second):
    for field in FIELDS:
        one, other = getattr(first, field), getattr(second, field)
        assert (one is None) == (other is None), field
        if one is not None:
            assert one.tobytes() == other.tobytes(), field
    assert first.draws.keys() == second.draws.keys()
    for name, values in first.draws.items():
        assert values.tobytes() == second.draws[name].tobytes(), name
    np.testing.assert_equal(first.spec.as_dict(), second.spec.as_dict())
    np.testing.assert_equal(first.spec_std.as_dict(), second.spec_std.as_dict())


@pytest.mark.parametrize("method", ["map", "learned", "nlm", pytest.param("nuts", marks=pytest.mark.slow)])
def test_batch_order_and_names_change_no_bit(scenes, method):
    scenes = scenes[:2] if method == "nuts" else scenes
    first = run(scenes, method=method, batch=1, **METHODS[method])
    others = [replace(scene, name=f"another_{scene.name}") for scene in reversed(scenes)]
    second = run(others, method=method, batch=len(scenes), **METHODS[method])
    for scene in scenes:
        check_same_bits(first[scene.name], second[f"another_{scene.name}"])


def test_a_scene_alone_has_the_bits_of_a_batch(scenes):
    together = run(scenes, method="map", batch=2)
    check_same_bits(run(scenes[2:], method="map")["sample_02"], together["sample_02"])


@pytest.mark.slow
def test_another_seed_gives_other_draws(scenes):
    """What the tests above compare does depend on the seed."""
    options = {"method": "nuts", **METHODS["nuts"]}
    first = run(scenes[:1], **options)["sample_00"]
    found = reconstruct_scenes(scenes[:1], ReconstructOptions(seed=4, **options), progress=ProgressDisplay())
    assert not np.array_equal(first.x_hat, next(found).x_hat)


COMMAND = "import sys; from fluorojax.cli import main; sys.exit(main())"


def content(path):
    """Bytes of every dataset of a file, and every attribute but the time of a scene and what contains that."""
    found = {}

    def note(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = (item.shape, item.dtype.str, np.asarray(item[()]).tobytes())
        for key, value in item.attrs.items():
            if key not in ("seconds", "checksums"):
                found[f"{name}@{key}"] = np.asarray(value).tobytes()

    with h5py.File(path) as handle:
        handle.visititems(note)
        note("", handle)
    return found


def test_two_processes_write_the_same_bytes(scenes, tmp_path):
    """Markov chains, which draw more random numbers than any other method, over the scene and its parameters."""
    source, model = tmp_path / "in.h5", tmp_path / "small.py"
    write_challenge(source, scenes[:1])
    model.write_text(MODEL)
    outputs = [tmp_path / f"{name}.h5" for name in "abc"]
    for output, seed in zip(outputs, ("3", "3", "4"), strict=True):
        args = ["reconstruct", str(source), "-o", str(output), "--model", str(model), "--seed", seed, "-q"]
        args += ["--method", "nuts", "--chains", "2", "--warmup", "20", "--draws", "4", "--spec", "joint"]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *args, "--allow-unconverged"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    first, second, other = map(content, outputs)
    assert {"sample_00/x_hat", "sample_00/x_std"} <= set(first)
    assert any(name.startswith("sample_00/draws/") for name in first)
    assert first == second
    assert first.keys() == other.keys()
    assert first["sample_00/x_hat"] != other["sample_00/x_hat"]
