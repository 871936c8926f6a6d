"""Hamiltonian trajectories that bring a draw back to where the posterior has its mass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax.tree
from jaxtyping import Array, ArrayLike, Float, Int, Key
from numpyro.infer.hmc import HMCState, hmc

from fluorojax.engines.energy import Latents

# A trajectory lasts a quarter to half a period, which forgets most of where it began, in small scenes; it is shorter in
# larger ones, where all trajectories together have to cost no more than two or three solves.
_LENGTH = np.pi
_MOST_STEPS = 12


def hamiltonian_moves(
    energy: Callable[[Latents], Float[Array, ""]],
    start: Latents,
    scale: Latents,
    key: Key[Array, ""],
    moves: Int[ArrayLike, ""] | int,
) -> Latents:
    """``start`` after ``moves`` steps of Hamiltonian Monte Carlo on ``energy``, in coordinates of unit ``scale``."""
    # The step of constant acceptance on a standard normal scales like this (Beskos et al., Bernoulli 19:1501).
    longest = sum(leaf.size for leaf in jax.tree.leaves(start)) ** -0.25
    begin, step = hmc(lambda scaled: energy(optax.tree.mul(scale, scaled)), algo="HMC")
    state = begin(
        jax.tree.map(jnp.divide, start, scale),
        0,
        step_size=longest,
        adapt_step_size=False,
        adapt_mass_matrix=False,
        # Given a length, NumPyro overrides the step.
        trajectory_length=None,  # pyright: ignore[reportArgumentType]
        num_steps=min(int(np.ceil(_LENGTH / longest)), _MOST_STEPS),
        rng_key=key,
    )

    def move(i: Array, state: HMCState) -> HMCState:
        # With one length for all trajectories, a coordinate of that period would return to its start every time.
        share = jax.random.uniform(jax.random.fold_in(key, i), minval=0.5)
        return step(state._replace(adapt_state=state.adapt_state._replace(step_size=share * longest)))

    return optax.tree.mul(scale, jax.lax.fori_loop(0, moves, move, state).z)
