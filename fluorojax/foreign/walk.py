"""Walking through an HDF5 file in the child process: links, types, sizes, texts, and every packed value.

The walk follows hard links only, so that nothing outside the file is touched before it is known to be asked for.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z  # pyright: ignore[reportAttributeAccessIssue]

from fluorojax.foreign import limits

SCENE_PREFIX = "sample_"
_FILTERS = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "fletcher32",
    32000: "lzf",
}
_SCALES = ("DIMENSION_LIST", "REFERENCE_LIST")  # attributes that netCDF adds, which nothing here reads


class FaultError(Exception):
    """Why an object is refused; ``field`` is the dataset or attribute inside its scene, where there is one.

    ``code`` is the number of the system's error, where there is one. ``damage`` marks errors of the library that reads:
    what it did to the memory of the process is not known.
    """

    def __init__(self, field: str | None, problem: str, *, code: int | None = None, damage: bool = False):
        super().__init__(field, problem)
        self.field, self.problem, self.code, self.damage = field, problem, code, damage


class Walk:
    """One walk through an open file.

    ``faults`` maps scenes (the groups ``sample_*``) that are refused to (field, problem). A fault elsewhere raises
    :class:`FaultError`. ``at(scene, field)`` is told where the walk is before anything is opened or read there;
    ``skip`` names the scenes that ended an earlier walk.
    """

    def __init__(
        self,
        handle: h5py.File,
        file_bytes: int,
        memory_bytes: int,
        skip: set[str],
        at: Callable[[str | None, str | None], None],
    ):
        self._root = handle.id
        self._file_bytes, self._memory_bytes = file_bytes, memory_bytes
        self._skip, self._at = skip, at
        self._objects = 0
        self._seen: dict[int, FaultError | None] = {}  # by address in the file
        self._soft: list[tuple[str, str, h5g.GroupID, bytes]] = []  # scene, field, group, name
        self._values: list[tuple[str, str, h5d.DatasetID]] = []
        self.faults: dict[str, tuple[str | None, str]] = {}
        self.damage = False
        self.unpacked_bytes = 0
        self.largest_chunk = 0

    def structure(self) -> None:
        """Look at every link, group, dataset and attribute; read attributes and texts, but no large values."""
        root = h5g.open(self._root, b"/")
        self._seen[h5o.get_info(root).addr] = None
        self._attributes(root, None, "")
        names = self._names(root, None, limits.SCENES)
        for raw in names:
            name = raw.decode("utf-8", "surrogateescape")
            scene = name if name.startswith(SCENE_PREFIX) else None
            if name in self._skip:
                continue
            self._at(scene, None if scene else name)
            try:
                if scene:
                    _check_scene_name(raw)
                self._member(root, raw, scene, "" if scene else name, 1)
            except FaultError as fault:
                self._note(scene, fault)
        for scene, field, group, raw in self._soft:
            self._at(scene or None, field)
            try:
                self._resolve(group, raw, field)
            except FaultError as fault:
                self._note(scene or None, fault)

    def values(self) -> None:
        """Read every value that is packed or small, chunk by chunk."""
        for scene, field, dataset in self._values:
            if scene in self.faults:
                continue
            self._at(scene or None, field)
            try:
                self._read(h5py.Dataset(dataset), field)
            except FaultError as fault:
                self._note(scene or None, fault)

    def _note(self, scene: str | None, fault: FaultError) -> None:
        if scene is None:
            raise fault
        self.damage |= fault.damage
        self.faults.setdefault(scene, (fault.field or None, fault.problem))

    def _names(self, group: h5g.GroupID, field: str | None, most: int) -> list[bytes]:
        with _damage(field):
            count = group.get_num_objs()
            if count > most:
                raise FaultError(field, f"holds {count} groups and datasets; expected at most {most}")
            found: list[bytes] = []

            def take(name: bytes) -> bool | None:
                found.append(name)
                return True if len(found) > count else None

            group.links.iterate(take)
            if len(found) != count or len(set(found)) != count:
                raise FaultError(field, "the list of its members is damaged")
            return found

    def _member(self, group: h5g.GroupID, raw: bytes, scene: str | None, field: str, depth: int) -> None:
        """Check the link ``raw`` of a group and what it leads to; ``field`` is its path inside the scene."""
        self._objects += 1
        if self._objects > limits.OBJECTS:
            raise FaultError(field, f"the file holds more than {limits.OBJECTS} groups and datasets; expected fewer")
        with _damage(field):
            kind = group.links.get_info(raw).type
            if kind == h5l.TYPE_EXTERNAL:
                target = b":".join(group.links.get_val(raw)).decode("utf-8", "replace")
                raise FaultError(field, f"is an external link to {target!r}; expected data inside this file")
            if kind == h5l.TYPE_SOFT:
                self._soft.append((scene or "", field, group, raw))
                return
            if kind != h5l.TYPE_HARD:
                raise FaultError(field, f"is a link of the unknown kind {int(kind)}; expected data inside this file")
            item = h5o.open(group, raw)
            address = h5o.get_info(item).addr
        if address in self._seen:  # a second name of the same object
            if (fault := self._seen[address]) is not None:
                raise FaultError(field, fault.problem)
            return
        self._seen[address] = None
        try:
            self._object(item, scene, field, depth)
        except FaultError as fault:
            self._seen[address] = fault
            raise

    def _object(self, item: Any, scene: str | None, field: str, depth: int) -> None:
        if isinstance(item, h5g.GroupID):
            if depth > limits.DEPTH:
                raise FaultError(field, f"lies {depth} groups deep; expected at most {limits.DEPTH}")
            self._attributes(item, scene, field)
            for raw in self._names(item, field, limits.OBJECTS):
                name = raw.decode("utf-8", "surrogateescape")
                inner = f"{field}/{name}" if field else name
                self._at(scene, inner)
                self._member(item, raw, scene, inner, depth + 1)
        elif isinstance(item, h5d.DatasetID):
            self._dataset(item, scene, field)
            self._attributes(item, scene, field)

    def _attributes(self, item: Any, scene: str | None, field: str) -> None:
        with _damage(field):
            count = h5a.get_num_attrs(item)
        if count > limits.ATTRIBUTES:
            raise FaultError(field, f"has {count} attributes; expected at most {limits.ATTRIBUTES}")
        for index in range(count):
            with _damage(field):
                attribute = h5a.open(item, index=index)
                name = attribute.name
                if isinstance(name, bytes):
                    name = name.decode("utf-8", "surrogateescape")
            if name in _SCALES:
                continue
            inner = f"{field}/{name}" if field else name
            self._at(scene, inner)
            with _damage(inner):
                kind = attribute.get_type()
                self._check_type(kind, inner)
                shape = _shape(attribute.get_space())
                size = math.prod(shape or (0,)) * kind.get_size()
                if size > limits.TEXT_BYTES:
                    raise FaultError(inner, f"takes {size} bytes; expected at most {limits.TEXT_BYTES} in an attribute")
                value = h5py.AttributeManager(_Holder(item)).__getitem__(name)  # pyright: ignore[reportArgumentType]
                _check_text(value, inner)

    def _dataset(self, dataset: h5d.DatasetID, scene: str | None, field: str) -> None:
        with _damage(field):
            plan = dataset.get_create_plist()
            if plan.get_external_count():
                name = plan.get_external(0)[0].decode("utf-8", "replace")
                raise FaultError(field, f"keeps its values in another file, {name!r}; expected them inside this file")
            layout = plan.get_layout()
            if layout == h5d.VIRTUAL:
                raise FaultError(field, "is a virtual dataset, put together from others; expected values of its own")
            for index in range(plan.get_nfilters()):
                code, _, _, name = plan.get_filter(index)
                if code not in _FILTERS:
                    what = f"{name.decode('utf-8', 'replace')!r} ({code})" if name else str(code)
                    expected = ", ".join(_FILTERS.values())
                    raise FaultError(field, f"is packed with the filter {what}; expected among {expected}")
            kind = dataset.get_type()
            self._check_type(kind, field)
            shape = _shape(dataset.get_space())
            if shape is None:
                return
            count, size = math.prod(shape), kind.get_size()
            self._check_size(dataset, field, shape, count, size)
            if layout == h5d.CHUNKED:
                chunk = math.prod(plan.get_chunk()) * size
                if chunk > limits.CHUNK_BYTES:
                    raise FaultError(field, f"has chunks of {chunk} bytes; expected at most {limits.CHUNK_BYTES}")
                self.largest_chunk = max(self.largest_chunk, chunk)
                self.unpacked_bytes += count * size
                self._values.append((scene or "", field, dataset))
            elif count * size <= limits.SMALL:
                self.unpacked_bytes += count * size
                self._values.append((scene or "", field, dataset))

    def _check_size(self, dataset: h5d.DatasetID, field: str, shape: tuple[int, ...], count: int, size: int) -> None:
        needed = count * max(size, 4)  # counts and images are kept as float32
        if needed > self._memory_bytes:
            raise FaultError(
                field,
                f"has shape {shape}, which takes {_words(needed)} of memory; expected at most the "
                f"{_words(self._memory_bytes)} that are free",
            )
        stored = dataset.get_storage_size()
        if stored > self._file_bytes:
            raise FaultError(field, f"claims {_words(stored)} of the {_words(self._file_bytes)} of the file")
        if count * size > limits.SMALL + limits.EXPANSION * stored:
            raise FaultError(
                field,
                f"has shape {shape}, {_words(count * size)}, of which the file holds {_words(stored)}; expected values "
                "that were written",
            )
        offset = dataset.get_offset()
        if offset is not None and offset + stored > self._file_bytes:
            raise FaultError(field, "the file ends before its values; copy or download it again")

    def _check_type(self, kind: Any, field: str, depth: int = 0) -> None:
        if depth > 8:
            raise FaultError(field, "has types inside types; expected numbers or text")
        found = kind.get_class()
        if found == h5t.REFERENCE:
            raise FaultError(field, "holds references to other data; expected numbers or text")
        if found == h5t.VLEN:
            raise FaultError(field, "holds lists of various lengths; expected numbers or text")
        if found == h5t.COMPOUND:
            for index in range(kind.get_nmembers()):
                self._check_type(kind.get_member_type(index), field, depth + 1)
        elif found == h5t.ARRAY:
            self._check_type(kind.get_super(), field, depth + 1)
        if depth == 0:
            with _damage(field, "has a type that cannot be read"):
                _ = kind.dtype

    def _resolve(self, group: h5g.GroupID, raw: bytes, field: str) -> None:
        try:
            address = h5o.get_info(h5o.open(group, raw)).addr
        except Exception:
            address = -1
        if address not in self._seen:
            raise FaultError(field, "is a soft link that leads nowhere, or in a circle; expected data inside this file")
        if (fault := self._seen[address]) is not None:
            raise FaultError(field, fault.problem)

    def _read(self, dataset: h5py.Dataset, field: str) -> None:
        """Read all that is stored of a dataset, in pieces of one chunk."""
        with _damage(field, "cannot be read, the file is damaged"):
            chunks = dataset.chunks
            if chunks is None:
                _check_text(dataset[()], field)
                return
            chunk = math.prod(chunks) * dataset.id.get_type().get_size()
            for start, size, offset in self._chunks(dataset, chunks, field):
                if size > chunk + limits.PACKED_SLACK:
                    problem = f"a chunk takes {size} bytes packed and {chunk} unpacked; the file is damaged"
                    raise FaultError(field, problem)
                if offset + size > self._file_bytes:
                    raise FaultError(field, "the file ends before its values; copy or download it again")
                part = tuple(slice(a, a + n) for a, n in zip(start, chunks, strict=True))
                values = dataset[part]
                if values.dtype.kind in "SOU":
                    _check_text(values, field)

    def _chunks(
        self, dataset: h5py.Dataset, chunks: tuple[int, ...], field: str
    ) -> Iterator[tuple[tuple[int, ...], int, int]]:
        """Place, packed size and place in the file of every chunk that is stored."""
        grid = [-(-n // c) for n, c in zip(dataset.shape, chunks, strict=True)]
        most = math.prod(grid)
        found: dict[tuple[int, ...], tuple[int, int]] = {}
        visits = 0

        def take(info: Any) -> bool | None:
            nonlocal visits
            visits += 1
            found[tuple(info.chunk_offset)] = (info.size, info.byte_offset)
            return True if visits > most else None

        dataset.id.chunk_iter(take)
        if visits != len(found) or visits > most:
            raise FaultError(field, "the list of its chunks is damaged")
        for start, (size, offset) in found.items():
            if any(a >= n or a % c for a, n, c in zip(start, dataset.shape, chunks, strict=True)):
                raise FaultError(field, "the list of its chunks is damaged")
            yield start, size, offset


class _Holder:
    """What h5py's access to attributes asks of an object, whatever the object is."""

    def __init__(self, item: Any):
        self.id = item


