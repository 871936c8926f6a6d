"""Whether the Markov chains of a run agree, in numbers and in words."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fluorojax.engines.nuts.convergence import Convergence, convergence_of
from fluorojax.engines.nuts.options import NutsOptions

# Divergent draws a converged run may have: more mean a region that no draw enters.
_MAX_DIVERGENT = 0.01
# Fewer draws, halved, say nothing about agreement.
_LEAST_DRAWS = 8


class Verdict(NamedTuple):
    """What a run is judged to be."""

    converged: bool
    sentence: str


def judge(
    convergence: Mapping[str, Convergence],
    limits: Mapping[str, float],
    hyperparameters: Mapping[str, Convergence],
    diverging: np.ndarray,
    options: NutsOptions,
) -> Verdict:
    """Whether a run has converged, and why not.

    **Arguments:** ``convergence`` by name, of which those in ``limits``, the largest R-hat of each, decide;
    ``hyperparameters`` are reported where they have not mixed; ``diverging`` flags of all draws.
    """
    judged = {name: convergence[name] for name in limits}
    sizes = {name: min(c.ess_bulk, c.ess_tail) for name, c in judged.items()}
    divergences = int(diverging.sum())
    reasons = _reasons(judged, limits, sizes, divergences / diverging.size, options.min_ess)
    sentence = _sentence(reasons, judged, sizes, divergences)
    if hyperparameters and not _worst(hyperparameters)[1] <= options.max_rhat:
        sentence += "; hyperparameters have not mixed (R-hat of {} is {:.3f})".format(*_worst(hyperparameters))
    return Verdict(not reasons, sentence)


def agreement(
    records: Mapping[str, np.ndarray], spec: tuple[str, ...], watched: tuple[str, ...], options: NutsOptions
) -> str | None:
    """How well the Markov chains agree so far, for a log; None below eight draws.

    The text names the worst R-hat and the least effective size of what decides about convergence, and the divergent
    draws. **Arguments:** ``records`` as of :func:`fluorojax.engines.nuts.result.summarise`, without the draws still to
    come; ``spec`` and ``watched`` name the columns of its ``spec`` and ``watched``.
    """
    kept = {name: values[:, options.settle + options.warmup :] for name, values in records.items()}
    if kept["spec"].shape[1] < _LEAST_DRAWS:
        return None
    parameters = {name: kept["spec"][..., i] for i, name in enumerate(spec)}
    found = {name: convergence_of(parameters[name]) for name in sampled(parameters)}
    found |= {name: convergence_of(kept["watched"][..., i]) for i, name in enumerate(watched)}
    divergent = f"{int(kept['diverging'].sum())} divergent"
    if not found:
        return divergent
    worst, rhat = _worst(found)
    sizes = {name: min(c.ess_bulk, c.ess_tail) for name, c in found.items()}
    least = min(sizes, key=lambda name: np.nan_to_num(sizes[name]))
    return f"R-hat so far {rhat:.3f} ({worst}), effective size {sizes[least]:.0f} ({least}), {divergent}"


def sampled(spec: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Parameters that are sampled: one that is taken as known is the same in every draw and has nothing to mix."""
    return tuple(name for name, draws in spec.items() if np.ptp(draws) > 0)


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
