"""The No-U-Turn sampler on the whitened latents of one scene: exact posterior draws, summarised as they stream by.

NumPyro's NUTS (Hoffman & Gelman, JMLR 15:1593, 2014; Phan et al., arXiv:1912.11554) runs in the coordinates of
:mod:`fluorojax.engines.nuts_state`, spec parameters and hyperparameters together with the fields. Images are not kept:
each chain streams moments and histograms of x (:mod:`fluorojax.engines.online_statistics`). A run advances in blocks
under one compilation, and its complete state can be written after each, so that it continues where it was stopped.

The spec parameters may instead come from elsewhere, such as the calibration: then every iteration takes a fresh draw
of them, lets the fields follow, and moves the fields. That samples the *cut* distribution (Plummer, Stat. Comput.
25:37, 2015), in which the scene prior says nothing about the chain. It is exact where the fields' response is linear,
as the coordinates then make fields and chain independent.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Key, PyTree
from numpyro.infer.hmc import HMCState, hmc
from scipy.stats import norm

from fluorojax.data.spec import SPEC_NAMES
from fluorojax.engines.draws import NutsOptions, NutsResult, agreement, summarise
from fluorojax.engines.energy import Latents, posterior
from fluorojax.engines.nuts_memory import check_memory
from fluorojax.engines.nuts_state import (
    Coordinates,
    ForeignStateError,
    Position,
    complete_start,
    fingerprint,
    load_state,
    make_coordinates,
    save_state,
    shared_sites,
)
from fluorojax.engines.online_statistics import Grid, Moments, Stream, Watch, pool
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel

# Normal score of the outermost quantile of a given chain; beyond it lie seven draws in a million.
_LAST_SCORE = 4.5
# Options that change the draws; with others a run may be continued.
_DECISIVE = ("settle", "warmup", "chains", "max_tree_depth", "target_accept", "thin")


class _Problem(eqx.Module):
    """What all chains share."""

    data: SceneData
    coordinates: Coordinates
    grid: Grid
    watch: Watch
    spec_quantiles: Float[Array, "points 3"] | None
    """Quantiles of the latents of the spec parameters at :func:`spec_levels`, where they come from elsewhere."""


def spec_levels(points: int) -> Float[np.ndarray, "points"]:
    """Probabilities at which the quantiles of a spec posterior are tabulated: Φ(s), scores s even from −4.5 to 4.5."""
    return norm.cdf(np.linspace(-_LAST_SCORE, _LAST_SCORE, points))


def draw_from_quantiles(quantiles: Float[Array, "points n"], key: Key[Array, ""]) -> Float[Array, "n"]:
    """An independent draw from each column of quantiles at :func:`spec_levels`, by inverse transform.

    Linear in the normal score and not in the probability, which would spread the tails of a narrow posterior over the
    whole range.
    """
    scores = jnp.linspace(-_LAST_SCORE, _LAST_SCORE, quantiles.shape[0])
    place = jax.random.normal(key, (quantiles.shape[1],), quantiles.dtype)
    return jax.vmap(lambda at, values: jnp.interp(at, scores, values), in_axes=(0, 1))(place, quantiles)


class _Chain(eqx.Module):
    """One chain: where it is, and what it has seen of x."""

    hmc: HMCState
    shared: Float[Array, "3"] | None
    """The chain's latents of the last draw, where they come from elsewhere."""
    stream: Stream
    mean: Position
    """Mean position of the later half of the settling."""


