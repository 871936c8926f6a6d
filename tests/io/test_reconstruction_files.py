"""Reconstruction files: round trip, atomic publication, resumption."""

import json
import math
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.data.spec import Spec
from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    dumps,
    file_sha256,
    list_reconstructions,
    parts_folder,
    publish_scene,
    read_parts,
    read_provenance,
    read_reconstruction,
    read_summaries,
    write_challenge,
)
from fluorojax.io.lock import FileLock
from fluorojax.io.parts import damaged_fields, part_name
from fluorojax.models.loading import list_models


@pytest.fixture
def source(tmp_path, make_scene):
    path = tmp_path / "in.h5"
    write_challenge(path, [make_scene()])
    return path


@pytest.fixture
def provenance(source):
    return Provenance.of_run(source, ReconstructOptions(batch=2, seed=7))


def write_all(path, provenance, source, results, **options):
    with ReconstructionWriter(path, provenance, source=source, **options) as writer:
        for result in results:
            writer.write(result)


def crash_after(path, provenance, source, results, error=RuntimeError, **options):
    def results_then_crash():
        yield from results
        raise error

    with pytest.raises(error):
        write_all(path, provenance, source, results_then_crash(), **options)


@pytest.mark.parametrize("shape", [(3, 12, 12), (5, 6)])
@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("uncertain", [True, False])
def test_round_trip(tmp_path, source, provenance, make_result, shape, status, uncertain):
    result = make_result(shape=shape, status=status)
    result = result if uncertain else replace(result, x_std=None)
    write_all(tmp_path / "out.h5", provenance, source, [result])
    read = read_reconstruction(tmp_path / "out.h5", "sample_00")
    np.testing.assert_array_equal(read.x_hat, result.x_hat)
    assert (read.x_std is None) is not uncertain
    assert read.spec.as_dict() == result.spec.as_dict()
    assert read.spec_std.as_dict() == result.spec_std.as_dict()
    assert (read.spec_interval, read.status, read.seconds) == (result.spec_interval, status, 1.5)
    assert read.diagnostics == result.diagnostics
    assert read_provenance(tmp_path / "out.h5") == provenance


def test_the_protocol_is_kept_and_may_be_missing(tmp_path, source, provenance, make_result):
    known = {"nominal": {"frame_time_ms": 40.0}, "prior_ranges": {"lag": (-3.0, 6.0)}, "pixel_mm": 0.25}
    write_all(tmp_path / "out.h5", provenance, source, [make_result(**known), make_result("sample_01")])
    first, second = (read_reconstruction(tmp_path / "out.h5", name) for name in ("sample_00", "sample_01"))
    assert {name: getattr(first, name) for name in known} == known
    assert (second.nominal, second.prior_ranges, second.pixel_mm, second.frame_time_ms) == ({}, {}, None, None)
    (summary, _) = read_summaries(tmp_path / "out.h5")
    assert summary.prior_ranges == known["prior_ranges"]


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [("acquisition", '{"lag_ms": "ten"}', "lag_ms"), ("spec_prior", '{"lag": [1]}', r"expected \[lower, upper\]")],
)
def test_a_damaged_protocol_is_named(tmp_path, source, provenance, make_result, field, value, problem):
    write_all(tmp_path / "out.h5", provenance, source, [make_result()])
    with h5py.File(tmp_path / "out.h5", "r+") as handle:
        handle["sample_00"].attrs[field] = value
    with pytest.raises(InputError, match=rf"sample_00: {field}: .*{problem}"):
        read_reconstruction(tmp_path / "out.h5", "sample_00")


def test_a_lock_may_be_taken_again_once_it_is_released(tmp_path):
    first, second = FileLock(tmp_path / "a.lock"), FileLock(tmp_path / "a.lock")
    first.acquire(tmp_path / "a")
    first.acquire(tmp_path / "a")
    with pytest.raises(InputError, match="a: is being written by another process"):
        second.acquire(tmp_path / "a")
    second.release()
    assert (tmp_path / "a.lock").exists()
    first.release()
    assert not (tmp_path / "a.lock").exists()
    second.acquire(tmp_path / "a")
    second.release()


