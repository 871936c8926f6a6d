"""A process killed before or after every call that changes the disk: no scene that was reported is lost.

A run writes four scenes as ``reconstruct`` does and reports each once it is finished. It is killed at one call, and
continued by the same run: what was reported is not computed again, the output is that of a run that nobody disturbed,
and nothing else is left beside it.
"""

import h5py
import numpy as np
import pytest
from reliability.faults import count_calls, killed_at

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.nuts.state_file import load_state, save_state
from fluorojax.io import Provenance, ReconstructionWriter, write_challenge, write_text
from fluorojax.io.parts import parts_folder

NAMES = [f"sample_0{i}" for i in range(3)]
IMAGES = {name: np.random.default_rng(i).uniform(size=(2, 6, 6)).astype(np.float32) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    source = tmp_path_factory.mktemp("in") / "in.h5"
    scene = Scene("sample_00", np.ones((2, 6, 6), np.float32), Acquisition(), SpecRanges.for_tier("public"))
    write_challenge(source, [scene])
    provenance = Provenance.of_run(source, ReconstructOptions())

    def run(out, overwrite=False):
        """Write the scenes; a line in the journal beside the output tells of each that is computed, and finished."""
        with (
            open(out.with_suffix(".journal"), "a", buffering=1) as journal,  # not by the functions that are watched
            ReconstructionWriter(out, provenance, source=source, overwrite=overwrite) as writer,
        ):
            for name in NAMES:
                if name in writer.finished:
                    continue
                journal.write(f"computed {name}\n")
                images = IMAGES[name]
                writer.write(Reconstruction(name, images, 0.1 * images, Spec(), Spec(), {}, Status.CONVERGED, 1.0))
                journal.write(f"finished {name}\n")

    return run


def journal_of(out, word):
    journal = out.with_suffix(".journal")
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [line.split()[1] for line in lines if line.startswith(word)]


def content(path):
    found = {}

    def take(name, item):
        found[name] = {key: repr(item.attrs[key]) for key in sorted(item.attrs)}
        if isinstance(item, h5py.Dataset):
            found[name]["values"] = item[()].tobytes()

    with h5py.File(path) as handle:
        found["/"] = {key: repr(handle.attrs[key]) for key in sorted(handle.attrs)}
        handle.visititems(take)
    return found


def survive(folder, run, expected, point, after):
    """Kill a run, continue it, and compare; returns whether it was killed."""
    out = folder / "out.h5"
    for path in folder.iterdir():
        path.unlink()
    killed = killed_at(point, after, lambda: run(out))
    told = journal_of(out, "finished")
    if killed:
        out.with_suffix(".journal").unlink()
        if parts_folder(out).exists() or not out.exists():
            run(out)
        again = journal_of(out, "computed")
        assert not set(told) & set(again), f"{told} were finished and computed again"
    assert content(out) == expected
    # a lock that nobody holds may stay where a run was killed after its very last change
    assert {path.name for path in folder.iterdir()} <= {"out.h5", "out.journal", "out.h5.parts.lock"}
    return killed


def sweep(tmp_path, run, stride, first=0):
    folder = tmp_path / "killed"
    folder.mkdir()
    undisturbed = tmp_path / "first.h5"
    calls = count_calls(lambda: run(undisturbed))
    # what the injector has to reach
    assert {"open", "mkdir", "write", "fsync", "replace", "unlink", "rmdir"} <= set(calls)
    expected = content(undisturbed)
    points = [(point, after) for point in range(len(calls)) for after in (False, True)]
    tried = sum(survive(folder, run, expected, *point) for point in points[first::stride])
    assert tried == len(points[first::stride])
    return tried


def test_finished_scenes_survive_a_kill_anywhere(tmp_path, run_of, record_property):
    """A sample of the calls; the slow test takes all of them."""
    record_property("kill points", sweep(tmp_path, run_of, stride=13))


@pytest.mark.slow
def test_finished_scenes_survive_a_kill_at_every_call(tmp_path, run_of, record_property):
    tried = sweep(tmp_path, run_of, stride=1)
    record_property("kill points", tried)
    print(f"kill points tried and survived: {tried}")


@pytest.mark.parametrize("call", ["replace", "unlink", "rmdir", "mkdir", "fsync"])
def test_a_kill_around_the_calls_that_matter_most(tmp_path, run_of, call):
    """Before and after the last of each: renaming the output, removing the parts, forcing to disk."""
    folder = tmp_path / "killed"
    folder.mkdir()
    calls = count_calls(lambda: run_of(tmp_path / "first.h5"))
    point = len(calls) - 1 - calls[::-1].index(call)
    for after in (False, True):
        assert survive(folder, run_of, content(tmp_path / "first.h5"), point, after)


def test_a_kill_twice_in_a_row(tmp_path, run_of):
    """A run that goes on is killed like one that begins."""
    out = tmp_path / "out.h5"
    first = count_calls(lambda: run_of(tmp_path / "first.h5"))
    for point in range(len(first) // 3, len(first), len(first) // 3):
        assert killed_at(point, True, lambda: run_of(out))
        killed_at(point // 2, False, lambda: run_of(out))
    run_of(out)
    assert content(out) == content(tmp_path / "first.h5")
    assert not parts_folder(out).exists()


def test_overwriting_keeps_the_old_output_or_has_the_new_one(tmp_path, run_of):
    out = tmp_path / "out.h5"
    run_of(tmp_path / "first.h5")
    expected = content(tmp_path / "first.h5")
    calls = count_calls(lambda: run_of(out))
    for point in range(0, len(calls), len(calls) // 8):
        out.write_bytes(b"an older result")
        killed_at(point, False, lambda: run_of(out, overwrite=True))
        assert out.read_bytes() == b"an older result" or content(out) == expected
        run_of(out, overwrite=True)
        assert content(out) == expected


def test_a_state_survives_a_kill_at_every_call(tmp_path):
    path, marks, like = tmp_path / "nuts.state", {"data": "0" * 64}, {"a": np.zeros(9)}

    def save(iteration):
        save_state(path, {"a": np.full(9, float(iteration))}, marks, iteration)

    save(1)
    calls = count_calls(lambda: save(1))
    for point in range(len(calls)):
        for after in (False, True):
            save(1)
            assert killed_at(point, after, lambda: save(2))
            state, iteration = load_state(path, like, marks)
            assert iteration in (1, 2)
            np.testing.assert_array_equal(state["a"], np.full(9, float(iteration)))
            save(3)
            assert load_state(path, like, marks)[1] == 3
            assert list(tmp_path.iterdir()) == [path]


def test_a_file_written_in_one_go_is_the_old_or_the_new_one(tmp_path):
    path = tmp_path / "page.html"
    write_text(path, "old")
    calls = count_calls(lambda: write_text(path, "old", overwrite=True))
    for point in range(len(calls)):
        for after in (False, True):
            write_text(path, "old", overwrite=True)
            assert killed_at(point, after, lambda: write_text(path, "new", overwrite=True))
            assert path.read_text() in ("old", "new")
