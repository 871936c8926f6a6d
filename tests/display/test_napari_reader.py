"""The napari plugin: its manifest names what is there, and its reader gives the layers of every kind of file.

``npe2 validate`` checks the manifest against its schema; its plugin for pytest ends every run in which warnings are
errors, so that it is no part of these tests.
"""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import yaml
from dicom_files import dataset, quanta, save, stored

import fluorojax
from fluorojax.display.napari_reader import get_reader, read_layers
from fluorojax.io import read_reconstruction, read_scene

PACKAGE = Path(fluorojax.__file__).parent


def test_the_manifest_names_the_reader():
    manifest = yaml.safe_load((PACKAGE / "napari.yaml").read_text())
    assert manifest["name"] == "fluorojax"  # that of the distribution
    (reader,) = manifest["contributions"]["readers"]
    (command,) = manifest["contributions"]["commands"]
    assert reader["command"] == command["id"] == "fluorojax.read"
    assert EntryPoint("reader", command["python_name"], "napari").load() is get_reader
    assert {"*.h5", "*.dcm"} <= set(reader["filename_patterns"])


def test_the_entry_point_leads_to_the_manifest():
    project = PACKAGE.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("installed without its source")
    (value,) = tomllib.loads(project.read_text())["project"]["entry-points"]["napari.manifest"].values()
    package, _, file = value.partition(":")
    assert (package, (PACKAGE / file).is_file()) == ("fluorojax", True)


def test_a_reconstruction_has_two_layers_a_scene_in_mm(shown):
    layers = get_reader(str(shown / "out.h5"))(str(shown / "out.h5"))
    assert [facts["name"] for _, facts, _ in layers] == [
        "sample_00 x_hat",
        "sample_00 x_std",
        "sample_01 x_hat",
        "sample_01 x_std",
    ]
    result = read_reconstruction(shown / "out.h5", "sample_00")
    data, facts, kind = layers[0]
    np.testing.assert_array_equal(data, result.x_hat)
    assert (kind, facts["scale"], facts["units"]) == ("image", (1.0, 0.2, 0.2), ("pixel", "mm", "mm"))
    assert (facts["axis_labels"], facts["metadata"]["frame_time_ms"]) == (("frame", "row", "column"), 100.0)
    assert [facts["visible"] for _, facts, _ in layers] == [True, False, False, False]
    np.testing.assert_array_equal(layers[1][0], result.x_std)
    assert layers[1][1]["colormap"] == "plasma"


def test_scenes_and_subtractions_have_their_layers(shown):
    layers = read_layers(shown / "one.h5")
    scene = read_scene(shown / "one.h5", "sample_00")
    assert [facts["name"] for _, facts, _ in layers] == ["sample_00 counts", "sample_00 x_true"]
    np.testing.assert_array_equal(layers[0][0], scene.y)
    assert layers[0][1]["units"] == ("pixel",) * 3
    names = [facts["name"].split()[1] for _, facts, _ in read_layers(shown / "map.h5")]
    assert names == ["subtraction", "subtraction_std", "vessel_map", "vessel_map_std"]
    assert read_layers(shown / "map.h5")[2][0].shape == (24, 32)
    assert len(read_layers([str(shown / "one.h5"), str(shown / "sub.h5")])) == 4


def test_dicom_is_one_layer_in_its_window(tmp_path):
    values = stored(quanta(frames=3))
    save(dataset(values, WindowCenter=300, WindowWidth=200, VOILUTFunction="LINEAR_EXACT"), tmp_path / "a.dcm")
    ((data, facts, _),) = get_reader(str(tmp_path / "a.dcm"))(str(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(data, values)
    assert (facts["contrast_limits"], facts["scale"]) == ([200.0, 400.0], (1.0, 0.2, 0.2))
    assert get_reader(str(tmp_path)) is read_layers  # a folder of a series


def test_other_files_are_left_to_other_plugins(tmp_path):
    import h5py

    (tmp_path / "a.h5").write_bytes(b"no hdf5")
    with h5py.File(tmp_path / "b.h5", "w") as handle:
        handle["image"] = np.zeros(3)
    for name in ("a.h5", "b.h5", "none.h5"):
        assert get_reader(str(tmp_path / name)) is None
    assert get_reader([]) is None


def test_the_reader_needs_no_napari():
    import sys

    assert "napari" not in sys.modules