class _damage:
    """Turns whatever the library raises about a field into a :class:`FaultError`."""

    def __init__(self, field: str | None, what: str = "cannot be read, the file is damaged"):
        self._field, self._what = field, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None or isinstance(error, FaultError | KeyboardInterrupt | SystemExit):
            return
        if isinstance(error, MemoryError):
            problem = "needs more memory than a sound file of this size would"
        else:
            problem = f"{self._what}; {error or type(error).__name__}"
        raise FaultError(self._field, problem, damage=True) from error


def _shape(space: h5s.SpaceID) -> tuple[int, ...] | None:
    """The shape of a data space; None for one without values."""
    return None if space.get_simple_extent_type() == h5s.NULL else tuple(space.get_simple_extent_dims())


def _check_scene_name(raw: bytes) -> None:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise FaultError(None, "its name is not UTF-8 text; expected a name such as sample_00") from None
    if not name.isprintable():
        raise FaultError(None, "its name holds characters that cannot be printed; expected a name such as sample_00")
    if len(raw) > limits.NAME_BYTES:
        raise FaultError(
            None, f"its name takes {len(raw)} bytes; expected at most {limits.NAME_BYTES}, as in sample_00"
        )


def _check_text(value: Any, field: str) -> None:
    """Refuse texts that are too long; their length was not known before they were read."""
    if isinstance(value, str | bytes):
        longest = len(value)
    elif isinstance(value, np.ndarray) and value.dtype.kind == "O":
        longest = sum(len(item) for item in value.flat if isinstance(item, str | bytes))
    else:
        return
    if longest > limits.TEXT_BYTES:
        raise FaultError(field, f"is a text of {longest} characters; expected at most {limits.TEXT_BYTES}")


def _words(count: int) -> str:
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
