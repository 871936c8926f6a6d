"""Scenes over two processes of a JAX cluster on this machine: each computes its share, process 0 gathers."""

import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from fluorojax.cli.reconstruct import _folder
from fluorojax.io import list_reconstructions, read_reconstruction, write_challenge
from fluorojax.runs import hosts
from fluorojax.runs.hosts import JaxProcesses
from fluorojax.runs.inputs import FilePair
from fluorojax.simulation import SimulationOptions, simulate_scenes

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
import sys
sys.path.insert(0, {tests!r})
import methods_for_clusters
methods_for_clusters.register()
from fluorojax.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def challenge(tmp_path):
    path = tmp_path / "in.h5"
    write_challenge(path, simulate_scenes(5, 0, SimulationOptions(frames=4, size=16)))
    return path


@pytest.fixture
def told(tmp_path):
    """The folder that tells the method of tests what to do."""
    (tmp_path / "told").mkdir()
    return tmp_path / "told"


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def run_processes(told, *arguments, count=2):
    """Run ``fluorojax reconstruct`` in so many processes of one JAX cluster; exit code and output of each."""
    port = free_port()
    script = COMMAND.format(tests=str(ROOT / "tests"))
    command = [sys.executable, "-c", script, "reconstruct", *map(str, arguments)]
    command += ["--method", "obedient", "--spec", "nominal"]
    if count > 1:
        command += ["--scheduler", "jax", "--address", f"localhost:{port}", "--wait", "300"]
    found = []
    for index in range(count):
        cluster = {"JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(index)}
        environment = {**os.environ, **cluster, "JAX_PLATFORMS": "cpu", "FLUOROJAX_TEST_TOLD": str(told)}
        found.append(
            subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    told_by = [process.communicate(timeout=500)[0] for process in found]
    return [(process.returncode, text) for process, text in zip(found, told_by, strict=True)]


def computed(told):
    """The scenes by the process that computed them."""
    found = {}
    for line in (told / "computed").read_text().splitlines():
        name, process = line.split()
        found.setdefault(process, []).append(name)
    return sorted(found.values())


def test_every_process_computes_its_share_and_one_gathers(challenge, told, tmp_path):
    both, alone = tmp_path / "both.h5", tmp_path / "alone.h5"
    results = run_processes(told, challenge, "-o", both)
    assert [code for code, _ in results] == [0, 0], results
    assert computed(told) == [["sample_00", "sample_02", "sample_04"], ["sample_01", "sample_03"]]
    assert list_reconstructions(both) == [f"sample_0{i}" for i in range(5)]
    assert sum(str(both) in text and "converged" in text for _, text in results) == 1, "one process prints the results"
    ((code, text),) = run_processes(told, challenge, "-o", alone, count=1)
    assert code == 0, text
    for name in list_reconstructions(alone):
        ours, its = read_reconstruction(alone, name), read_reconstruction(both, name)
        assert ours.x_hat.tobytes() == its.x_hat.tobytes()
        assert ours.diagnostics == its.diagnostics
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.h5", "both.h5", "in.h5", "told"]


def test_what_goes_wrong_in_another_process_is_told_by_its_name(challenge, told, tmp_path):
    (told / "fail sample_03").write_text("")
    results = run_processes(told, challenge, "-o", tmp_path / "out.h5")
    assert [code for code, _ in results] == [1, 1], results
    assert "sample_03: diverged: the computation ended with an error (ValueError: told to fail)" in results[0][1]


def test_bad_input_ends_all_processes_with_a_line(told, tmp_path):
    results = run_processes(told, tmp_path / "none.h5", "-o", tmp_path / "out.h5")
    assert [code for code, _ in results] == [2, 2], results
    assert "none.h5: no such file" in results[0][1]
    assert "none.h5: no such file" in results[1][1]
    assert [path.name for path in tmp_path.iterdir()] == ["told"]


@pytest.fixture
def joined(monkeypatch):
    """A process of two that has joined a cluster, made by its number and the file of the run."""
    import jax

    monkeypatch.setattr(jax.distributed, "shutdown", lambda: None)

    def make(index, plan):
        process = JaxProcesses()
        process.index, process.count, process._plan = index, 2, plan
        return process

    return make


def test_a_process_that_ends_after_the_gathering_leaves_no_file(joined, tmp_path):
    """At a time limit, process 0 gathers without waiting for the others."""
    plan = tmp_path / ".fluorojax-run.json"
    plan.write_text("{}")
    late = joined(1, plan)
    late._tell({"end": True})
    late.__exit__(None, None, None)
    assert len(list(tmp_path.iterdir())) == 2, "process 0 has yet to read it"
    joined(0, plan).__exit__(None, None, None)
    late._tell({"end": True})
    late.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_to_process_0_leaves_no_file(joined, monkeypatch, tmp_path):
    from jax.experimental import multihost_utils

    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda values: values)
    actions = []
    monkeypatch.setattr(hosts, "at_stop", lambda action: actions.append(action) or nullcontext())
    first = joined(0, None)
    assert first.follower(tmp_path) is None
    first._plan.write_text("{}")
    first._events(1).write_text("")
    for action in actions:
        action()
    assert list(tmp_path.iterdir()) == []


def test_two_processes_may_make_the_folder_of_the_outputs(monkeypatch, tmp_path):
    folder = tmp_path / "results"
    make = Path.mkdir

    def mkdir(path, *args, **kwargs):
        if not path.exists():
            make(path)  # by the other process, between the look and the making
        make(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with _folder(str(folder), [FilePair(tmp_path / "in.h5", folder / "in.h5")]):
        assert folder.is_dir()
