"""Finished scenes of a run that goes on: one file for each, in the folder ``OUT.parts`` beside the output ``OUT``.

A part is a reconstruction file of one scene with the provenance of its run. It appears whole or not at all, under a
name that follows from the name of the scene, so that any number of processes may publish parts into one folder without
knowing of each other. The SHA-256 of its bytes stands behind the HDF5 file, where HDF5 does not look: whether a part is
as it was written is known before libhdf5, which damage can keep busy for ever, opens it. Every scene also has the
checksums of its datasets, which stay with it in the output that the parts are gathered into.

:func:`publish_scene` writes a part, :func:`read_parts` finds and checks the parts of a run, :func:`gather` makes the
output of them, and :func:`discard_parts` removes them. Nothing here locks the folder:
:class:`~fluorojax.io.reconstruction_writer.ReconstructionWriter` does, for the process that runs the whole.
"""

import hashlib
import itertools
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fluorojax.data.reconstruction import QUANTILES, Reconstruction
from fluorojax.foreign import vouch
from fluorojax.io.atomic import temporary_name, writing
from fluorojax.io.disk import Hdf5Output, hdf5_output, publish, sync_folder
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import natural_order, scene_group
from fluorojax.io.json_fields import read_object, write_json
from fluorojax.io.provenance import Provenance
from fluorojax.io.reconstruction_reader import COUNTS_SHA256, TIMES, provenance_of
from fluorojax.io.shutdown import at_stop, undisturbed
from fluorojax.io.texts import put_text

COMPLETE = "complete"
CHECKSUMS = "checksums"
"""JSON field of a scene: SHA-256 of each of its datasets, and of its attributes."""
FORMAT_VERSION = "1"
CHUNK_SIDE = 256
"""Largest side of a chunk of images, pixels."""
CONTINUED = "the finished scenes are kept, and the same command continues once the disk can be written"
"""What a user can do where the disk refused a part or the output."""

_PART = re.compile(r".*-[0-9a-f]{16}\.h5", re.DOTALL)
_BLOCKS = ".blocks"
_SEAL = b"\nSHA-256 of all before this line: "
_SEAL_BYTES = len(_SEAL) + 64
_BLOCK = 1 << 20


def parts_folder(output: str | PathLike[str]) -> Path:
    """Where the finished scenes of ``OUT`` stand until all are there: the folder ``OUT.parts`` next to ``OUT``."""
    output = Path(output)
    return output.with_name(output.name + ".parts")


def part_name(scene: str) -> str:
    """A file name for a scene: short, of plain characters, and another one for every scene."""
    return f"{short_name(scene)}-{hashlib.sha256(scene.encode(errors='surrogatepass')).hexdigest()[:16]}.h5"


