"""The compiled part of a NUTS run: how Markov chains begin, and how they advance by a block of draws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Key
from numpyro.infer.hmc import HMCState, hmc

from fluorojax.engines.energy import posterior
from fluorojax.engines.nuts.coordinates import Coordinates, Position
from fluorojax.engines.nuts.kept import ImageStatistics, Watch
from fluorojax.engines.nuts.memory import check_memory
from fluorojax.engines.nuts.options import NutsOptions
from fluorojax.engines.nuts.spec_draws import draw_from_quantiles
from fluorojax.engines.online_statistics import Grid
from fluorojax.models.protocol import SceneData, SceneModel


class Problem(eqx.Module):
    """What all Markov chains of a run share."""

    data: SceneData
    coordinates: Coordinates
    grid: Grid
    watch: Watch
    spec_quantiles: Float[Array, "points parameters"] | None
    """Quantiles of the latents of the spec parameters at :func:`fluorojax.engines.nuts.spec_levels`, where they come
    from elsewhere."""


class MarkovChain(eqx.Module):
    """Where a Markov chain is, and what it has seen of x; with a leading axis, several of them."""

    hmc: HMCState
    shared: Float[Array, "parameters"] | None
    """The spec's latents of the last draw, where they come from elsewhere."""
    statistics: ImageStatistics
    mean: Position
    """Mean position of the later half of the settling."""


class Sampler:
    """The compiled functions of one model under one set of options; jit keeps one executable per shape."""

    def __init__(self, model: SceneModel, options: NutsOptions, devices: tuple[Any, ...]):
        self._model, self._options, self._devices = model, options, devices
        self._start, self._step = hmc(potential_fn_gen=self._potential, algo="NUTS")
        self._sequential = _in_turn(options, devices)
        self.begin = jax.jit(self._over_chains(self._begin, shared=1))
        self.advance = jax.jit(self._over_chains(self._advance, shared=6))

    def _potential(
        self, problem: Problem, shared: Float[Array, "parameters"] | None
    ) -> Callable[[Position], Float[Array, ""]]:
        energy = posterior(self._model, problem.data, {}).energy
        coordinates = problem.coordinates
        return lambda position: energy(coordinates.latents(position, shared)) - coordinates.log_determinant(position)

    def _over_chains(self, function: Callable, shared: int) -> Callable:
        """``function`` of one Markov chain, its last argument, over all: along devices, then vectorised or in turn."""

        def on_device(*arguments: Any) -> Any:
            one = partial(function, *arguments[:shared])
            return jax.lax.map(one, arguments[shared]) if self._sequential else jax.vmap(one)(arguments[shared])

        if len(self._devices) == 1:
            return on_device
        mesh = Mesh(np.array(self._devices), ("markov_chain",))
        everywhere, each = PartitionSpec(), PartitionSpec("markov_chain")
        return jax.shard_map(
            on_device, mesh=mesh, in_specs=(*(everywhere,) * shared, each), out_specs=each, check_vma=False
        )

    def _begin(self, problem: Problem, key: Key[Array, ""]) -> MarkovChain:
        position_key, hmc_key, spec_key = jax.random.split(key, 3)
        position = problem.coordinates.draw(position_key)
        shared = None
        if problem.spec_quantiles is not None:
            position, shared = {"fields": position["fields"]}, draw_from_quantiles(problem.spec_quantiles, spec_key)
        size = sum(leaf.size for leaf in position.values())
        state = self._start(
            position,
            self._options.warmup,
            # The step of constant acceptance on a standard normal scales like this (Beskos et al., Bernoulli 19:1501).
            step_size=1.4 * size**-0.25,
            # a block per tuple of sites, which the declared type leaves out
            dense_mass=[("shared",)] if shared is None else [],  # pyright: ignore[reportArgumentType]
            target_accept_prob=self._options.target_accept,
            trajectory_length=None,  # pyright: ignore[reportArgumentType]  NUTS has none
            max_tree_depth=self._options.max_tree_depth,
            model_args=(problem, shared),
            rng_key=hmc_key,
        )
        return MarkovChain(
            state,
            shared,
            ImageStatistics.zero(problem.grid, len(problem.data.ranges.names)),
            jax.tree.map(jnp.zeros_like, position),
        )

    def _advance(
        self, problem: Problem, done: Array, count: Array, half: Array, thin: Array, settled: Array, chain: MarkovChain
    ) -> tuple[MarkovChain, dict[str, Array]]:
        """``count`` more draws of a Markov chain that has ``done``; the second half of the draws starts at ``half``.

        Positions from number ``settled`` on enter their mean.
        """
        warmup = self._options.warmup

        def iterate(_: Array, carry: tuple) -> tuple:
            state, shared, steps, accept, diverging = carry
            if shared is not None:
                state, shared = self._refresh(problem, state)
            state = _keep_field_mass(self._step(state, model_args=(problem, shared)))
            return state, shared, steps + state.num_steps, accept + state.accept_prob, diverging | state.diverging

        def draw(i: Array, carry: tuple[MarkovChain, dict[str, Array]]) -> tuple[MarkovChain, dict[str, Array]]:
            chain, records = carry
            index = done + i
            iterations = jnp.where(index < warmup, 1, thin)
            begin = (chain.hmc, chain.shared, jnp.zeros((), int), jnp.zeros(()), jnp.zeros((), bool))
            state, shared, steps, accept, diverging = jax.lax.fori_loop(0, iterations, iterate, begin)
            x, row = self._row(problem, state, shared)
            row |= {"n_steps": steps, "acceptance_rate": accept / iterations, "diverging": diverging}
            share = jnp.where(index < settled, 0.0, 1.0 / (index - settled + 1.0))
            mean = jax.tree.map(lambda old, new: old + share * (new - old), chain.mean, state.z)
            chain = MarkovChain(
                state, shared, chain.statistics.add(row["spec"], x, problem.grid, index, warmup, half), mean
            )
            return chain, {name: records[name].at[i].set(value) for name, value in row.items()}

        row = jax.eval_shape(lambda state, shared: self._row(problem, state, shared)[1], chain.hmc, chain.shared)
        records = {name: jnp.zeros((self._options.block, *kind.shape), kind.dtype) for name, kind in row.items()}
        return jax.lax.fori_loop(0, count, draw, (chain, records))

    def _refresh(self, problem: Problem, state: HMCState) -> tuple[HMCState, Float[Array, "parameters"]]:
        """A fresh draw of the spec, and the state's energy and gradient there."""
        key, spec_key = jax.random.split(state.rng_key)
        assert problem.spec_quantiles is not None
        shared = draw_from_quantiles(problem.spec_quantiles, spec_key)
        energy, gradient = jax.value_and_grad(self._potential(problem, shared))(state.z)
        return state._replace(rng_key=key, potential_energy=energy, z_grad=gradient), shared

    def _row(
        self, problem: Problem, state: HMCState, shared: Float[Array, "parameters"] | None
    ) -> tuple[Float[Array, "*shape"], dict[str, Array]]:
        """x and what is recorded of every draw."""
        sites = self._model.sites(problem.data, problem.coordinates.latents(state.z, shared))
        x = sites["x"]
        hyperparameters = self._model.hyperparameters if shared is None else ()
        return x, {
            "spec": jnp.stack([sites[name] for name in problem.data.ranges.names]),
            "hyper": jnp.concatenate([jnp.zeros(0), *(sites[name].ravel() for name in hyperparameters)]),
            "watched": problem.watch.values(x),
            "lp": -state.potential_energy,
            "energy": state.energy,
            "acceptance_rate": state.accept_prob,
            "step_size": state.adapt_state.step_size,
            "n_steps": state.num_steps,
            "diverging": state.diverging,
        }


