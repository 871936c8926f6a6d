"""Finished blocks of a long run, and the scene that they are put together to.

A block is a sealed file (``fluorojax.io.parts``) with its part of the images, in the folder ``SCENE.blocks`` of the
parts of a run. It appears whole or not at all, holds the fingerprint of the run that it belongs to, and is read only if
its bytes are those that were written, so that a run that was killed goes on after its last finished block and a damaged
block is computed again. :meth:`BlockStore.publish` makes the part of the scene from them, some frames at a time.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.io.atomic import writing
from fluorojax.io.disk import Hdf5Output
from fluorojax.io.errors import InputError
from fluorojax.io.json_fields import read_object, write_json
from fluorojax.io.parts import (
    CONTINUED,
    blocks_folder,
    chunks_of,
    create_images,
    digest_of_slabs,
    make_folder,
    part_name,
    publish_sealed,
    seal_problem,
    write_facts,
    write_root,
)
from fluorojax.io.provenance import EXECUTION_SETTINGS, Provenance
from fluorojax.io.texts import put_text

Box = tuple[slice, slice, slice]
IMAGES = ("x_hat", "x_std", "spec_correlation")
"""Images of a block, in the order in which a scene stores them."""
_FINGERPRINT = "fingerprint"
_SLAB_PIXELS = 1 << 21


class BlockStore:
    """The blocks of one scene on disk. Their kept boxes partition its images."""

    def __init__(self, folder: Path, provenance: Provenance, scene: str, counts_sha256: str):
        self._parts, self.provenance, self.scene = folder, provenance, scene
        self.folder = blocks_folder(folder, scene)
        self.fingerprint = _fingerprint(provenance, scene, counts_sha256)
        self._boxes: tuple[Box, ...] = ()

    def open(self, *, discard: bool = False) -> None:
        """Take the folder; blocks of another run in it are refused, or removed with ``discard``.

        Raises :class:`InputError` where the folder cannot be written.
        """
        with writing(self.folder, self.scene, advice=CONTINUED):
            make_folder(self._parts)
            make_folder(self.folder)
            for path in self.folder.glob("*.tmp"):
                path.unlink(missing_ok=True)
            for path in self._files():
                if seal_problem(path) is None and self._mark(path)[0] != self.fingerprint:
                    if not discard:
                        raise InputError(
                            self.folder,
                            self.scene,
                            None,
                            "holds finished blocks of a run with other settings; repeat that command to continue it or "
                            "add --overwrite to start afresh",
                        )
                    path.unlink()

    def remember(self, name: str, facts: dict[str, Any]) -> None:
        """Keep facts that a run that goes on needs again; a file ``name`` of JSON."""
        path = self.folder / f"{name}.h5"

        def write(handle: Hdf5Output) -> None:
            put_text(handle, _FINGERPRINT, self.fingerprint)
            write_json(handle, "facts", facts)

        publish_sealed(path, self.scene, write)

    def recall(self, name: str) -> dict[str, Any] | None:
        """What :meth:`remember` kept, or None where there is nothing, or nothing that is as it was written."""
        path = self.folder / f"{name}.h5"
        if not path.is_file() or seal_problem(path) is not None or self._mark(path)[0] != self.fingerprint:
            return None
        with h5py.File(path, "r") as handle:
            return read_object(handle, "facts", str(path), None)

    def lay_out(self, boxes: Sequence[Box], on_damaged: Callable[[Path, str], None] | None = None) -> list[int]:
        """Say which boxes the blocks keep; returns the numbers of those that are finished.

        A file of a block that is not as it was written, or of another layout, is removed; ``on_damaged`` is told of it.
        """
        self._boxes = tuple(boxes)
        done: list[int] = []
        with writing(self.folder, self.scene, advice=CONTINUED):
            for path in self._files():
                number = int(path.stem) if path.stem.isdecimal() else -1
                if number < 0:
                    continue
                problem = seal_problem(path)
                if problem is None and number < len(boxes) and self._mark(path)[1] == _words(boxes[number]):
                    done.append(number)
                    continue
                path.unlink()
                if problem is not None and on_damaged is not None:
                    on_damaged(path, problem)
        return sorted(done)

    def write(self, number: int, result: Reconstruction) -> None:
        """Keep the result of a block, the images of its kept box; it survives a kill once this returns.

        Raises :class:`InputError` where the disk refuses.
        """

        def fill(handle: Hdf5Output) -> None:
            put_text(handle, _FINGERPRINT, self.fingerprint)
            put_text(handle, "box", _words(self._boxes[number]))
            put_text(handle, "status", result.status.name.lower())
            write_json(handle, "diagnostics", result.diagnostics)
            for name in IMAGES:
                values = np.asarray(getattr(result, name), np.float32)
                create_images(handle, name, values.shape)[...] = values

        publish_sealed(self._path(number), self.scene, fill)

    def outcome(self, number: int) -> tuple[Status, dict[str, Any]]:
        """How the computation of a block ended, and its diagnostics."""
        path = self._path(number)
        with h5py.File(path, "r") as handle:
            status = handle.attrs["status"]
            text = status.decode() if isinstance(status, bytes) else str(status)
            return Status[text.upper()], read_object(handle, "diagnostics", str(path), None) or {}

    def images(
        self, name: str, frames: slice, shape: tuple[int, int, int], index: int = 0
    ) -> Float[np.ndarray, "t H W"]:
        """Some frames of the images ``name`` of a run of ``shape``, put together from the blocks.

        ``index`` picks the parameter of ``spec_correlation``.
        """
        found = np.zeros((frames.stop - frames.start, *shape[1:]), np.float32)
        for number, box in enumerate(self._boxes):
            first, last = max(frames.start, box[0].start), min(frames.stop, box[0].stop)
            if first >= last:
                continue
            part = slice(first - box[0].start, last - box[0].start)
            with h5py.File(self._path(number), "r") as handle:
                stored: Any = handle[name]
                values = stored[index, part] if name == "spec_correlation" else stored[part]
            found[first - frames.start : last - frames.start, box[1], box[2]] = values
        return found

    def publish(self, result: Reconstruction, shape: tuple[int, int, int]) -> Path:
        """Put the scene together as a part of the run, some frames in memory at a time; returns its file.

        ``result`` holds everything but the images. Raises :class:`InputError` where the disk refuses.
        """
        path = self._parts / part_name(self.scene)
        parameters = len(result.parameters)

        def slabs(stored: h5py.Dataset, name: str) -> Iterator[np.ndarray]:
            for index in range(parameters if name == "spec_correlation" else 1):
                for first in range(0, shape[0], step):
                    frames = slice(first, min(first + step, shape[0]))
                    values = self.images(name, frames, shape, index)
                    stored[(index, frames) if name == "spec_correlation" else (frames,)] = values
                    yield values

        def write(handle: Hdf5Output) -> None:
            write_root(handle, self.provenance)
            group, sums = handle.create_group(self.scene), dict[str, str]()
            for name in IMAGES:
                whole = (parameters, *shape) if name == "spec_correlation" else shape
                stored = create_images(group, name, whole)
                sums[name] = digest_of_slabs(whole, slabs(stored, name))
                handle.check()
            write_facts(group, result, sums)

        chunk = chunks_of(shape)[0]
        step = chunk * max(1, _SLAB_PIXELS // (chunk * shape[1] * shape[2]))
        publish_sealed(path, self.scene, write, quick=False)
        return path

    def discard(self) -> None:
        """Remove the blocks, once their scene is safe."""
        with suppress(OSError):  # the next run of the command removes what is left
            shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.h5"

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.h5"))

    def _mark(self, path: Path) -> tuple[str, str]:
        """Fingerprint and box of a file whose bytes are as they were written."""
        with h5py.File(path, "r") as handle:
            found = (handle.attrs.get(_FINGERPRINT, ""), handle.attrs.get("box", ""))
        return tuple(v.decode() if isinstance(v, bytes) else str(v) for v in found)  # pyright: ignore[reportReturnType]


def _words(box: Box) -> str:
    return ",".join(f"{part.start}:{part.stop}" for part in box)


def _fingerprint(provenance: Provenance, scene: str, counts_sha256: str) -> str:
    """The same for two runs whose blocks may stand in one scene (:meth:`Provenance.differences`)."""
    facts = asdict(provenance)
    facts["versions"] = {"fluorojax": provenance.versions.get("fluorojax")}
    facts["settings"] = {n: v for n, v in provenance.settings.items() if n not in EXECUTION_SETTINGS}
    del facts["input_file"]
    text = json.dumps({**facts, "scene": scene, "counts": counts_sha256}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
