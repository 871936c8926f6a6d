"""Simulation-based calibration: draw truth and data from the prior, infer, compare ranks and interval coverage."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SpecRanges
from fluorojax.metrics.interval_coverage import LEVELS
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.runs.progress import Progress
from fluorojax.validation.coverage import GROUPS, inside_shares, measure_coverage, seen_to_move
from fluorojax.validation.methods import PosteriorSummary, Sampler
from fluorojax.validation.options import CheckOptions
from fluorojax.validation.prior_draws import PriorDraws, draw_prior, empty_scene, protocol_for_dose
from fluorojax.validation.report import CalibrationReport
from fluorojax.validation.sbc import LOG_LIKELIHOOD, REGIONS, adjust, measure_uniformity, ranks

# The level of the intervals whose coverage a running check tells.
_TOLD_LEVEL = 0.9


def check_calibration(
    model: SceneModel,
    method: Sampler,
    options: CheckOptions,
    *,
    name: str = "method",
    base: Acquisition | None = None,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Check whether the posteriors of ``method`` are right for data drawn from the prior of ``model``.

    Ranks of the spec parameters, of the mean of x over the field and its quadrants, and of the log likelihood; coverage
    of pixel intervals, over all pixels and split into those seen to move and the others.

    **Arguments:** ``name`` what the report calls the method; ``base`` the nominal protocol, whose open-beam dose is set
    by the doses (default: that of :func:`~fluorojax.validation.protocol_for_dose`). Replicate i at a dose depends on
    seed, dose index and i only.

    **Raises** ``ValueError`` for a model outside the protocol or draws of the wrong shape.
    """
    begin = time.perf_counter()
    ranges = SpecRanges.for_tier(options.tier)
    if progress is not None:
        progress.start(options.replicates * len(options.doses), "replicate")
    uniformity, coverage, failed = [], [], {}
    for index, dose in enumerate(options.doses):
        acquisition = protocol_for_dose(dose, base)
        acquisition.check(ranges)
        scene = empty_scene(options.shape, acquisition, ranges)
        done = index * options.replicates
        table = _Table.concatenate(_batches(model, method, options, scene, index, done, progress))
        finite = table.finite
        failed[dose] = int(np.sum(~finite))
        if finite.sum() < 20:
            continue
        for quantity, (truth, draws) in table.quantities.items():
            uniformity.append(measure_uniformity(dose, quantity, truth[finite], draws[finite]))
        coverage += measure_coverage(dose, table.shares[finite], options.margin)
    for results in (uniformity, coverage):
        results[:] = [
            replace(result, adjusted_p=p)
            for result, p in zip(results, adjust([r.p_value for r in results]), strict=True)
        ]
    seconds = time.perf_counter() - begin
    return CalibrationReport(model.name, name, options, tuple(uniformity), tuple(coverage), failed, seconds)


