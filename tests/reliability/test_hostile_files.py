"""Hostile files: refused by name, in one line, without harm to the process; their sound scenes are still read."""

import json
import os
import stat
import struct
import sys
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.foreign import examine, limits
from fluorojax.foreign import examine as _examine_function
from fluorojax.foreign.examine import stop_child
from fluorojax.io import InputError, Selection, open_scenes, read_reconstruction, write_challenge
from fluorojax.io.hdf5 import open_hdf5, scene_names
from fluorojax.io.json_fields import parse_json

SHAPE = (3, 8, 8)
BAD, GOOD = "sample_00", "sample_01"


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    scenes = [
        Scene(name, rng.poisson(50, SHAPE).astype("f4"), Acquisition(), SpecRanges.for_tier("public"))
        for name in (BAD, GOOD)
    ]
    write_challenge(tmp_path / "scenes.h5", scenes)
    return tmp_path / "scenes.h5"


def edit(path, act):
    with h5py.File(path, "r+") as handle:
        act(handle)


def counts(handle, **options):
    del handle[BAD]["y"]
    return handle[BAD].create_dataset("y", **options)


def link(target):
    def act(handle):
        del handle[BAD]["y"]
        handle[BAD]["y"] = target

    return act


def virtual(handle):
    layout = h5py.VirtualLayout(shape=SHAPE, dtype="u2")
    layout[:] = h5py.VirtualSource(".", f"{BAD}/y", shape=SHAPE)
    del handle[BAD]["y"]
    handle[BAD].create_virtual_dataset("y", layout)


def filtered(handle):
    del handle[BAD]["y"]
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk(SHAPE)
    plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple(SHAPE)
    h5py.h5d.create(handle[BAD].id, b"y", h5py.h5t.IEEE_F32LE, space, plan)


def regions(handle):
    data = np.array([handle[GOOD]["y"].regionref[0, :2, :2]] * 3, dtype=h5py.regionref_dtype)
    counts(handle, data=data)


def huge_text(handle):
    del handle[BAD].attrs["metadata"]
    handle[BAD].create_dataset("metadata", data=json.dumps("x" * (limits.TEXT_BYTES + 1)), dtype=h5py.string_dtype())


def text_bomb(handle):
    del handle[BAD].attrs["metadata"]
    handle[BAD].create_dataset("metadata", shape=(10**6, 10**6), chunks=(1000, 1000), dtype="u1", compression="gzip")


def many_attributes(handle):
    for index in range(limits.ATTRIBUTES + 1):
        handle[BAD].attrs[f"note {index}"] = index


def deep(handle):
    handle[BAD].create_group("/".join("a" * (limits.DEPTH + 2)))


def chunk_bomb(handle):
    """A packed chunk that unpacks to far more than its dataset has room for; smaller ones do no harm."""
    made = counts(handle, shape=SHAPE, chunks=SHAPE, dtype="u1", compression="gzip")
    made.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(128 * 2**20), 9))


