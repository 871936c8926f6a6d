"""Writing reconstruction files: atomic as a whole, resumable scene by scene."""

from contextlib import ExitStack
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from fluorojax.data.reconstruction import QUANTILES, Reconstruction
from fluorojax.io.atomic import check_output, publish, refuse_input, writing
from fluorojax.io.errors import InputError
from fluorojax.io.hdf5 import open_hdf5
from fluorojax.io.json_fields import write_json
from fluorojax.io.lock import FileLock
from fluorojax.io.provenance import Provenance
from fluorojax.io.reconstruction_reader import COUNTS_SHA256, read_provenance
from fluorojax.io.shutdown import at_stop, undisturbed
from fluorojax.io.texts import put_text

COMPLETE = "complete"
FORMAT_VERSION = "1"


def partial_path(path: str | PathLike[str]) -> Path:
    """Where a reconstruction file is built before it takes its name: ``OUT.partial`` next to ``OUT``."""
    path = Path(path)
    return path.with_name(path.name + ".partial")


class ReconstructionWriter:
    """Context manager that builds ``path`` scene by scene in ``path.partial`` and renames it at the end.

    A partial file with finished scenes of the same run (:meth:`Provenance.differences` is empty) is continued:
    :attr:`finished` names the scenes it holds. A clean exit publishes the file; leaving through an exception (an
    interrupt included) keeps the partial file if it holds finished scenes and removes it otherwise.

    The file is open only while a scene is written, so a process that is killed in between leaves it sound. A lock
    (``path.partial.lock``) keeps other processes off the partial file for as long as the writer is entered.

    Raises :class:`InputError` on entry where the output cannot be written, another process is writing it, it already
    exists, or there is a partial file of another run. ``overwrite`` replaces an existing output and discards the
    partial file of another run; one of the same run is continued all the same, so that a command that carries it can be
    repeated after an interruption.
    """

    def __init__(
        self, path: str | PathLike[str], provenance: Provenance, *, source: str | PathLike[str], overwrite: bool = False
    ):
        self.path = Path(path)
        self.provenance = provenance
        self._source = source
        self._overwrite = overwrite
        self._partial = partial_path(path)
        self._lock = FileLock(self._partial.with_name(self._partial.name + ".lock"))
        self._finished: set[str] = set()
        self._registered = ExitStack()

    @property
    def finished(self) -> frozenset[str]:
        """Names of the scenes that stand complete in the file."""
        return frozenset(self._finished)

    @property
    def partial(self) -> Path:
        """Where scenes stand until all are finished."""
        return self._partial

    def __enter__(self) -> "ReconstructionWriter":
        check_output(self.path, inputs=[self._source], overwrite=self._overwrite)
        refuse_input(self.path, self._partial, [self._source])
        with writing(self.path):
            self._lock.acquire(self._partial)
        try:
            with writing(self.path):
                self._open()
        except BaseException:
            self._lock.release()
            raise
        self._registered.enter_context(at_stop(self._leave))
        return self

    def _open(self) -> None:
        if self._partial.exists():
            try:
                self._resume()
            except InputError:
                if not self._overwrite:
                    raise
                self._partial.unlink()
        if not self._partial.exists():
            self._create()

    def _create(self) -> None:
        with h5py.File(self._partial, "w-") as handle:
            put_text(handle, "variant", "fluoroscopy")
            put_text(handle, "version", FORMAT_VERSION)
            for name, value in asdict(self.provenance).items():
                if isinstance(value, dict):
                    write_json(handle, name, value)
                elif isinstance(value, str):
                    put_text(handle, name, value)
                else:
                    handle.attrs[name] = value

    def _resume(self) -> None:
        try:
            found = read_provenance(self._partial)
            with open_hdf5(self._partial) as handle:
                finished = {str(name) for name in handle if handle[name].attrs.get(COMPLETE, False)}
        except (InputError, OSError, RuntimeError) as error:
            raise InputError(
                self._partial, None, None, f"cannot be continued ({error}); add --overwrite to start afresh"
            ) from error
        if differences := self.provenance.differences(found):
            raise InputError(
                self._partial,
                None,
                None,
                f"was left by a run with other settings (now, then): {'; '.join(differences)}; repeat that command to "
                "continue it or add --overwrite to start afresh",
            )
        self._finished = finished

    def write(self, result: Reconstruction, *, counts_sha256: str | None = None) -> None:
        """Append one finished scene; it counts as finished only once all of it is on disk.

        ``counts_sha256`` identifies the counts that were reconstructed (:func:`fluorojax.io.counts_digest`), so that
        they are recognised later in whatever file.
        """
        with undisturbed():
            with writing(self._partial, result.name), h5py.File(self._partial, "r+") as handle:
                if result.name in handle:  # left unfinished by an earlier run
                    del handle[result.name]
                group = handle.create_group(result.name)
                _write_result(group, result)
                if counts_sha256 is not None:
                    put_text(group, COUNTS_SHA256, counts_sha256)
                handle.flush()
                group.attrs[COMPLETE] = True
            self._finished.add(result.name)

    def note_skipped(self, skipped: dict[str, str]) -> None:
        """Record the scenes left out and why, as the root attribute ``skipped``."""
        with undisturbed(), writing(self._partial), h5py.File(self._partial, "r+") as handle:
            write_json(handle, "skipped", skipped)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._registered.close()
        self._leave(complete=error is None)

    def _leave(self, complete: bool = False) -> None:
        """Publish a complete file, keep one with finished scenes, remove an empty one; give the lock back."""
        try:
            with writing(self.path):
                if not self._finished:
                    self._partial.unlink(missing_ok=True)
                elif complete:
                    publish(self._partial, self.path)
        finally:
            self._lock.release()


def _write_result(group: h5py.Group, result: Reconstruction) -> None:
    arrays = {"x_hat": result.x_hat, "x_std": result.x_std, "spec_correlation": result.spec_correlation}
    for name, values in arrays.items():
        if values is not None:
            data = np.asarray(values, dtype=np.float32)
            group.create_dataset(name, data=data, compression="gzip", compression_opts=4, shuffle=True)
    if result.x_quantiles is not None:
        data = np.asarray(result.x_quantiles, dtype=np.float32)
        stored = group.create_dataset("x_quantiles", data=data, compression="gzip", compression_opts=4, shuffle=True)
        stored.attrs["probabilities"] = QUANTILES
    for folder, arrays in (("draws", result.draws), ("sample_stats", result.sample_stats)):
        for name, values in arrays.items():
            # HDF5 has no Booleans; numbers read the same everywhere.
            data = np.asarray(values, np.uint8) if np.asarray(values).dtype == bool else values
            group.require_group(folder).create_dataset(name, data=data)
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
    put_text(group, "status", result.status.name.lower())
    group.attrs["seconds"] = float(result.seconds)
    if result.pixel_mm is not None:
        group.attrs["pixel_mm"] = float(result.pixel_mm)
