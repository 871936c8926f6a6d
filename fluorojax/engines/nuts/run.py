"""A NUTS run from its start to its result: settling, warm-up and draws, in blocks that can be continued."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from fluorojax.engines.energy import Latents
from fluorojax.engines.nuts.coordinates import Coordinates, complete_start, make_coordinates, shared_sites
from fluorojax.engines.nuts.kept import Watch
from fluorojax.engines.nuts.options import NutsOptions
from fluorojax.engines.nuts.result import NutsResult, summarise
from fluorojax.engines.nuts.sampler import (
    MarkovChain,
    Problem,
    Sampler,
    check_device_memory,
    sampler_for,
    share_step_size,
)
from fluorojax.engines.nuts.spec_draws import checked_quantiles
from fluorojax.engines.nuts.state_file import ForeignStateError, fingerprint, load_state, save_state
from fluorojax.engines.nuts.verdict import agreement
from fluorojax.engines.online_statistics import Grid, Moments, pool
from fluorojax.io.errors import RunError
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel

# Options that change the draws; with others a run may be continued.
_DECISIVE = ("settle", "warmup", "chains", "max_tree_depth", "target_accept", "thin")

coordinates_around = jax.jit(make_coordinates, static_argnums=(0, 4))


@dataclass(frozen=True)
class RunState:
    """Everything that a run needs to go on from an iteration."""

    coordinates: Coordinates
    aux: PyTree
    """What the model's hooks estimated from the data before the run."""
    grid: Grid
    chains: MarkovChain
    """All Markov chains; leading axis of them."""
    records: dict[str, np.ndarray]
    """What is kept of every iteration, shape (Markov chains, iterations done, …); empty before the first block."""
    done: int = 0
    """Iterations done, those of settling and warm-up included."""

    def tree(self) -> dict[str, Any]:
        """The arrays of the state by name, as the state file has them."""
        fields = ("coordinates", "aux", "grid", "chains", "records")
        return {name: getattr(self, name) for name in fields}


@dataclass(frozen=True)
class _Run:
    """What does not change during a run, and the steps that take it from one state to the next."""

    model: SceneModel
    data: SceneData
    start: Latents
    options: NutsOptions
    sampler: Sampler
    watch: Watch
    spec_quantiles: Float[Array, "points parameters"] | None
    """As in :class:`Problem`."""
    keys: tuple[Key[Array, ""], ...]
    """Of the first and second coordinates, of the Markov chains that settle, and of those that follow."""

    @property
    def warm(self) -> int:
        """Iterations before the draws."""
        return self.options.settle + self.options.warmup

    @property
    def total(self) -> int:
        """All iterations."""
        return self.warm + self.options.draws

    def begin(self) -> RunState:
        """Markov chains in coordinates around the start."""
        return self._laid_out(self.data, self.start, self.keys[0], self.keys[2])

    def like(self) -> dict[str, Any]:
        """Shapes and types of :meth:`RunState.tree`, with records of no iterations."""
        tree = jax.eval_shape(lambda: self.begin().tree())
        problem = jax.eval_shape(self._problem, tree["coordinates"], tree["aux"], tree["grid"])
        rows = jax.eval_shape(self.sampler.advance, problem, 0, 0, 0, 1, 0, tree["chains"])[1]
        none = {n: jax.ShapeDtypeStruct((row.shape[0], 0, *row.shape[2:]), row.dtype) for n, row in rows.items()}
        return tree | {"records": none}

    def advance(self, state: RunState) -> RunState:
        """One more block of the stage that the run is in."""
        if state.done < self.options.settle:
            return self.settle(state)
        return self.warm_up(state) if state.done < self.warm else self.draw(state)

    def settle(self, state: RunState) -> RunState:
        """A block of settling; at its end the coordinates and Markov chains are laid out anew around the mean."""
        options = self.options
        state = self._block(state, options.settle, index=state.done, settled=options.settle // 2)
        if state.done < options.settle:
            return state
        mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), state.chains.mean)
        given = None if self.spec_quantiles is None else state.coordinates.centre
        middle = state.coordinates.latents(mean, given)
        data = self._with_aux(state.aux)
        return replace(self._laid_out(data, middle, self.keys[1], self.keys[3]), records=state.records, done=state.done)

    def warm_up(self, state: RunState) -> RunState:
        """A block of warm-up; at its end the histograms are laid out, and the Markov chains share their step size."""
        state = self._block(state, self.warm)
        if state.done < self.warm:
            return state
        grid = jax.jit(lambda pilot: Grid.around(pool(pilot)))(state.chains.statistics.pilot)
        return replace(state, grid=grid, chains=share_step_size(state.chains))

    def draw(self, state: RunState) -> RunState:
        """A block of draws."""
        return self._block(state, self.total)

    def _block(self, state: RunState, end: int, *, index: int | None = None, settled: int | None = None) -> RunState:
        """At most a block of iterations, up to number ``end`` of the run.

        ``index`` is the number of the first iteration as the sampler counts them, by default from the end of the
        settling; from number ``settled`` on, positions enter their mean.
        """
        options = self.options
        count = min(options.block, end - state.done)
        index = state.done - options.settle if index is None else index
        settled = self.total if settled is None else settled
        half = options.warmup + options.draws // 2
        problem = self._problem(state.coordinates, state.aux, state.grid)
        chains, rows = self.sampler.advance(problem, index, count, half, options.thin, settled, state.chains)
        new = {name: np.asarray(values)[:, :count] for name, values in rows.items()}
        old = state.records or {name: values[:, :0] for name, values in new.items()}
        records = {name: np.concatenate([old[name], new[name]], axis=1) for name in new}
        return replace(state, chains=chains, records=records, done=state.done + count)

    def _laid_out(
        self, data: SceneData, around: Latents, coordinates_key: Key[Array, ""], chains_key: Key[Array, ""]
    ) -> RunState:
        """Markov chains at their start, in coordinates around given latents."""
        held = self.spec_quantiles is not None
        coordinates = coordinates_around(self.model, data, around, coordinates_key, held)
        grid = Grid.around(Moments.zero(data.counts.shape))
        problem = self._problem(coordinates, data.aux, grid)
        chains = self.sampler.begin(problem, jax.random.split(chains_key, self.options.chains))
        return RunState(coordinates, data.aux, grid, chains, {})

    def _problem(self, coordinates: Coordinates, aux: PyTree, grid: Grid) -> Problem:
        return Problem(self._with_aux(aux), coordinates, grid, self.watch, self.spec_quantiles)

    def _with_aux(self, aux: PyTree) -> SceneData:
        return eqx.tree_at(lambda d: d.aux, self.data, aux, is_leaf=lambda leaf: leaf is None)

    def note(self, state: RunState) -> str:
        """Stage and effort, with how well the draws agree so far, or before them with the energy as it settles."""
        records, done = state.records, state.done
        latest = slice(max(0, done - self.options.block), done)
        steps, size = records["n_steps"][:, latest].mean(), records["step_size"][:, -1].mean()
        standing = agreement(records, self.data.ranges.names, self.watch.names, self.options)
        if standing is None:
            standing = "too few draws to compare the chains"
        return f"{self.stage(done)}, {standing}, {steps:.0f} steps of {size:.3g}"

    def stage(self, done: int) -> str:
        """The stage that the run is in, and how far."""
        options = self.options
        if done < options.settle:
            return f"settling {done}/{options.settle}"
        if done < self.warm:
            return f"warm-up {done - options.settle}/{options.warmup}"
        return f"draw {done - self.warm}/{options.draws}"

    def result(self, state: RunState) -> NutsResult:
        """The result of a finished run."""
        sampled = self.model.hyperparameters if self.spec_quantiles is None else ()
        return summarise(
            self.model.name,
            self.data.ranges.names,
            {name: jnp.shape(self.start[name]) for name in sampled},
            self.watch.names,
            state.records,
            state.chains.statistics,
            state.grid,
            self.options,
        )