def test_arrays_are_compressed_single_precision(tmp_path, source, provenance, make_result):
    write_all(tmp_path / "out.h5", provenance, source, [make_result(x_hat=np.zeros((3, 12, 12)))])
    with h5py.File(tmp_path / "out.h5") as handle:
        for name in ("x_hat", "x_std"):
            dataset = handle["sample_00"][name]
            assert (dataset.dtype, dataset.compression) == (np.float32, "gzip")


def test_non_finite_values_survive_strict_json(tmp_path, source, provenance, make_result):
    nan, inf = math.nan, math.inf
    result = make_result(spec=Spec(nan, inf, -inf), diagnostics={"energy": nan}, status=Status.DIVERGED)
    write_all(tmp_path / "out.h5", provenance, source, [result])
    with h5py.File(tmp_path / "out.h5") as handle:
        text = handle["sample_00"].attrs["corrected_spec"]
    assert json.loads(text) == {"motion_blur": None, "lag": "Infinity", "gain_drift": "-Infinity"}
    np.testing.assert_equal(
        read_reconstruction(tmp_path / "out.h5", "sample_00").spec.as_dict(),
        {"motion_blur": nan, "lag": inf, "gain_drift": -inf},
    )


def test_strict_json_of_arrays():
    values = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": (np.nan, True, None), 1: np.bool_(False)}
    assert json.loads(dumps(values)) == {"a": 0.5, "b": [1, 2], "c": [None, True, None], "1": False}
    with pytest.raises(TypeError, match="set cannot be written"):
        dumps({1, 2})


def test_a_submission_needs_only_estimates(tmp_path):
    with h5py.File(tmp_path / "out.h5", "w") as handle:
        group = handle.create_group("sample_00")
        group["x_hat"] = np.zeros((3, 12, 12))
        group.attrs["corrected_spec"] = json.dumps({"motion_blur": 1, "lag": 2, "gain_drift": 0})
    result = read_reconstruction(tmp_path / "out.h5", "sample_00")
    assert result.x_std is None
    assert all(math.isnan(value) for value in result.spec_std.as_dict().values())
    assert all(math.isnan(end) for ends in result.spec_interval.values() for end in ends)
    assert read_provenance(tmp_path / "out.h5").model == ""


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_leaves_no_output_and_finished_scenes_to_resume(tmp_path, source, provenance, make_result, error):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result("sample_00")], error)
    assert not out.exists()
    assert parts_folder(out).exists()
    with ReconstructionWriter(out, provenance, source=source) as writer:
        assert writer.finished == {"sample_00"}
        writer.write(make_result("sample_01"))
    assert list_reconstructions(out) == ["sample_00", "sample_01"]
    assert not parts_folder(out).exists()


KILLED = """
import os, sys
import numpy as np
from fluorojax.io import Provenance, ReconstructionWriter
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.spec import Spec

source, out = sys.argv[1:]
x = np.random.default_rng(0).uniform(size=(8, 64, 64)).astype(np.float32)
with ReconstructionWriter(out, Provenance.of_run(source, ReconstructOptions(batch=2, seed=7)), source=source) as writer:
    for index in range(2):
        writer.write(Reconstruction(f"sample_0{index}", x, x, Spec(), Spec(), {}, Status.CONVERGED, 1.0))
    os._exit(9)
"""


