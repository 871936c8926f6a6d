"""Interval coverage of pixels over replicates, with an error that allows for correlated pixels in a replicate.

An interval between two of L draws of a pixel holds the truth with a known probability, whatever the posterior: the
central ``level·(L+1)`` of the L + 1 ranks. Coverage read from ranks therefore has no error from the finite number of
draws.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from fluorojax.metrics.interval_coverage import LEVELS, moving_pixels

GROUPS = ("all", "moving", "static")
RANK_STEP = 40
"""L + 1 must be a multiple of this, so that every level of ``LEVELS`` is a whole number of ranks."""


@dataclass(frozen=True)
class GroupCoverage:
    """Coverage of the central intervals of one level in one group of pixels at one dose."""

    dose: float
    """Counts per pixel and frame behind x = 0.5."""
    group: str
    """``all``, ``moving`` or ``static`` (:func:`seen_to_move`)."""
    level: float
    coverage: float
    """Mean over replicates of the share of pixels inside."""
    standard_error: float
    """Between replicates: replicates are independent, pixels of one are not."""
    replicates: int
    p_value: float
    """Of the hypothesis that the true coverage lies within the margin of the level (:func:`margin_p_value`)."""
    adjusted_p: float
    """Holm-adjusted over all groups, levels and doses of the report."""


def seen_to_move(x_true: Float[np.ndarray, "*shape"], draws: Float[np.ndarray, "L *shape"]) -> Bool[np.ndarray, "H W"]:
    """Pixels seen to move: :func:`fluorojax.metrics.moving_pixels` of the posterior mean, the truth counted as a draw.

    The choice must not depend on the truth alone. If pixels are chosen because their truth varies unusually much, even
    the exact posterior covers them too rarely, and the others too often. Given the data, the truth and exact draws are
    exchangeable, so a choice that is symmetric in them keeps every coverage at its level.
    """
    count = draws.shape[0]
    return moving_pixels((draws.sum(axis=0, dtype=np.float64) + x_true) / (count + 1))


def inside_shares(
    rank: Int[np.ndarray, "*shape"], draws: int, moving: Bool[np.ndarray, "H W"]
) -> Float[np.ndarray, "groups levels"]:
    """Share of pixels of one replicate inside each central interval, by group; NaN for an empty group.

    **Arguments:** ``rank`` of the true x among the ``draws`` of its pixel, 0..L. **Raises** ``ValueError`` where L + 1
    is not a multiple of 40.
    """
    if (draws + 1) % RANK_STEP:
        raise ValueError(f"draws is {draws}; expected one less than a multiple of {RANK_STEP}, e.g. 79")
    masks = [np.ones_like(moving), moving, ~moving]
    shares = np.full((len(GROUPS), len(LEVELS)), np.nan)
    for row, mask in enumerate(masks):
        chosen = rank[..., mask]
        if chosen.size:
            for column, level in enumerate(LEVELS):
                tail = round(0.5 * (1 - level) * (draws + 1))
                shares[row, column] = np.mean((chosen >= tail) & (chosen <= draws - tail))
    return shares


def measure_coverage(dose: float, shares: Float[np.ndarray, "n groups levels"], margin: float) -> list[GroupCoverage]:
    """Coverage of every group and level from the :func:`inside_shares` of n replicates.

    ``adjusted_p`` is the p-value itself until :func:`fluorojax.validation.adjust` has seen the whole report. Groups
    that are empty in every replicate are left out.
    """
    cells = []
    for row, group in enumerate(GROUPS):
        known = shares[~np.isnan(shares[:, row, 0]), row]
        if len(known) < 2:
            continue
        for column, level in enumerate(LEVELS):
            mean = float(known[:, column].mean())
            error = float(known[:, column].std(ddof=1) / math.sqrt(len(known)))
            p = margin_p_value(mean - level, error, len(known), margin)
            cells.append(GroupCoverage(dose, group, level, mean, error, len(known), p, p))
    return cells


def margin_p_value(deviation: float, standard_error: float, replicates: int, margin: float) -> float:
    """p-value of "the true deviation is at most ``margin``" by Student's t with n − 1 degrees of freedom.

    ``P(|d + ε| ≥ |observed|)`` at the nearest deviation d = margin that the hypothesis allows; the usual two-sided test
    where the margin is zero.
    """
    beyond = abs(deviation) - margin
    if standard_error == 0:
        return 0.0 if beyond > 0 else 1.0
    law = stats.t(replicates - 1)
    return float(min(1.0, law.sf(beyond / standard_error) + law.sf((abs(deviation) + margin) / standard_error)))


def resolution(cells: list[GroupCoverage], level: float, alpha: float) -> float:
    """Deviation beyond the margin at which the coverage of all pixels at ``level`` would fail on its own, the widest
    over doses: the t quantile of the Bonferroni-corrected ``alpha`` times the standard error.
    """
    errors = [
        stats.t(c.replicates - 1).isf(alpha / len(cells)) * c.standard_error
        for c in cells
        if c.group == "all" and c.level == level
    ]
    return float(max(errors))
