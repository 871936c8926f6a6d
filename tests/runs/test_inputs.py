"""Which files a run works on, and where each result goes."""

from pathlib import Path

import pytest

from fluorojax.io import InputError
from fluorojax.runs.inputs import FilePair, check_pairs, find_pairs, read_manifest


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder with a few files, as the working folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.h5", "a.h5", "run.tif", "deep/c.h5", "odd[1].h5"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"")
    return tmp_path


def test_one_input_goes_to_the_file_that_is_named(study):
    assert find_pairs(["a.h5"], "OUT.h5") == [FilePair(Path("a.h5"), Path("OUT.h5"))]


def test_one_input_goes_into_a_folder_that_exists_or_is_written_as_one(study):
    assert find_pairs(["run.tif"], "deep") == [FilePair(Path("run.tif"), Path("deep/run.h5"))]
    assert find_pairs(["run.tif"], "new/") == [FilePair(Path("run.tif"), Path("new/run.h5"))]


def test_a_pattern_is_expanded_in_order_and_its_files_go_into_a_folder(study):
    found = find_pairs(["?.h5", "a.h5"], "results")
    assert found == [FilePair(Path(f"{n}.h5"), Path(f"results/{n}.h5")) for n in "ab"]
    assert [pair.source for pair in find_pairs(["**/*.h5"], "results")] == [
        Path(name) for name in ("a.h5", "b.h5", "deep/c.h5", "odd[1].h5")
    ]


def test_a_name_with_brackets_is_a_name_where_there_is_such_a_file(study):
    assert find_pairs(["odd[1].h5"], "OUT.h5") == [FilePair(Path("odd[1].h5"), Path("OUT.h5"))]


def test_a_pattern_of_nothing_is_an_error(study):
    with pytest.raises(InputError, match=r"none\*\.h5: no file fits this pattern"):
        find_pairs(["none*.h5"], "results")


@pytest.mark.parametrize("output", ["a.h5", "new.h5"])
def test_several_inputs_need_a_folder(study, output):
    with pytest.raises(ValueError, match="2 inputs need a folder"):
        find_pairs(["a.h5", "b.h5"], output)
    with pytest.raises(ValueError, match="a pattern or a manifest need a folder"):
        find_pairs(["a*.h5"], output)


def test_two_inputs_with_one_output_are_refused(study):
    Path("deep/a.h5").write_bytes(b"")
    with pytest.raises(InputError, match=r"results/a\.h5: would be the output of a\.h5 and of deep/a\.h5"):
        check_pairs(find_pairs(["a.h5", "deep/a.h5"], "results"))


def test_an_output_is_never_an_input_of_the_same_run(study):
    Path("runs.txt").write_text("a.h5\tb.h5\nb.h5\tc.h5\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"^b\.h5: is the input file b\.h5; expected another output"):
        check_pairs(find_pairs([], None, "runs.txt"))
    Path("link.h5").hardlink_to("b.h5")
    Path("runs.txt").write_text("a.h5\tlink.h5\nb.h5\tc.h5\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"^link\.h5: is the input file b\.h5"):
        check_pairs(find_pairs([], None, "runs.txt"))


def test_an_output_is_needed(study):
    with pytest.raises(ValueError, match="no output for a"):
        find_pairs(["a.h5"], None)
    with pytest.raises(ValueError, match="no input"):
        find_pairs([], "results")


def test_a_manifest_gives_inputs_and_outputs_from_its_own_folder(study, monkeypatch):
    Path("deep/runs.csv").write_text("input,output\n../a.h5,x.h5\n\n# later\n../run.tif\n", encoding="utf-8")
    monkeypatch.chdir(study / "deep")
    assert find_pairs([], "results", "runs.csv") == [
        FilePair(Path("../a.h5"), Path("x.h5")),
        FilePair(Path("../run.tif"), Path("results/run.h5")),
    ]


def test_a_manifest_whose_inputs_all_have_outputs_needs_no_folder(study):
    Path("runs.txt").write_text("a.h5\tA.h5\nb.h5\tB.h5\n", encoding="utf-8")
    assert [str(pair.output) for pair in find_pairs([], None, "runs.txt")] == ["A.h5", "B.h5"]


def test_a_manifest_may_hold_patterns_and_names_with_spaces_and_commas(study):
    Path("one, two.h5").write_bytes(b"")
    Path("runs.txt").write_text("?.h5\none, two.h5\n", encoding="utf-8")
    assert [source.name for source, _ in read_manifest("runs.txt")] == ["a.h5", "b.h5", "one, two.h5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.h5,b.h5,c.h5\n", "runs.csv: line 1: expected an input and"),
        ("# nothing\n", "runs.csv: lists no input"),
        (",b.h5\n", "runs.csv: line 1: expected an input and"),
    ],
)
def test_a_bad_manifest_is_told_with_its_line(study, text, message):
    Path("runs.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_manifest("runs.csv")


def test_a_manifest_that_cannot_be_read_is_told(study):
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        read_manifest("none.csv")
    Path("binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.csv: is not text"):
        read_manifest("binary.csv")
