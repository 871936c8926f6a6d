"""``fluorojax reconstruct``: resumption, skipping, exit codes."""

import h5py
import numpy as np
import pytest

from fluorojax.io import (
    file_sha256,
    list_reconstructions,
    list_scenes,
    read_provenance,
    read_reconstruction,
    read_scene,
    read_skipped,
    write_challenge,
)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.h5"


def test_every_scene_lands_under_its_name(run, engine, challenge, out):
    code, stdout, stderr = run("reconstruct", challenge, "-o", out, "--seed", 5, "--batch", 2)
    assert code == 0, stderr
    assert list_reconstructions(out) == ["sample_00", "sample_01", "sample_02"]
    assert not out.with_name("out.h5.parts").exists()
    with h5py.File(challenge) as handle:
        for name in list_reconstructions(out):
            raw = -np.log(np.maximum(handle[name]["y"][()].astype(np.float32), 0.5) / 200) / 2
            np.testing.assert_allclose(read_reconstruction(out, name).x_hat, raw, atol=1e-6)
    for text in ("sample_02", "+1.500 ± 0.500", "+0.250 ± 0.125", "converged", "motion_blur (ms)"):
        assert text in stdout


def test_provenance_is_complete(run, engine, challenge, out):
    run("reconstruct", challenge, "-o", out, "--seed", 5, "--method", "mgvi", "--samples", 4, "--spec", "nominal")
    found = read_provenance(out)
    assert (found.model, found.method, found.seed) == ("sequence", "mgvi", 5)
    sampler = {"chains": 4, "warmup": 150, "draws": 200}
    assert found.settings == {
        "batch": None,
        "spec": "nominal",
        "samples": 4,
        "weights": None,
        "held_out": None,
        "fallback": True,
        "recognise": True,
        "block_frames": None,
        "times": None,
        "to_fps": None,
        **sampler,
    }
    assert (found.input_file, found.input_sha256) == ("in.h5", file_sha256(challenge))
    assert set(found.versions) == {"fluorojax", "jax", "numpyro"}
    assert str(challenge.parent).encode() not in out.read_bytes()


@pytest.mark.parametrize(("failure", "code"), [(KeyboardInterrupt(), 130), (MemoryError("full"), 2)])
def test_an_interrupted_run_is_continued(run, engine, challenge, out, failure, code):
    engine.failing = {"sample_02": failure}
    assert run("reconstruct", challenge, "-o", out)[0] == code
    assert not out.exists()
    assert out.with_name("out.h5.parts").exists()

    engine.failing = {}
    code, _, stderr = run("reconstruct", challenge, "-o", out)
    assert code == 0
    assert "2 of 3 scenes are finished" in stderr
    assert engine.seen == ["sample_01", "sample_00", "sample_02"]
    assert list_reconstructions(out) == ["sample_00", "sample_01", "sample_02"]


def test_an_interrupted_run_tells_where_its_chains_are(run, engine, challenge, out):
    state = out.with_name("out.h5.sample_01.state")
    state.write_bytes(b"as the sampler left it")
    engine.failing = {"sample_01": KeyboardInterrupt()}
    code, _, stderr = run("reconstruct", challenge, "-o", out, "--method", "nuts")
    assert code == 130
    assert f"the Markov chains so far are kept in {state}; the same command continues them" in stderr
    assert "sample_00.state" not in stderr
    assert state.exists()


def test_an_interrupted_overwrite_keeps_its_finished_scenes(run, engine, challenge, out):
    out.write_text("an older result")
    command = ("reconstruct", challenge, "-o", out, "--overwrite")
    engine.failing = {"sample_02": KeyboardInterrupt()}
    assert run(*command)[0] == 130
    assert out.read_text() == "an older result"
    engine.failing = {}
    code, _, stderr = run(*command)
    assert code == 0
    assert "2 of 3 scenes are finished" in stderr
    assert engine.seen == ["sample_01", "sample_00", "sample_02"]
    assert list_reconstructions(out) == ["sample_00", "sample_01", "sample_02"]


def test_a_resumed_run_tells_of_what_diverged_before(run, engine, challenge, out):
    engine.diverging, engine.failing = {"sample_00"}, {"sample_02": KeyboardInterrupt()}
    assert run("reconstruct", challenge, "-o", out)[0] == 130
    engine.diverging, engine.failing = set(), {}
    code, _, stderr = run("reconstruct", challenge, "-o", out)
    assert code == 1
    assert "sample_00: diverged" in stderr


def test_an_interrupt_says_what_is_kept(run, engine, challenge, out):
    engine.failing = {"sample_02": KeyboardInterrupt()}
    _, _, stderr = run("reconstruct", challenge, "-o", out)
    assert "2 of 3 finished scenes are kept" in stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr


