"""Files that appear whole or not at all, and nothing beside them."""

import pytest

from fluorojax.io import InputError, atomic_output, write_challenge, write_text, writing


def test_a_partial_reconstruction_of_the_same_name_is_left_alone(tmp_path, make_scene):
    partial = tmp_path / "a.h5.partial"
    partial.write_bytes(b"finished scenes")
    write_challenge(tmp_path / "a.h5", [make_scene()])
    assert partial.read_bytes() == b"finished scenes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "a.h5.partial"]


def test_a_directory_named_like_a_partial_file_is_in_nobodys_way(tmp_path):
    (tmp_path / "a.txt.partial").mkdir()
    write_text(tmp_path / "a.txt", "text")
    assert (tmp_path / "a.txt").read_text() == "text"


def test_an_error_of_the_body_is_not_taken_for_one_of_writing(tmp_path, make_scene):
    def scenes():
        yield make_scene()
        raise FileNotFoundError("volume.nii")

    with pytest.raises(FileNotFoundError, match="volume"):
        write_challenge(tmp_path / "a.h5", scenes())
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_writing_names_the_output(tmp_path):
    def write(out):
        with atomic_output(out) as temporary, writing(out):
            temporary.touch()
            raise OSError("disk full")

    with pytest.raises(InputError, match=r"a\.h5: cannot be written: .*full"):
        write(tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_name_do_not_meet(tmp_path):
    with atomic_output(tmp_path / "a") as one, atomic_output(tmp_path / "a") as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "a").read_text() == "1"
    assert one.parent == tmp_path


def test_a_temporary_file_that_cannot_be_removed_hides_nothing(tmp_path):
    def write(out):
        with atomic_output(out) as temporary:
            temporary.mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write(tmp_path / "a")
