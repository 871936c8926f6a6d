"""What the counts say about scatter and veiling glare of unknown share and kernel.

Scatter adds a smooth signal, which looks like less attenuation: a level and a slow gradient. Counts alone do not tell
the two apart, and a model of the scene that seems to do so reads its own prior. Two facts bound the share whatever the
scene: the primary signal is nowhere above the open beam, and nowhere below what passes at x = 1. The darkest place of
the field says most. What is left there after the scatter was taken off is the transmission of the densest place, of
which only this is taken as known: its x is anywhere between 0 and 1. The density of its transmission P is then 1/P, so
that a share which leaves little there is more probable than a small one, and a share which leaves nothing is
impossible. Only one place may be used like this: every further one with an x of its own would multiply the density by
another 1/P, and would determine the share by a prior that nobody believes.

Where the field holds nothing dense, the bound is weak, and the posterior of the share is close to its prior.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float
from scipy.stats import qmc

from fluorojax.calibration.marginal import Marginal
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import GAIN_DRIFT, Parameter, Spec
from fluorojax.physics.operator import FluoroscopyOperator
from fluorojax.physics.psf import GLARE_RADIUS, VeilingGlare
from fluorojax.physics.scatter import Scatter
from fluorojax.physics.stage import RateStage

POINTS = 1024
"""Points of the prior at which the likelihood is evaluated, a power of two."""
CELLS = 32
"""Most cells along a side of the field."""
KERNEL_ERROR = 0.05
"""Relative standard deviation of what is taken off a cell: a real kernel is none of the family, and glare of a few
pixels is not quite the same on cells."""
_STEPS, _DEPTHS, _DRAWS = 32, 256, 4000


def unknown_shares(operator: FluoroscopyOperator) -> tuple[Parameter, ...]:
    """The unknown parameters of the stages that act within a frame."""
    return tuple(p for stage in operator.stages if isinstance(stage, RateStage) for p in stage.parameters)


def share_marginals(scene: Scene, counts: Float[np.ndarray, "T H W"]) -> dict[str, Marginal]:
    """Marginal posteriors of the unknown parameters of scatter and veiling glare, by name; empty where all is known.

    The likelihood (see the module) is evaluated at quasi-random points of the uniform prior, on the mean over all
    frames of cells of pixels. Deterministic.

    **Arguments:** ``counts`` those of the scene without dark signal and brought to one dose, quanta.
    """
    parameters = unknown_shares(scene.operator)
    if not parameters:
        return {}
    bounds = {p.name: scene.ranges.as_dict()[p.name] for p in parameters}
    side = max(1, -(-max(counts.shape[1:]) // CELLS))
    frames, rows, columns = len(counts), *(size // side for size in counts.shape[1:])
    if min(rows, columns) < 1:
        return {name: Marginal.flat(*ends) for name, ends in bounds.items()}
    cropped = counts[:, : rows * side, : columns * side].mean(axis=0, dtype=np.float64)
    cells = cropped.reshape(rows, side, columns, side).mean(axis=(1, 3))
    protocol = scene.acquisition.as_dict()
    variance = (np.maximum(cells, 0.0) + protocol["electronic_noise"] ** 2 + 1e-6) / (frames * side**2)
    photons = protocol["photons_per_pixel"]
    drift = (
        scene.ranges.as_dict().get(GAIN_DRIFT.name, (0.0, 0.0)) if GAIN_DRIFT in scene.operator.parameters else (0, 0)
    )
    gains = [float(np.mean((1.0 + end / 100.0) ** np.arange(frames))) for end in drift]
    unit = qmc.Sobol(len(parameters), scramble=True, rng=np.random.default_rng(0)).random(POINTS)
    low, high = np.array(list(bounds.values())).T
    points = low + (high - low) * unit
    log = np.asarray(
        _log_likelihood(
            _coarse(scene.operator, side),
            scene.acquisition,
            jnp.asarray(cells / photons, jnp.float32),
            jnp.asarray(np.sqrt(variance) / photons, jnp.float32),
            jnp.asarray(points, jnp.float32),
            (min(gains), max(gains)),
            names=tuple(bounds),
            side=side,
        ),
        np.float64,
    )
    weights = np.exp(log - log.max())
    drawn = np.random.default_rng(0).choice(len(points), _DRAWS, p=weights / weights.sum())
    return {name: Marginal.from_draws(points[drawn, i], *bounds[name]) for i, name in enumerate(bounds)}


def with_known_shares(scene: Scene, marginals: dict[str, Marginal]) -> Scene:
    """The scene with scatter and glare as known, at the medians of what was inferred; itself where all is known.

    For reduced models that need the primary signal; a small error of the share hardly changes what they say.
    """
    if not unknown_shares(scene.operator):
        return scene
    medians = {name: marginal.quantile(0.5) for name, marginal in marginals.items()}
    spec, protocol = Spec.from_dict(medians), scene.acquisition.as_dict()
    stages = []
    for stage in scene.operator.stages:
        if isinstance(stage, Scatter):
            stage, protocol["scatter_fraction"] = stage.known(spec, scene.acquisition)
        elif isinstance(stage, VeilingGlare):
            stage = stage.known(spec)
        stages.append(stage)
    operator = FluoroscopyOperator(tuple(stages), scene.operator.attenuation)
    kept = {p.name for p in operator.parameters}
    ranges = scene.ranges.from_dict({n: ends for n, ends in scene.ranges.as_dict().items() if n in kept})
    acquisition = Acquisition.from_dict(protocol)
    return replace(scene, operator=operator, ranges=ranges, acquisition=acquisition, true_spec=None)


def _coarse(operator: FluoroscopyOperator, side: int) -> tuple[RateStage, ...]:
    """The stages within a frame for cells of ``side`` pixels; the scatter knows its width relative to the field."""
    stages = (stage for stage in operator.stages if isinstance(stage, RateStage))
    return tuple(
        eqx.tree_at(lambda s: s.radius, stage, stage.radius / side) if isinstance(stage, VeilingGlare) else stage
        for stage in stages
    )


@eqx.filter_jit
def _log_likelihood(
    stages: tuple[RateStage, ...],
    acquisition: Acquisition,
    cells: Float[Array, "R C"],
    noise: Float[Array, "R C"],
    points: Float[Array, "N parameters"],
    gains: tuple[float, float],
    *,
    names: tuple[str, ...],
    side: int,
) -> Float[Array, " N"]:
    """Log likelihood of every point, up to a constant."""
    scale = jnp.asarray(acquisition.attenuation_scale, cells.dtype)
    depths = scale * (jnp.arange(_DEPTHS, dtype=cells.dtype) + 0.5) / _DEPTHS
    passed = jnp.exp(-depths) * 0.5 * (gains[0] + gains[1])
    least, most = jnp.exp(-scale) * gains[0], gains[1]

    def one(point: Float[Array, " parameters"]) -> Float[Array, ""]:
        values = {n: v / side if n == GLARE_RADIUS.name else v for n, v in zip(names, point, strict=True)}
        spec = Spec.from_dict(values)

        def through(primary: Float[Array, "R C"]) -> Float[Array, "R C"]:
            rate = primary[None]
            for stage in stages:
                rate = stage(rate, spec, acquisition)
            return rate[0]

        # The stages only add to a uniform field: its rate is their largest eigenvalue, and the step converges.
        largest = jnp.maximum(jnp.max(through(jnp.ones_like(cells))), 1.0)
        step = 2.0 / (1.0 + largest)
        primary = jax.lax.fori_loop(0, _STEPS, lambda _, p: p + step * (cells - through(p)), cells / largest)
        sd = jnp.hypot(noise, KERNEL_ERROR * (cells - primary))
        violated = jnp.maximum(jnp.maximum(least - primary, primary - most), 0.0) / sd
        darkest = jnp.argmin(primary)
        here, error = primary.ravel()[darkest], sd.ravel()[darkest]
        # The width of a step of the depths keeps the sum smooth where the noise is smaller than that.
        width = jnp.hypot(error, 0.5 * scale / _DEPTHS * passed)
        density = logsumexp(-0.5 * ((here - passed) / width) ** 2 - jnp.log(width))
        others = violated.ravel().at[darkest].set(0.0)
        # The errors of neighbouring places are not independent: the worst one counts, and only once.
        return density - 0.5 * jnp.max(others) ** 2

    return jax.lax.map(one, points, batch_size=64)