HOSTILE = {
    "values in another file": (
        lambda h: counts(h, shape=SHAPE, dtype="u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        "y: keeps its values in another file, '/etc/passwd'",
    ),
    "external link": (link(h5py.ExternalLink("other.h5", "/y")), "y: is an external link to 'other.h5"),
    "link to itself": (link(h5py.SoftLink(f"/{BAD}/y")), "y: is a soft link that leads nowhere, or in a circle"),
    "dangling link": (link(h5py.SoftLink("/nowhere")), "y: is a soft link that leads nowhere"),
    "virtual dataset": (virtual, "y: is a virtual dataset"),
    "unknown filter": (filtered, "y: is packed with the filter"),
    "region references": (regions, "y: holds references"),
    "bomb": (
        lambda h: counts(h, shape=(10**6, 10**6), chunks=(1024, 1024), dtype="u1", compression="gzip"),
        "y: has shape (1000000, 1000000), which takes 4 TB of memory",
    ),
    "values that were never written": (
        lambda h: counts(h, shape=(500, 1000, 1000), chunks=(1, 1000, 1000), dtype="u1", compression="gzip"),
        "of which the file holds 0 bytes",
    ),
    "bomb of text": (text_bomb, "metadata: has shape (1000000, 1000000)"),
    "long text": (huge_text, "metadata: is a text of 16777219 characters; expected at most 16777216"),
    "bomb in a chunk": (chunk_bomb, "bytes packed and 192 unpacked"),
    "many attributes": (many_attributes, "has 10"),
    "groups in groups": (deep, "groups deep; expected at most 16"),
    "name with an escape": (lambda h: h.move(BAD, "sample_\x1b[2J"), "sample_\\x1b[2J: its name holds characters"),
    "name of two lines": (lambda h: h.move(BAD, "sample_\n00"), "sample_\\n00: its name holds characters"),
    "long name": (lambda h: h.move(BAD, "sample_" + "x" * 243), "its name takes 250 bytes; expected at most 128"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_scene_is_refused_and_the_other_read(path, case):
    act, problem = HOSTILE[case]
    edit(path, act)
    found = []
    scenes = list(open_scenes(path, on_error=found.append))
    assert [scene.name for scene in scenes] == [GOOD]
    (error,) = found
    assert problem in str(error)
    assert str(error).startswith(f"{path}: sample_")
    assert str(error).isprintable()
    assert len(str(error)) < 1300


ROOT = {
    "external link": (lambda h: h.__setitem__("notes", h5py.ExternalLink("other.h5", "/")), "notes: is an external"),
    "values in another file": (
        lambda h: h.create_dataset("n", shape=(3,), dtype="u1", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        "n: keeps its values in another file",
    ),
    "references": (lambda h: h.attrs.create("r", h.ref, dtype=h5py.ref_dtype), "r: holds references"),
}


@pytest.mark.parametrize("case", ROOT)
def test_a_hostile_file_is_refused_as_a_whole(path, case):
    act, problem = ROOT[case]
    edit(path, act)
    with pytest.raises(InputError, match=r"scenes\.h5: ") as caught:
        open_scenes(path)
    assert problem in str(caught.value)


def test_links_inside_the_file_are_followed(path):
    def act(handle):
        handle["kept"] = handle[BAD]["y"]
        del handle[BAD]["y"]
        handle[BAD]["y"] = h5py.SoftLink("/kept")
        handle["circle"] = handle["/"]

    edit(path, act)
    assert open_scenes(path)[BAD].y.shape == SHAPE


def test_attributes_of_netcdf_do_not_matter(path):
    def act(handle):
        handle["axis"] = np.arange(8.0)
        handle["axis"].make_scale("axis")
        handle[BAD]["y"].dims[1].attach_scale(handle["axis"])

    edit(path, act)
    assert len(list(open_scenes(path))) == 2


def test_too_many_scenes(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "many.h5", "w", libver="latest") as handle:
        for index in range(limits.SCENES + 1):
            handle.create_group(f"sample_{index}")
    with pytest.raises(InputError, match=r"holds 10001 groups and datasets; expected at most 10000"):
        open_scenes(tmp_path / "many.h5")


def test_a_fifo_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    for read in (open_scenes, lambda path: read_reconstruction(path, BAD)):
        with pytest.raises(InputError, match="not a regular file"):
            read(tmp_path / "pipe.h5")


def test_a_block_before_the_file(path):
    data = path.read_bytes()
    with h5py.File(path, "w", userblock_size=2048) as handle:
        handle.create_group("sample_00")
    assert path.read_bytes()[:8] == bytes(8) != data[:8]
    with open_hdf5(path) as handle:
        assert scene_names(handle) == ["sample_00"]


def test_damage_to_the_heap_of_texts_does_not_hang(path):
    """Every object of the global heap of a file of another program is given impossible sizes."""

    def variable(handle):
        for name, value in list(handle[BAD].attrs.items()):
            handle[BAD].attrs[name] = value.decode()

    edit(path, variable)
    data = bytearray(path.read_bytes())
    at = data.find(b"GCOL")
    assert at > 0
    for size in (0, 2**63):
        struct.pack_into("<Q", data, at + 24, size)
        path.write_bytes(data)
        errors = []
        try:
            list(open_scenes(path, on_error=errors.append))
        except InputError as error:
            errors.append(error)
        assert all(str(error).isprintable() for error in errors)


FAKE = """#!{python}
import json, os, signal, sys, time
print(json.dumps({{"ready": True}}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if "sample_00" in request["skip"]:
        print(json.dumps({{"faults": {{}}, "last": False}}), flush=True)
        continue
    print(json.dumps({{"at": ["sample_00", "y"]}}), flush=True)
    {act}
"""
ENDS = {
    "a crash": ("os.kill(os.getpid(), signal.SIGSEGV)", "reading it crashes the library (SIGSEGV)"),
    "an endless loop": ("os.kill(os.getpid(), signal.SIGXCPU)", "reading it does not end"),
    "a wait for ever": ("time.sleep(1000)", "reading it does not end"),
    "an end without a word": ("os._exit(3)", "reading it ends the child process (exit code 3)"),
}


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Puts a program of its own in the place of the child process."""

    def put(act):
        program = tmp_path / "child"
        program.write_text(FAKE.format(python=sys.executable, act=act))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        stop_child()
        monkeypatch.setattr(sys.modules["fluorojax.foreign.examine"], "get_executable", lambda: str(program))

    yield put
    stop_child()


@pytest.mark.parametrize("case", ENDS)
def test_whatever_ends_the_child_leaves_the_other_scenes(path, child, monkeypatch, case):
    act, problem = ENDS[case]
    os.utime(path)  # another mark: this process has written the file, and would not examine it
    child(act)
    monkeypatch.setattr(limits, "wall_seconds", lambda seconds: 5.0)
    begin, errors = time.monotonic(), []
    assert [scene.name for scene in open_scenes(path, on_error=errors.append)] == [GOOD]
    assert [str(error) for error in errors] == [f"{path}: sample_00: y: the file is damaged: {problem}"]
    assert time.monotonic() - begin < 60


def test_a_child_that_cannot_start(path, tmp_path, monkeypatch):
    os.utime(path)
    stop_child()
    monkeypatch.setattr(sys.modules["fluorojax.foreign.examine"], "get_executable", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="cannot be examined: a child process cannot be started"):
        open_scenes(path)
    monkeypatch.undo()
    assert len(open_scenes(path)) == 2  # it is tried again


def test_a_file_is_examined_once_and_again_after_a_change(path, monkeypatch):
    asked = []
    module = sys.modules["fluorojax.foreign.examine"]
    monkeypatch.setattr(module._CHILD, "ask", lambda request, seconds: asked.append(request) or {"faults": {}})
    list(open_scenes(path))
    assert asked == []  # this process wrote it
    os.utime(path)
    list(open_scenes(path))
    list(open_scenes(path))
    assert len(asked) == 1
    os.utime(path)
    list(open_scenes(path))
    assert len(asked) == 2


def test_a_file_that_changes_between_examination_and_reading(path, monkeypatch):
    from fluorojax.io import hdf5

    def meanwhile(file, kind):
        found = _examine_function(file, kind)
        os.utime(file)
        return found

    monkeypatch.setattr(hdf5, "examine", meanwhile)
    with pytest.raises(InputError, match="was changed while it was read"):
        open_scenes(path)


def test_the_child_ends_with_its_process(path, tmp_path):
    import subprocess

    program = (
        "import sys, os; from fluorojax.foreign import examine; from fluorojax.foreign.examine import _CHILD\n"
        f"examine({str(path)!r}, 'hdf5'); print(_CHILD._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pid = int(ended.stdout)
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break  # it ended, and whoever inherited it has not asked for its code
        time.sleep(0.1)
    else:
        pytest.fail("the child goes on")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100 + "]" * 100, "nests lists and objects more than 50 deep"),
        ("[" * 100_000 + "]" * 100_000, "nests lists and objects more than 50 deep"),
        ('{"a":' * 60 + "1" + "}" * 60, "nests lists and objects more than 50 deep"),
        ("1" * 309, "malformed JSON: a whole number of 309 digits; expected at most 308"),
        ("1" * 10_000, "malformed JSON: a whole number of 10000 digits"),
        (r'{"a": "\ud800"}', "holds half of a character"),
        ('{"a": "\udc80"}', "holds half of a character"),
        ("{", "malformed JSON"),
        ("x" * (limits.TEXT_BYTES + 1), "is a text of 16777217 characters; expected JSON of at most 16777216"),
    ],
    ids=["lists", "very many lists", "objects", "309 digits", "10000 digits", "half", "raw half", "none", "long"],
)
def test_json_that_asks_too_much(text, problem):
    with pytest.raises(ValueError, match=problem):
        parse_json(text)


def test_json_within_the_limits():
    value = ["ä", "\U0001f600", 10**307, {"a": [None, True, 1.5, "\\u"]}]
    assert parse_json(json.dumps(value)) == parse_json(json.dumps(value, ensure_ascii=False)) == value
    assert parse_json("[" * 50 + "]" * 50)


def npy(header, data=b"", version=b"\x01\x00"):
    text = header.encode()
    size = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + version + size + text + data


PICKLED = "{'descr': '|O', 'fortran_order': False, 'shape': (3, 8, 8)}\n"
NPY = {
    "objects": (npy(PICKLED, b"cos\nsystem\n(S'true'\ntR."), "Python objects"),
    "more than it holds": (
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9, 8, 8)}\n", bytes(99)),
        "holds 99",
    ),
    "a terabyte": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (999999, 999, 999)}\n"), "holds 0"),
    "a negative size": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -8, 8)}\n"), "expected positive"),
    "a long header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 99, "its header takes 2147483647 bytes"),
    "a header that is code": (npy("__import__('os').system('true')\n"), "cannot be read as a NumPy array"),
    "nothing": (b"\x93NUMPY", "cannot be read as a NumPy array"),
    "text": (npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}\n", bytes(16)), "dtype <U4"),
}


@pytest.mark.parametrize("case", NPY)
def test_hostile_arrays(tmp_path, case):
    content, problem = NPY[case]
    (tmp_path / "a.npy").write_bytes(content)
    scenes = open_scenes(tmp_path / "a.npy", selection=Selection(protocol={"photons_per_pixel": 100.0}))
    with pytest.raises(InputError, match=r"a\.npy: ") as caught:
        _ = scenes["sample_00"]
    assert problem in str(caught.value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">u2", "i1"])
def test_sound_arrays(tmp_path, order, dtype):
    values = np.asarray(np.arange(48).reshape(3, 4, 4), dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    scene = open_scenes(tmp_path / "a.npy", selection=Selection(protocol={"photons_per_pixel": 100.0}))["sample_00"]
    np.testing.assert_array_equal(scene.y, values)


def test_hostile_tiff_stacks(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, 8, 8), np.uint16), photometric="minisblack", metadata=None)
    sound = path.read_bytes()
    entry = struct.pack("<HHI", 257, 3, 1)  # the number of rows, as a short
    assert entry in sound or struct.pack("<HHI", 257, 4, 1) in sound
    for kind in (3, 4):
        at = sound.find(struct.pack("<HHI", 257, kind, 1))
        if at > 0:
            damaged = bytearray(sound)
            struct.pack_into("<HHII", damaged, at, 257, 4, 1, 2**31 - 1)
            path.write_bytes(damaged)
    scenes = open_scenes(path, selection=Selection(protocol={"photons_per_pixel": 100.0}))
    with pytest.raises(InputError, match=r"a\.tif: cannot be read as a TIFF stack"):
        _ = scenes["sample_00"]
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(InputError, match=r"a\.tif: "):
        _ = open_scenes(path)["sample_00"]


def test_the_mark_is_that_of_the_open_file(path):
    report = examine(path, "hdf5")
    assert report.mark[2] == path.stat().st_size
    assert report.faults == {}