def sample_nuts(
    model: SceneModel,
    data: SceneData,
    start: Latents,
    key: Key[Array, ""],
    options: NutsOptions | None = None,
    *,
    spec_quantiles: Float[np.ndarray, "points 3"] | None = None,
    watch: Mapping[str, tuple[int, ...] | np.ndarray] | None = None,
    state_file: str | os.PathLike[str] | None = None,
    on_foreign_state: Callable[[Path, str], None] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> NutsResult:
    """Draw from the posterior of one scene.

    **Arguments:** ``data`` with the ``aux`` of the model's hooks filled in, which stays fixed; ``start`` the latents to
    lay out the coordinates around, such as those of a MAP solve (missing ones stand at zero); ``spec_quantiles``
    quantiles of the latents of the spec parameters (site ``spec_base``) at the probabilities :func:`spec_levels`, to
    draw them from instead of sampling them, in which case the hyperparameters are held at ``start``; ``watch`` names
    pixels (index tuples into x) and regions (boolean masks of its shape, averaged over) whose every draw is kept, by
    default a grid of 4 × 4 pixels of the middle frame; ``state_file`` is written after each block, and if it exists the
    run continues from it, with the coordinates and ``aux`` it holds, to the same result bit for bit; a file there that
    is no state, or that of another run, is deleted once ``on_foreign_state`` was called with its path and what it is,
    and refused where that is None; ``progress`` is called with the fraction done and a note, before the first block
    too.

    A run may be continued with more draws than it was begun with; all else must be the same. Raises ``ValueError`` for
    a model outside the protocol, a bad ``start`` or ``watch``, more chains than fit in memory, or a state file of
    another run; each message names the argument, its value and what was expected.
    """
    options = NutsOptions() if options is None else options
    shapes = model.latent_shapes(data)
    start = complete_start(start, shapes)
    watched = Watch.of(watch, data.counts.shape)
    sites = shared_sites(model, shapes) if spec_quantiles is None else (SPEC_SITE,)
    _check_memory(options, data.counts.shape, {name: leaf.size for name, leaf in start.items()}, sites)

    given = None if spec_quantiles is None else _checked_spec(spec_quantiles)
    sampler = _sampler(model, options)
    marks = fingerprint(model, data, {name: getattr(options, name) for name in _DECISIVE}, watched, key, spec_quantiles)

    def problem_of(coordinates: Coordinates, aux: PyTree, grid: Grid) -> _Problem:
        with_aux = eqx.tree_at(lambda d: d.aux, data, aux, is_leaf=lambda leaf: leaf is None)
        return _Problem(with_aux, coordinates, grid, watched, given)

    def begin(coordinates: Coordinates, aux: PyTree, key: Key[Array, ""]) -> dict[str, Any]:
        grid = Grid.around(Moments.zero(data.counts.shape))
        chains = sampler.begin(problem_of(coordinates, aux, grid), jax.random.split(key, options.chains))
        return {"coordinates": coordinates, "aux": aux, "grid": grid, "chains": chains, "records": {}}

    first_key, second_key, settle_key, spec_key = jax.random.split(key, 4)
    settle, warm = options.settle, options.settle + options.warmup
    total = warm + options.draws
    half = options.warmup + options.draws // 2
    state, done = None, 0
    if state_file is not None and Path(state_file).exists():
        like = jax.eval_shape(
            lambda: begin(_coordinates(model, data, start, first_key, given is not None), data.aux, settle_key)
        )
        problem = jax.eval_shape(problem_of, like["coordinates"], like["aux"], like["grid"])
        rows = jax.eval_shape(sampler.advance, problem, 0, 0, 0, 1, 0, like["chains"])[1]
        like["records"] = {n: jax.ShapeDtypeStruct((r.shape[0], 0, *r.shape[2:]), r.dtype) for n, r in rows.items()}
        try:
            state, done = load_state(state_file, like, marks)
        except ForeignStateError as error:
            if on_foreign_state is None:
                raise
            on_foreign_state(Path(state_file), error.reason)
            Path(state_file).unlink()
        if done > total:
            kept = f"the {done - warm} of {state_file} (deleting it starts afresh)"
            raise ValueError(f"draws is {options.draws}; expected at least {kept}")
    if progress is not None:
        progress(done / total, f"{options.chains} chains {'go on' if done else 'begin'}, {_stage(done, options)}")
    if state is None:
        state = begin(_coordinates(model, data, start, first_key, given is not None), data.aux, settle_key)

    while done < total:
        problem = problem_of(state["coordinates"], state["aux"], state["grid"])
        settling = done < settle
        count = min(options.block, next(end for end in (settle, warm, total) if done < end) - done)
        index, settled = (done, settle // 2) if settling else (done - settle, total)
        chains, rows = sampler.advance(problem, index, count, half, options.thin, settled, state["chains"])
        new = {name: np.asarray(values)[:, :count] for name, values in rows.items()}
        old = state["records"] or {name: values[:, :0] for name, values in new.items()}
        state |= {"chains": chains, "records": {name: np.concatenate([old[name], new[name]], axis=1) for name in new}}
        done += count
        if done == settle:
            mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), chains.mean)
            middle = state["coordinates"].latents(mean, None if given is None else state["coordinates"].centre)
            coordinates = _coordinates(model, problem.data, middle, second_key, given is not None)
            state |= begin(coordinates, state["aux"], spec_key) | {"records": state["records"]}
        elif done == warm:
            state["grid"] = jax.jit(lambda pilot: Grid.around(pool(pilot)))(chains.stream.pilot)
            state["chains"] = _share_step_size(chains)
        if state_file is not None:
            save_state(state_file, state, marks, done)
        if progress is not None:
            progress(done / total, _note(done, options, state["records"], watched.names))
    hyperparameters = {} if spec_quantiles is not None else {name: shapes[name] for name in model.hyperparameters}
    stream, grid = state["chains"].stream, state["grid"]
    return summarise(model.name, hyperparameters, watched.names, state["records"], stream, grid, options)


