"""Where frames come from: scenes at their frame rate, growing files, watched folders, standard input, iterators.

A raw stream is frames in the .npy format one after another, each as ``numpy.save`` writes it: that is what standard
input carries and what a growing file holds.
"""

import io
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Num
from numpy.lib import format as npy_format

from fluorojax.data.scene import Scene
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import natural_order
from fluorojax.io.waiting import wait_until

FRAME_SUFFIXES = (".npy", ".tif", ".tiff")
"""Endings of the names of frames in a watched folder."""
_POLL = 0.02  # seconds
_HEADER_BYTES = 10_000
_FRAME_BYTES = 1 << 30
_PATIENCE = 2.0  # seconds for a file that cannot be read yet
_WAITING = 4  # frames that a reader runs ahead


class Stalled(Exception):
    """A source has sent nothing for longer than its time-out."""


@dataclass(frozen=True)
class Frame:
    """One frame as it came."""

    counts: Num[np.ndarray, "..."]
    """Counts, (H, W)."""
    time_ms: float | None = None
    """Time stamp, ms, where the source has one."""
    arrival: float = field(default_factory=time.perf_counter)
    """Value of ``time.perf_counter`` when the frame came."""


@dataclass(frozen=True)
class Dropped:
    """Frames that came while the computation was late, and were left out."""

    frames: int


def scene_frames(scene: Scene) -> Iterator[Frame]:
    """The frames of a scene with their nominal times, as fast as they are taken."""
    period = scene.acquisition.as_dict()["frame_time_ms"]
    counts = scene.y if scene.y.ndim == 3 else scene.y[None]
    for index, frame in enumerate(counts):
        yield Frame(frame, index * period)


def paced(frames: Iterable[Frame], fps: float, *, waiting: int = 1) -> "Iterator[Frame | Dropped]":
    """The frames at their times by the clock, as a detector sends them: what is not taken in time is dropped.

    **Arguments:** ``fps`` frames per second; ``waiting`` number of frames that may wait, of which the newest are kept.
    Tells dropped frames by a :class:`Dropped` in their place.
    """
    places: queue.Queue[Frame | None] = queue.Queue()
    stop = threading.Event()

    def play() -> None:
        begin = time.perf_counter()
        try:
            for index, frame in enumerate(frames):
                due = begin + index / fps
                if stop.wait(max(0.0, due - time.perf_counter())):
                    return
                places.put(Frame(frame.counts, frame.time_ms, due))
        finally:
            places.put(None)

    thread = threading.Thread(target=play, name="fluorojax source", daemon=True)
    thread.start()
    try:
        ended = False
        while not ended:
            taken = [places.get()]
            while not places.empty():
                taken.append(places.get())
            ended = taken[-1] is None
            there = [frame for frame in taken if frame is not None]
            late = max(0, len(there) - waiting)
            if late:
                yield Dropped(late)
            yield from there[late:]
    finally:
        stop.set()


def with_timeout(frames: "Iterable[Frame | Dropped]", seconds: float | None) -> "Iterator[Frame | Dropped]":
    """The frames of a source that is read in a thread of its own.

    Raises :class:`Stalled` where the source sends nothing for ``seconds`` (None: it may take any time). Errors of the
    source pass.
    """
    places: queue.Queue[Any] = queue.Queue(_WAITING)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                places.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for frame in frames:
                if not put((frame, None)):
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=read, name="fluorojax source", daemon=True).start()
    try:
        while True:
            try:
                frame, error = places.get(timeout=seconds)
            except queue.Empty:
                raise Stalled(f"no frame came for {seconds:g} s; the stream ends") from None
            if error is not None:
                raise error
            if frame is None:
                return
            yield frame
    finally:
        stop.set()


def raw_frames(stream: BinaryIO, name: str = "standard input") -> Iterator[Frame]:
    """The frames of a raw stream, until it ends.

    Raises :class:`~fluorojax.io.InputError` where the stream is not a sequence of .npy frames or ends within one: the
    begin of the next frame cannot be found then.
    """
    index = 0
    while True:
        begin = stream.read(1)
        if not begin:
            return
        yield Frame(_read_npy(_Prefixed(begin, stream), name, index))
        index += 1


def growing_file(path: str | PathLike[str]) -> Iterator[Frame]:
    """The frames of a raw stream in a file that another process appends to; never ends by itself."""
    path = Path(path)
    with _opened(path) as handle:
        yield from raw_frames(_Following(handle), str(path))  # pyright: ignore[reportArgumentType]


