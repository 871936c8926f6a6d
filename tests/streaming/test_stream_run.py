"""Running a stream: bad frames, sources, the output file, the live page and the command."""

import errno
import http.client
import io
import json
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import h5py
import numpy as np
import pytest

import fluorojax.streaming.sinks as sinks_module
from fluorojax.cli import main
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.io import InputError, read_reconstruction, write_challenge
from fluorojax.streaming import (
    CallbackSink,
    Dropped,
    FileSink,
    Frame,
    LivePage,
    Result,
    Stalled,
    Stream,
    gather_blocks,
    growing_file,
    paced,
    raw_frames,
    stream,
    watched_folder,
    with_timeout,
)
from fluorojax.streaming.sinks import blocks_of, packed

SHAPE = (24, 24)
ACQUISITION = Acquisition(photons_per_pixel=400.0, attenuation_scale=2.0)


def counts(frames, seed=0):
    return np.random.default_rng(seed).poisson(100, (frames, *SHAPE)).astype(np.float32)


def result(frame=0, value=0.5):
    image = np.full(SHAPE, value, np.float32)
    return Result(frame, image, 0.01 * image, 33.0 * frame, 5.0, 0.1, 0.02)


def raw(frames):
    stream = io.BytesIO()
    for frame in frames:
        np.save(stream, frame)
    return stream.getvalue()


def test_bad_frames_are_told_and_left_out():
    good = counts(6)
    broken = good[2].copy()
    broken[0, 0] = np.nan
    frames = [good[0], good[1], broken, good[2, :20], good[3].astype(complex), -good[4], good[5]]
    running, seen = Stream(ACQUISITION), []
    results = list(stream(frames, ACQUISITION, run=running, sinks=[CallbackSink(seen.append)]))
    assert [one.frame for one in results] == [one.frame for one in seen] == [0, 1, 6]
    bad = [event for event in running.summary.events if event.kind == "bad frame"]
    assert [event.frame for event in bad] == [2, 3, 4, 5]
    for event, words in zip(bad, ["not finite", "expected (24, 24)", "dtype complex128", "negative"], strict=True):
        assert words in event.text
    assert (running.summary.bad, running.summary.missing) == (4, 4)
    assert running.summary.as_dict()["latency_ms"]["worst"] > 0


def test_a_failing_sink_is_told_once_and_harms_nothing():
    class Failing:
        def take(self, result):
            raise InputError("out.h5", None, None, "cannot be written")

    running, seen = Stream(ACQUISITION), []
    list(stream(counts(3), ACQUISITION, run=running, sinks=[Failing(), CallbackSink(seen.append)]))
    assert len(seen) == 3
    assert [event.kind for event in running.summary.events] == ["output"]


def test_a_stalled_source_ends_the_stream_with_what_came():
    def source():
        yield from map(Frame, counts(2))
        time.sleep(30)

    running = Stream(ACQUISITION, SHAPE)
    results = list(stream(with_timeout(source(), 0.3), ACQUISITION, run=running))
    assert len(results) == 2
    assert running.summary.stalled
    assert running.summary.events[-1].text == "no frame came for 0.3 s; the stream ends"


def test_errors_of_a_source_pass_its_thread():
    def source():
        yield Frame(counts(1)[0])
        raise InputError("here", None, None, "is wrong")

    frames = with_timeout(source(), 5)
    next(frames)
    with pytest.raises(InputError, match="is wrong"):
        next(frames)


def test_late_frames_are_dropped_and_the_newest_is_kept():
    frames = paced(map(Frame, np.arange(40).reshape(40, 1, 1)), 200)
    taken = [next(frames)]
    time.sleep(0.1)  # twenty frames come meanwhile
    taken += list(frames)
    shown = [int(one.counts[0, 0]) for one in taken if isinstance(one, Frame)]
    dropped = sum(one.frames for one in taken if isinstance(one, Dropped))
    assert len(shown) + dropped == 40
    assert dropped >= 10
    assert shown == sorted(shown)
    assert shown[-1] == 39


def test_raw_frames_and_what_is_none():
    frames = counts(3)
    found = [frame.counts for frame in raw_frames(io.BytesIO(raw(frames)))]
    np.testing.assert_array_equal(found, frames)
    for broken in (raw(frames)[:-5], raw(frames) + b"text that is no frame", raw([np.array([{}], object)])):
        with pytest.raises(InputError, match=r"frame \d cannot be read as a .npy array"):
            list(raw_frames(io.BytesIO(broken)))


def test_a_growing_file_is_followed(tmp_path):
    path, frames = tmp_path / "run.raw", counts(3)
    content = raw(frames)
    path.write_bytes(content[:700])
    following = with_timeout(growing_file(path), 0.5)
    with path.open("ab") as handle:
        handle.write(content[700:])
    found = [next(following).counts for _ in range(3)]
    np.testing.assert_array_equal(found, frames)
    with pytest.raises(Stalled):
        next(following)


def test_a_watched_folder_gives_its_frames_in_order(tmp_path):
    frames = counts(3)
    for index in (10, 9):
        np.save(tmp_path / f"frame{index}.npy", frames[index - 9])
    watching = with_timeout(watched_folder(tmp_path), 5)
    found = [next(watching).counts for _ in range(2)]
    np.save(tmp_path / "frame11.npy", frames[2])
    found.append(next(watching).counts)
    np.testing.assert_array_equal(found, frames)


