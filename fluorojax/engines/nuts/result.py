"""What a NUTS run returns: summaries of x, and the draws of the few numbers that are kept."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import QUANTILES
from fluorojax.engines.nuts.convergence import Convergence, convergence_of
from fluorojax.engines.nuts.kept import ImageStatistics
from fluorojax.engines.nuts.options import NutsOptions
from fluorojax.engines.nuts.verdict import judge, sampled
from fluorojax.engines.online_statistics import Grid, pool, potential_scale_reduction


@dataclass(frozen=True)
class NutsResult:
    """Posterior of one scene from NUTS, on the host. Leading axes of draws are (Markov chains, draws)."""

    model: str
    spec_names: tuple[str, ...]
    """The spec parameters, in the order of the arrays of them."""
    x_mean: Float[np.ndarray, "*shape"]
    x_variance: Float[np.ndarray, "*shape"]
    """Over all Markov chains, the uncertainty of spec and prior included."""
    x_quantiles: Float[np.ndarray, "quantiles *shape"]
    """Quantiles of x at the probabilities :data:`QUANTILES`, from a histogram per pixel."""
    x_quantile_error: Float[np.ndarray, "*shape"]
    """Bound on the error that the histogram adds to the sampling error, in units of x: the width of a bin."""
    x_outside: float
    """Share of the values that fell outside the histograms; quantiles there are bounds, not estimates."""
    x_rhat: Float[np.ndarray, "*shape"]
    """Split R-hat of every pixel from the moments of the halves of the Markov chains (not rank-normalised)."""
    spec_correlation: Float[np.ndarray, "parameters *shape"]
    """Correlation of each spec parameter with x over the draws; its sampling error is about 1/√(effective size)."""
    spec_draws: Float[np.ndarray, "chains draws parameters"]
    """Draws of the spec parameters, each in its unit."""
    hyperparameter_draws: dict[str, Float[np.ndarray, "chains draws *site"]]
    watched_draws: dict[str, Float[np.ndarray, "chains draws"]]
    """Draws of x in the chosen pixels, and of its mean over the chosen regions."""
    convergence: dict[str, Convergence]
    """By name of spec parameter, hyperparameter (``name[i]`` where it is an array) and watched place."""
    divergences: int
    leapfrog_steps: int
    """Gradients taken for the draws."""
    warmup_steps: int
    """Gradients taken before."""
    acceptance: float
    """Mean acceptance statistic of the draws."""
    step_size: Float[np.ndarray, "chains"]
    at_limit: float
    """Share of the draws whose trajectory ended at the largest tree depth."""
    sample_stats: dict[str, np.ndarray]
    """Per Markov chain and draw, under ArviZ's names: lp, energy, acceptance_rate, step_size, n_steps, diverging."""
    converged: bool
    """Whether spec parameters and watched places have mixed; the hyperparameters need not have."""
    verdict: str
    """One sentence for the log; it names hyperparameters that have not mixed."""


def summarise(
    model: str,
    spec: tuple[str, ...],
    hyperparameters: Mapping[str, tuple[int, ...]],
    watched: tuple[str, ...],
    records: Mapping[str, np.ndarray],
    statistics: ImageStatistics,
    grid: Grid,
    options: NutsOptions,
) -> NutsResult:
    """The result of a run from its records, shape (Markov chains, iterations, …), and the statistics of its images.

    **Arguments:** ``spec`` and ``watched`` name the columns of ``records["spec"]`` and ``records["watched"]``;
    ``hyperparameters`` their names and shapes, in the order of the columns of ``records["hyper"]``; ``statistics`` with
    a leading axis of Markov chains.
    """
    warmup = options.settle + options.warmup
    kept = {name: values[:, warmup:] for name, values in records.items()}
    hyper = _by_site(kept["hyper"], hyperparameters)
    places = {name: kept["watched"][..., i] for i, name in enumerate(watched)}
    parameters = {name: kept["spec"][..., i] for i, name in enumerate(spec)}
    elements = _elements(hyper)
    convergence = {name: convergence_of(draws) for name, draws in {**parameters, **elements, **places}.items()}
    stats = {n: kept[n] for n in ("lp", "energy", "acceptance_rate", "step_size", "n_steps", "diverging")}
    limits = {**dict.fromkeys(sampled(parameters), options.max_rhat), **dict.fromkeys(places, options.max_rhat_places)}
    prior = {name: convergence[name] for name in elements}
    verdict = judge(convergence, limits, prior, stats["diverging"], options)

    halves = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), statistics.moments)
    pooled = pool(halves)
    histogram = jnp.sum(statistics.histogram.astype(jnp.int32), axis=0)
    return NutsResult(
        model=model,
        spec_names=spec,
        x_mean=np.asarray(pooled.mean),
        x_variance=np.asarray(pooled.variance()),
        x_quantiles=np.asarray(grid.quantiles(histogram, QUANTILES)),
        x_quantile_error=np.asarray(grid.width),
        x_outside=float(grid.outside(histogram)),
        x_rhat=np.asarray(potential_scale_reduction(halves)),
        spec_correlation=np.asarray(statistics.together.correlation()),
        spec_draws=kept["spec"],
        hyperparameter_draws=hyper,
        watched_draws=places,
        convergence=convergence,
        divergences=int(stats["diverging"].sum()),
        leapfrog_steps=int(stats["n_steps"].sum()),
        warmup_steps=int(records["n_steps"][:, :warmup].sum()),
        acceptance=float(stats["acceptance_rate"].mean()),
        step_size=stats["step_size"][:, -1],
        at_limit=float(np.mean(stats["n_steps"] >= options.thin * (2**options.max_tree_depth - 1))),
        sample_stats=stats,
        converged=verdict.converged,
        verdict=verdict.sentence,
    )


def _by_site(columns: np.ndarray, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The columns of flattened sites as one array per site."""
    sites, begin = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        sites[name] = columns[..., begin : begin + size].reshape(*columns.shape[:2], *shape)
        begin += size
    return sites


def _elements(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every element of arrays of draws under its own name, ``name`` or ``name[i,j]``."""
    numbers = {}
    for name, draws in arrays.items():
        for index in np.ndindex(draws.shape[2:]):
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            numbers[label] = draws[(..., *index)]
    return numbers
