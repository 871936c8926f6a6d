"""The weights of the network between frames: one ``.npz`` with its recipe (:mod:`fluorojax.learned.weights`)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from fluorojax.between.network import BetweenNetwork
from fluorojax.learned.weights import named_arrays, read_arrays, with_arrays, write_arrays

VERSION = 1
"""Version of features and file layout; weights of another version are refused."""
ARCHITECTURE = "between"
"""Name of the network for ``fluorojax train``."""
SHIPPED = Path(__file__).parent / "weights" / "between.npz"
"""The weights that come with the package."""


@dataclass(frozen=True)
class BetweenWeights:
    """A trained network with its recipe."""

    network: BetweenNetwork
    recipe: dict[str, Any]
    sha256: str
    """SHA-256 of the file, hexadecimal."""


def save_between(file: Path, network: BetweenNetwork, recipe: Mapping[str, Any]) -> BetweenWeights:
    """Write a network as float16, with its recipe.

    **Raises:** ``ValueError`` where a weight is not finite in that type, and :class:`fluorojax.io.InputError` where the
    file cannot be written.
    """
    with np.errstate(over="ignore"):
        arrays = {name: array.astype(np.float16) for name, array in named_arrays(network).items()}
    rounded = with_arrays(network, arrays)
    facts = {**recipe, "architecture": ARCHITECTURE, "version": VERSION}
    return BetweenWeights(rounded, facts, write_arrays(file, arrays, facts))


def load_between(file: Path = SHIPPED) -> BetweenWeights:
    """Read weights; those of an unchanged file come as the same object, so that what was compiled for it is found.

    **Raises:** ``ValueError`` in one line that names the file: damaged, of another network or version, with arrays of
    another shape or not finite.
    """
    return _loaded(file, file.stat().st_mtime_ns if file.is_file() else 0)


@lru_cache(maxsize=4)
def _loaded(file: Path, modified: int) -> BetweenWeights:
    arrays, facts = read_arrays(file)
    if (facts.get("architecture"), facts.get("version")) != (ARCHITECTURE, VERSION):
        found = f"{facts.get('architecture')!r}, version {facts.get('version')!r}"
        raise ValueError(f"{file}: holds the network {found}; expected {ARCHITECTURE!r}, version {VERSION}")
    try:
        network = with_arrays(eqx.filter_eval_shape(BetweenNetwork, jax.random.key(0)), arrays)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    recipe = {name: value for name, value in facts.items() if name != "arrays_sha256"}
    return BetweenWeights(network, recipe, hashlib.sha256(file.read_bytes()).hexdigest())
