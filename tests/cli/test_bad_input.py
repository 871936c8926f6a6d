"""Bad input: exit code 2, one line that names file, scene and field, and no output."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from fluorojax.io import write_challenge


def put(field, values):
    def edit(group):
        if field in group:
            del group[field]
        group[field] = values

    return edit


def alter(field, change):
    def edit(group):
        values = group[field][()].astype(float)
        change(values)
        put(field, values)(group)

    return edit


def edit_json(field, change):
    def edit(group):
        value = json.loads(group.attrs[field])
        change(value)
        group.attrs[field] = json.dumps(value)

    return edit


def raw(field, text):
    return lambda group: group.attrs.update({field: text})


def drop(field):
    def edit(group):
        if field in group.attrs:
            del group.attrs[field]
        else:
            del group[field]

    return edit


def at(index, value):
    return lambda array: array.__setitem__(index, value)


STACK = np.ones((3, 12, 12))

# defect of sample_01, field named, fragment of the problem
SCENE_DEFECTS = {
    "missing y": (drop("y"), "y", "missing"),
    "y is a group": (lambda g: (drop("y")(g), g.create_group("y")), "y", "is not an array"),
    "y is text": (put("y", "counts"), "y", "has dtype"),
    "y complex": (put("y", STACK * 1j), "y", "has dtype complex128"),
    "y empty dataspace": (put("y", h5py.Empty("f4")), "y", "is not an array"),
    "rank 1": (put("y", np.ones(5)), "y", "has shape (5,); expected (T, H, W)"),
    "rank 4": (put("y", np.ones((1, 3, 4, 4))), "y", "expected (T, H, W)"),
    "zero frames": (put("y", np.ones((0, 12, 12))), "y", "no empty axis"),
    "zero width": (put("y", np.ones((3, 12, 0))), "y", "no empty axis"),
    "zero-size frame": (put("y", np.ones((0, 12))), "y", "no empty axis"),
    "one-frame stack": (put("y", np.ones((1, 12, 12))), "y", "a single frame is stored as (H, W), here (12, 12)"),
    "NaN counts": (alter("y", at((1, 2, 3), np.nan)), "y", "has nan at index [1, 2, 3] (1 of 432 values)"),
    "infinite counts": (alter("y", at((0, 0, 0), np.inf)), "y", "has inf at index [0, 0, 0]"),
    "counts beyond single precision": (alter("y", at((1, 0, 2), 1e39)), "y", "has 1e+39 at index [1, 0, 2]"),
    "negative counts": (alter("y", at((2, 11, 11), -3)), "y", "has -3 at index [2, 11, 11]"),
    "malformed JSON": (raw("acquisition", "{'photons': 3}"), "acquisition", "malformed JSON"),
    "JSON not UTF-8": (raw("metadata", np.void(b"\xff\xfe")), "metadata", "expected a JSON string"),
    "JSON bytes not UTF-8": (raw("metadata", np.bytes_(b"\xff\xfe")), "metadata", "not UTF-8"),
    "JSON of another type": (raw("acquisition", "[1, 2]"), "acquisition", "expected an object"),
    "JSON field is a number": (raw("spec_ranges", 3), "spec_ranges", "expected a JSON string"),
    "no spec ranges": (drop("spec_ranges"), "spec_ranges", "missing"),
    "ranges not a list": (raw("spec_ranges", '{"lag": [0, 1]}'), "spec_ranges", "expected a list of objects"),
    "unknown parameter": (
        edit_json("spec_ranges", lambda r: r[1].update(name="ghost")),
        "spec_ranges",
        "unknown parameter 'ghost'; expected motion_blur, lag, gain_drift",
    ),
    "parameter that is no text": (
        edit_json("spec_ranges", lambda r: r[1].update(name=["lag"])),
        "spec_ranges",
        "unknown parameter ['lag']; expected motion_blur",
    ),
    "missing parameter": (edit_json("spec_ranges", lambda r: r.pop()), "spec_ranges", "lacks gain_drift"),
    "parameter twice": (edit_json("spec_ranges", lambda r: r.append(r[0])), "spec_ranges", "given twice"),
    "min equals max": (
        edit_json("spec_ranges", lambda r: r[0].update(min=1, max=1)),
        "spec_ranges",
        "expected min < max",
    ),
    "min above max": (edit_json("spec_ranges", lambda r: r[2].update(min=3)), "spec_ranges", "min 3 and max 1"),
    "bound missing": (edit_json("spec_ranges", lambda r: r[0].pop("min")), "spec_ranges", "min of motion_blur is null"),
    "bound NaN": (
        raw("spec_ranges", '[{"name": "lag", "min": NaN, "max": 1}]'),
        "spec_ranges",
        "min of lag is NaN; expected a finite number",
    ),
    "bound beyond single precision": (
        edit_json("spec_ranges", lambda r: r[0].update(max=1e39)),
        "spec_ranges",
        "max of motion_blur is 1e+39; expected a finite number of at most 3.4e+38",
    ),
    "bound of 301 digits": (
        edit_json("spec_ranges", lambda r: r[0].update(max=10**300)),
        "spec_ranges",
        "(301 characters); expected a finite number",
    ),
    "a number of 5001 digits": (raw("acquisition", '{"lag_ms": 1' + 5000 * "0" + "}"), "acquisition", "malformed JSON"),
    "range in seconds": (edit_json("spec_ranges", lambda r: r[1].update(unit="s")), "spec_ranges", "expected ms"),
    "window vanishes": (
        edit_json("acquisition", lambda a: a.update(pulse_width_ms=5.0)),
        "acquisition",
        "the exposure window 0 ms; expected a positive value",
    ),
    "decay negative": (
        edit_json("acquisition", lambda a: a.update(lag_ms=2.5)),
        "acquisition",
        "lag time constant -0.5 ms",
    ),
    "I_0 zero": (
        lambda g: (edit_json("acquisition", lambda a: a.update(photons_per_pixel=0))(g), drop("H_ideal")(g)),
        "acquisition",
        "photons_per_pixel is 0; expected a positive number",
    ),
    "lag vanishes in two tiers": (
        lambda g: (
            edit_json("acquisition", lambda a: a.update(lag_ms=3.6))(g),
            edit_json("spec_ranges", lambda r: r[1].update(min=-3.6))(g),
        ),
        "acquisition",
        "makes the lag time constant 0 ms; expected a positive value",
    ),
    "I_0 beyond single precision": (
        lambda g: (edit_json("acquisition", lambda a: a.update(photons_per_pixel=1e300))(g), drop("H_ideal")(g)),
        "acquisition",
        "photons_per_pixel is 1e+300; expected a finite number",
    ),
    "I_0 below single precision": (
        lambda g: (edit_json("acquisition", lambda a: a.update(photons_per_pixel=1e-60))(g), drop("H_ideal")(g)),
        "acquisition",
        "photons_per_pixel is 1e-60; expected a positive number",
    ),
    "I_0 in H_ideal beyond single precision": (put("H_ideal", [1e300, 0.0]), "H_ideal", "I_0 is 1e+300"),
    "I_0 negative in H_ideal": (put("H_ideal", [-1.0, 0.0]), "H_ideal", "I_0 is -1; expected a positive number"),
    "I_0 nowhere": (
        lambda g: (edit_json("acquisition", lambda a: a.pop("photons_per_pixel"))(g), drop("H_ideal")(g)),
        "acquisition",
        "lacks photons_per_pixel",
    ),
    "I_0 contradicts": (put("H_ideal", [300.0, 0.0]), "H_ideal", "says photons_per_pixel = 300, acquisition says 200"),
    "scatter contradicts": (put("H_ideal", [200.0, 0.3]), "H_ideal", "says scatter_fraction = 0.3"),
    "scatter of one": (put("H_ideal", [200.0, 1.0]), "H_ideal", "expected 0 ≤ f < 1"),
    "H_ideal shape": (put("H_ideal", [200.0]), "H_ideal", "has shape (1,)"),
    "attenuation scale": (
        edit_json("acquisition", lambda a: a.update(attenuation_scale=-7)),
        "acquisition",
        "attenuation_scale is -7; expected a positive number",
    ),
    "protocol value is text": (
        edit_json("acquisition", lambda a: a.update(frame_time_ms="33")),
        "acquisition",
        'frame_time_ms is "33"; expected a finite number',
    ),
    "x_true shape": (put("x_true", np.ones((3, 12, 11))), "x_true", "has shape (3, 12, 11); expected (3, 12, 12)"),
    "x_true beyond single precision": (alter("x_true", at((0, 0, 1), 1e39)), "x_true", "has 1e+39 at index"),
    "x_true NaN": (alter("x_true", at((0, 0, 1), np.nan)), "x_true", "nan at index [0, 0, 1]"),
    "true_spec incomplete": (raw("true_spec", '{"lag": 1}'), "true_spec", "has lag; expected motion_blur, lag"),
    "true_spec null": (edit_json("true_spec", lambda s: s.update(lag=None)), "true_spec", "lag is null"),
}


def assert_refused(run, path, out, *named, command=()):
    code, stdout, stderr = run("reconstruct", path, "-o", out, *command)
    assert code == 2
    assert stdout == ""
    assert stderr.count("\n") == 1, stderr
    for part in named:
        assert part in stderr
    assert not out.exists()
    assert not out.with_name(out.name + ".parts").exists()


@pytest.mark.parametrize("case", SCENE_DEFECTS)
def test_a_defect_of_a_scene(case, run, engine, challenge, tmp_path):
    defect, field, problem = SCENE_DEFECTS[case]
    with h5py.File(challenge, "r+") as handle:
        defect(handle["sample_01"])
    assert_refused(run, challenge, tmp_path / "out.h5", f"{challenge}: sample_01: {field}: ", problem)
    assert engine.seen == []


def no_file(path):
    path.unlink()


def text_file(path):
    path.write_text("time,counts\n0,12\n")


def empty_file(path):
    path.write_bytes(b"")


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def directory(path):
    path.unlink()
    path.mkdir()


def no_scenes(path):
    with h5py.File(path, "w") as handle:
        handle.create_group("notes")


def scene_is_an_array(path):
    with h5py.File(path, "r+") as handle:
        del handle["sample_01"]
        handle["sample_01"] = STACK


FILE_DEFECTS = {
    "missing": (no_file, "no such file"),
    "text": (text_file, "not a file of a known format"),
    "empty": (empty_file, "not a file of a known format"),
    "truncated": (truncated, "truncated HDF5 file"),
    "directory": (directory, "is a folder without DICOM files"),
    "no scenes": (no_scenes, "holds no scenes; expected groups named sample_00"),
    "array for a scene": (scene_is_an_array, "sample_01: is a dataset; expected a group"),
}


@pytest.mark.parametrize("case", FILE_DEFECTS)
def test_a_defect_of_the_file(case, run, engine, challenge, tmp_path):
    defect, problem = FILE_DEFECTS[case]
    defect(challenge)
    assert_refused(run, challenge, tmp_path / "out.h5", str(challenge), problem)


def test_damaged_values_inside_a_sound_file(run, engine, challenge, tmp_path):
    with h5py.File(challenge) as handle:
        chunk = handle["sample_01/y"].id.get_chunk_info(0)
    with challenge.open("rb+") as handle:
        handle.seek(chunk.byte_offset)
        handle.write(b"\xff" * chunk.size)
    assert_refused(run, challenge, tmp_path / "out.h5", "sample_01: y: cannot be read, the file is damaged")


def test_the_true_chain_needs_a_true_spec(run, engine, challenge, tmp_path):
    with h5py.File(challenge, "r+") as handle:
        del handle["sample_02"].attrs["true_spec"]
    assert_refused(run, challenge, tmp_path / "out.h5", "sample_02: true_spec: missing", command=["--spec", "true"])


def test_a_missing_model_file(run, engine, challenge, tmp_path):
    command = ["--model", tmp_path / "mine.py"]
    assert_refused(run, challenge, tmp_path / "out.h5", "model file", "mine.py: no such file", command=command)


def test_a_setting_the_engine_refuses(run, engine, challenge, tmp_path):
    engine.failing = {"sample_01": ValueError("method is 'guess';\n expected map or nuts")}
    assert_refused(run, challenge, tmp_path / "out.h5", "method is 'guess'; expected map or nuts", command=["-q"])


@pytest.mark.parametrize("name", ["nowhere/out.h5", "in.h5/out.h5"])
def test_an_output_that_cannot_be_written(run, engine, challenge, tmp_path, name):
    code, _, stderr = run("reconstruct", challenge, "-o", tmp_path / name)
    assert code == 2
    assert stderr.count("\n") == 1
    assert f"{name}: cannot be written: " in stderr
    assert list(tmp_path.iterdir()) == [challenge]


def test_a_folder_as_output_that_holds_the_input(run, engine, challenge, tmp_path):
    code, _, stderr = run("reconstruct", challenge, "-o", tmp_path)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "is the input file" in stderr


@pytest.mark.parametrize("link", ["same", "symbolic", "hard", "partial"])
def test_the_output_is_the_input(run, engine, challenge, tmp_path, link):
    before, out = challenge.read_bytes(), tmp_path / "out.h5"
    if link == "same":
        out = challenge
    elif link == "symbolic":
        out.symlink_to(challenge)
    elif link == "hard":
        out.hardlink_to(challenge)
    else:
        challenge = challenge.rename(tmp_path / "out.h5.partial")
    code, _, stderr = run("reconstruct", challenge, "-o", out, "--overwrite")
    assert (code, stderr.count("\n")) == (2, 1)
    assert "is the input file" in stderr
    assert challenge.read_bytes() == before


def test_an_existing_output_is_refused(run, engine, challenge, tmp_path):
    out = tmp_path / "out.h5"
    out.write_text("precious")
    code, _, stderr = run("reconstruct", challenge, "-o", out)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "--overwrite" in stderr
    assert out.read_text() == "precious"


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (["reconstruct"], "IN.h5"),
        (["nonsense"], "nonsense"),
        (["reconstruct", "in.h5", "-o", "out.h5", "--spec", "ideal"], "ideal"),
        (["simulate", "out.h5", "--scenes", "none"], "--scenes"),
        (["simulate", "out.h5", "--seed", str(2**63)], "--seed"),
        (["reconstruct", "in.h5", "-o", "out.h5", "--seed", str(2**63)], "--seed"),
        (["simulate", "out.h5", "--tier", "secret"], "tier is 'secret'; expected one of public, dev, hidden"),
        (["simulate", "out.h5", "--photons", "0"], "photons"),
        (["simulate", "out.h5", "--ct", "nowhere.nii"], "nowhere.nii: no such file"),
        (["score", "nowhere.h5", "--truth", "in.h5"], "nowhere.h5: no such file"),
        (["scenarios", "nowhere.h5"], "nowhere.h5: no such file"),
        (["report", "nowhere.h5", "-o", "page.html"], "nowhere.h5: no such file"),
        (["demo", "--out", "in.h5"], "in.h5: cannot be created"),
    ],
)
def test_options_that_make_no_sense(run, engine, challenge, tmp_path, monkeypatch, args, named):
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = run(*args)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert named in stderr
    assert list(tmp_path.iterdir()) == [challenge]


@pytest.mark.parametrize("command", ["scenarios", "score"])
def test_what_needs_truth_says_so(run, engine, tmp_path, make_scene, command):
    blind, out = tmp_path / "blind.h5", tmp_path / "out.h5"
    write_challenge(blind, [make_scene(x_true=None, true_spec=None)])
    args = [blind]
    if command == "score":
        assert run("reconstruct", blind, "-o", out, "-q")[0] == 0
        args = [out, "--truth", blind]
    code, _, stderr = run(command, *args)
    assert (code, stderr.count("\n")) == (2, 1)
    assert "sample_00: x_true: missing; expected the truth" in stderr


def test_the_traceback_is_shown_on_request_only(run, engine, challenge, tmp_path):
    engine.failing = {"sample_00": ZeroDivisionError("oops")}
    code, _, stderr = run("reconstruct", challenge, "-o", tmp_path / "out.h5", "-q")
    assert (code, stderr.count("\n")) == (3, 1)
    assert "ZeroDivisionError: oops (--debug" in stderr
    code, _, stderr = run("reconstruct", challenge, "-o", tmp_path / "out.h5", "-q", "--debug")
    assert code == 3
    assert "Traceback" in stderr


def test_the_process_exits_with_the_code(tmp_path):
    call = "import sys; from fluorojax.cli import main; sys.exit(main())"
    args = ["reconstruct", str(tmp_path / "nowhere.h5"), "-o", str(tmp_path / "out.h5")]
    process = subprocess.run([sys.executable, "-c", call, *args], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert (
        process.stderr
        == f"fluorojax: {tmp_path}/nowhere.h5: no such file; expected a file of scenes (HDF5, DICOM, .npy or TIFF)\n"
    )
    assert list(tmp_path.iterdir()) == []
