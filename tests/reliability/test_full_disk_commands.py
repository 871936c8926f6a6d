"""The commands themselves on a disk that is full: limits on the size of files, and a small disk where one can be made.

Each command ends with exit code 2 and one line, leaves nothing half-written, and goes on once there is space.
"""

import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.io import list_reconstructions, write_challenge

COMMAND = "import sys; from fluorojax.cli import main; sys.exit(main())"
SCENES = 3


def run(*args, limit=None):
    """Run a command in a process of its own, which may write files of ``limit`` bytes at most."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # pyright: ignore[reportArgumentType]

    process = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=None if limit is None else limited,
    )
    return process.returncode, process.stderr


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    path = tmp_path_factory.mktemp("in") / "in.h5"
    rng = np.random.default_rng(0)
    fields = {"acquisition": Acquisition(photons_per_pixel=200.0), "ranges": SpecRanges.for_tier("public")}
    x_true = rng.uniform(0.2, 0.8, (4, 32, 32)).astype(np.float32)
    scenes = [
        Scene(f"sample_0{i}", rng.poisson(30.0, (4, 32, 32)).astype(np.float32), x_true=x_true, **fields)
        for i in range(SCENES)
    ]
    write_challenge(path, scenes)
    return path


@pytest.fixture(scope="module")
def reconstructed(counts, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "out.h5"
    code, errors = run("reconstruct", counts, "-o", path, "--method", "raw", "--spec", "nominal", "-q")
    assert code == 0, errors
    return path


def commands(counts, reconstructed, folder):
    """Command by name, with its output."""
    return {
        "reconstruct": (
            ["reconstruct", counts, "-o", folder / "out.h5", "--method", "raw", "--spec", "nominal", "-q"],
            folder / "out.h5",
        ),
        "simulate": (["simulate", folder / "s.h5", "--scenes", 2, "--frames", 2, "--size", 32, "-q"], folder / "s.h5"),
        "subtract": (["subtract", counts, "-o", folder / "d.h5", "--mask", "0:2", "-q"], folder / "d.h5"),
        "convert": (["convert", counts, folder / "c.h5", "-q"], folder / "c.h5"),
        "convert to a stack": (
            ["convert", counts, folder / "c.npy", "--scene", "sample_00", "-q"],
            folder / "c.npy",
        ),
        "report": (["report", reconstructed, "-o", folder / "page.html"], folder / "page.html"),
    }


QUICK = ["reconstruct"]
SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("convert", "simulate", "subtract", "convert to a stack", "report")
]


def check_refusal(code, errors, output):
    assert (code, errors.count("\n")) == (2, 1), errors
    assert "no space left on " in errors
    assert str(output) in errors
    assert not output.exists()
    assert not list(output.parent.rglob("*.tmp"))


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_a_limit_on_the_size_of_files(name, counts, reconstructed, tmp_path):
    args, output = commands(counts, reconstructed, tmp_path)[name]
    code, errors = run(*args, limit=4096)
    check_refusal(code, errors, output)
    assert "ulimit -f" in errors
    assert list(tmp_path.iterdir()) == []
    code, errors = run(*args)
    assert code == 0, errors
    assert output.stat().st_size > 4096


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB, where the user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder, left):
    """Fill a disk so that about ``left`` bytes are free."""
    path = Path(folder) / "ballast"
    with suppress(OSError), open(path, "wb", buffering=0) as handle:
        while os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize > left:
            handle.write(bytes(4096))
    return path


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_a_full_disk(name, counts, reconstructed, small_disk):
    args, output = commands(counts, reconstructed, small_disk)[name]
    ballast = fill(small_disk, 16384)
    code, errors = run(*args)
    check_refusal(code, errors, output)
    assert "the disk is full" in errors
    ballast.unlink()
    code, errors = run(*args)
    assert code == 0, errors
    assert [path.name for path in small_disk.iterdir()] == [output.name]


def test_finished_scenes_are_kept_when_the_disk_fills_up(counts, reconstructed, small_disk):
    args, output = commands(counts, reconstructed, small_disk)["reconstruct"]
    ballast = fill(small_disk, 72 * 1024)
    code, errors = run(*args)
    check_refusal(code, errors, output)
    parts = {path: path.stat().st_mtime_ns for path in (small_disk / "out.h5.parts").iterdir()}
    assert 0 < len(parts) <= SCENES
    ballast.unlink()
    args = [arg for arg in args if arg != "-q"]
    code, errors = run(*args)
    assert code == 0, errors
    assert f"{len(parts)} of {SCENES} scenes are finished" in errors
    assert list_reconstructions(output) == [f"sample_0{i}" for i in range(SCENES)]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_standard_output_that_cannot_be_written_is_told_in_a_line(unbuffered):
    def run_models(output):
        command = [sys.executable, "-c", COMMAND, "models"]
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        process = subprocess.run(
            command, stdout=output, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
        return process.returncode, process.stderr

    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            line = "fluorojax: standard output: cannot be written: no space left: the disk is full\n"
            assert run_models(full) == (2, line)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run_models(writer) == (141, "")
    finally:
        os.close(writer)
