"""Reconstruction files: round trip, atomic publication, resumption."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    dumps,
    list_reconstructions,
    partial_path,
    read_provenance,
    read_reconstruction,
)
from fluorojax.reconstruction import ReconstructOptions, Status
from fluorojax.spec import Spec


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.h5"
    path.write_bytes(b"only hashed here")
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
def test_a_crash_leaves_no_output_and_a_partial_file_to_resume(tmp_path, source, provenance, make_result, error):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result("sample_00")], error)
    assert not out.exists()
    assert partial_path(out).exists()
    with ReconstructionWriter(out, provenance, source=source) as writer:
        assert writer.finished == {"sample_00"}
        writer.write(make_result("sample_01"))
    assert list_reconstructions(out) == ["sample_00", "sample_01"]
    assert not partial_path(out).exists()


KILLED = """
import os, sys
import numpy as np
from fluorojax.io import Provenance, ReconstructionWriter
from fluorojax.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.spec import Spec

source, out = sys.argv[1:]
x = np.random.default_rng(0).uniform(size=(8, 64, 64)).astype(np.float32)
with ReconstructionWriter(out, Provenance.of_run(source, ReconstructOptions(batch=2, seed=7)), source=source) as writer:
    for index in range(2):
        writer.write(Reconstruction(f"sample_0{index}", x, x, Spec(), Spec(), {}, Status.CONVERGED, 1.0))
    os._exit(9)
"""


def test_a_killed_process_leaves_a_partial_file_to_resume(tmp_path, source, provenance, make_result):
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


def test_a_scene_cut_short_is_written_again(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result("sample_00"), make_result("sample_01")])
    with h5py.File(partial_path(out), "r+") as handle:
        del handle["sample_01"].attrs["complete"]
        del handle["sample_01/x_std"]
    with ReconstructionWriter(out, provenance, source=source) as writer:
        assert writer.finished == {"sample_00"}
        writer.write(make_result("sample_01"))
    assert read_reconstruction(out, "sample_01").x_std is not None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "static"}, "model (static, sequence)"),
        ({"method": "nuts"}, "method (nuts, map)"),
        ({"seed": 8}, "seed (8, 7)"),
        ({"chain": "nominal"}, "chain (nominal, calibrated)"),
    ],
    ids=["model", "method", "seed", "chain"],
)
def test_other_settings_do_not_continue(tmp_path, source, provenance, make_result, change, named):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result()])
    before = partial_path(out).read_bytes()
    other = Provenance.of_run(source, replace(ReconstructOptions(batch=2, seed=7), **change))
    with pytest.raises(InputError) as caught:
        write_all(out, other, source, [])
    assert named in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert partial_path(out).read_bytes() == before
    write_all(out, other, source, [make_result("sample_03")], overwrite=True)
    assert list_reconstructions(out) == ["sample_03"]


def test_another_input_does_not_continue(tmp_path, source, provenance, make_result):
    crash_after(tmp_path / "out.h5", provenance, source, [make_result()])
    source.write_bytes(b"edited")
    with pytest.raises(InputError, match="input"):
        write_all(tmp_path / "out.h5", Provenance.of_run(source, ReconstructOptions(seed=7)), source, [])


def test_an_edited_model_file_does_not_continue(tmp_path, source, make_result):
    model, out = tmp_path / "mine.py", tmp_path / "out.h5"
    options = ReconstructOptions(model=str(model))
    model.write_text("scale = 1\n")
    first = Provenance.of_run(source, options)
    assert (first.model, len(first.model_sha256)) == ("mine.py", 64)
    crash_after(out, first, source, [make_result()])
    model.write_text("scale = 2\n")
    with pytest.raises(InputError, match="model file"):
        write_all(out, Provenance.of_run(source, options), source, [])


def test_batch_size_may_change_on_resumption(tmp_path, source, provenance, make_result):
    out = tmp_path / "out.h5"
    crash_after(out, provenance, source, [make_result()])
    write_all(out, Provenance.of_run(source, ReconstructOptions(batch=1, seed=7)), source, [make_result("sample_01")])
    assert list_reconstructions(out) == ["sample_00", "sample_01"]


def test_a_damaged_partial_file_is_named(tmp_path, source, provenance):
    partial_path(tmp_path / "out.h5").write_bytes(b"\x89HDF\r\n\x1a\nrest is missing")
    with pytest.raises(InputError, match=r"cannot be continued.*--overwrite"):
        write_all(tmp_path / "out.h5", provenance, source, [])


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
    out = tmp_path / "out.h5"
    if link == "symbolic":
        out.symlink_to(source)
    elif link == "hard":
        out.hardlink_to(source)
    else:
        out = source
    with pytest.raises(InputError, match="is the input file"):
        write_all(out, provenance, source, [], overwrite=True)
    assert source.read_bytes() == b"only hashed here"


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
