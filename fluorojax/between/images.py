"""A result at any times of its run, from the posterior means and standard deviations of its frames.

Any method serves: what is between the frames needs the means and standard deviations at the frames only
(:mod:`fluorojax.between.network`). At the time of a frame the result is that of the frame, bit by bit.
"""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from fluorojax.between.flow import flow_between
from fluorojax.between.network import BetweenNetwork, Neighbours
from fluorojax.between.times import Place, places
from fluorojax.between.weights import BetweenWeights, load_between
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.learned.inference import TILE, tile_slices
from fluorojax.learned.networks import GRAIN

_LEAST = 1e-3
"""Smallest standard deviation that is seen, as a share of the mean one: no pixel is known exactly."""


def at_times(
    result: Reconstruction,
    times_ms: Float[np.ndarray, " n"],
    *,
    weights: BetweenWeights | None = None,
    report: Callable[[float], None] | None = None,
) -> Reconstruction:
    """The result with its images at ``times_ms`` (ms from the first frame) in place of the frames.

    Responses to the imaging chain and quantiles, where the result has them, are blended between the frames in units of
    the standard deviation. What the diagnostics say concerns the frames.

    **Arguments:** ``weights`` by default those that come with the package; ``report`` is told the share of the work
    that is done.

    **Raises:** ``ValueError`` for a result of a single frame, without a frame period, or that has times already.
    """
    period, x = result.frame_time_ms, result.x_hat
    if result.times_ms is not None or period is None or x.ndim != 3 or len(x) < 2:
        raise ValueError(
            f"{result.name} has images of shape {x.shape} with the frame period {period} ms; expected the frames of a "
            "run, at least two, and their period"
        )
    wanted = places(times_ms, len(x), period)
    found = replace(result, times_ms=np.asarray(times_ms, np.float64))
    if result.status is Status.DIVERGED or not _finite(result):
        nearest = [place.gap + (place.share > 0.5) for place in wanted]
        return _picked(found, result, nearest)
    weights = load_between() if weights is None else weights
    std = _assumed_std(x) if result.x_std is None else result.x_std
    mean, spread = interpolate(weights.network, x, std, wanted, report=report)
    facts = {"frames": len(x), "frame_time_ms": period, "weights_sha256": weights.sha256}
    return replace(
        found,
        x_hat=mean,
        x_std=None if result.x_std is None else spread,
        spec_correlation=_correlation(result, wanted, spread),
        x_quantiles=_quantiles(result, wanted, mean, spread),
        diagnostics={**result.diagnostics, "between": facts},
    )


def interpolate(
    network: BetweenNetwork,
    x: Float[np.ndarray, "T H W"],
    std: Float[np.ndarray, "T H W"],
    wanted: list[Place],
    *,
    tile: int = TILE,
    report: Callable[[float], None] | None = None,
) -> tuple[Float[np.ndarray, "n H W"], Float[np.ndarray, "n H W"]]:
    """Mean and standard deviation of every wanted image, float32.

    **Arguments:** ``x`` and ``std`` of the frames, T ≥ 2, of any size; ``tile`` the side of the inner part of what goes
    through the network at once, a multiple of 8: its memory does not grow with the image.
    """
    frames, last = len(x), len(x) - 1
    mean, spread = (np.empty((len(wanted), *x.shape[1:]), np.float32) for _ in range(2))
    tiles = tile_slices(x.shape[1:], tile, network.reach)
    floor = _LEAST * float(np.mean(std)) + np.finfo(np.float32).tiny ** 0.5
    for number, place in enumerate(wanted):
        if place.share == 0.0:  # the frame itself, bit by bit
            mean[number], spread[number] = x[place.gap], std[place.gap]
            continue
        gap = place.gap
        seen = x[[max(gap - 1, 0), gap, gap + 1, min(gap + 2, last)]].astype(np.float32)
        known = np.maximum(std[gap : gap + 2], floor).astype(np.float32)
        flow = flow_between(seen[1], seen[2], place.share, float(np.sqrt(np.mean(known**2))))
        beyond = np.array([gap > 0, gap + 2 < frames], np.float32)
        for inner, outer in tiles:
            parts = [_padded(v[(slice(None), *outer)]) for v in (seen, known, flow)]
            near = Neighbours(*(jnp.asarray(np.asarray(v)[None]) for v in (*parts, np.float32(place.share), beyond)))
            got = _solve(network, near)
            kept = tuple(slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True))
            for into, values in zip((mean, spread), got, strict=True):
                into[(number, *inner)] = np.asarray(values)[(0, *kept)]
        if report is not None:
            report((number + 1) / len(wanted))
    return mean, spread


@eqx.filter_jit
def _solve(network: BetweenNetwork, near: Neighbours) -> tuple[jax.Array, jax.Array]:
    return network(near)


def _padded(values: Float[np.ndarray, "n H W"]) -> Float[np.ndarray, "n H2 W2"]:
    return np.pad(values, ((0, 0), *((0, -n % GRAIN) for n in values.shape[1:])), mode="edge")


def _finite(result: Reconstruction) -> bool:
    return bool(np.isfinite(result.x_hat).all() and (result.x_std is None or np.isfinite(result.x_std).all()))


def _assumed_std(x: Float[np.ndarray, "T H W"]) -> Float[np.ndarray, "T H W"]:
    """One standard deviation for all pixels, of the noise that differs from frame to frame: a scale for the network."""
    change = np.abs(np.diff(x, axis=0))
    return np.full_like(x, max(1.4826 * float(np.median(change)) / np.sqrt(2.0), 1e-4 * float(np.ptp(x)), 1e-12))


def _blended(values: Float[np.ndarray, "k T H W"], wanted: list[Place]) -> Float[np.ndarray, "k n H W"]:
    """Linear between the frames."""
    after = [min(place.gap + 1, values.shape[1] - 1) for place in wanted]
    share = np.array([place.share for place in wanted], np.float32)[:, None, None]
    return (1.0 - share) * values[:, [place.gap for place in wanted]] + share * values[:, after]


def _correlation(result: Reconstruction, wanted: list[Place], std: np.ndarray) -> np.ndarray | None:
    """The response ρσ to each parameter is linear between the frames; the rest of the variance is noise and motion."""
    if result.spec_correlation is None or result.x_std is None:
        return None
    found = _blended(result.spec_correlation * result.x_std, wanted) / np.maximum(std, np.finfo(np.float32).tiny)
    return (found / np.maximum(1.0, np.sqrt(np.sum(found**2, axis=0)))).astype(np.float32)


def _quantiles(result: Reconstruction, wanted: list[Place], mean: np.ndarray, std: np.ndarray) -> np.ndarray | None:
    if result.x_quantiles is None or result.x_std is None:
        return None
    scale = np.maximum(result.x_std, np.finfo(np.float32).tiny)
    found = mean + std * _blended((result.x_quantiles - result.x_hat) / scale, wanted)
    for number, place in enumerate(wanted):
        if place.share == 0.0:  # exactly, whatever the rounding of the standardised values
            found[:, number] = result.x_quantiles[:, place.gap]
    return found.astype(np.float32)


def _picked(found: Reconstruction, result: Reconstruction, index: list[int]) -> Reconstruction:
    """The nearest frames of a result that must not be used."""
    return replace(
        found,
        x_hat=result.x_hat[index],
        x_std=None if result.x_std is None else result.x_std[index],
        spec_correlation=None if result.spec_correlation is None else result.spec_correlation[:, index],
        x_quantiles=None if result.x_quantiles is None else result.x_quantiles[:, index],
    )