def test_the_file_is_a_reconstruction_file(tmp_path):
    path = tmp_path / "out.h5"
    with FileSink(path, ACQUISITION, block_frames=2) as sink:
        for index in range(5):
            sink.take(result(index, 0.1 * (index + 1)))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["out.h5"]
    found = read_reconstruction(path, "sample_00")
    assert found.x_hat.shape == (5, *SHAPE)
    np.testing.assert_allclose(found.x_hat[:, 3, 4], 0.1 * np.arange(1, 6), rtol=1e-4)
    assert found.spec.as_dict()["gain_drift"] == pytest.approx(0.1)
    with h5py.File(path) as handle:
        np.testing.assert_array_equal(handle["sample_00/frame"], np.arange(5))
        assert handle["sample_00/x_hat"].chunks == (1, *SHAPE)


def test_packing_is_what_hdf5_unpacks_to_four_digits(tmp_path):
    image = np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32)
    with h5py.File(tmp_path / "one.h5", "w") as handle:
        stack = sinks_module._stack(handle, "x", 1, SHAPE)
        stack.id.write_direct_chunk((0, 0, 0), packed(image))
        np.testing.assert_allclose(stack[0], image, rtol=7e-5)


def test_frames_of_a_killed_stream_are_gathered(tmp_path):
    path = tmp_path / "out.h5"
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[2]); from test_stream_run import *; "
        "sink = FileSink(sys.argv[1], ACQUISITION, block_frames=2).__enter__(); "
        "[sink.take(result(i)) for i in range(5)]\n"
        "while len(blocks_of(sys.argv[1])) < 2: time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(__file__).rsplit("/", 1)[0]], check=False, timeout=120)
    assert not path.exists()
    for block in blocks_of(path):
        with h5py.File(block) as handle:
            assert handle["sample_00/x_hat"].shape == (2, *SHAPE)
    with pytest.raises(InputError, match="stream --gather"), FileSink(path, ACQUISITION):
        pass
    assert main(["stream", str(path), "--gather", "-q"]) == 0
    assert read_reconstruction(path, "sample_00").x_hat.shape == (4, *SHAPE)
    with pytest.raises(InputError, match="holds no frames"):
        gather_blocks(path, overwrite=True)


def test_a_full_disk_loses_nothing_once_there_is_room(tmp_path, monkeypatch):
    path, full, publish = tmp_path / "out.h5", [True], sinks_module.publish
    errors = []

    def refuse(temporary, target):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        publish(temporary, target)

    monkeypatch.setattr(sinks_module, "publish", refuse)
    with FileSink(path, ACQUISITION, block_frames=2) as sink:
        for index in range(200):
            try:
                sink.take(result(index))
            except InputError as error:
                errors.append(str(error))
                break
            time.sleep(0.01)
        full.clear()
    assert "no space left" in errors[0]
    assert "the stream goes on" in errors[0]
    assert read_reconstruction(path, "sample_00").x_hat.shape[0] == index + 1


def test_a_disk_that_stays_full_is_an_error_at_the_end(tmp_path, monkeypatch):
    def refuse(temporary, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sinks_module, "publish", refuse)
    with pytest.raises(InputError, match="no space left"), FileSink(tmp_path / "out.h5", ACQUISITION) as sink:
        sink.take(result())
    assert not (tmp_path / "out.h5").exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_live_page_answers_on_the_loopback_only():
    with LivePage(title="run <one>") as page:
        assert page.address.startswith("http://127.0.0.1:")
        assert b"/live.js" in urlopen(page.address, timeout=10).read()
        page.take(result(7))
        facts = json.load(urlopen(page.address + "facts?after=0", timeout=10))
        assert (facts["frame"], facts["results"], facts["title"]) == (7, 1, "run <one>")
        assert urlopen(page.address + "x.png", timeout=10).read().startswith(b"\x89PNG")
        port = int(page.address.rsplit(":", 1)[1].strip("/"))
        # A browser that goes away in the middle of an answer, and a page of another site.
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(b"GET /sd.png HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/x.png", headers={"Host": "example.org"})
        assert connection.getresponse().status == 403
        connection.close()
        page.take(result(8))
        assert json.load(urlopen(page.address + "facts?after=1", timeout=10))["frame"] == 8


@pytest.fixture
def scene_file(tmp_path):
    path = tmp_path / "in.h5"
    scene = Scene("sample_03", counts(4), ACQUISITION, SpecRanges.for_tier("public"))
    write_challenge(path, [scene])
    return path


def test_the_command_streams_a_file_with_a_delay(scene_file, tmp_path, capsys):
    out = tmp_path / "out.h5"
    assert main(["stream", str(scene_file), "-o", str(out), "--delay", "2", "--json", "-q"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["frames"], facts["bad"], facts["events"]) == (4, 0, [])
    found = read_reconstruction(out, "sample_03")
    assert found.x_hat.shape == (4, *SHAPE)
    assert found.nominal["photons_per_pixel"] == 400


def test_the_command_reads_standard_input_and_goes_on_after_a_bad_frame(monkeypatch, tmp_path, capsys):
    frames = [*counts(2), counts(1)[0, :8], *counts(1, 5)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw(frames))))
    out = tmp_path / "out.h5"
    code = main(["stream", "-", "-o", str(out), "--photons", "400", "--protocol", "attenuation_scale=2"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "frame 2 has shape (8, 24); expected (24, 24)" in captured.err
    assert captured.out.startswith("3 frames, 1 bad")
    assert read_reconstruction(out, "sample_00").x_hat.shape == (3, *SHAPE)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-"], "expected it as an option (--photons)"),
        (["none.h5"], "none.h5"),
        (["none.raw", "--follow", "--photons", "9"], "no such file"),
        (["-", "--pace", "live", "--photons", "9"], "expected it for a file of scenes"),
        (["-", "--follow", "--photons", "9"], "--follow is given for a source that is no file"),
        (["none.h5", "-o", "out.txt"], "--output is 'out.txt'"),
        (["none.h5", "--gather"], "holds no frames"),
    ],
)
def test_what_cannot_be_streamed_is_named(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["stream", *arguments]) == 2
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
