"""The file that holds a NUTS run so that it can be continued, and the fingerprint that ties the file to its run."""

import hashlib
import inspect
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from fluorojax.data.printable import MESSAGE, printable
from fluorojax.engines.nuts.kept import Watch
from fluorojax.io.atomic import writing
from fluorojax.io.disk import hdf5_output, publish
from fluorojax.io.errors import InputError, RunError
from fluorojax.io.hdf5 import open_hdf5
from fluorojax.io.shutdown import undisturbed
from fluorojax.io.texts import as_text, put_text
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.physics.operator import FluoroscopyOperator

_FORMAT = "fluorojax NUTS state 1"
_KEPT = "the last state is kept, and the same command continues from it once the disk can be written"
# Names of fields in files, which older files have, where the field has another name now.
_NAMES_IN_FILES = {".statistics": ".stream"}


def fingerprint(
    model: SceneModel,
    data: SceneData,
    settings: Mapping[str, Any],
    watch: Watch,
    key: Key[Array, ""],
    spec_quantiles: Float[np.ndarray, "points parameters"] | None = None,
    assets: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """SHA-256 of what a run is determined by: model source, data without ``aux``, settings, seed, spec posterior.

    ``assets`` are the digests of the files that the method ships, by file name; a run without any has none of them in
    its marks.
    """
    try:
        file = inspect.getsourcefile(model.model)
        source = Path(file).read_bytes() if file else inspect.getsource(model.model).encode()
    except (OSError, TypeError):  # defined at a prompt
        code = model.model.__code__
        source = repr((code.co_code, code.co_names, code.co_consts)).encode()
    # `aux` is an estimate from these data, and the file holds the one in use.
    known = jax.tree.leaves((data.counts, data.acquisition, data.ranges, spec_quantiles))
    stages = b""
    # The default operator is left out, because states of earlier versions do not have it.
    if not eqx.tree_equal(data.operator, FluoroscopyOperator()):
        known += jax.tree.leaves(data.operator)
        stages = repr(jax.tree.structure(data.operator)).encode()
    arrays = [np.asarray(leaf, np.float32) for leaf in known]
    places = (np.asarray(watch.pixels).tobytes(), np.asarray(watch.regions).tobytes())
    return {
        "model": _digest(source, repr((model.model.__qualname__, model.hyperparameters)).encode()),
        "data": _digest(*(repr(a.shape).encode() + a.tobytes() for a in arrays), *([stages] if stages else [])),
        "settings": _digest(repr(sorted(settings.items())).encode(), repr(watch.names).encode(), *places),
        "seed": _digest(np.asarray(jax.random.key_data(key)).tobytes()),
        **({"assets": _digest(repr(sorted(assets.items())).encode())} if assets else {}),
    }


class ForeignStateError(RunError):
    """A state file that is none, or of another run; ``reason`` says which, without the name of the file."""

    def __init__(self, path: Path, reason: str, expected: str):
        self.reason = printable(reason, MESSAGE)  # it may quote the file
        super().__init__(f"resume is {path}: {self.reason}; expected {expected}")


def save_state(path: str | os.PathLike[str], state: PyTree, marks: Mapping[str, str], iteration: int) -> None:
    """Write a pytree of arrays to an HDF5 file that appears whole or not at all, and survives a power cut.

    Raises :class:`fluorojax.io.InputError` where it cannot be written; the state that was there is kept.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".writing")
    with undisturbed(), writing(path, advice=_KEPT):
        try:
            temporary.unlink(missing_ok=True)  # of a process that was killed
            _write_state(temporary, state, marks, iteration)
            publish(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _write_state(path: Path, state: PyTree, marks: Mapping[str, str], iteration: int) -> None:
    with hdf5_output(path) as handle:
        put_text(handle, "format", _FORMAT)
        handle.attrs["iteration"] = iteration
        for name, digest in marks.items():
            put_text(handle, f"sha256 of {name}", digest)
        for name, leaf in _named(state):
            handle[name] = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def load_state(path: str | os.PathLike[str], like: PyTree, marks: Mapping[str, str]) -> tuple[PyTree, int]:
    """Read a state of the structure of ``like`` and its iteration; leaves of size 0 in ``like`` may have any length.

    Raises :class:`ForeignStateError` naming the file and what was expected where it is no state, or one of another run,
    and ``ValueError`` where it may not be read.
    """
    path = Path(path)
    try:
        with open_hdf5(path) as handle:
            return _read_state(handle, path, like, marks)
    except InputError as error:
        # With an error number the system refused the file; without one it is the content that makes no sense.
        what = ": ".join(part for part in (error.field, error.problem) if part)
        if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
            what = printable(what, MESSAGE)
            raise RunError(f"resume is {path}: cannot be read ({what}); expected a readable state file") from error
        raise ForeignStateError(path, f"cannot be read as HDF5 ({what})", "a NUTS state file") from error
    except ForeignStateError:
        raise
    except (KeyError, TypeError, ValueError) as error:  # what h5py raises where a file is damaged
        what = " ".join(str(error).split())
        raise ForeignStateError(path, f"is damaged ({what})", "a NUTS state file") from error


def _read_state(handle: h5py.File, path: Path, like: PyTree, marks: Mapping[str, str]) -> tuple[PyTree, int]:
    if as_text(handle.attrs.get("format")) != _FORMAT:
        raise ForeignStateError(path, "not a NUTS state file of this version", "one")
    if other := [name for name, digest in marks.items() if as_text(handle.attrs.get(f"sha256 of {name}")) != digest]:
        reason = f"state of a run with other {', '.join(other)}"
        raise ForeignStateError(path, reason, "the same run (--overwrite, or deleting it, starts afresh)")
    leaves = []
    for name, leaf in _named(like):
        wanted = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
        dataset = handle.get(name)
        if not isinstance(dataset, h5py.Dataset) or not _fits(dataset, wanted):
            raise ForeignStateError(path, f"{name} is missing or of another shape", str(wanted.shape))
        values = dataset[()]
        leaves.append(jax.random.wrap_key_data(jnp.asarray(values)) if _is_key(leaf) else values)
    iteration = np.asarray(handle.attrs["iteration"])
    if iteration.shape != () or iteration.dtype.kind not in "iu" or iteration < 0:
        raise ForeignStateError(path, f"its iteration is {iteration}", "a whole number")
    return jax.tree.unflatten(jax.tree.structure(like), leaves), int(iteration)


def _fits(dataset: h5py.Dataset, wanted: Any) -> bool:
    if dataset.dtype != wanted.dtype or len(dataset.shape) != len(wanted.shape):
        return False
    return all(size in (have, 0) for size, have in zip(wanted.shape, dataset.shape, strict=True))


def _named(tree: PyTree) -> list[tuple[str, Any]]:
    """Leaves with names such as ``chains.hmc.z.fields``; a slash would make HDF5 groups of a site's name."""
    pairs = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(_name(path), leaf) for path, leaf in pairs]


def _name(path: tuple[Any, ...]) -> str:
    name = jax.tree_util.keystr(path).replace("/", "|")
    for now, before in _NAMES_IN_FILES.items():
        name = name.replace(now, before)
    return name


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