def sample_nuts(
    model: SceneModel,
    data: SceneData,
    start: Latents,
    key: Key[Array, ""],
    options: NutsOptions | None = None,
    *,
    spec_quantiles: Float[np.ndarray, "points parameters"] | None = None,
    watch: Mapping[str, tuple[int, ...] | np.ndarray] | None = None,
    state_file: str | os.PathLike[str] | None = None,
    on_foreign_state: Callable[[Path, str], None] | None = None,
    assets: Mapping[str, str] | None = None,
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
    and refused where that is None; ``assets`` the SHA-256 of files that the run depends on, by name: a state made with
    others is that of another run; ``progress`` is called with the fraction done and a note, before the first block
    too.

    A run may be continued with more draws than it was begun with; all else must be the same. Raises ``ValueError`` for
    a model outside the protocol, a bad ``start`` or ``watch``, more Markov chains than fit in memory, or a
    state file of another run; each message names the argument, its value and what was expected.
    """
    options = NutsOptions() if options is None else options
    shapes = model.latent_shapes(data)
    start = complete_start(start, shapes)
    watched = Watch.of(watch, data.counts.shape)
    sites = shared_sites(model, shapes) if spec_quantiles is None else (SPEC_SITE,)
    check_device_memory(options, data, {name: leaf.size for name, leaf in start.items()}, sites)
    given = None if spec_quantiles is None else checked_quantiles(spec_quantiles, data.ranges.names)
    keys = tuple(jax.random.split(key, 4))
    run = _Run(model, data, start, options, sampler_for(model, options), watched, given, keys)
    decisive = {name: getattr(options, name) for name in _DECISIVE}
    marks = fingerprint(model, data, decisive, watched, key, spec_quantiles, assets)

    state = None if state_file is None else _resume(run, Path(state_file), marks, on_foreign_state)
    if progress is not None:
        done = 0 if state is None else state.done
        progress(done / run.total, f"{options.chains} chains {'go on' if done else 'begin'}, {run.stage(done)}")
    state = run.begin() if state is None else state
    while state.done < run.total:
        state = run.advance(state)
        if state_file is not None:
            save_state(state_file, state.tree(), marks, state.done)
        if progress is not None:
            progress(state.done / run.total, run.note(state))
    return run.result(state)


def _resume(
    run: _Run, path: Path, marks: Mapping[str, str], on_foreign_state: Callable[[Path, str], None] | None
) -> RunState | None:
    """The state in a file, None where there is none, or none of this run."""
    if not path.exists():
        return None
    try:
        tree, done = load_state(path, run.like(), marks)
    except ForeignStateError as error:
        if on_foreign_state is None:
            raise
        on_foreign_state(path, error.reason)
        path.unlink()
        return None
    except ValueError as error:
        raise RunError(str(error)) from error
    if done > run.total:
        kept = f"the {done - run.warm} of {path} (deleting it starts afresh)"
        raise RunError(f"draws is {run.options.draws}; expected at least {kept}")
    return RunState(**tree, done=done)
