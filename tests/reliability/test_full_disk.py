"""A disk that refuses to be written: one line, exit code 2, nothing half-written, and a run that goes on."""

import errno
import os

import numpy as np
import pytest
from reliability.faults import count_calls, refused_at

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.nuts.state_file import load_state, save_state
from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    atomic_stream,
    list_reconstructions,
    write_challenge,
    write_stack,
    write_text,
)

IMAGES = np.random.default_rng(0).uniform(size=(3, 16, 16)).astype(np.float32)
ERRORS = {
    errno.ENOSPC: "no space left on",
    errno.EDQUOT: "no space left on",
    errno.EFBIG: "no space left on",
    errno.EROFS: "read-only",
    errno.EIO: "input/output error",
    errno.ESTALE: "network mount was closed",
}


def scene(name="sample_00"):
    fields = {"acquisition": Acquisition(photons_per_pixel=200.0), "ranges": SpecRanges.for_tier("public")}
    return Scene(name, np.rint(200 * IMAGES), **fields)


def result(name):
    return Reconstruction(name, IMAGES, 0.1 * IMAGES, Spec(), Spec(), {}, Status.CONVERGED, 1.0)


def state(path):
    save_state(path, {"a": IMAGES, "b": IMAGES[0]}, {"data": "0" * 64}, 7)


def weights(path):
    from fluorojax.learned.weights import write_arrays

    write_arrays(path, {"a": IMAGES}, {"version": 1})


def shard(path):
    from fluorojax.learned.scenes import CleanSequence, write_shard

    write_shard(path, [CleanSequence(IMAGES, IMAGES, 15.0, "chest")], seed=0, first=0)


def figure(path):
    from matplotlib.figure import Figure

    with atomic_stream(path, overwrite=True) as stream:
        Figure().savefig(stream, format="png")


def netcdf(path):
    from fluorojax.engines.nuts import write_netcdf

    named = {name: np.zeros((2, 4)) for name in ("motion_blur", "lag", "gain_drift")}
    write_netcdf(path, Reconstruction("s", IMAGES, IMAGES, Spec(), Spec(), {}, Status.CONVERGED, 1.0, draws=named))


WRITERS = {
    "challenge.h5": lambda path: write_challenge(path, [scene(f"sample_0{i}") for i in range(2)]),
    "stack.npy": lambda path: write_stack(path, IMAGES),
    "stack.tif": lambda path: write_stack(path, IMAGES),
    "page.html": lambda path: write_text(path, "text"),
    "nuts.state": state,
    "weights.npz": weights,
    "shard_0.npz": shard,
    "figure.png": figure,
    "draws.nc": netcdf,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_leaves_nothing_wherever_the_disk_refuses(tmp_path, name):
    write, path = WRITERS[name], tmp_path / name
    write(path)  # imports and caches of other packages
    path.unlink()
    calls = count_calls(lambda: write(path))
    assert {"open", "write", "fsync", "replace"} <= set(calls)
    path.unlink()
    # the name is forced to disk last; by then the file stands under it
    published = len(calls) - calls[::-1].index("replace")
    for point in range(published):
        with refused_at(point, errno.ENOSPC), pytest.raises(InputError) as caught:
            write(path)
        assert str(caught.value).startswith(f"{path}: cannot be written: no space left on {tmp_path}: ")
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == [], point
    write(path)
    assert path.stat().st_size > 0


@pytest.mark.parametrize(("number", "words"), ERRORS.items(), ids=map(errno.errorcode.get, ERRORS))
def test_the_reason_is_told_in_words(tmp_path, number, words):
    with refused_at(1, number), pytest.raises(InputError, match=words):
        write_text(tmp_path / "page.html", "text")
    assert list(tmp_path.iterdir()) == []


def test_the_last_state_is_kept(tmp_path):
    path = tmp_path / "nuts.state"
    state(path)
    before = path.read_bytes()
    with refused_at(2, errno.ENOSPC), pytest.raises(InputError, match="the last state is kept, and the same command"):
        state(path)
    assert path.read_bytes() == before
    like = {"a": IMAGES, "b": IMAGES[0]}
    assert load_state(path, like, {"data": "0" * 64})[1] == 7


def test_the_rows_of_a_benchmark_are_kept(tmp_path):
    from fluorojax.benchmark.rows import RowStore

    path = tmp_path / "rows.jsonl"
    with RowStore(path, {"seed": 0}) as store:
        store.add({"key": "a", "value": 1})
        before = path.read_bytes()
        written = os.write

        def half(descriptor, data):
            if len(data) < 8:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written(descriptor, data[: len(data) // 2])

        os.write = half
        try:
            with pytest.raises(InputError, match=r"no space left on .*the finished rows are kept"):
                store.add({"key": "b", "value": 2})
        finally:
            os.write = written
        assert path.read_bytes() == before
        store.add({"key": "b", "value": 2})
    with RowStore(path, {"seed": 0}) as store:
        assert set(store.rows) == {"a", "b"}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory):
    """Write four scenes into an output, as ``reconstruct`` does; returns the source and the function."""
    source = tmp_path_factory.mktemp("in") / "in.h5"
    write_challenge(source, [scene()])
    provenance = Provenance.of_run(source, ReconstructOptions())

    def run(out, computed=None):
        with ReconstructionWriter(out, provenance, source=source) as writer:
            for name in (f"sample_0{i}" for i in range(4)):
                if name not in writer.finished:
                    if computed is not None:
                        computed.append(name)
                    writer.write(result(name))

    return run


@pytest.mark.parametrize(
    ("number", "stride"),
    [(errno.ENOSPC, 23), (errno.EIO, 41), pytest.param(errno.ENOSPC, 1, marks=pytest.mark.slow)],
    ids=["full", "gone", "full, every call"],
)
def test_finished_scenes_outlive_a_disk_that_refuses(tmp_path, run_of, number, stride):
    first = tmp_path / "first.h5"
    calls = count_calls(lambda: run_of(first))
    published = len(calls) - calls[::-1].index("replace")
    for point in range(0, published, stride):
        out, computed = tmp_path / "out.h5", []
        with refused_at(point, number), pytest.raises(InputError) as caught:
            run_of(out, computed)
        assert "the finished scenes are kept, and the same command continues" in str(caught.value)
        assert not list(tmp_path.rglob("*.tmp"))
        assert not out.exists()
        before, finished = computed[:-1], []
        run_of(out, finished)
        assert not set(finished) & set(before), point
        assert list_reconstructions(out) == [f"sample_0{i}" for i in range(4)]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["first.h5", "out.h5"]
        out.unlink()