def test_other_settings_do_not_continue_a_run(run, engine, challenge, out):
    engine.failing = {"sample_02": KeyboardInterrupt()}
    run("reconstruct", challenge, "-o", out)
    engine.failing = {}
    code, _, stderr = run("reconstruct", challenge, "-o", out, "--seed", 1)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "seed (1, 0)" in stderr
    assert "--overwrite" in stderr
    assert run("reconstruct", challenge, "-o", out, "--seed", 1, "--overwrite")[0] == 0
    assert read_provenance(out).seed == 1


def test_keep_going_skips_bad_scenes(run, engine, challenge, out):
    with h5py.File(challenge, "r+") as handle:
        del handle["sample_01/y"]
    code, _, stderr = run("reconstruct", challenge, "-o", out, "--keep-going")
    assert code == 1
    assert f"skipped: {challenge}: sample_01: y: missing" in stderr
    assert list_reconstructions(out) == ["sample_00", "sample_02"]
    assert list(read_skipped(out)) == ["sample_01"]
    code, stdout, _ = run("score", out, "--truth", challenge)
    assert code == 1
    assert "skipped sample_01: y: missing" in stdout


def test_reasons_that_are_no_text_are_refused(run, engine, challenge, out):
    assert run("reconstruct", challenge, "-o", out, "-q")[0] == 0
    with h5py.File(out, "r+") as handle:
        handle.attrs["skipped"] = '{"sample_07": {"a": 1}}'
    code, _, stderr = run("info", out)
    assert (code, stderr) == (2, f'fluorojax: {out}: sample_07: skipped: is {{"a": 1}}; expected the reason as text\n')
    code, _, stderr = run("reconstruct", challenge, "-o", out)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "already exists" in stderr


def test_keep_going_skips_scenes_without_the_selected_frames(run, engine, make_scene, challenge, out):
    write_challenge(challenge, [make_scene(), make_scene("sample_01", (5, 12, 12))], overwrite=True)
    code, _, stderr = run("reconstruct", challenge, "-o", out, "--frames", "0:4", "--keep-going")
    assert code == 1
    assert "sample_00: y: has 3 frames; expected at least 4" in stderr
    assert list_reconstructions(out) == ["sample_01"]


@pytest.mark.parametrize("limit", ["inf", "1e30"])
def test_a_time_limit_may_be_as_long_as_one_likes(run, engine, challenge, out, limit):
    assert run("reconstruct", challenge, "-o", out, "--time-limit", limit)[0] == 0


def test_an_output_of_a_manifest_is_no_input_of_it(run, engine, make_scene, challenge, tmp_path):
    other, manifest = tmp_path / "other.h5", tmp_path / "runs.csv"
    write_challenge(other, [make_scene("sample_07")])
    manifest.write_text("in.h5,other.h5\nother.h5,last.h5\n", encoding="utf-8")
    code, _, stderr = run("reconstruct", "--manifest", manifest, "--overwrite")
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"{other}: is the input file {other}" in stderr
    assert list_scenes(other) == ["sample_07"]


def test_keep_going_with_nothing_left_is_an_error(run, engine, challenge, out):
    with h5py.File(challenge, "r+") as handle:
        for group in handle.values():
            del group["y"]
    code, _, stderr = run("reconstruct", challenge, "-o", out, "--keep-going")
    assert code == 2
    assert "none of its scenes can be read" in stderr
    assert list(out.parent.iterdir()) == [challenge]


def test_a_diverged_scene_is_kept_and_told(run, engine, challenge, out):
    engine.diverging = {"sample_01"}
    code, stdout, stderr = run("reconstruct", challenge, "-o", out)
    assert code == 1
    assert "diverged" in stdout
    assert "sample_01: diverged; its result must not be used" in stderr
    assert list_reconstructions(out) == ["sample_00", "sample_01", "sample_02"]


def test_an_engine_that_loses_a_scene_publishes_nothing(run, engine, challenge, out, monkeypatch):
    first = read_scene(challenge, "sample_00")
    monkeypatch.setattr(engine, "result", lambda scene, options: type(engine).result(engine, first, options))
    code, _, stderr = run("reconstruct", challenge, "-o", out)
    assert code == 3
    assert "no result for sample_01, sample_02" in stderr
    assert not out.exists()


def test_assumed_protocol_values_are_told(run, engine, challenge, out):
    with h5py.File(challenge, "r+") as handle:
        handle["sample_00"].attrs["acquisition"] = '{"photons_per_pixel": 200}'
    _, _, stderr = run("reconstruct", challenge, "-o", out)
    assert "sample_00: the file does not give the whole protocol; assumed: attenuation_scale 7" in stderr


def test_quiet_prints_nothing(run, engine, challenge, out):
    assert run("reconstruct", challenge, "-o", out, "--quiet") == (0, "", "")


def test_options_reach_the_engine(run, engine, challenge, out):
    run("reconstruct", challenge, "-o", out, "--model", "single_frame", "--batch", 3, "--spec", "true")
    options = engine.options[0]
    assert (options.model, options.method, options.batch, options.spec) == ("single_frame", "map", 3, "true")
