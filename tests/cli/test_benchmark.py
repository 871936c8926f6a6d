"""``fluorojax benchmark``: a small run from end to end, and bad input."""

import json

import pytest

from fluorojax.io import write_challenge


@pytest.fixture
def bench(run, tmp_path):
    def call(*args):
        return run("benchmark", *args, "-o", tmp_path / "out")

    return call


def test_files_to_tables_and_on_from_there(bench, challenge, tmp_path):
    code, out, err = bench(challenge, "--methods", "raw", "--scenes", "2", "--quiet")
    assert (code, out, err) == (0, "", "")
    folder = tmp_path / "out"
    document = json.loads((folder / "table.json").read_text())
    (cell,) = document["cells"]
    assert cell["cell"] == "in.h5"
    assert [entry["method"] for entry in cell["methods"]] == ["raw"]
    for entry in cell["methods"]:
        assert {name: values["scenes"] for name, values in entry["scenarios"].items()} == {"I": 2, "II": 2, "III": 2}
        assert entry["first_seconds"] > 0
        assert entry["peak_mb"] > entry["base_mb"] > 0
        assert 0 < entry["scenarios"]["III"]["coverage"] <= 1
    assert "| raw, −log(y/I₀)/A |" in (folder / "table.md").read_text()
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    rows = (folder / "rows.jsonl").read_bytes()
    code, out, _ = bench(challenge, "--methods", "raw", "--scenes", "2", "--scenarios", "III", "--json")
    assert code == 0
    assert (folder / "rows.jsonl").read_bytes() == rows  # nothing was run again
    (entry,) = json.loads(out)["cells"][0]["methods"]
    assert list(entry["scenarios"]) == ["III"]
    code, _, err = bench(challenge, "--methods", "raw", "--seed", "5")
    assert code == 2
    assert err.count("\n") == 1
    assert "rows.jsonl: seed: is 0 in the rows kept there, now 5" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "raw,magic"], "methods is magic; expected raw, hold"),
        (["--tiers", "gold"], "tiers is gold; expected public, dev, hidden"),
        (["--motions", "still"], "motions is still; expected slow, fast"),
        (["--scenarios", "IV"], "scenarios is IV; expected I, II, III"),
        (["--counts", "-3"], "counts is -3.0; expected positive numbers separated by commas"),
        (["--counts", "many"], "counts is 'many'; expected positive numbers separated by commas"),
        (["--seed", "9000"], "tuned"),
        (["--config", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(bench, tmp_path, options, message):
    code, out, err = bench(*options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_without_truth_is_refused_before_anything_runs(bench, tmp_path, make_scene):
    path = tmp_path / "blind.h5"
    write_challenge(path, [make_scene(x_true=None)])
    code, _, err = bench(path)
    assert code == 2
    assert "blind.h5: sample_00: x_true: missing; expected the truth, which the benchmark needs" in err
    assert not (tmp_path / "out").exists()


def test_output_must_be_a_folder(bench, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, _, err = bench()
    assert code == 2
    assert "out: is a file; expected a folder" in err
    assert (tmp_path / "out").read_text() == "mine"