def test_a_killed_process_leaves_finished_scenes_to_resume(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    process = subprocess.run([sys.executable, "-c", KILLED, str(source), str(out)], check=False)
    assert process.returncode == 9
    assert not out.exists()
    with ReconstructionWriter(out, provenance, source=source) as writer:
        assert writer.finished == {"sample_00", "sample_01"}
        writer.write(make_result("sample_02"))
    assert read_reconstruction(out, "sample_01").x_hat.shape == (8, 64, 64)


def test_a_crash_before_the_first_scene_leaves_nothing(tmp_path, source, provenance):
    crash_after(tmp_path / "out.h5", provenance, source, [])
    assert list(tmp_path.iterdir()) == [source]


def flip(path, place):
    """Change one byte; ``place`` is its position as a share of the file."""
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.9, 1.0, "cut", "empty"])
def test_a_damaged_scene_is_told_and_written_again(tmp_path, source, provenance, make_result, place):
    out, told = tmp_path / "out.h5", []
    crash_after(out, provenance, source, [make_result("sample_00"), make_result("sample_01")])
    part = parts_folder(out) / part_name("sample_01")
    if isinstance(place, float):
        flip(part, place)
    else:
        part.write_bytes(part.read_bytes()[:3000] if place == "cut" else b"")
    with ReconstructionWriter(out, provenance, source=source, on_damaged=lambda *what: told.append(what)) as writer:
        assert writer.finished == {"sample_00"}
        writer.write(make_result("sample_01"))
    assert [path for path, _ in told] == [part]
    assert read_reconstruction(out, "sample_01").x_std is not None


def test_a_part_is_a_reconstruction_file(tmp_path, provenance, make_result):
    part = publish_scene(tmp_path, provenance, make_result())
    assert list_reconstructions(part) == ["sample_00"]
    assert read_provenance(part) == provenance
    assert read_parts(tmp_path, provenance) == {"sample_00": part}


@pytest.mark.parametrize("field", ["x_hat", "draws/lag", "attributes"])
def test_the_checksums_of_the_output_name_what_is_damaged(tmp_path, source, provenance, make_result, field):
    out = tmp_path / "out.h5"
    write_all(out, provenance, source, [make_result(draws={"lag": np.zeros((2, 5))})])
    with h5py.File(out, "r+") as handle:
        group = handle["sample_00"]
        assert damaged_fields(group, (str(out), "sample_00")) == []
        if field == "attributes":
            group.attrs["seconds"] = 2.0
        else:
            group[field][0, 0] += 1
        assert damaged_fields(group, (str(out), "sample_00")) == [field]


NAMES = ["sample_" + "x" * 300, "sample_\x1b[31m", "sample_ä b*?", "sample_.."]


def test_names_of_any_length_and_characters_have_files(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result(name) for name in NAMES])
    files = [path.name for path in parts_folder(out).iterdir()]
    assert len(files) == len(NAMES)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) for name in files)
    with ReconstructionWriter(out, provenance, source=source) as writer:
        assert writer.finished == set(NAMES)
    assert list_reconstructions(out) == sorted(NAMES)


def test_scenes_of_other_processes_are_taken_in(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    with ReconstructionWriter(out, provenance, source=source) as writer:
        publish_scene(writer.folder, provenance, make_result("sample_07"))
        writer.add("sample_07")
        assert writer.finished == {"sample_07"}
    assert list_reconstructions(out) == ["sample_07"]


@pytest.mark.parametrize("left", ["both", "one", "none"])
def test_a_run_that_was_killed_before_its_parts_were_gone_is_finished(tmp_path, source, provenance, make_result, left):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result("sample_00"), make_result("sample_01")])
    parts = {path: path.read_bytes() for path in parts_folder(out).iterdir()}
    write_all(out, provenance, source, [])
    before = out.read_bytes()
    parts_folder(out).mkdir()
    for path, content in list(parts.items())[: {"both": 2, "one": 1, "none": 0}[left]]:
        path.write_bytes(content)
    with ReconstructionWriter(out, provenance, source=source) as writer:
        assert writer.finished == {"sample_00", "sample_01"}
    assert out.read_bytes() == before
    assert not parts_folder(out).exists()


