"""Where results go: an HDF5 file that survives what ends a stream, or a function.

The file is a reconstruction file, which `score`, `report` and viewers read. While the stream runs, blocks of frames
stand in the folder ``OUT.parts`` beside it, each a complete HDF5 file that appears whole or not at all: a kill or a
power cut costs at most the frames of the block that was being filled. At the end, also at Ctrl-C, the blocks are
gathered into the output, compressed frame by frame as they are; :func:`gather_blocks` does so for a stream that was
killed.
"""

import json
import re
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import PUBLISHED, SpecRanges
from fluorojax.io.atomic import check_output, temporary_name, writing
from fluorojax.io.disk import hdf5_output, publish
from fluorojax.io.errors import InputError
from fluorojax.io.json_fields import write_json
from fluorojax.io.lock import FileLock
from fluorojax.io.parts import COMPLETE, make_folder, parts_folder, remove_empty, write_root
from fluorojax.io.provenance import Provenance, package_versions
from fluorojax.io.shutdown import at_stop, undisturbed
from fluorojax.io.texts import put_text
from fluorojax.streaming.run import Result

SCENE = "sample_00"
"""Name of the scene of a stream that has no name."""
KEPT_ADVICE = "the frames before are kept, and the stream goes on"
"""What is told where the disk refuses a block."""
_BLOCK = re.compile(r"block-(\d{8})\.h5")
_LARGEST_BACKLOG = 1 << 29  # bytes of results that wait for the disk
_MANTISSA = np.uint32(0xFFFFFC00)  # 13 bits of mantissa are kept, a relative error of 6e-5
_NUMBERS = ("frame", "time_ms", "latency_ms", "gain_drift", "gain_drift_std")


class CallbackSink:
    """Calls a function with every result."""

    def __init__(self, function: Callable[[Result], Any]):
        self._function = function

    def take(self, result: Result) -> None:
        """Call the function."""
        self._function(result)


