"""A scene whose workers died is not computed: summary and exit code say so, and the same command computes it."""

import sys

import pytest

from fluorojax.io import list_reconstructions, read_reconstruction, read_skipped
from fluorojax.runs.places import Place
from fluorojax.runs.shares import Failed, compute

command = sys.modules["fluorojax.cli.reconstruct"]  # the package has a function of that name


class Cluster(Place):
    """Computes in this process what does not kill its workers."""

    def __init__(self, deadly):
        self.deadly = deadly
        self.computed = []

    def run(self, shares, tally):
        for share in shares:
            for name in share.names:
                if (share.source.name, name) in self.deadly:
                    yield Failed(share.file, name, "its worker died 4 times")
                else:
                    self.computed.append((share.source.name, name))
                    yield from compute(share.only(name))


@pytest.fixture
def files(challenge, tmp_path):
    """Two files of three scenes, and where their outputs go."""
    other = tmp_path / "other.h5"
    other.write_bytes(challenge.read_bytes())
    return [challenge, other], tmp_path / "results"


@pytest.fixture
def over(run, monkeypatch):
    """Run a command over a cluster on which some scenes (file, name) kill their workers."""

    def call(deadly, *args):
        cluster = Cluster(deadly)
        monkeypatch.setattr(command, "_place", lambda *settings: cluster)
        return (*run(*args), cluster.computed)

    return call


def test_many_files(over, engine, files):
    sources, folder = files
    args = ["reconstruct", *sources, "-o", folder, "--keep-going"]
    code, table, told, _ = over({("in.h5", "sample_01")}, *args)
    assert code == 1
    assert "sample_01: its worker died 4 times" in told
    row = next(line for line in table.partition("other.h5")[0].splitlines() if "sample_01" in line)
    assert "skipped" in row
    assert read_skipped(folder / "in.h5") == {"sample_01": "not computed: its worker died 4 times"}
    assert list_reconstructions(folder / "in.h5") == ["sample_00", "sample_02"]
    kept = read_reconstruction(folder / "in.h5", "sample_02")

    code, table, told, computed = over(set(), *args)
    assert (code, computed) == (0, [("in.h5", "sample_01")]), "complete is what has a result for every scene"
    assert "skipped" not in table + told
    assert list_reconstructions(folder / "in.h5") == ["sample_00", "sample_01", "sample_02"]
    assert read_reconstruction(folder / "in.h5", "sample_02").x_hat.tobytes() == kept.x_hat.tobytes()

    assert over(set(), *args)[::3] == (0, []), "now nothing is left to do"


def test_one_file(over, engine, challenge, tmp_path):
    args = ["reconstruct", challenge, "-o", tmp_path / "out.h5", "--keep-going"]
    assert over({("in.h5", "sample_00")}, *args)[0] == 1
    code, _, told, computed = over(set(), *args)
    assert (code, computed) == (0, [("in.h5", "sample_00")]), told


def test_a_file_all_of_whose_scenes_kill_their_workers(over, engine, files):
    sources, folder = files
    args = ["reconstruct", *sources, "-o", folder, "--keep-going"]
    code, _, told, _ = over({("in.h5", f"sample_0{i}") for i in range(3)}, *args)
    assert code == 1
    assert f"{sources[0]}: none of its scenes could be reconstructed" in told
    assert not (folder / "in.h5").exists()
    code, _, _, computed = over(set(), *args)
    assert (code, len(computed)) == (0, 3)


def test_a_later_run_names_what_an_earlier_one_skipped(over, run, engine, files, make_scene):
    """A scene that cannot be read is not tried again, and is named all the same."""
    import h5py

    sources, folder = files
    with h5py.File(sources[0], "r+") as handle:
        del handle["sample_02/y"]
    args = ["reconstruct", *sources, "-o", folder, "--keep-going"]
    assert run(*args)[0] == 1
    code, table, told = run(*args)
    assert code == 1
    assert f"{folder / 'in.h5'}: skipped: sample_02: y: missing" in told
    assert "skipped" in table