def test_parts_of_another_result_do_not_make_an_output_finished(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    write_all(out, provenance, source, [make_result("sample_00")])
    crash_after(out, provenance, source, [make_result("sample_00", seconds=9.0)], overwrite=True)
    with pytest.raises(InputError, match="already exists"):
        write_all(out, provenance, source, [])
    assert len(list(parts_folder(out).iterdir())) == 1


def leave_earlier(out, provenance, source, results):
    """What version 0.1 leaves: one file with the finished scenes, and one that was not finished."""
    write_all(out, provenance, source, results)
    earlier = out.rename(out.with_name(out.name + ".partial"))
    with h5py.File(earlier, "r+") as handle:
        for group in handle.values():
            del group.attrs["checksums"]
        handle.copy("sample_00", "sample_77")
        del handle["sample_77"].attrs["complete"], handle["sample_77/x_hat"]
    return earlier


def test_the_partial_file_of_an_earlier_version_is_continued(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    result = make_result("sample_00", draws={"lag": np.ones((2, 5))})
    earlier = leave_earlier(out, provenance, source, [result])
    with ReconstructionWriter(out, provenance, source=source) as writer:
        assert writer.finished == {"sample_00"}
        assert not earlier.exists()
        writer.write(make_result("sample_01"))
    found = read_reconstruction(out, "sample_00")
    np.testing.assert_array_equal(found.draws["lag"], result.draws["lag"])
    assert list_reconstructions(out) == ["sample_00", "sample_01"]


@pytest.mark.parametrize("defect", ["settings", "cut"])
def test_a_partial_file_that_cannot_be_continued_is_refused_or_replaced(
    tmp_path, source, provenance, make_result, defect
):
    out = tmp_path / "out.h5"
    earlier = leave_earlier(out, provenance, source, [make_result()])
    if defect == "cut":
        earlier.write_bytes(earlier.read_bytes()[:3000])
    else:
        provenance = replace(provenance, seed=8)
    before = earlier.read_bytes()
    with pytest.raises(InputError, match=r"out\.h5\.partial: .*--overwrite"):
        write_all(out, provenance, source, [])
    assert earlier.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.h5.partial"]
    write_all(out, provenance, source, [make_result("sample_03")], overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.h5"]
    assert list_reconstructions(out) == ["sample_03"]


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a device"])
def test_only_regular_files_are_replaced(tmp_path, source, provenance, make_result, kind):
    out = tmp_path / "out.h5"
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(out))
    else:
        out.symlink_to("/dev/null")
    before = out.lstat()
    with pytest.raises(InputError, match="is a device, pipe or socket"):
        write_all(out, provenance, source, [make_result()], overwrite=True)
    assert os.path.samestat(before, out.lstat())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "single_frame"}, "model (single_frame, sequence)"),
        ({"method": "nuts"}, "method (nuts, learned)"),
        ({"seed": 8}, "seed (8, 7)"),
        ({"spec": "nominal"}, "spec (nominal, calibrated)"),
    ],
    ids=["model", "method", "seed", "spec"],
)
def test_other_settings_do_not_continue(tmp_path, source, provenance, make_result, change, named):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result()])
    before = {path: path.read_bytes() for path in parts_folder(out).iterdir()}
    other = Provenance.of_run(source, replace(ReconstructOptions(batch=2, seed=7), **change))
    with pytest.raises(InputError) as caught:
        write_all(out, other, source, [])
    assert named in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert {path: path.read_bytes() for path in parts_folder(out).iterdir()} == before
    write_all(out, other, source, [make_result("sample_03")], overwrite=True)
    assert list_reconstructions(out) == ["sample_03"]


def test_another_input_does_not_continue(tmp_path, source, provenance, make_result, make_scene):
    crash_after(tmp_path / "out.h5", provenance, source, [make_result()])
    write_challenge(source, [make_scene("sample_01")], overwrite=True)
    with pytest.raises(InputError, match="input"):
        write_all(tmp_path / "out.h5", Provenance.of_run(source, ReconstructOptions(seed=7)), source, [])


def test_an_edited_model_file_does_not_continue(tmp_path, source, make_result):
    model, out = tmp_path / "mine.py", tmp_path / "out.h5"
    options = ReconstructOptions(model=str(model))
    model.write_text("scale = 1\n")
    first = Provenance.of_run(source, options)
    assert (first.model, list(first.model_files)) == ("mine.py", ["mine.py"])
    crash_after(out, first, source, [make_result()])
    model.write_text("scale = 2\n")
    with pytest.raises(InputError, match=r"model file mine\.py"):
        write_all(out, Provenance.of_run(source, options), source, [])