@dataclass(frozen=True)
class _Table:
    """What is kept of a batch: scalars of truth and draws, and the coverage shares of the pixels."""

    quantities: dict[str, tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n L"]]]
    shares: Float[np.ndarray, "n groups levels"]
    finite: Bool[np.ndarray, "n"]

    @classmethod
    def of(cls, truth: PriorDraws, found: PosteriorSummary, keep: int) -> "_Table":
        """The first ``keep`` replicates of a batch."""
        quantities = {
            name: (np.asarray(truth.spec)[:, i], np.asarray(found.spec)[:, :, i])
            for i, name in enumerate(truth.data.ranges.names)
        }
        true_x, x = np.asarray(truth.x), np.asarray(found.x)
        if found.joint:
            axes = true_x.ndim - 1
            true_means, means = _region_means(true_x, axes), _region_means(x, axes)
            quantities |= {name: (true_means[..., i], means[..., i]) for i, name in enumerate(REGIONS)}
        if found.log_likelihood is not None:
            quantities[LOG_LIKELIHOOD] = (np.asarray(truth.log_likelihood), np.asarray(found.log_likelihood))
        flat = [draws.reshape(len(draws), -1) for draws in (x, *(draws for _, draws in quantities.values()))]
        finite = np.all([np.isfinite(values).all(axis=1) for values in flat], axis=0)
        rank = ranks(true_x, x)
        shares = [inside_shares(rank[i], x.shape[1], seen_to_move(true_x[i], x[i])) for i in range(keep)]
        kept = {name: (true[:keep], draws[:keep]) for name, (true, draws) in quantities.items()}
        return cls(kept, np.stack(shares), finite[:keep])

    @classmethod
    def concatenate(cls, tables: "Iterator[_Table]") -> "_Table":
        parts = list(tables)
        quantities: dict[str, Any] = {
            name: tuple(np.concatenate([part.quantities[name][side] for part in parts]) for side in (0, 1))
            for name in parts[0].quantities
        }
        shares = np.concatenate([part.shares for part in parts])
        return cls(quantities, shares, np.concatenate([part.finite for part in parts]))


def _batches(
    model: SceneModel,
    method: Sampler,
    options: CheckOptions,
    scene: SceneData,
    dose_index: int,
    done: int,
    progress: Progress | None,
) -> Iterator[_Table]:
    """The replicates of one dose, in batches of one size: the last one is filled up, so nothing compiles twice."""
    batch = min(options.batch, options.replicates)
    shares, finite = [], []
    root = jax.random.fold_in(jax.random.key(options.seed), dose_index)
    for first in range(0, options.replicates, batch):
        keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(root, i)))(jnp.arange(first, first + batch))
        truth = _drawn(model, scene, keys[:, 0])
        data = truth.data
        found = jax.device_get(method(model, data, keys[:, 1], options.draws))
        _check_shapes(found, batch, options)
        keep = min(batch, options.replicates - first)
        table = _Table.of(jax.device_get(truth), found, keep)
        shares.append(table.shares)
        finite.append(table.finite)
        if progress is not None:
            note = _coverage_note(np.concatenate(shares), np.concatenate(finite))
            progress.update(done + first + keep, f"{options.doses[dose_index]:g} counts: {note}")
        yield table


def _coverage_note(shares: Float[np.ndarray, "n groups levels"], finite: Bool[np.ndarray, "n"]) -> str:
    """Coverage of all pixels so far, and how many replicates cannot be judged."""
    failed = f"{np.sum(~finite)} of {finite.size} replicates failed"
    inside = shares[finite, GROUPS.index("all"), LEVELS.index(_TOLD_LEVEL)]
    if not inside.size:
        return failed
    return f"{100 * _TOLD_LEVEL:g} % intervals hold {100 * inside.mean():.1f} % of the pixels, {failed}"


@eqx.filter_jit
def _drawn(model: SceneModel, scene: SceneData, keys: jax.Array) -> PriorDraws:
    """Prior draws whose data have the replicate axis on every leaf, as methods take them."""
    return draw_prior(model, scene, keys)


def _check_shapes(found: PosteriorSummary, batch: int, options: CheckOptions) -> None:
    for field, expected in (("spec", (3,)), ("x", options.shape)):
        shape = getattr(found, field).shape
        if shape != (batch, options.draws, *expected):
            raise ValueError(
                f"the method's {field} has shape {shape}; expected {(batch, options.draws, *expected)}: "
                "replicates, draws, then its own axes"
            )


def _region_means(x: Float[np.ndarray, "*lead H W"], scene_axes: int) -> Float[np.ndarray, "n *L regions"]:
    """Means over the field and its quadrants, and over frames where a scene has three axes."""
    rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
    parts = (
        x,
        x[..., :rows, :columns],
        x[..., :rows, columns:],
        x[..., rows:, :columns],
        x[..., rows:, columns:],
    )
    axes = tuple(range(-scene_axes, 0))
    return np.stack([part.mean(axis=axes, dtype=np.float64) for part in parts], axis=-1)