def short_name(scene: str) -> str:
    """The beginning of the name of a scene, in characters that every file system takes."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", scene)[:40]


def make_folder(folder: str | PathLike[str]) -> None:
    """Create the folder of the parts where it is missing, and force its name to disk; raises ``OSError``."""
    folder = Path(folder)
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def publish_scene(folder: str | PathLike[str], provenance: Provenance, result: Reconstruction) -> Path:
    """Write one finished scene into ``folder``; once this returns, it survives a kill, a power cut and a full disk.

    A part of the same scene is replaced. Several processes may publish into one folder, on one machine or over a shared
    one. Returns the file. Raises :class:`InputError` where it cannot be written; nothing half-written is left then.
    """
    path = Path(folder) / part_name(result.name)

    def write(handle: Hdf5Output) -> None:
        write_root(handle, provenance)
        _write_scene(handle.create_group(result.name), result)

    publish_sealed(path, result.name, write)
    return path


def publish_sealed(path: Path, scene: str, write: Callable[[Hdf5Output], None], *, quick: bool = True) -> None:
    """Make the HDF5 file ``path`` by ``write``, with the checksum of its bytes behind it, whole or not at all.

    An interrupt waits for a ``quick`` one to be complete, and gives up one that takes long. Raises
    :class:`InputError` about the scene where the disk refuses.
    """
    temporary = temporary_name(path)

    def discard() -> None:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)

    with undisturbed() if quick else nullcontext(), at_stop(discard):
        try:
            with writing(path, scene, advice=CONTINUED):
                with hdf5_output(temporary) as handle:
                    write(handle)
                _seal(temporary)
                with undisturbed():
                    publish(temporary, path)
        except BaseException:
            discard()
            raise


def read_parts(
    folder: str | PathLike[str],
    provenance: Provenance,
    *,
    on_damaged: Callable[[Path, str], None] | None = None,
) -> dict[str, Path]:
    """The parts in ``folder`` by the name of their scene, each read in full and compared with its checksum.

    A part that is not as it was written is removed, and ``on_damaged`` called with its path and what is wrong; its
    scene is to be computed again. Raises :class:`InputError` for a part of a run that differs from ``provenance``.
    """
    found: dict[str, Path] = {}
    for path in _files(folder):
        problem = seal_problem(path)
        if problem is None:
            with h5py.File(path, "r") as handle:  # as this package wrote it, so that no child has to examine it
                (name,) = (str(name) for name in handle if isinstance(handle[name], h5py.Group))
                its = provenance_of(handle, str(path))
            if differences := provenance.differences(its):
                raise InputError(
                    folder,
                    None,
                    None,
                    f"was left by a run with other settings (now, then): {'; '.join(differences)}; repeat that "
                    "command to continue it or add --overwrite to start afresh",
                )
            found[name] = path
            continue
        with writing(path):
            path.unlink(missing_ok=True)
        if on_damaged is not None:
            on_damaged(path, problem)
    return found


def gather(
    parts: Mapping[str, Path], output: Path, provenance: Provenance, *, skipped: Mapping[str, str] | None = None
) -> None:
    """Copy finished scenes into the new HDF5 file ``output``, dataset by dataset, in the numeric order of their names.

    Compressed blocks are copied as they are: neither memory nor time grows with what they hold. ``skipped`` are the
    scenes left out, with the reason. What was written is read back and compared with the checksums of every dataset.
    Raises ``OSError`` where the disk refuses, or where a part cannot be read.
    """
    with hdf5_output(output) as handle:
        write_root(handle, provenance)
        for name in sorted(parts, key=natural_order):
            with h5py.File(parts[name], "r") as part:
                part.copy(name, handle, name)
            handle.check()
        if skipped:
            write_json(handle, "skipped", dict(skipped))
    vouch(output)
    with h5py.File(output, "r") as handle:
        for name in parts:
            if wrong := damaged_fields(scene_group(handle, name), (str(output), name)):
                raise OSError(f"{', '.join(wrong)} of {name} cannot be read back as written")


def discard_parts(folder: str | PathLike[str], keep_blocks: Collection[str] = ()) -> None:
    """Remove the parts and what was being written beside them, then the folder, unless it holds anything else.

    The finished blocks of the scenes ``keep_blocks`` stay. Raises ``OSError``.
    """
    for path in _files(folder):
        path.unlink(missing_ok=True)
    kept = {blocks_folder(folder, scene) for scene in keep_blocks}
    for path in Path(folder).glob(f"*{_BLOCKS}"):
        if path.is_dir() and path not in kept:
            shutil.rmtree(path)
    discard_unfinished(folder)
    remove_empty(folder)


def blocks_folder(folder: str | PathLike[str], scene: str) -> Path:
    """Where the finished blocks of a long run stand until the scene is finished, in the folder of the parts."""
    return Path(folder) / (part_name(scene).removesuffix(".h5") + _BLOCKS)


def discard_unfinished(folder: str | PathLike[str]) -> None:
    """Remove what killed processes left half-written in the folder; raises ``OSError``."""
    for path in Path(folder).glob("*.tmp"):
        path.unlink(missing_ok=True)


def remove_empty(folder: str | PathLike[str]) -> None:
    """Remove the folder where it is empty."""
    with suppress(OSError):
        Path(folder).rmdir()


def _files(folder: str | PathLike[str]) -> list[Path]:
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name) and path.is_file())


def _seal(path: Path) -> None:
    """Append the SHA-256 of a file to it; raises ``OSError``."""
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
    try:
        rest = _SEAL + digest.encode()
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def seal_problem(path: Path) -> str | None:
    """What is wrong with the bytes of a part, or None where they are as they were written."""
    try:
        with path.open("rb") as handle:
            left = os.fstat(handle.fileno()).st_size - _SEAL_BYTES
            if left <= 0:
                return "it ends early"
            digest = hashlib.sha256()
            while left and (block := handle.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
            if handle.read() != _SEAL + digest.hexdigest().encode():
                return "its bytes are not those that were written"
    except OSError as error:
        return f"it cannot be read, {error.strerror}"
    return None


def write_root(handle: Hdf5Output, provenance: Provenance) -> None:
    """The root attributes of a reconstruction file."""
    put_text(handle, "variant", "fluoroscopy")
    put_text(handle, "version", FORMAT_VERSION)
    for name, value in asdict(provenance).items():
        if isinstance(value, dict):
            write_json(handle, name, value)
        elif isinstance(value, str):
            put_text(handle, name, value)
        else:
            handle.attrs[name] = value


def chunks_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks in which images are stored: tiles of at most 256 × 256 pixels of one frame, or of as many frames as have
    no more pixels together. A viewer reads a frame, or a region through time, without the rest."""
    rows, columns = (min(size, CHUNK_SIDE) for size in shape[-2:])
    if len(shape) == 2:
        return rows, columns
    frames = max(1, min(shape[-3], CHUNK_SIDE**2 // (rows * columns)))
    return (*(1 for _ in shape[:-3]), frames, rows, columns)


def create_images(group: h5py.Group, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    """A dataset of images, float32, in compressed chunks (:func:`chunks_of`)."""
    options = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "chunks": chunks_of(shape)}
    return group.create_dataset(name, shape, np.float32, **options)


def _write_scene(group: h5py.Group, result: Reconstruction) -> None:
    sums: dict[str, str] = {}
    arrays = {
        "x_hat": result.x_hat,
        "x_std": result.x_std,
        "spec_correlation": result.spec_correlation,
        "x_quantiles": result.x_quantiles,
    }
    for name, values in arrays.items():
        if values is not None:
            values = np.asarray(values, dtype=np.float32)
            sums[name] = _digest(values)
            stored = create_images(group, name, values.shape)
            stored[...] = values
            if name == "x_quantiles":
                stored.attrs["probabilities"] = QUANTILES
    write_facts(group, result, sums)


def write_facts(group: h5py.Group, result: Reconstruction, sums: dict[str, str]) -> None:
    """Everything of a scene but its images, whose checksums ``sums`` has by name."""

    def dataset(name: str, values: Any) -> None:
        sums[name] = _digest(values)
        group.create_dataset(name, data=values)

    for folder, arrays in (("draws", result.draws), ("sample_stats", result.sample_stats)):
        for name, values in arrays.items():
            # HDF5 has no Booleans; numbers read the same everywhere.
            values = np.asarray(values)
            dataset(f"{folder}/{name}", values.astype(np.uint8) if values.dtype == bool else values)
    if result.times_ms is not None:
        dataset(TIMES, np.asarray(result.times_ms, np.float64))
    fields: dict[str, Any] = {
        "parameters": [asdict(parameter) for parameter in result.parameters],
        "corrected_spec": result.spec.as_dict(),
        "corrected_spec_std": result.spec_std.as_dict(),
        "corrected_spec_interval": result.spec_interval,
        "diagnostics": result.diagnostics,
    }
    if result.nominal:
        fields["acquisition"] = result.nominal
    if result.prior_ranges:
        fields["spec_prior"] = result.prior_ranges
    for name, value in fields.items():
        write_json(group, name, value)
        if name in group:  # too long for an attribute
            sums[name] = _digest(group[name][()])  # pyright: ignore[reportIndexIssue]
    put_text(group, "status", result.status.name.lower())
    group.attrs["seconds"] = float(result.seconds)
    if result.pixel_mm is not None:
        group.attrs["pixel_mm"] = float(result.pixel_mm)
    if result.counts_sha256 is not None:
        put_text(group, COUNTS_SHA256, result.counts_sha256)
    group.attrs[COMPLETE] = True
    sums["attributes"] = _attributes_digest(group)
    write_json(group, CHECKSUMS, sums)


def digest_of_slabs(shape: tuple[int, ...], slabs: Iterable[np.ndarray]) -> str:
    """The checksum of a float32 array of ``shape`` that comes in pieces, in the order of its memory."""
    digest = hashlib.sha256(f"<f4 {shape}\n".encode())
    for values in slabs:
        digest.update(np.ascontiguousarray(values, "<f4").data)
    return digest.hexdigest()


def _stored_digest(stored: Any) -> str:
    """:func:`_digest` of a dataset; one of many images is read in pieces."""
    if stored.dtype != np.float32 or stored.ndim < 3:
        return _digest(stored[()])
    step = max(1, _BLOCK // max(1, math.prod(stored.shape[-2:])))
    frames = range(0, stored.shape[-3], step)
    places = itertools.product(np.ndindex(stored.shape[:-3]), frames)
    return digest_of_slabs(stored.shape, (stored[(*lead, slice(first, first + step))] for lead, first in places))


def damaged_fields(group: h5py.Group, where: tuple[str, str]) -> list[str]:
    """Names of the datasets of a scene (and ``attributes``) that differ from their checksums; one is read at a time.

    Empty for a scene without checksums, of an earlier version or made elsewhere.
    """
    wrong = []
    for name, expected in (read_object(group, CHECKSUMS, *where) or {}).items():
        try:
            found = _attributes_digest(group) if name == "attributes" else _stored_digest(group[name])
        except (OSError, RuntimeError, KeyError):
            found = None
        if found != expected:
            wrong.append(name)
    return wrong


def _attributes_digest(group: h5py.Group) -> str:
    digest = hashlib.sha256()
    for name in sorted(group.attrs):
        if name != CHECKSUMS:
            digest.update(f"{name} {_digest(group.attrs[name])}\n".encode())
    return digest.hexdigest()


def _digest(value: Any) -> str:
    """SHA-256 of text, or of the type, shape and little-endian bytes of numbers."""
    if isinstance(value, str | bytes):
        return hashlib.sha256(value if isinstance(value, bytes) else value.encode(errors="surrogatepass")).hexdigest()
    values = np.asarray(value)
    values = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}\n".encode())
    digest.update(values.data if values.size else b"")
    return digest.hexdigest()
