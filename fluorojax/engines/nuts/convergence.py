"""Convergence of Markov chains in one number: R-hat and effective sample sizes.

Both are those of Vehtari, Gelman, Simpson, Carpenter & Bürkner (Bayesian Analysis 16:667, 2021): rank-normalised, of
split Markov chains, for the bulk and for the 5 % and 95 % quantiles.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from scipy.special import ndtri


@dataclass(frozen=True)
class Convergence:
    """Agreement of the Markov chains of one number, and the number of independent draws that they are equivalent to."""

    rhat: float
    ess_bulk: float
    ess_tail: float


def convergence_of(draws: Float[np.ndarray, "chains draws"]) -> Convergence:
    """R-hat and effective sample sizes of one number; not-a-number where its draws are all the same."""
    draws = np.asarray(draws, np.float64)
    if np.ptp(draws) == 0:
        return Convergence(float("nan"), float("nan"), float("nan"))
    ranks = _rank_normalised(draws)
    folded = _rank_normalised(np.abs(draws - np.median(draws)))
    tails = [(draws <= np.quantile(draws, p)).astype(float) for p in (0.05, 0.95)]
    return Convergence(
        rhat=float(max(split_gelman_rubin(ranks), split_gelman_rubin(folded))),
        ess_bulk=_split_ess(ranks),
        ess_tail=float(np.min([_split_ess(tail) for tail in tails])),
    )


def _rank_normalised(draws: Float[np.ndarray, "chains draws"]) -> Float[np.ndarray, "chains draws"]:
    """Normal scores of the ranks over all Markov chains (Vehtari et al., eq. 14)."""
    from scipy.stats import rankdata  # takes a second to import, and few runs need it

    return ndtri((rankdata(draws).reshape(draws.shape) - 0.375) / (draws.size + 0.25))


def _split_ess(draws: Float[np.ndarray, "chains draws"]) -> float:
    half = draws.shape[1] // 2
    split = np.concatenate([draws[:, :half], draws[:, -half:]])
    if np.ptp(split) == 0:
        return float("nan")
    # Antithetic Markov chains may be worth more than independent draws; the logarithm bounds a noisy time (Vehtari et
    # al., section 3.2).
    time = draws.size / float(effective_sample_size(split))
    return draws.size / max(time, 1.0 / float(np.log10(draws.size)))