def watched_folder(path: str | PathLike[str]) -> Iterator[Frame]:
    """The frames of a folder, one file each (.npy or TIFF), in the numeric order of their names; never ends by itself.

    Files may come at any time; one whose name comes before a file that has been taken is left out. Write a frame under
    another name and rename it, so that no half-written one is found. A file that cannot be read within two seconds is
    passed on as a frame without pixels, which a stream tells as bad.
    """
    folder, last = Path(path), None
    if not folder.is_dir():
        raise InputError(folder, None, None, "is no folder; expected one that frames are written into")
    taken: set[str] = set()
    names: list[str] = []

    def more() -> bool:
        names[:] = (p.name for p in folder.iterdir() if p.suffix.lower() in FRAME_SUFFIXES and p.name not in taken)
        return bool(names)

    while wait_until(more, every=_POLL):
        for name in sorted(names, key=natural_order):
            taken.add(name)
            if last is not None and natural_order(name) < natural_order(last):
                continue
            last = name
            yield Frame(_read_file(folder / name))


def _read_file(path: Path) -> np.ndarray:
    """One frame of a folder; an empty array where it cannot be read."""
    from fluorojax.io.selection import Selection
    from fluorojax.io.tiff import TiffReader

    # The stream itself knows its protocol, and whether counts may be negative.
    as_stored = Selection(protocol={"photons_per_pixel": 1.0, "electronic_noise": 1.0})
    found: list[np.ndarray] = []

    def complete() -> bool:
        try:
            if path.suffix.lower() == ".npy":
                with path.open("rb") as handle:
                    found.append(_read_npy(handle, str(path), 0))
            else:
                reader = TiffReader(path)
                (name,) = reader.names()
                found.append(reader.read(name, as_stored).y)
        except (InputError, OSError):
            return False
        return True

    return found[0] if wait_until(complete, every=_POLL, seconds=_PATIENCE) else np.zeros((0, 0), np.float32)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}") from error


def _read_npy(stream: Any, name: str, index: int) -> np.ndarray:
    """One array of numbers in the .npy format; raises :class:`~fluorojax.io.InputError`."""
    try:
        magic = _exactly(stream, npy_format.MAGIC_LEN)
        major, _ = npy_format.read_magic(io.BytesIO(magic))
        size = _exactly(stream, 2 if major == 1 else 4)
        length = int.from_bytes(size, "little")
        if length > _HEADER_BYTES:
            raise ValueError(f"its header takes {length} bytes; expected at most {_HEADER_BYTES}")
        header = io.BytesIO(size + _exactly(stream, length))
        read = npy_format.read_array_header_1_0 if major == 1 else npy_format.read_array_header_2_0
        shape, columns_first, dtype = read(header)
        if dtype.hasobject or dtype.itemsize == 0:
            raise ValueError(f"it holds {dtype}; expected numbers")
        count = int(np.prod(shape, dtype=object))
        if count < 0 or count * dtype.itemsize > _FRAME_BYTES:
            raise ValueError(f"it has shape {shape} of {dtype}; expected a frame of at most {_FRAME_BYTES} bytes")
        values = np.frombuffer(_exactly(stream, count * dtype.itemsize), dtype)
        return values.reshape(shape, order="F" if columns_first else "C")
    except Exception as error:  # damaged headers raise errors of many classes
        problem = f"frame {index} cannot be read as a .npy array: {error or type(error).__name__}"
        raise InputError(name, None, None, problem) from error


def _exactly(stream: Any, count: int) -> bytes:
    """``count`` bytes, however many reads they take."""
    parts, left = [], count
    while left:
        part = stream.read(left)
        if not part:
            raise ValueError(f"it ends {left} bytes early")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class _Prefixed:
    """A stream in front of which bytes are put back."""

    def __init__(self, begin: bytes, stream: Any):
        self._begin, self._stream = begin, stream

    def read(self, count: int) -> bytes:
        if self._begin:
            begin, self._begin = self._begin[:count], self._begin[count:]
            return begin
        return self._stream.read(count)


class _Following:
    """A file at whose end a reader waits for more."""

    def __init__(self, handle: BinaryIO):
        self._handle = handle

    def read(self, count: int) -> bytes:
        found: list[bytes] = []

        def more() -> bool:
            found[:] = [self._handle.read(count)]
            return bool(found[0])

        wait_until(more, every=_POLL)
        return found[0]


__all__ = [
    "FRAME_SUFFIXES",
    "Dropped",
    "Frame",
    "Stalled",
    "growing_file",
    "paced",
    "raw_frames",
    "scene_frames",
    "watched_folder",
    "with_timeout",
]
