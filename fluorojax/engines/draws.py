"""What a NUTS run is asked for and what it returns: options, summaries and kept draws."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fluorojax.data.export import draws_tree
from fluorojax.data.reconstruction import QUANTILES as QUANTILES
from fluorojax.data.reconstruction import Reconstruction
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.engines.online_statistics import (
    MAX_IMAGES,
    Convergence,
    Grid,
    Stream,
    convergence_of,
    pool,
    potential_scale_reduction,
)
from fluorojax.io.atomic import atomic_output

if TYPE_CHECKING:
    import xarray

LAYOUTS = ("auto", "vectorised", "sequential")
# Divergent draws a converged run may have: more mean a region that no draw enters.
_MAX_DIVERGENT = 0.01
# Fewer draws, halved, say nothing about agreement.
_LEAST_DRAWS = 8


@dataclass(frozen=True)
class NutsOptions:
    """Settings of a NUTS run; a bad one raises ``ValueError``."""

    settle: int = 100
    """Iterations before the warm-up, at most as many; 0 for none. The coordinates are then laid out anew around the
    mean of the later half, because a MAP solve holds hyperparameters at their prior median, perhaps far from here."""
    warmup: int = 300
    """Iterations that adapt step size and mass matrix, and whose later half lays out the histograms."""
    draws: int = 300
    """Draws kept from each chain."""
    chains: int = 4
    max_tree_depth: int = 8
    """At most ``2^depth − 1`` gradients per iteration."""
    target_accept: float = 0.8
    thin: int = 1
    """Iterations per draw."""
    block: int = 25
    """Draws between two states on disk and two reports of progress; changes no result."""
    layout: str = "auto"
    """How the chains of one device run: ``vectorised``, or ``sequential``, where none waits for the longest
    trajectory. ``auto`` is sequential on a CPU. Several devices share the chains evenly where that goes out even."""
    max_rhat: float = 1.02
    """Largest R-hat of a spec parameter in a converged run; hyperparameters above it are reported."""
    max_rhat_places: float = 1.05
    """Largest R-hat of a watched value: the worst of many is above that of one even where all have mixed."""
    min_ess: float = 100.0
    """Smallest bulk or tail effective sample size of a spec parameter or watched value in a converged run."""

    def __post_init__(self) -> None:
        lowest = {"settle": 0, "warmup": 20, "draws": 4, "chains": 1, "max_tree_depth": 1, "thin": 1, "block": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}; expected an integer of at least {least}")
        for name, most in {"settle": self.warmup, "draws": MAX_IMAGES, "max_tree_depth": 15}.items():
            if getattr(self, name) > most:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at most {most}")
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout is {self.layout!r}; expected one of {', '.join(LAYOUTS)}")
        if not 0 < self.target_accept < 1:
            raise ValueError(f"target_accept is {self.target_accept}; expected a probability between 0 and 1")
        for name, least in {"max_rhat": 1, "max_rhat_places": 1, "min_ess": 0}.items():
            if not getattr(self, name) > least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number above {least}")


@dataclass(frozen=True)
class NutsResult:
    """Posterior of one scene from NUTS, on the host. Leading axes of draws are (chains, draws)."""

    model: str
    x_mean: Float[np.ndarray, "*shape"]
    x_variance: Float[np.ndarray, "*shape"]
    """Over all chains, the uncertainty of chain and prior included."""
    x_quantiles: Float[np.ndarray, "quantiles *shape"]
    """Quantiles of x at the probabilities :data:`QUANTILES`, from a histogram per pixel."""
    x_quantile_error: Float[np.ndarray, "*shape"]
    """Bound on the error that the histogram adds to the sampling error, in units of x: the width of a bin."""
    x_outside: float
    """Share of the values that fell outside the histograms; quantiles there are bounds, not estimates."""
    x_rhat: Float[np.ndarray, "*shape"]
    """Split R-hat of every pixel from the moments of the half chains (not rank-normalised)."""
    spec_correlation: Float[np.ndarray, "3 *shape"]
    """Correlation of each spec parameter with x over the draws; its sampling error is about 1/√(effective size)."""
    spec_draws: Float[np.ndarray, "chains draws 3"]
    """Draws of the spec parameters, in ms, ms and %/frame."""
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
    """Per chain and draw, under ArviZ's names: lp, energy, acceptance_rate, step_size, n_steps, diverging."""
    converged: bool
    """Whether spec parameters and watched places have mixed; the hyperparameters need not have."""
    verdict: str
    """One sentence for the log; it names hyperparameters that have not mixed."""