def _keep_field_mass(state: HMCState) -> HMCState:
    """Undo the adaptation of the fields' mass: their coordinates are scaled, and a window of draws is a noisy judge."""
    adapt = state.adapt_state

    def unit(blocks: dict[tuple[str, ...], Array]) -> dict[tuple[str, ...], Array]:
        return blocks | {("fields",): jnp.ones_like(blocks["fields",])}

    masses = {n: unit(getattr(adapt, n)) for n in ("inverse_mass_matrix", "mass_matrix_sqrt", "mass_matrix_sqrt_inv")}
    return state._replace(adapt_state=adapt._replace(**masses))


def share_step_size(chains: MarkovChain) -> MarkovChain:
    """Every Markov chain with the median step of all.

    The step of one alone is a noisy estimate, and a small one doubles its trajectories.
    """
    steps = chains.hmc.adapt_state.step_size
    adapted = chains.hmc.adapt_state._replace(step_size=jnp.full_like(steps, jnp.median(steps)))
    return replace(chains, hmc=chains.hmc._replace(adapt_state=adapted))


_COMPILED: dict[tuple, Sampler] = {}


def sampler_for(model: SceneModel, options: NutsOptions) -> Sampler:
    """The sampler of a model under these options; the same object again where its programs serve."""
    devices = devices_for(options)
    compiled_in = ("warmup", "max_tree_depth", "target_accept", "block", "layout")
    identity = (model, devices, *(getattr(options, name) for name in compiled_in))
    if identity not in _COMPILED:
        _COMPILED[identity] = Sampler(model, options, devices)
    return _COMPILED[identity]


def devices_for(options: NutsOptions) -> tuple[Any, ...]:
    """All local devices where each gets as many Markov chains, else the first."""
    devices = tuple(jax.local_devices())
    return devices[:1] if options.chains % len(devices) else devices


def _in_turn(options: NutsOptions, devices: tuple[Any, ...]) -> bool:
    """Whether the Markov chains of a device run one after the other."""
    return options.layout == "sequential" or (options.layout == "auto" and devices[0].platform == "cpu")


def check_device_memory(
    options: NutsOptions, data: SceneData, sizes: Mapping[str, int], shared: tuple[str, ...]
) -> None:
    """Raise ``ValueError`` for more Markov chains than the devices hold.

    **Arguments:** ``sizes`` of all latents by site, of which ``shared`` names those that the fields follow.
    """
    devices = devices_for(options)
    latents, moving = sum(sizes.values()), sum(sizes[name] for name in shared)
    in_turn, parameters = _in_turn(options, devices), len(data.ranges.names)
    check_memory(options, data.counts.shape, latents, moving, parameters, devices=len(devices), in_turn=in_turn)