@pytest.mark.parametrize(
    ("shapes", "loaded"),
    [
        ([(3, 12, 12)], ["sequence.py"]),
        ([(12, 12)], ["single_frame.py"]),
        ([(3, 12, 12), (12, 12)], ["sequence.py", "single_frame.py"]),
    ],
    ids=["sequences", "frames", "both"],
)
def test_the_shipped_models_that_are_loaded_are_recorded(tmp_path, make_scene, shapes, loaded):
    scenes = [make_scene(f"sample_0{i}", shape) for i, shape in enumerate(shapes)]
    write_challenge(tmp_path / "in.h5", scenes)
    files = Provenance.of_run(tmp_path / "in.h5", ReconstructOptions()).model_files
    assert files == {name: file_sha256(list_models()[name.removesuffix(".py")]) for name in loaded}


def test_an_edited_shipped_model_does_not_continue(tmp_path, source, make_result, monkeypatch):
    checkout = tmp_path / "models"
    checkout.mkdir()
    (checkout / "sequence.py").write_text("scale = 1\n")
    monkeypatch.setattr("fluorojax.models.loading._shipped_directory", lambda: checkout)
    crash_after(tmp_path / "out.h5", Provenance.of_run(source, ReconstructOptions()), source, [make_result()])
    (checkout / "sequence.py").write_text("scale = 2\n")
    with pytest.raises(InputError, match=r"model file sequence\.py"):
        write_all(tmp_path / "out.h5", Provenance.of_run(source, ReconstructOptions()), source, [])


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_that_do_not_fit_are_refused(seed):
    with pytest.raises(ValueError, match=f"seed is {seed}; expected a whole number from 0 to 9223372036854775807"):
        ReconstructOptions(seed=seed)


def test_batch_size_may_change_on_resumption(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result()])
    write_all(out, Provenance.of_run(source, ReconstructOptions(batch=1, seed=7)), source, [make_result("sample_01")])
    assert list_reconstructions(out) == ["sample_00", "sample_01"]


