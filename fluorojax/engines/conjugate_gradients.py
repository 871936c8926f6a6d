"""Conjugate gradients for symmetric positive definite systems over the latents, with a report of what was reached."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, ArrayLike, Float, Int

from fluorojax.engines.energy import Latents
from fluorojax.engines.iteration import Step, iterate


class Solve(eqx.Module):
    """Outcome of one conjugate-gradient solve; every field gains leading axes under ``vmap``."""

    solution: Latents
    iterations: Int[Array, ""]
    residual: Float[Array, ""]
    """Norm of the residual relative to that of the right-hand side, as the recurrence states it."""


class _Search(NamedTuple):
    position: Latents
    residual: Latents
    direction: Latents
    square: Array
    """Squared norm of the residual."""


def conjugate_gradients(
    product: Callable[[Latents], Latents],
    right: Latents,
    *,
    tolerance: Float[ArrayLike, ""],
    max_iterations: Int[ArrayLike, ""] | int,
) -> Solve:
    """Solve ``A v = right`` for a symmetric positive definite ``A`` by conjugate gradients from zero.

    The method is that of Hestenes & Stiefel (J. Res. Natl. Bur. Stand. 49:409, 1952). The solve stops when the residual
    norm falls to ``tolerance`` times that of ``right``, at ``max_iterations``, or where rounding leaves no descent
    direction. The residual reported is that of the recurrence.

    **Arguments:** ``product`` is ``v ↦ A v``; ``right`` a pytree of arrays of any shapes, in any units.
    """
    norm = optax.tree.norm(right, squared=True)

    def step(search: _Search, _: Array) -> Step[_Search]:
        image = product(search.direction)
        curvature = optax.tree.vdot(search.direction, image)
        length = search.square / curvature
        position = optax.tree.add_scale(search.position, length, search.direction)
        residual = optax.tree.add_scale(search.residual, -length, image)
        square = optax.tree.norm(residual, squared=True)
        direction = optax.tree.add_scale(residual, square / search.square, search.direction)
        return Step(_Search(position, residual, direction, square), square)

    begin = _Search(optax.tree.zeros_like(right), right, right, norm)
    end = iterate(step, begin, goal=jnp.square(tolerance) * norm, max_steps=max_iterations, left=norm)
    # A zero right-hand side is solved exactly.
    relative = jnp.sqrt(end.left / jnp.where(norm > 0, norm, 1.0))
    return Solve(end.state.position, end.steps, relative)
