"""What a benchmark covers, and what it refuses to."""

import json

import pytest

from fluorojax.benchmark.contestants import CONTESTANTS
from fluorojax.benchmark.matrix import Matrix
from fluorojax.benchmark.sources import SimulatedSource, source_from, with_matched
from fluorojax.io import InputError, write_challenge
from fluorojax.simulation import device_masks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["raw", "magic"]}, "methods is magic; expected raw, hold"),
        ({"methods": []}, "methods is empty"),
        ({"tiers": ["gold"]}, "tiers is gold; expected public, dev, hidden"),
        ({"motions": ["still"]}, "motions is still; expected slow, fast"),
        ({"scenarios": ["IV"]}, "scenarios is IV; expected I, II, III"),
        ({"counts": [30, 0]}, "counts is 30, 0; expected positive numbers"),
        ({"counts": [float("nan")]}, "counts is nan"),
        ({"counts": 30}, "counts: is 30; expected a list"),
        ({"frames": 1}, "frames is 1; expected a whole number ≥ 2"),
        ({"size": 8}, "size is 8; expected a whole number ≥ 16"),
        ({"scenes": 1.5}, "scenes is 1.5"),
        ({"seed": 9000}, "seed is 9000, on which the classical methods were tuned"),
        ({"doses": [3]}, "doses: unknown; expected tiers, counts"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        Matrix().with_settings(settings, "file.json")


def test_a_config_file_sets_what_it_names(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"tiers": ["dev", "hidden"], "frames": 20}))
    assert Matrix().from_config(path) == Matrix(tiers=("dev", "hidden"), frames=20)
    for text in ("{", "[]", None):
        path.write_text(text) if text else path.unlink()
        with pytest.raises(InputError, match=r"config\.json"):
            Matrix().from_config(path)


def test_every_cell_has_its_scenes():
    matrix = Matrix(tiers=("public", "dev"), counts=(3.0, 30.0), motions=("slow", "fast"), scenes=3)
    sources = list(matrix.simulated())
    assert len(set(sources)) == 24
    assert {len([s for s in sources if s.cell == cell]) for cell in {s.cell for s in sources}} == {3}
    assert [s.index for s in Matrix(scenes=3, slow_scenes=1).limited(sources)] == [0] * 8


def test_the_full_matrix_covers_tiers_doses_motions_and_all_but_nuts():
    full = Matrix.full()
    assert (full.tiers, full.counts, full.motions) == (("public", "dev", "hidden"), (3, 30, 300), ("slow", "fast"))
    assert full.scenes >= 8
    assert set(CONTESTANTS) - set(full.methods) == {"nuts"}


def test_the_matched_scene_is_the_same_patient_and_the_cache_gives_it_back(tmp_path):
    source = SimulatedSource("public", "fast", 30.0, 3, 16, 5, 1, matched=False)
    assert source_from(dict(vars(source))) == source
    scene, device = source.load(tmp_path)
    matched, same_device = with_matched(source, True).load(tmp_path)
    assert (scene.x_true == matched.x_true).all()
    assert (device == same_device).all()
    assert (device == device_masks(5, source.options(), index=1)["device"]).all()
    assert matched.true_spec.as_dict() == {"motion_blur": 0, "lag": 0, "gain_drift": 0}
    assert scene.true_spec.as_dict() != matched.true_spec.as_dict()
    assert float(scene.acquisition.photons_per_pixel) == 900
    again, _ = source.load(tmp_path)
    assert (again.y == scene.y).all()


def test_files_need_the_truth_and_sequences(tmp_path, make_scene):
    for name, changes, message in (
        ("no_truth", {"x_true": None}, "sample_00: x_true: missing; expected the truth"),
        ("no_spec", {"true_spec": None}, "sample_00: true_spec: missing; expected the truth"),
    ):
        path = tmp_path / f"{name}.h5"
        write_challenge(path, [make_scene(**changes)])
        with pytest.raises(InputError, match=message):
            Matrix().of_files([path])
    scene = make_scene()
    path = tmp_path / "frame.h5"
    write_challenge(path, [make_scene(y=scene.y[0], x_true=scene.x_true[0])])
    with pytest.raises(InputError, match=r"y: has shape \(12, 12\); expected a sequence"):
        Matrix().of_files([path])


def test_a_renamed_file_is_the_same_source(tmp_path, challenge):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(challenge.read_bytes())
    first, second = (Matrix(scenes=1).of_files([path])[0] for path in (challenge, copy))
    assert first.identity() == second.identity()
    assert len(Matrix(scenes=0).of_files([challenge])) == 3