def summarise(
    model: str,
    hyperparameters: Mapping[str, tuple[int, ...]],
    watched: tuple[str, ...],
    records: Mapping[str, np.ndarray],
    stream: Stream,
    grid: Grid,
    options: NutsOptions,
) -> NutsResult:
    """The result of a run from its records, shape (chains, warmup + draws, …), and its streamed images.

    **Arguments:** ``hyperparameters`` their names and shapes, in the order of the columns of ``records["hyper"]``;
    ``stream`` with a leading axis of chains.
    """
    warmup, max_rhat = options.settle + options.warmup, options.max_rhat
    kept = {name: values[:, warmup:] for name, values in records.items()}
    hyper, begin = {}, 0
    for name, shape in hyperparameters.items():
        size = int(np.prod(shape))
        hyper[name] = kept["hyper"][..., begin : begin + size].reshape(*kept["hyper"].shape[:2], *shape)
        begin += size
    places = {name: kept["watched"][..., i] for i, name in enumerate(watched)}
    spec = {name: kept["spec"][..., i] for i, name in enumerate(SPEC_NAMES)}
    numbers = {**spec, **_elements(hyper), **places}
    convergence = {name: convergence_of(draws) for name, draws in numbers.items()}

    halves = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), stream.moments)
    pooled = pool(halves)
    histogram = jnp.sum(stream.histogram.astype(jnp.int32), axis=0)
    stats = {n: kept[n] for n in ("lp", "energy", "acceptance_rate", "step_size", "n_steps", "diverging")}
    divergences = int(stats["diverging"].sum())
    limits = {**dict.fromkeys(_free(spec), max_rhat), **dict.fromkeys(places, options.max_rhat_places)}
    judged = {name: convergence[name] for name in limits}
    sizes = {name: min(convergence[name].ess_bulk, convergence[name].ess_tail) for name in judged}
    reasons = _reasons(judged, limits, sizes, divergences / stats["diverging"].size, options.min_ess)
    verdict = _sentence(reasons, judged, sizes, divergences)
    prior = {name: convergence[name] for name in _elements(hyper)}
    if prior and not _worst(prior)[1] <= max_rhat:
        verdict += "; hyperparameters have not mixed (R-hat of {} is {:.3f})".format(*_worst(prior))
    return NutsResult(
        model=model,
        x_mean=np.asarray(pooled.mean),
        x_variance=np.asarray(pooled.variance()),
        x_quantiles=np.asarray(grid.quantiles(histogram, QUANTILES)),
        x_quantile_error=np.asarray(grid.width),
        x_outside=float(grid.outside(histogram)),
        x_rhat=np.asarray(potential_scale_reduction(halves)),
        spec_correlation=np.asarray(stream.together.correlation()),
        spec_draws=kept["spec"],
        hyperparameter_draws=hyper,
        watched_draws=places,
        convergence=convergence,
        divergences=divergences,
        leapfrog_steps=int(stats["n_steps"].sum()),
        warmup_steps=int(records["n_steps"][:, :warmup].sum()),
        acceptance=float(stats["acceptance_rate"].mean()),
        step_size=stats["step_size"][:, -1],
        at_limit=float(np.mean(stats["n_steps"] >= options.thin * (2**options.max_tree_depth - 1))),
        sample_stats=stats,
        converged=not reasons,
        verdict=verdict,
    )


def agreement(records: Mapping[str, np.ndarray], watched: tuple[str, ...], options: NutsOptions) -> str | None:
    """How well the chains agree so far, for a log: worst R-hat and least effective size of what :func:`summarise`
    judges, and the divergent draws. ``records`` as there, without the draws still to come; None below eight draws.
    """
    kept = {name: values[:, options.settle + options.warmup :] for name, values in records.items()}
    if kept["spec"].shape[1] < _LEAST_DRAWS:
        return None
    spec = {name: kept["spec"][..., i] for i, name in enumerate(SPEC_NAMES)}
    found = {name: convergence_of(spec[name]) for name in _free(spec)}
    found |= {name: convergence_of(kept["watched"][..., i]) for i, name in enumerate(watched)}
    divergent = f"{int(kept['diverging'].sum())} divergent"
    if not found:
        return divergent
    worst, rhat = _worst(found)
    sizes = {name: min(c.ess_bulk, c.ess_tail) for name, c in found.items()}
    least = min(sizes, key=lambda name: np.nan_to_num(sizes[name]))
    return f"R-hat so far {rhat:.3f} ({worst}), effective size {sizes[least]:.0f} ({least}), {divergent}"


