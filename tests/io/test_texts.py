"""No file of this package holds a string of variable length; such strings of other files are read."""

import h5py
import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.engines.nuts.state_file import ForeignStateError, load_state, save_state
from fluorojax.io import Provenance, ReconstructionWriter, read_provenance, read_scene, write_challenge
from fluorojax.io.texts import as_text, put_text
from fluorojax.subtraction.files import SubtractSettings, subtract_file


def has_variable_length(kind):
    if kind.get_class() in (h5py.h5t.VLEN, h5py.h5t.REFERENCE):
        return True
    return kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()


def types_in(path):
    """The types of all attributes and datasets of a file, by name."""
    found = {}
    with h5py.File(path, "r") as handle:
        objects = {"/": handle}
        handle.visititems(lambda name, item: objects.__setitem__(name, item))
        for name, item in objects.items():
            if isinstance(item, h5py.Dataset):
                found[name] = item.id.get_type()
            for field in item.attrs:
                found[f"{name}@{field}"] = item.attrs.get_id(field).get_type()
    return found


def assert_fixed(path, *expected):
    found = types_in(path)
    assert set(expected) <= set(found)
    assert [name for name, kind in found.items() if has_variable_length(kind)] == []


def test_the_check_finds_variable_length(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle.attrs["text"] = "variable"
        handle["lines"] = np.array(["a", "b"], dtype=h5py.string_dtype())
    assert all(has_variable_length(kind) for kind in types_in(tmp_path / "a.h5").values())


def test_challenge_files(tmp_path, make_scene):
    long = make_scene("sample_01", metadata={"trace": list(range(30_000))})
    write_challenge(tmp_path / "a.h5", [make_scene(), long], provenance={"seed": 1})
    assert_fixed(tmp_path / "a.h5", "/@provenance", "/@tier", "sample_00@metadata", "sample_01/metadata")


def test_reconstruction_and_subtraction_files(tmp_path, make_scene, make_result):
    write_challenge(tmp_path / "a.h5", [make_scene()])
    provenance = Provenance.of_run(tmp_path / "a.h5", ReconstructOptions(model="sequence"))
    with ReconstructionWriter(tmp_path / "b.h5", provenance, source=tmp_path / "a.h5") as writer:
        draws = {"lag": np.zeros((2, 8))}
        writer.write(make_result(draws=draws, pixel_mm=0.3, counts_sha256="ab" * 32))
        writer.note_skipped({"sample_01": "y: missing"})
    assert_fixed(tmp_path / "b.h5", "/@model", "/@skipped", "sample_00@status", "sample_00@counts_sha256")
    assert read_provenance(tmp_path / "b.h5") == provenance
    for source in ("a.h5", "b.h5"):
        subtract_file(tmp_path / source, tmp_path / "c.h5", SubtractSettings(mask=(0, 1)), overwrite=True)
        assert_fixed(tmp_path / "c.h5", "/@mode", "/@settings", "sample_00@mask_frames")


def test_states_of_markov_chains(tmp_path):
    save_state(tmp_path / "a.state", {"z": np.zeros(3)}, {"seed": "ab" * 32}, 4)
    assert_fixed(tmp_path / "a.state", "/@format", "/@sha256 of seed")
    state, iteration = load_state(tmp_path / "a.state", {"z": np.ones(3)}, {"seed": "ab" * 32})
    assert (list(state["z"]), iteration) == ([0, 0, 0], 4)


def test_a_refused_state_is_told_in_printable_words(tmp_path):
    path, marks = tmp_path / "a.state", {"seed": "ab" * 32}
    save_state(path, {"z": np.zeros(3)}, marks, 4)
    with h5py.File(path, "r+") as handle:
        h5py.h5a.rename(handle.id, b"sha256 of seed", b"sh\x98256 of seed")
    with pytest.raises(ForeignStateError, match=r"sh\\udc98256") as caught:
        load_state(path, {"z": np.ones(3)}, marks)
    assert str(caught.value).isprintable()
    assert caught.value.reason.isprintable()


def test_files_of_variable_length_are_read(tmp_path, make_scene):
    scene = make_scene()
    write_challenge(tmp_path / "a.h5", [scene])
    with h5py.File(tmp_path / "a.h5", "r+") as handle:
        group = handle["sample_00"]
        for field in list(group.attrs):
            group.attrs[field] = as_text(group.attrs[field])
        assert has_variable_length(group.attrs.get_id("metadata").get_type())
    assert read_scene(tmp_path / "a.h5", "sample_00").metadata == scene.metadata


@pytest.mark.parametrize("text", ["", "plain", "Röntgen, 管", "x" * 60_000])
def test_round_trip(tmp_path, text):
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        put_text(handle, "text", text)
        assert as_text(handle.attrs["text"]) == text


def test_half_a_character_is_replaced(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        put_text(handle, "text", "a\udc80b")
        assert as_text(handle.attrs["text"]) == "a?b"
