"""Weight files: arrays and their recipe in one ``.npz`` without pickles, and the checks on the way back.

The recipe is JSON: the architecture, the version of the features, seed, scenes, steps, versions of the packages and
the figures of the validation. The recipe contains the SHA-256 of the arrays; the SHA-256 of the file identifies it to a
user.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from fluorojax.io.atomic import atomic_stream
from fluorojax.learned.networks import AnyNetwork, build_network
from fluorojax.learned.peers import PEERS
from fluorojax.learned.spread import CalibratedNetwork

VERSION = 2
"""Version of features and file layout; weights of another version are refused."""
_KEPT = "what was written last is kept, and the same command continues from it once the disk can be written"
_FOLDER = Path(__file__).parent / "weights"
DEFAULT = "unet"
"""Shipped weights that ``--method learned`` uses."""


@dataclass(frozen=True)
class Weights:
    """A trained network with its recipe."""

    network: CalibratedNetwork
    recipe: dict[str, Any]
    """How the weights were made; ``architecture`` names the network."""
    sha256: str = field(default="")
    """SHA-256 of the file, hexadecimal; empty before it was written."""


def named_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """Array leaves of a pytree by path, on the host."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def with_arrays(tree: PyTree, arrays: Mapping[str, np.ndarray]) -> PyTree:
    """The pytree with its array leaves replaced by arrays of the same path and shape.

    **Raises:** ``ValueError`` naming the first array that is missing, of another shape, or not finite, and arrays
    that have no place.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    expected = {jax.tree_util.keystr(path): leaf for path, leaf in leaves if _has_shape(leaf)}
    for name, leaf in expected.items():
        if name not in arrays:
            raise ValueError(f"array {name} is missing")
        if arrays[name].shape != leaf.shape:
            raise ValueError(f"array {name} has shape {arrays[name].shape}; expected {leaf.shape}")
        if not np.all(np.isfinite(arrays[name].astype(np.float32))):
            raise ValueError(f"array {name} holds values that are not finite")
    if unknown := sorted(set(arrays) - set(expected)):
        raise ValueError(f"array {unknown[0]} has no place in this architecture")

    def replace(path, leaf):
        return jnp.asarray(arrays[jax.tree_util.keystr(path)], leaf.dtype) if _has_shape(leaf) else leaf

    return jax.tree_util.tree_map_with_path(replace, tree)


def _has_shape(leaf: Any) -> bool:
    """Whether a leaf is an array, or the shape of one that was not drawn."""
    return eqx.is_array(leaf) or isinstance(leaf, jax.ShapeDtypeStruct)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and bytes of arrays, independent of the file format."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def write_arrays(file: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    """Write arrays and JSON facts to an ``.npz``, atomically; returns the SHA-256 of the file.

    **Raises:** :class:`fluorojax.io.InputError` where the file cannot be written; the one that was there is kept.
    """
    text = json.dumps({**facts, "arrays_sha256": digest(arrays)}, sort_keys=True).encode()
    with atomic_stream(file, overwrite=True, advice=_KEPT) as stream:
        np.savez(stream, recipe=np.frombuffer(text, np.uint8), **arrays)  # pyright: ignore[reportArgumentType]
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_arrays(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of :func:`write_arrays`. **Raises:** ``ValueError`` naming the file where it is damaged."""
    try:
        # The bytes are read first: NumPy leaves a damaged file open.
        with np.load(BytesIO(file.read_bytes()), allow_pickle=False) as store:
            arrays = {name: store[name] for name in store.files}
        facts = json.loads(arrays.pop("recipe").tobytes())
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file; expected weights (.npz)") from None
    except Exception as error:  # zip, NumPy and JSON each have errors of their own for a damaged file
        raise ValueError(f"{file}: not a file of weights ({type(error).__name__}: {error})") from error
    if not isinstance(facts, dict) or facts.get("arrays_sha256") != digest(arrays):
        raise ValueError(f"{file}: the arrays are not those that were written (their SHA-256 differs)")
    return arrays, facts


def save_weights(file: Path, network: AnyNetwork, recipe: Mapping[str, Any], *, half: bool = True) -> Weights:
    """Write a network and its recipe; ``half`` stores float16, which halves the file.

    **Raises:** ``ValueError`` where a weight is not finite in the stored type.
    """
    network = network if isinstance(network, CalibratedNetwork) else CalibratedNetwork(network)
    arrays = named_arrays(network)
    if half:
        with np.errstate(over="ignore"):
            arrays = {n: a.astype(np.float16) if a.dtype == np.float32 else a for n, a in arrays.items()}
    with_arrays(network, arrays)
    facts = {**recipe, "version": VERSION}
    return Weights(with_arrays(network, arrays), facts, write_arrays(file, arrays, facts))


def load_weights(file: Path, *, sha256: str | None = None) -> Weights:
    """Read a file of weights.

    **Raises:** ``ValueError`` in one line that names the file: damaged, of another version, of an unknown
    architecture, with arrays of another shape or not finite, or not the file of the expected SHA-256.
    """
    arrays, facts = read_arrays(file)
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if sha256 is not None and found != sha256:
        raise ValueError(f"{file}: SHA-256 is {found}; expected {sha256}")
    if facts.get("version") != VERSION:
        raise ValueError(f"{file}: version is {facts.get('version')!r}; expected {VERSION}")
    try:
        # Shapes only: to draw random weights would compile a program for each.
        build = partial(build_network, facts.get("architecture", ""))
        fresh = eqx.filter_eval_shape(lambda key: CalibratedNetwork(build(key)), jax.random.key(0))
        network = with_arrays(fresh, arrays)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return Weights(network, {k: v for k, v in facts.items() if k != "arrays_sha256"}, found)


def known_weights() -> tuple[str, ...]:
    """Names for which :func:`shipped_file` finds weights."""
    return tuple(name for name in (DEFAULT, *PEERS) if _find(name) is not None)


def shipped_file(name: str = DEFAULT) -> Path:
    """File of the weights that come with the package.

    Weights of learned peers in the folder that the environment variable FLUOROJAX_PEERS names take their place.

    **Raises:** ``ValueError`` where there are none of that name.
    """
    file = _find(name)
    if file is None:
        raise ValueError(f"there are no shipped weights named {name!r}; expected one of {', '.join(known_weights())}")
    return file


def _find(name: str) -> Path | None:
    folders = [_FOLDER]
    if name in PEERS and (mine := os.environ.get("FLUOROJAX_PEERS")):
        folders.insert(0, Path(mine))
    return next((file for folder in folders if (file := folder / f"{name}.npz").is_file()), None)
