"""The commands info and convert, and the options that select scenes, frames and pixels."""

import json

import h5py
import numpy as np
import pytest
from tifffile import imread

from fluorojax.io import open_scenes, read_count_digests, read_provenance, read_reconstruction, write_challenge
from fluorojax.runs.estimate import time_words


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 second"), (1.6, "2 seconds"), (9000, "2.5 hours")])
def test_times_in_words(seconds, words):
    assert time_words(seconds) == words


@pytest.fixture
def result(run, engine, challenge, tmp_path):
    assert run("reconstruct", challenge, "-o", tmp_path / "out.h5", "-q")[0] == 0
    return tmp_path / "out.h5"


def test_info_of_scenes_in_plain_words(run, challenge):
    code, stdout, stderr = run("info", challenge)
    assert (code, stderr) == (0, "")
    for words in (
        "HDF5 file in the challenge layout, 3 scenes",
        "sample_02: 3 frames of 12 × 12 pixels",
        "exposure window 8 ms nominal",
        "30 frames per second",
        "200 in the open beam",
        "motion_blur is unknown within -5 … 10 ms",
        "the true sequence is in the file; true specification: motion_blur 1, lag -2, gain_drift 0.25",
    ):
        assert words in stdout
    document = json.loads(run("info", challenge, "--json", "--scene", "sample_01")[1])
    assert list(document["scenes"]) == ["sample_01"]
    assert document["scenes"]["sample_01"]["shape"] == [3, 12, 12]


def test_info_of_a_reconstruction(run, result):
    code, stdout, _ = run("info", result)
    assert code == 0
    for words in (
        "reconstruction of 3 scenes",
        "method learned, model sequence, seed 0",
        "made from in.h5",
        "converged",
    ):
        assert words in stdout
    assert json.loads(run("info", result, "--json")[1])["provenance"]["method"] == "learned"


def test_options_of_counts_are_refused_for_a_result(run, result, tmp_path):
    for command in (["info", result], ["convert", result, tmp_path / "x.npy", "--scene", "sample_00"]):
        code, _, stderr = run(*command, "--photons", 200)
        assert (code, stderr.count("\n")) == (2, 1)
        assert "is a reconstruction file; expected no options" in stderr


def test_the_tier_stays_with_the_scenes(run, challenge, make_scene, tmp_path):
    write_challenge(challenge, [make_scene()], tier="dev", overwrite=True)
    assert run("convert", challenge, tmp_path / "again.h5", "-q")[0] == 0
    with h5py.File(tmp_path / "again.h5") as handle:
        assert handle.attrs["tier"] == b"dev"


@pytest.mark.parametrize("ending", ["npy", "tif"])
def test_stacks_there_and_back(run, challenge, tmp_path, ending):
    stack, back = tmp_path / f"a.{ending}", tmp_path / "back.h5"
    protocol = [] if ending == "tif" else ["--photons", 200, "--protocol", "attenuation_scale=2"]
    assert run("convert", challenge, stack, "--scene", "sample_01", "-q") == (0, "", "")
    assert run("convert", stack, back, *protocol, "-q")[0] == 0
    before, after = open_scenes(challenge)["sample_01"], open_scenes(back)["sample_00"]
    np.testing.assert_array_equal(before.y, after.y)
    assert after.acquisition.as_dict() == pytest.approx(before.acquisition.as_dict())


def test_a_stack_with_a_protocol_tells_what_was_assumed(run, challenge, tmp_path):
    array = tmp_path / "a.npy"
    assert run("convert", challenge, array, "--scene", "sample_01") == (0, f"wrote {array}\n", "")
    code, _, stderr = run("convert", array, tmp_path / "a.tif", "--photons", 200)
    assert code == 0
    assert "the file does not give the whole protocol; assumed: attenuation_scale 7" in stderr


def test_images_of_a_result_become_stacks(run, result, tmp_path):
    assert run("convert", result, tmp_path / "x.npy", "--scene", "sample_00", "-q")[0] == 0
    args = ["--scene", "sample_00", "--what", "x_std", "--frames", "0:2"]
    assert run("convert", result, tmp_path / "s.tif", *args, "-q")[0] == 0
    found = read_reconstruction(result, "sample_00")
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), found.x_hat)
    np.testing.assert_array_equal(imread(tmp_path / "s.tif"), found.x_std[:2])


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["convert", "in.h5", "a.png"], "expected a file name that ends in one of .h5"),
        (["convert", "in.h5", "a.npy"], "expected --scene with one of sample_00"),
        (["convert", "in.h5", "a.npy", "--what", "x_hat"], "is a file of scenes, without results"),
        (["reconstruct", "in.h5", "-o", "a.html"], "expected a file name that ends in .h5 or .hdf5"),
        (["report", "in.h5", "-o", "a.h5"], "expected a file name that ends in .html"),
        (["scenarios", "in.h5", "-o", "a.csv"], "expected a file name that ends in .json"),
        (["reconstruct", "in.h5", "-o", "a.h5", "--frames", "2"], "--frames is '2'; expected A:B"),
        (["reconstruct", "in.h5", "-o", "a.h5", "--crop", "0:4"], "--crop is '0:4'; expected R0:R1,C0:C1"),
        (["reconstruct", "in.h5", "-o", "a.h5", "--protocol", "dose=3"], "protocol has dose; expected names among"),
        (["reconstruct", "in.h5", "-o", "a.h5", "--scene", "sample_09"], "sample_09: no such scene in this file"),
        (["reconstruct", "in.h5"], "no output for in.h5; expected --output"),
    ],
)
def test_refusals_are_one_line(run, engine, challenge, tmp_path, monkeypatch, args, named):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = run(*args)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert named in stderr
    assert list(tmp_path.iterdir()) == [challenge]


