"""Muon for the convolutions and Adam for the rest, on one learning rate.

Muon (K. Jordan and others, 2024) replaces the momentum of a weight matrix by the nearest matrix with orthonormal rows
or columns, here found by a quintic Newton–Schulz iteration; its steps are scaled to the size of Adam's (Liu et al.,
arXiv:2502.16982).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class MuonState(NamedTuple):
    """Momentum of each weight."""

    momentum: PyTree


def orthogonalise(matrix: Float[Array, "m n"], steps: int = 5) -> Float[Array, "m n"]:
    """A matrix of the same singular vectors whose singular values are all near one (0.7–1.2)."""
    a, b, c = _COEFFICIENTS
    wide = matrix.shape[0] < matrix.shape[1]
    x = matrix.T if wide else matrix
    x = x / (jnp.linalg.norm(x) + 1e-7)
    # Every iteration multiplies x by a polynomial p of xᵀx. The small matrices xᵀx and the product of the p are
    # iterated instead of x itself, at half the cost for tall matrices.
    gram, eye = x.T @ x, jnp.eye(x.shape[1], dtype=x.dtype)
    total = eye
    for _ in range(steps):
        p = a * eye + b * gram + c * gram @ gram
        total, gram = total @ p, p @ gram @ p
    x = x @ total
    return x.T if wide else x


def muon(momentum: float = 0.95) -> optax.GradientTransformation:
    """Orthogonalised Nesterov momentum of arrays of at least two axes, whose last axis is the output."""

    def init(params: PyTree) -> MuonState:
        return MuonState(jax.tree.map(jnp.zeros_like, params))

    def update(updates: PyTree, state: MuonState, params: PyTree = None) -> tuple[PyTree, MuonState]:
        del params
        kept = jax.tree.map(lambda m, g: momentum * m + g, state.momentum, updates)

        def direction(m: Array, g: Array) -> Array:
            flat = (momentum * m + g).reshape(-1, m.shape[-1])
            return (0.2 * max(flat.shape) ** 0.5 * orthogonalise(flat)).reshape(m.shape)

        return jax.tree.map(direction, kept, updates), MuonState(kept)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def optimiser() -> optax.GradientTransformation:
    """Directions for a learning rate of one: Muon for 3 × 3 and larger convolutions inside, Adam for everything else.

    Layers named ``enter`` and ``leave`` touch data and belong to Adam.
    """

    def label(path, leaf: Array) -> str:
        name = jax.tree_util.keystr(path)
        inner = leaf.ndim == 4 and leaf.shape[0] * leaf.shape[2] > 40
        return "muon" if inner and "enter" not in name and "leave" not in name else "adam"

    def labels(params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(label, params)

    adam = optax.scale_by_adam(b1=0.9, b2=0.99)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.partition({"muon": muon(), "adam": adam}, labels))
