"""Damage and malice for HDF5 files, drawn from a seed: bytes of their structures, and content through h5py."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Rng = np.random.Generator

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
_STRUCTURES = {
    "global heap": (b"GCOL",),
    "heap": (b"HEAP", b"FRHP", b"FHDB", b"FHIB", b"FSHD"),
    "tree": (b"TREE", b"SNOD", b"BTHD", b"BTIN", b"BTLF", b"FADB", b"FAHD", b"EAHD", b"EAIB", b"EADB"),
    "object header": (b"OHDR", b"OCHK"),
}
_VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 2, 0.5, -150, 1e-30, 1e30, 1e308, -1e308, 10**300, 2**63, float("nan"), float("inf"), -float("inf")),
    *(None, True, "", "text", "\x1b[2J", "\u202e", "NaN", "ms", [], [0], [[[]]], {}, {"a": {"b": [1]}}, "x" * 5000),
)


def mutate(path: Path, seed: int) -> str:
    """Damage a file in one of the ways of this module; returns the name of the way."""
    rng = np.random.default_rng(seed)
    ways = [*_BYTES, *_CONTENT]
    name = ways[int(rng.integers(len(ways)))]
    if name in _CONTENT:
        try:
            with h5py.File(path, "r+") as handle:
                _CONTENT[name](handle, rng)
            return name
        except (KeyError, ValueError, TypeError, OSError, RuntimeError):
            name = "byte flips"  # h5py would not make this one
    data = bytearray(path.read_bytes())
    path.write_bytes(_BYTES[name](data, rng))
    return name


def _pick(rng: Rng, items: Any) -> Any:
    items = list(items)
    return items[int(rng.integers(len(items)))]


def _flip(data: bytearray, rng: Rng) -> bytearray:
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    return data


def _cut(data: bytearray, rng: Rng) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def _blank(data: bytearray, rng: Rng) -> bytearray:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 4096))
    fill = _pick(rng, (0, 0xFF))
    data[start : start + length] = bytes([fill]) * len(data[start : start + length])
    return data


def _move(data: bytearray, rng: Rng) -> bytearray:
    length = int(rng.integers(8, 512))
    source, target = (int(rng.integers(max(len(data) - length, 1))) for _ in range(2))
    data[target : target + length] = data[source : source + length]
    return data


def _superblock(data: bytearray, rng: Rng) -> bytearray:
    return _poke(data, 8, 96, rng)


def _start(data: bytearray, rng: Rng) -> bytearray:
    """The root group and the first headers stand at the beginning."""
    return _poke(data, 96, min(2048, len(data)), rng)


def _poke(data: bytearray, begin: int, end: int, rng: Rng) -> bytearray:
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(begin, end))
        data[place] = _pick(rng, (*_EXTREMES, int(rng.integers(256)), (data[place] + 1) % 256))
    return data


def _structure(signatures: tuple[bytes, ...]) -> Callable[[bytearray, Rng], bytearray]:
    def act(data: bytearray, rng: Rng) -> bytearray:
        found = [at for signature in signatures for at in _places(data, signature)]
        if not found:
            return _start(data, rng)
        at = _pick(rng, found)
        return _poke(data, at + 4, min(at + int(_pick(rng, (24, 64, 256))), len(data)), rng)

    return act


def _places(data: bytearray, signature: bytes) -> list[int]:
    found, at = [], data.find(signature)
    while at >= 0:
        found.append(at)
        at = data.find(signature, at + 1)
    return found


_BYTES: dict[str, Callable[[bytearray, Rng], bytearray]] = {
    "byte flips": _flip,
    "truncation": _cut,
    "blank block": _blank,
    "moved block": _move,
    "superblock": _superblock,
    "first headers": _start,
    **{name: _structure(signatures) for name, signatures in _STRUCTURES.items()},
}


def _groups(handle: h5py.File) -> list[h5py.Group]:
    found: list[h5py.Group] = [handle]
    handle.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Group) else None)
    return found


def _group(handle: h5py.File, rng: Rng) -> h5py.Group:
    """A scene, mostly."""
    found = _groups(handle)
    return found[0] if len(found) == 1 or rng.random() < 0.2 else _pick(rng, found[1:])


def _dataset(handle: h5py.File, rng: Rng) -> tuple[h5py.Group, str]:
    group = _pick(rng, [g for g in _groups(handle) if any(isinstance(item, h5py.Dataset) for item in g.values())])
    return group, _pick(rng, [name for name, item in group.items() if isinstance(item, h5py.Dataset)])


def _attribute(handle: h5py.File, rng: Rng) -> tuple[h5py.Group, str]:
    group = _pick(rng, [g for g in _groups(handle) if len(g.attrs)])
    return group, _pick(rng, group.attrs)


def _json_value(handle: h5py.File, rng: Rng) -> None:
    """Another value somewhere in a JSON field."""
    group, name = _attribute(handle, rng)
    raw = group.attrs[name]
    value = json.loads(raw)  # pyright: ignore[reportArgumentType]
    places: list[tuple[Any, Any]] = []

    def walk(item: Any) -> None:
        for key in item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ():
            places.append((item, key))
            walk(item[key])

    walk(value)
    if places and rng.random() < 0.9:
        holder, key = _pick(rng, places)
        if isinstance(holder, dict) and rng.random() < 0.3:
            changed = holder.pop(key)
            if rng.random() < 0.5:
                holder[_pick(rng, ("", "\x1b[31m", "lag", "a\nb", "k" * 3000))] = changed
        else:
            holder[key] = _pick(rng, _VALUES)
    else:
        value = _pick(rng, _VALUES)
    del group.attrs[name]
    group.attrs[name] = json.dumps(value)


def _attribute_value(handle: h5py.File, rng: Rng) -> None:
    """Anything at all as an attribute."""
    group, name = _attribute(handle, rng)
    del group.attrs[name]
    values = (
        *("", "{", "[" * 5000, "[" * 400 + "]" * 400, "1" * 5000, '"\\ud800"', "\x1b[2J", 3, -1, 1.5, float("nan")),
        *(np.arange(5), np.zeros((2, 2)), np.void(b"\xff\xfe"), np.bytes_(b"\xff"), h5py.Empty("f4"), True, 1j),
        np.array(["a", "b"], dtype=h5py.string_dtype()),
    )
    group.attrs[name] = _pick(rng, values)


def _delete(handle: h5py.File, rng: Rng) -> None:
    if rng.random() < 0.6:
        group, name = _attribute(handle, rng)
        del group.attrs[name]
    else:
        group, name = _dataset(handle, rng)
        del group[name]


def _dtype(handle: h5py.File, rng: Rng) -> None:
    group, name = _dataset(handle, rng)
    shape = group[name].shape  # pyright: ignore[reportAttributeAccessIssue]
    del group[name]
    kinds = ("i1", "u8", ">f4", "f2", "f8", "c8", "S4", "V3", "?", "i8")
    group.create_dataset(name, shape=shape, dtype=_pick(rng, kinds))


def _shape(handle: h5py.File, rng: Rng) -> None:
    group, name = _dataset(handle, rng)
    del group[name]
    shapes = ((), (0,), (5,), (1, 4, 4), (0, 8, 8), (8, 8), (3, 8, 8), (2, 3, 8, 8), (2**20, 2**20), (2, 2**31, 4))
    shape = _pick(rng, shapes)
    large = math.prod(shape) > 10**6
    chunks = tuple(min(size, 64) for size in shape) if large else None
    group.create_dataset(name, shape=shape, dtype="f4", chunks=chunks, compression="gzip" if large else None)


def _values(handle: h5py.File, rng: Rng) -> None:
    group, name = _dataset(handle, rng)
    stored = group[name]
    assert isinstance(stored, h5py.Dataset)
    shape = stored.shape
    values = np.asarray(stored[()], dtype=float)
    flat = values.reshape(-1)
    if flat.size:
        flat[rng.integers(flat.size, size=3)] = _pick(rng, (0, -1, 1e-30, 1e30, 1e300, math.nan, math.inf, -math.inf))
    if rng.random() < 0.3:
        values = np.full(shape, _pick(rng, (0.0, 1e-30, 1e30, math.nan)))
    del group[name]
    group[name] = values


def _link(handle: h5py.File, rng: Rng) -> None:
    group, name = _dataset(handle, rng)
    if rng.random() < 0.3:
        group = handle
        name = _pick(rng, [key for key in handle])
    targets = (
        lambda: h5py.SoftLink("/nowhere"),
        lambda: h5py.SoftLink(f"{group.name}/{name}"),
        lambda: h5py.SoftLink("/"),
        lambda: h5py.ExternalLink("other.h5", "/sample_00/y"),
        lambda: handle["/"],
        lambda: group,
    )
    del group[name]
    group[name] = _pick(rng, targets)()


def _elsewhere(handle: h5py.File, rng: Rng) -> None:
    """Values in another file, or in another dataset, or packed by an unknown filter, or references."""
    group, name = _dataset(handle, rng)
    shape = group[name].shape or (4,)  # pyright: ignore[reportAttributeAccessIssue]
    del group[name]
    which = int(rng.integers(4))
    if which == 0:
        group.create_dataset(name, shape=shape, dtype="u1", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
    elif which == 1:
        layout = h5py.VirtualLayout(shape=shape, dtype="f4")
        layout[...] = h5py.VirtualSource(".", f"{group.name}/{name}", shape=shape)
        group.create_virtual_dataset(name, layout)
    elif which == 2:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk(shape)
        plan.set_filter(300, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(group.id, name.encode(), h5py.h5t.IEEE_F32LE, space, plan)
    else:
        group.create_dataset(name, data=np.array([handle.ref] * 3, dtype=h5py.ref_dtype))


def _rename(handle: h5py.File, rng: Rng) -> None:
    names = (
        "sample_" + "x" * 250,
        "sample_\x1b[31m",
        "sample_\n1",
        "sample_",
        "sample_" + "9" * 100,
        "sample_ä/b",
        "y",
    )
    handle.move(_pick(rng, handle), _pick(rng, names))


_CONTENT: dict[str, Callable[[h5py.File, Rng], None]] = {
    "JSON value": _json_value,
    "JSON value again": _json_value,
    "attribute value": _attribute_value,
    "deletion": _delete,
    "data type": _dtype,
    "shape": _shape,
    "values": _values,
    "links": _link,
    "values elsewhere": _elsewhere,
    "names": _rename,
}