def test_a_selection_is_recorded_and_scoring_follows_it(run, engine, challenge, tmp_path):
    out = tmp_path / "out.h5"
    part = ["--scene", "sample_00", "--scene", "sample_02", "--frames", "0:2", "--crop", "0:12,0:11"]
    code, _, stderr = run("reconstruct", challenge, "-o", out, *part)
    assert code == 0
    assert stderr.startswith("fluorojax: CPU (")
    assert "2 scenes of 2×12×11: about" in stderr
    settings = read_provenance(out).settings
    assert settings["scenes"] == ["sample_00", "sample_02"]
    assert (settings["frames"], settings["crop"]) == ([0, 2], [[0, 12], [0, 11]])
    assert read_reconstruction(out, "sample_02").x_hat.shape == (2, 12, 11)
    assert run("score", out, "--truth", challenge)[0] == 0


def test_another_selection_does_not_continue_a_run(run, engine, challenge, tmp_path):
    engine.failing = {"sample_02": KeyboardInterrupt()}
    assert run("reconstruct", challenge, "-o", tmp_path / "out.h5", "--frames", "0:2")[0] == 130
    engine.failing = {}
    code, _, stderr = run("reconstruct", challenge, "-o", tmp_path / "out.h5")
    assert code == 2
    assert "frames (None, [0, 2])" in stderr


def test_a_stack_is_reconstructed_with_the_protocol_that_is_told(run, engine, challenge, tmp_path):
    assert run("convert", challenge, tmp_path / "a.npy", "--scene", "sample_01", "-q")[0] == 0
    args = ["--photons", 200, "--fps", 15, "--protocol", "attenuation_scale=2"]
    code, _, stderr = run("reconstruct", tmp_path / "a.npy", "-o", tmp_path / "out.h5", *args)
    assert code == 0
    assert "the file does not give the whole protocol; assumed: pulse_width_ms 8, lag_ms 10" in stderr
    protocol = read_provenance(tmp_path / "out.h5").settings["protocol"]
    assert protocol == {"frame_time_ms": pytest.approx(1000 / 15), "photons_per_pixel": 200, "attenuation_scale": 2}


def test_a_published_frame_without_acquisition_says_what_was_assumed(run, engine, challenge, tmp_path):
    with h5py.File(challenge, "r+") as handle:
        group = handle["sample_00"]
        del group.attrs["acquisition"]
        for field in ("y", "x_true"):
            frame = group[field][0]
            del group[field]
            group[field] = frame
    code, _, stderr = run("reconstruct", challenge, "-o", tmp_path / "out.h5", "--scene", "sample_00")
    assert code == 0
    assert "assumed: attenuation_scale 7, frame_time_ms 33.3333, pulse_width_ms 8, lag_ms 10" in stderr


def test_the_old_name_of_an_option_serves_with_a_notice(run, engine, challenge, tmp_path):
    for number, old in enumerate((["--chain", "nominal"], ["--chain=nominal"])):
        code, _, stderr = run("reconstruct", challenge, "-o", tmp_path / f"{number}.h5", *old, "-q")
        assert code == 0
        assert stderr == "fluorojax: --chain is now called --spec; the next version will not accept the old name\n"
        assert engine.options[-1].spec == "nominal"
    assert "--chain " not in run("reconstruct", "--help")[1]


def test_another_truth_is_refused_unless_told(run, result, challenge, make_scene, tmp_path):
    from fluorojax.io import write_challenge

    other = tmp_path / "other.h5"
    write_challenge(other, [make_scene(f"sample_0{i}", y=make_scene("sample_07").y) for i in range(3)])
    for args in (["score", result, "--truth", other], ["report", result, "--truth", other, "-o", tmp_path / "p.html"]):
        code, _, stderr = run(*args)
        assert (code, stderr.count("\n")) == (2, 1)
        assert "other.h5: sample_00: y: has other counts" in stderr
        assert "--allow-other-truth" in stderr
    assert run("score", result, "--truth", other, "--allow-other-truth")[0] == 0


def test_the_same_counts_in_another_file_are_the_same_scenes(run, result, challenge, tmp_path):
    copy = tmp_path / "copy.h5"
    with h5py.File(challenge) as source, h5py.File(copy, "w") as target:
        for name in source:
            source.copy(name, target)
    assert run("score", result, "--truth", copy)[0] == 0


def test_a_file_without_digests_of_counts_is_held_to_its_sha256(run, result, challenge, tmp_path):
    with h5py.File(result, "r+") as handle:
        for group in handle.values():
            del group.attrs["counts_sha256"]
    assert read_count_digests(result) == {}
    assert run("score", result, "--truth", challenge)[0] == 0
    with h5py.File(challenge, "r+") as handle:
        handle.attrs["note"] = "changed since"
    code, _, stderr = run("score", result, "--truth", challenge)
    assert code == 2
    assert "is not the file that was reconstructed" in stderr


def test_a_run_that_memory_cannot_hold_is_refused(run, engine, challenge, tmp_path, monkeypatch):
    import fluorojax.runs.estimate as estimate

    monkeypatch.setattr(estimate, "available_bytes", lambda: 10**8)
    args = ["reconstruct", challenge, "-o", tmp_path / "out.h5", "-q"]
    code, _, stderr = run(*args)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "of memory and 100 MB are free" in stderr
    assert engine.seen == []
    assert list(tmp_path.iterdir()) == [challenge]
    assert run(*args, "--ignore-memory")[0] == 0
