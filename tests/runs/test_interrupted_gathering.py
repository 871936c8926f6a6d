"""Ctrl-C while the finished scenes are gathered into the output: they are kept, and nothing else is left."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.io import list_reconstructions, parts_folder, write_challenge

RUN = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test may run where the signal is ignored
from pathlib import Path
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.spec import Spec
from fluorojax.io import open_scenes, publish_scene, reconstruction_writer
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.interrupts import run_interruptible
from fluorojax.runs.places import Place
from fluorojax.runs.shares import Finished

source, out, slow = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
real = getattr(reconstruction_writer, slow, None)

def stop_here(first, *rest, **more):
    if slow == "gather":
        rest[0].write_bytes(b"half of the output")
    else:
        real(first)
    print("ready", flush=True)
    time.sleep(60)

class Elsewhere(Place):
    def run(self, shares, tally):
        for share in shares:
            for scene in open_scenes(share.source).only(share.names):
                print("computed", scene.name, flush=True)
                result = Reconstruction(scene.name, scene.y, scene.y, Spec(), Spec(), {}, Status.CONVERGED, 1.0)
                publish_scene(share.folder, share.provenance, result)
                yield Finished(share.file, scene.name, "converged")

def work():
    reconstruct_file(source, out, ReconstructOptions(), place=Elsewhere(), notify=lambda line: print(line, flush=True))
    return 0

if slow != "none":
    setattr(reconstruction_writer, slow, stop_here)
sys.exit(run_interruptible(work, "name"))
"""


@pytest.fixture
def challenge(tmp_path):
    path = tmp_path / "in.h5"
    fields = {"acquisition": Acquisition(photons_per_pixel=200.0), "ranges": SpecRanges.for_tier("public")}
    write_challenge(path, [Scene(f"sample_0{i}", np.full((3, 8, 8), 50.0, np.float32), **fields) for i in range(2)])
    return path


def process(challenge, out, slow):
    command = [sys.executable, "-c", RUN, str(challenge), str(out), slow]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def interrupted(challenge, out, slow):
    """Send Ctrl-C to a run that stands still in the function ``slow`` of the writer; code and output."""
    run = process(challenge, out, slow)
    assert run.stdout is not None
    lines = []
    while (line := run.stdout.readline()) not in ("ready\n", ""):
        lines.append(line)
    run.send_signal(signal.SIGINT)
    rest, errors = run.communicate(timeout=60)
    return run.returncode, "".join(lines) + rest, errors


def test_while_the_output_is_written(challenge, tmp_path):
    out = tmp_path / "out.h5"
    code, told, errors = interrupted(challenge, out, "gather")
    assert (code, errors) == (130, "name: interrupted\n")
    assert f"2 of 2 finished scenes are kept in {parts_folder(out)}; the same command continues the run" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.h5.parts"]
    assert not list(parts_folder(out).glob("*.tmp"))
    told, errors = process(challenge, out, "none").communicate(timeout=60)
    assert "computed" not in told, "finished scenes are gathered only"
    assert (list_reconstructions(out), errors) == (["sample_00", "sample_01"], "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.h5"]


def test_once_the_output_is_written(challenge, tmp_path):
    out = tmp_path / "out.h5"
    code, told, _ = interrupted(challenge, out, "discard_parts")
    assert code == 130
    assert "are kept" not in told
    assert list_reconstructions(out) == ["sample_00", "sample_01"]
    assert "out.h5.parts.lock" not in [path.name for path in tmp_path.iterdir()]