class _Sampler:
    """The compiled functions of one model under one set of options; jit keeps one executable per shape."""

    def __init__(self, model: SceneModel, options: NutsOptions, devices: tuple[Any, ...]):
        self._model, self._options, self._devices = model, options, devices
        self._start, self._step = hmc(potential_fn_gen=self._potential, algo="NUTS")
        self._sequential = _in_turn(options, devices)
        self.begin = jax.jit(self._over_chains(self._begin, shared=1))
        self.advance = jax.jit(self._over_chains(self._advance, shared=6))

    def _potential(self, problem: _Problem, shared: Float[Array, "3"] | None) -> Callable[[Position], Float[Array, ""]]:
        energy = posterior(self._model, problem.data, {}).energy
        coordinates = problem.coordinates
        return lambda position: energy(coordinates.latents(position, shared)) - coordinates.log_determinant(position)

    def _over_chains(self, function: Callable, shared: int) -> Callable:
        """``function`` of one chain, its last argument, over all: along devices, then vectorised or in turn."""

        def on_device(*arguments: Any) -> Any:
            one = partial(function, *arguments[:shared])
            return jax.lax.map(one, arguments[shared]) if self._sequential else jax.vmap(one)(arguments[shared])

        if len(self._devices) == 1:
            return on_device
        mesh = Mesh(np.array(self._devices), ("chain",))
        everywhere, chains = PartitionSpec(), PartitionSpec("chain")
        return jax.shard_map(
            on_device, mesh=mesh, in_specs=(*(everywhere,) * shared, chains), out_specs=chains, check_vma=False
        )

    def _begin(self, problem: _Problem, key: Key[Array, ""]) -> _Chain:
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
        return _Chain(state, shared, Stream.zero(problem.grid), jax.tree.map(jnp.zeros_like, position))

    def _advance(
        self, problem: _Problem, done: Array, count: Array, half: Array, thin: Array, settled: Array, chain: _Chain
    ) -> tuple[_Chain, dict[str, Array]]:
        """``count`` more draws of a chain that has ``done``; the second half of the draws starts at ``half``.

        Positions from number ``settled`` on enter their mean.
        """
        warmup = self._options.warmup

        def iterate(_: Array, carry: tuple) -> tuple:
            state, shared, steps, accept, diverging = carry
            if shared is not None:
                state, shared = self._refresh(problem, state)
            state = _keep_field_mass(self._step(state, model_args=(problem, shared)))
            return state, shared, steps + state.num_steps, accept + state.accept_prob, diverging | state.diverging

        def draw(i: Array, carry: tuple[_Chain, dict[str, Array]]) -> tuple[_Chain, dict[str, Array]]:
            chain, records = carry
            index = done + i
            iterations = jnp.where(index < warmup, 1, thin)
            begin = (chain.hmc, chain.shared, jnp.zeros((), int), jnp.zeros(()), jnp.zeros((), bool))
            state, shared, steps, accept, diverging = jax.lax.fori_loop(0, iterations, iterate, begin)
            x, row = self._row(problem, state, shared)
            row |= {"n_steps": steps, "acceptance_rate": accept / iterations, "diverging": diverging}
            share = jnp.where(index < settled, 0.0, 1.0 / (index - settled + 1.0))
            mean = jax.tree.map(lambda old, new: old + share * (new - old), chain.mean, state.z)
            chain = _Chain(state, shared, chain.stream.add(row["spec"], x, problem.grid, index, warmup, half), mean)
            return chain, {name: records[name].at[i].set(value) for name, value in row.items()}

        row = jax.eval_shape(lambda state, shared: self._row(problem, state, shared)[1], chain.hmc, chain.shared)
        records = {name: jnp.zeros((self._options.block, *kind.shape), kind.dtype) for name, kind in row.items()}
        return jax.lax.fori_loop(0, count, draw, (chain, records))

    def _refresh(self, problem: _Problem, state: HMCState) -> tuple[HMCState, Float[Array, "3"]]:
        """A fresh draw of the chain, and the state's energy and gradient there."""
        key, spec_key = jax.random.split(state.rng_key)
        assert problem.spec_quantiles is not None
        shared = draw_from_quantiles(problem.spec_quantiles, spec_key)
        energy, gradient = jax.value_and_grad(self._potential(problem, shared))(state.z)
        return state._replace(rng_key=key, potential_energy=energy, z_grad=gradient), shared

    def _row(
        self, problem: _Problem, state: HMCState, shared: Float[Array, "3"] | None
    ) -> tuple[Float[Array, "*shape"], dict[str, Array]]:
        """x and what is recorded of every draw."""
        sites = self._model.sites(problem.data, problem.coordinates.latents(state.z, shared))
        x = sites["x"]
        hyperparameters = self._model.hyperparameters if shared is None else ()
        return x, {
            "spec": jnp.stack([sites[name] for name in SPEC_NAMES]),
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


def _share_step_size(chains: _Chain) -> _Chain:
    """Every chain with the median step of all: each alone is a noisy estimate, and a small one doubles trajectories."""
    steps = chains.hmc.adapt_state.step_size
    adapted = chains.hmc.adapt_state._replace(step_size=jnp.full_like(steps, jnp.median(steps)))
    return replace(chains, hmc=chains.hmc._replace(adapt_state=adapted))


def _checked_spec(spec_quantiles: np.ndarray) -> Float[Array, "points 3"]:
    """The quantiles on the device, where they are some."""
    values = np.asarray(spec_quantiles)
    ordered = values.ndim == 2 and values.shape[0] > 1 and values.shape[1] == len(SPEC_NAMES)
    if not ordered or not np.all(np.isfinite(values)) or np.any(np.diff(values, axis=0) < 0):
        raise ValueError(f"spec_quantiles has shape {values.shape}; expected finite quantiles (points, 3), ascending")
    return jnp.asarray(values, jnp.result_type(float))


_coordinates = jax.jit(make_coordinates, static_argnums=(0, 4))
_COMPILED: dict[tuple, _Sampler] = {}


def _sampler(model: SceneModel, options: NutsOptions) -> _Sampler:
    devices = _devices(options)
    compiled_in = ("warmup", "max_tree_depth", "target_accept", "block", "layout")
    identity = (model, devices, *(getattr(options, name) for name in compiled_in))
    if identity not in _COMPILED:
        _COMPILED[identity] = _Sampler(model, options, devices)
    return _COMPILED[identity]


def _devices(options: NutsOptions) -> tuple[Any, ...]:
    """All local devices where the chains go out evenly on them, else the first."""
    devices = tuple(jax.local_devices())
    return devices[:1] if options.chains % len(devices) else devices


def _in_turn(options: NutsOptions, devices: tuple[Any, ...]) -> bool:
    """Whether the chains of a device run one after the other."""
    return options.layout == "sequential" or (options.layout == "auto" and devices[0].platform == "cpu")


def _check_memory(
    options: NutsOptions, shape: tuple[int, ...], sizes: Mapping[str, int], shared: tuple[str, ...]
) -> None:
    """Refuse more chains than the devices hold; ``sizes`` of all latents, ``shared`` those that move with the chain."""
    devices = _devices(options)
    latents, moving = sum(sizes.values()), sum(sizes[name] for name in shared)
    check_memory(options, shape, latents, moving, devices=len(devices), in_turn=_in_turn(options, devices))


def _note(done: int, options: NutsOptions, records: Mapping[str, np.ndarray], watched: tuple[str, ...]) -> str:
    """Stage and effort, and how well the chains agree once there are draws to compare."""
    latest = slice(max(0, done - options.block), done)
    steps, size = records["n_steps"][:, latest].mean(), records["step_size"][:, -1].mean()
    standing = agreement(records, watched, options)
    if standing is None:
        standing = "too few draws to compare the chains"
    return f"{_stage(done, options)}, {standing}, {steps:.0f} steps of {size:.3g}"


def _stage(done: int, options: NutsOptions) -> str:
    before = options.settle + options.warmup
    if done < options.settle:
        return f"settling {done}/{options.settle}"
    if done < before:
        return f"warm-up {done - options.settle}/{options.warmup}"
    return f"draw {done - before}/{options.draws}"