def test_an_interrupted_overwrite_is_continued(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    write_all(out, provenance, source, [make_result("sample_09")])
    crash_after(out, provenance, source, [make_result("sample_00")], overwrite=True)
    with ReconstructionWriter(out, provenance, source=source, overwrite=True) as writer:
        assert writer.finished == {"sample_00"}
        writer.write(make_result("sample_01"))
    assert list_reconstructions(out) == ["sample_00", "sample_01"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_run_leaves_the_file_of_the_first_alone(tmp_path, source, provenance, make_result, overwrite):
    out = tmp_path / "out.h5"
    with ReconstructionWriter(out, provenance, source=source) as first:
        with pytest.raises(InputError, match="being written by another process"):
            write_all(out, provenance, source, [], overwrite=overwrite)
        assert first.folder.is_dir()
        first.write(make_result())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.h5"]


def test_a_lock_that_a_killed_process_left_blocks_nobody(tmp_path, source, provenance, make_result):
    lock = tmp_path / "out.h5.parts.lock"
    lock.touch()
    write_all(tmp_path / "out.h5", provenance, source, [make_result()])
    assert not lock.exists()


def test_a_file_in_the_way_of_the_finished_scenes_is_named(tmp_path, source, provenance):
    parts_folder(tmp_path / "out.h5").write_text("something else")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"out\.h5\.parts: stands where the folder"):
            write_all(tmp_path / "out.h5", provenance, source, [], overwrite=overwrite)
    assert parts_folder(tmp_path / "out.h5").read_text() == "something else"


def test_files_of_others_in_the_folder_are_left_alone(tmp_path, source, provenance, make_result):
    mine = parts_folder(tmp_path / "out.h5") / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("notes")
    write_all(tmp_path / "out.h5", provenance, source, [make_result()], overwrite=True)
    assert mine.read_text() == "notes"
    assert [path.name for path in mine.parent.iterdir()] == ["notes.txt"]


def test_an_existing_output_is_kept_until_the_new_one_is_whole(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    write_all(out, provenance, source, [make_result()])
    before = out.read_bytes()
    with pytest.raises(InputError, match="already exists"):
        write_all(out, provenance, source, [])
    crash_after(out, provenance, source, [make_result("sample_05")], overwrite=True)
    assert out.read_bytes() == before


@pytest.mark.parametrize("link", ["symbolic", "hard", "same"])
def test_the_output_never_replaces_the_input(tmp_path, source, provenance, link):
    out, before = tmp_path / "out.h5", source.read_bytes()
    if link == "symbolic":
        out.symlink_to(source)
    elif link == "hard":
        out.hardlink_to(source)
    else:
        out = source
    with pytest.raises(InputError, match="is the input file"):
        write_all(out, provenance, source, [], overwrite=True)
    assert source.read_bytes() == before


DEFECTS = {
    "no x_hat": (lambda g: g.pop("x_hat"), "x_hat", "missing"),
    "x_std shape": (lambda g: (g.pop("x_std"), g.create_dataset("x_std", data=np.ones((2, 2)))), "x_std", "(2, 2)"),
    "no spec": (lambda g: g.attrs.pop("corrected_spec"), "corrected_spec", "missing"),
    "partial spec": (lambda g: g.attrs.update(corrected_spec='{"lag": 1}'), "corrected_spec", "has lag"),
    "text in spec": (
        lambda g: g.attrs.update(corrected_spec='{"motion_blur": "x", "lag": 1, "gain_drift": 1}'),
        "corrected_spec",
        'motion_blur is "x"',
    ),
    "interval": (
        lambda g: g.attrs.update(corrected_spec_interval='{"lag": [1]}'),
        "corrected_spec_interval",
        "expected [lower, upper]",
    ),
    "status": (lambda g: g.attrs.update(status="fine"), "status", "'fine'"),
    "diagnostics": (lambda g: g.attrs.update(diagnostics="[1]"), "diagnostics", "expected an object"),
    "seconds": (lambda g: g.attrs.update(seconds="fast"), "seconds", "is 'fast'; expected a number of seconds"),
    "two seconds": (lambda g: g.attrs.update(seconds=[1.0, 2.0]), "seconds", "expected a number of seconds"),
    "status is a number": (lambda g: g.attrs.update(status=1), "status", "is '1'; expected text"),
    "huge number": (
        lambda g: g.attrs.update(corrected_spec='{"motion_blur": 1%s, "lag": 1, "gain_drift": 1}' % ("0" * 300)),
        "corrected_spec",
        "expected a finite number",
    ),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_defects_are_named(tmp_path, source, provenance, make_result, case):
    defect, field, fragment = DEFECTS[case]
    write_all(tmp_path / "out.h5", provenance, source, [make_result()])
    with h5py.File(tmp_path / "out.h5", "r+") as handle:
        defect(handle["sample_00"])
    with pytest.raises(InputError) as caught:
        read_reconstruction(tmp_path / "out.h5", "sample_00")
    assert (caught.value.scene, caught.value.field) == ("sample_00", field)
    assert fragment in str(caught.value)


@pytest.mark.parametrize(("seed", "shown"), [("zero", "is 'zero'"), (0.5, "is '0.5'")])
def test_a_seed_that_is_no_whole_number_is_named(tmp_path, source, provenance, make_result, seed, shown):
    write_all(tmp_path / "out.h5", provenance, source, [make_result()])
    with h5py.File(tmp_path / "out.h5", "r+") as handle:
        handle.attrs["seed"] = seed
    with pytest.raises(InputError, match=f"seed: {shown}; expected a whole number"):
        read_provenance(tmp_path / "out.h5")


def test_summaries_need_no_images(tmp_path, source, provenance, make_result):
    results = [make_result("sample_00"), make_result("sample_01", status=Status.DIVERGED)]
    write_all(tmp_path / "out.h5", provenance, source, results)
    with h5py.File(tmp_path / "out.h5", "r+") as handle:
        del handle["sample_00/x_hat"], handle["sample_01/x_hat"]
    for summary, result in zip(read_summaries(tmp_path / "out.h5"), results, strict=True):
        assert (summary.name, summary.status, summary.seconds) == (result.name, result.status, 1.5)
        assert summary.spec.as_dict() == result.spec.as_dict()
        assert summary.diagnostics == result.diagnostics