def to_datatree(
    result: NutsResult | Reconstruction, counts: Float[np.ndarray, "*shape"] | None = None
) -> "xarray.DataTree":
    """The draws as ArviZ 1.x reads them: groups ``posterior`` and ``sample_stats`` over (chain, draw).

    ``constant_data`` holds mean, variance and quantiles of x, and of a :class:`NutsResult` R-hat; ``observed_data`` the
    ``counts`` where given. The method of the same name of a
    :class:`~fluorojax.data.reconstruction.Reconstruction` also serves results without draws; here one without draws
    raises ``ValueError``.

    Raises ``ImportError`` without xarray.
    """
    if isinstance(result, Reconstruction):
        if not set(SPEC_NAMES) <= set(result.draws):
            raise ValueError(f"{result.name} has no draws; expected a reconstruction by the method nuts")
        return result.to_datatree(counts)
    return draws_tree(
        spec={name: result.spec_draws[..., i] for i, name in enumerate(SPEC_NAMES)},
        hyperparameters=result.hyperparameter_draws,
        places=result.watched_draws,
        images={name: getattr(result, name) for name in _IMAGES},
        stats=result.sample_stats,
        attributes={"model": result.model, "verdict": result.verdict},
        counts=counts,
    )


_IMAGES = ("x_mean", "x_variance", "x_quantiles", "x_quantile_error", "x_rhat")


def write_netcdf(
    path: str | os.PathLike[str],
    result: NutsResult | Reconstruction,
    counts: Float[np.ndarray, "*shape"] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write :func:`to_datatree` as a netCDF-4 file, whole or not at all; ``arviz.from_netcdf`` reads it.

    Raises ``ImportError`` without xarray and h5netcdf, :class:`fluorojax.io.InputError` where the file cannot be made.
    """
    tree = to_datatree(result, counts)
    try:
        import h5netcdf  # noqa: F401  named here because xarray's own message lists every engine it knows
    except ImportError as error:
        raise ImportError("netCDF files need h5netcdf; install fluorojax[arviz]") from error
    with atomic_output(path, overwrite=overwrite) as temporary:
        tree.to_netcdf(temporary, engine="h5netcdf")


def _free(spec: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Parameters that are sampled: one that is taken as known is the same in every draw and has nothing to mix."""
    return tuple(name for name, draws in spec.items() if np.ptp(draws) > 0)


def _elements(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every element of arrays of draws under its own name, ``name`` or ``name[i,j]``."""
    numbers = {}
    for name, draws in arrays.items():
        for index in np.ndindex(draws.shape[2:]):
            label = f"{name}[{','.join(map(str, index))}]" if index else name
            numbers[label] = draws[(..., *index)]
    return numbers


def _reasons(
    convergence: Mapping[str, Convergence],
    limits: Mapping[str, float],
    sizes: Mapping[str, float],
    divergent: float,
    min_ess: float,
) -> list[str]:
    """What keeps a run from being called converged."""
    reasons = []
    too_large = {n: c for n, c in convergence.items() if not c.rhat <= limits[n]}  # also where it is not a number
    if too_large:
        worst, rhat = _worst(too_large)
        reasons.append(f"R-hat of {worst} is {rhat:.3f} (at most {limits[worst]:g} wanted)")
    least = min(sizes, key=lambda name: np.nan_to_num(sizes[name]))
    if not sizes[least] >= min_ess:
        reasons.append(f"the effective sample size of {least} is {sizes[least]:.0f} (at least {min_ess:g} wanted)")
    if divergent > _MAX_DIVERGENT:
        reasons.append(f"{100 * divergent:.1f} % of the draws diverged (at most {100 * _MAX_DIVERGENT:g} % wanted)")
    return reasons


def _sentence(
    reasons: list[str], convergence: Mapping[str, Convergence], sizes: Mapping[str, float], divergences: int
) -> str:
    if reasons:
        return f"not converged: {'; '.join(reasons)}"
    worst, rhat = _worst(convergence)
    return (
        f"converged: R-hat at most {rhat:.3f} ({worst}), effective sample size at least {min(sizes.values()):.0f} "
        f"({min(sizes, key=sizes.__getitem__)}), {divergences or 'no'} divergence{'' if divergences == 1 else 's'}"
    )


def _worst(convergence: Mapping[str, Convergence]) -> tuple[str, float]:
    worst = max(convergence, key=lambda name: np.nan_to_num(convergence[name].rhat, nan=np.inf))
    return worst, convergence[worst].rhat