class FileSink:
    """Context manager that writes results into the reconstruction file ``path``.

    Results are packed and written by a thread of their own. A disk that refuses a block makes the next :meth:`take`
    raise :class:`~fluorojax.io.InputError`; the block is kept in memory and tried again with the next one. Where the
    results that wait exceed 512 MiB, the oldest are given up. The end raises the error where blocks are still not
    written.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        acquisition: Acquisition,
        *,
        tier: str = "public",
        scene: str = SCENE,
        source: str = "",
        source_sha256: str = "",
        settings: dict[str, Any] | None = None,
        block_frames: int = 30,
        block_seconds: float = 2.0,
        overwrite: bool = False,
    ):
        """``block_frames`` frames, or what comes in ``block_seconds``, make a block, whichever is less."""
        self.path = Path(path)
        self.given_up = 0
        """Frames that the disk did not take and memory could not hold."""
        self._folder = parts_folder(path)
        self._acquisition = acquisition
        self._tier = tier
        self._scene = scene
        self._source = (source, source_sha256)
        self._settings = dict(settings or {})
        self._frames, self._seconds = block_frames, block_seconds
        self._overwrite = overwrite
        self._lock = FileLock(self._folder.with_name(self._folder.name + ".lock"))
        self._guard = threading.RLock()
        self._filling: list[tuple[Result, tuple[bytes, bytes]]] = []
        self._since = 0.0
        self._backlog: list[list[tuple[Result, tuple[bytes, bytes]]]] = []
        self._next = 0
        self._error: InputError | None = None
        self._registered = ExitStack()
        self._packed: list[Result] = []
        self._wake = threading.Condition()
        self._ending = False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "FileSink":
        check_output(self.path, overwrite=self._overwrite)
        with writing(self.path):
            self._lock.acquire(self._folder)
        try:
            if blocks_of(self.path):
                if not self._overwrite:
                    problem = (
                        "holds frames of a stream that was killed; `fluorojax stream --gather` makes the output of "
                        "them, --overwrite removes them"
                    )
                    raise InputError(self._folder, None, None, problem)
                _discard(self._folder)
            with writing(self.path):
                make_folder(self._folder)
        except BaseException:
            self._lock.release()
            raise
        self._thread = threading.Thread(target=self._work, name="fluorojax output", daemon=True)
        self._thread.start()
        self._registered.enter_context(at_stop(self._stopped))
        return self

    def take(self, result: Result) -> None:
        """Keep one result; raises :class:`~fluorojax.io.InputError` where the disk refuses what came before."""
        with self._wake:
            self._packed.append(result)
            self._wake.notify()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._packed and not self._ending:
                    self._wake.wait()
                if not self._packed:
                    return
            self._pack_one()

    def _pack_one(self) -> None:
        # The lock of the process comes first: its sudden end holds that one when it asks for the other.
        with undisturbed(), self._guard:
            with self._wake:
                if not self._packed:
                    return
                result = self._packed.pop(0)
            images = (packed(result.x), packed(result.sd))
            if not self._filling:
                self._since = time.monotonic()
            self._filling.append((result, images))
            if len(self._filling) >= self._frames or time.monotonic() - self._since >= self._seconds:
                self._flush()

    def _flush(self) -> None:
        """Write what waits, the oldest block first; an error is kept for the next :meth:`take`."""
        if self._filling:
            self._backlog.append(self._filling)
            self._filling = []
        try:
            while self._backlog:
                self._write_block(self._backlog[0])
                self._backlog.pop(0)
        except InputError as error:
            self._error = error
            while sum(len(a) + len(b) for block in self._backlog for _, (a, b) in block) > _LARGEST_BACKLOG:
                self.given_up += len(self._backlog.pop(0))

    def _write_block(self, block: list[tuple[Result, tuple[bytes, bytes]]]) -> None:
        path = self._folder / f"block-{self._next:08d}.h5"
        temporary = temporary_name(path)
        shape = block[0][0].x.shape
        with undisturbed(), writing(self.path, advice=KEPT_ADVICE):
            try:
                with hdf5_output(temporary) as handle:
                    write_root(handle, self._provenance())
                    group = handle.create_group(self._scene)
                    for place, name in enumerate(("x_hat", "x_std")):
                        stack = _stack(group, name, len(block), shape)
                        for index, (_, images) in enumerate(block):
                            stack.id.write_direct_chunk((index, 0, 0), images[place])
                    for name in _NUMBERS:
                        group.create_dataset(name, data=np.array([getattr(result, name) for result, _ in block]))
                    events = [event.as_dict() for result, _ in block for event in result.events]
                    _write_facts(group, self._acquisition, self._tier, events, block[-1][0])
                publish(temporary, path)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise
        self._next += 1

    def _provenance(self) -> Provenance:
        return Provenance("stream", "stream", 0, self._settings, *self._source, versions=package_versions())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._registered.close()
        with self._wake:
            self._ending = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        try:
            self._close()
        finally:
            self._lock.release()
        if self._error is not None and error is None:
            raise self._error

    def _close(self) -> None:
        """Write the last block and make the output."""
        with undisturbed(), self._guard:
            while self._packed:
                self._pack_one()
            self._flush()
            if self._error is None and blocks_of(self.path):
                gather_blocks(self.path, overwrite=self._overwrite)
            else:
                remove_empty(self._folder)

    def _stopped(self) -> None:
        """The same at the sudden end of the process."""
        try:
            self._close()
        finally:
            self._lock.release()


def blocks_of(output: str | PathLike[str]) -> list[Path]:
    """The complete blocks of frames of a stream that writes, or wrote, into ``output``."""
    folder = parts_folder(output)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _BLOCK.fullmatch(path.name))


def gather_blocks(output: str | PathLike[str], *, overwrite: bool = False) -> int:
    """Make the output of a stream from its blocks, and remove them; returns the number of frames.

    Compressed frames are copied as they are. Raises :class:`~fluorojax.io.InputError` where there are no blocks, where
    one cannot be read, and where the output cannot be written; the blocks stay then.
    """
    output = Path(output)
    check_output(output, overwrite=overwrite)
    paths = blocks_of(output)
    if not paths:
        folder = parts_folder(output)
        raise InputError(folder, None, None, "holds no frames; expected the blocks of a stream that was killed")
    temporary = parts_folder(output) / "output.tmp"
    advice = "the frames are kept; `fluorojax stream --gather` continues once the disk can be written"
    frames = 0
    with undisturbed():
        try:
            with writing(output, advice=advice), hdf5_output(temporary) as handle:
                for path in paths:
                    with h5py.File(path, "r") as block:  # as this package wrote it
                        (name,) = (str(key) for key in block)
                        frames += _append(handle, block, name)
                handle.check()
            with writing(output, advice=advice):
                publish(temporary, output)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    _discard(parts_folder(output))
    return frames


def _append(handle: h5py.File, block: h5py.File, name: str) -> int:
    """Append the frames of a block; returns their number."""
    source: Any = block[name]
    count = source["x_hat"].shape[0]
    if name not in handle:
        for key, value in block.attrs.items():
            handle.attrs[key] = value
        group: Any = handle.create_group(name)
        for field in ("x_hat", "x_std"):
            _stack(group, field, 0, source[field].shape[1:])
        for field in _NUMBERS:
            group.create_dataset(field, (0,), source[field].dtype, maxshape=(None,), chunks=(4096,))
    group = handle[name]
    at = group["x_hat"].shape[0]
    for field in ("x_hat", "x_std"):
        group[field].resize(at + count, axis=0)
        for index in range(count):
            _, data = source[field].id.read_direct_chunk((index, 0, 0))
            group[field].id.write_direct_chunk((at + index, 0, 0), data)
    for field in _NUMBERS:
        group[field].resize(at + count, axis=0)
        group[field][at:] = source[field][()]
    earlier = _events(group)
    for key in source.attrs:
        group.attrs[key] = source.attrs[key]
    write_json(group, "events", [*earlier, *_events(source)][:1000])
    return count


def _events(group: Any) -> list[Any]:
    stored = group.attrs.get("events", group["events"][()] if "events" in group else b"[]")
    return json.loads(stored)


def _stack(group: h5py.Group, name: str, frames: int, shape: tuple[int, ...]) -> h5py.Dataset:
    return group.create_dataset(
        name,
        (frames, *shape),
        np.float32,
        maxshape=(None, *shape),
        chunks=(1, *shape),
        shuffle=True,
        compression="gzip",
        compression_opts=1,
    )


def packed(image: Float[np.ndarray, "H W"]) -> bytes:
    """A frame as HDF5 stores it after its shuffle and deflate filters, the mantissa rounded to 13 bits.

    Compressing outside of the HDF5 library leaves the interpreter free meanwhile.
    """
    bits = np.ascontiguousarray(image, "<f4").view(np.uint32)
    rounded = (bits + np.uint32(0x200)) & _MANTISSA
    return zlib.compress(rounded.view(np.uint8).reshape(-1, 4).T.tobytes(), 1)


def _write_facts(
    group: h5py.Group, acquisition: Acquisition, tier: str, events: list[dict[str, Any]], last: Result
) -> None:
    """What a reconstruction file says of a scene beside its images."""
    ranges = SpecRanges.for_tier(tier).as_dict()
    middle = {name: 0.5 * (low + high) for name, (low, high) in ranges.items()}
    spread = {name: (high - low) / 12**0.5 for name, (low, high) in ranges.items()}
    mean = middle | {"gain_drift": last.gain_drift}
    std = spread | {"gain_drift": last.gain_drift_std}
    half = 1.6448536
    fields: dict[str, Any] = {
        "parameters": [asdict(parameter) for parameter in PUBLISHED],
        "corrected_spec": mean,
        "corrected_spec_std": std,
        "corrected_spec_interval": {
            name: [max(low, mean[name] - half * std[name]), min(high, mean[name] + half * std[name])]
            for name, (low, high) in ranges.items()
        },
        "diagnostics": {},
        "acquisition": acquisition.as_dict(),
        "spec_prior": {name: list(bounds) for name, bounds in ranges.items()},
        "events": events,
    }
    for name, value in fields.items():
        write_json(group, name, value)
    put_text(group, "status", "converged")
    group.attrs["seconds"] = float(last.latency_ms / 1000)
    group.attrs[COMPLETE] = True


def _discard(folder: Path) -> None:
    for path in [*folder.glob("block-*.h5"), *folder.glob("*.tmp")]:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    remove_empty(folder)


__all__ = ["KEPT_ADVICE", "SCENE", "CallbackSink", "FileSink", "blocks_of", "gather_blocks", "packed"]
