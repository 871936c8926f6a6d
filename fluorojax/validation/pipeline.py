"""The batch reconstruction as a method under test: calibrated chain, empirical-Bayes scales, MAP, variance map.

What ``fluorojax reconstruct --method map`` states about a scene are marginal posteriors of the spec parameters and a
mean and a standard deviation per pixel. Draws of them are independent between parameters and pixels, so region means
and the log likelihood are not tested.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.calibration.posterior import calibrate
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES, Spec, SpecRanges
from fluorojax.engines.map import MapResult, solve_map
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.validation.methods import PosteriorSummary


def batch_map(model: SceneModel, data: SceneData, keys: PRNGKeyArray, draws: int) -> PosteriorSummary:
    """A :class:`~fluorojax.validation.Method`; the same steps as :func:`fluorojax.runs.batches.reconstruct_scenes`."""
    host = jax.device_get(data)
    posteriors = [calibrate(_scene(host, index)) for index in range(keys.shape[0])]
    spec = np.array([[posterior.marginals[name].quantile(0.5) for name in SPEC_NAMES] for posterior in posteriors])
    std = np.array([[posterior.marginals[name].std for name in SPEC_NAMES] for posterior in posteriors])
    result = _solve(model, data, Spec.from_array(spec.astype(np.float32)), jnp.asarray(std, jnp.float32))
    deviation = jnp.sqrt(result.noise_variance + jnp.sum(result.spec_response**2, axis=1))

    def pixels(key: PRNGKeyArray, mean: Array, deviation: Array) -> Float[Array, "L *shape"]:
        return mean + deviation * jax.random.normal(key, (draws, *mean.shape), mean.dtype)

    uniform = np.asarray(jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (draws, 3)))(keys))
    quantiles = [
        [[posterior.marginals[name].quantile(u) for name, u in zip(SPEC_NAMES, row, strict=True)] for row in rows]
        for posterior, rows in zip(posteriors, uniform, strict=True)
    ]
    return PosteriorSummary(jnp.asarray(quantiles), jax.vmap(pixels)(keys, result.x, deviation), joint=False)


def _scene(data: SceneData, index: int) -> Scene:
    one = jax.tree.map(lambda leaf: leaf[index], (data.acquisition, data.ranges))
    acquisition, ranges = one
    return Scene(
        f"replicate_{index}",
        np.asarray(data.counts[index]),
        Acquisition.from_dict({name: float(getattr(acquisition, name)) for name in acquisition.__dataclass_fields__}),
        SpecRanges(np.asarray(ranges.low), np.asarray(ranges.high)),
    )


@eqx.filter_jit
def _solve(model: SceneModel, data: SceneData, spec: Spec, std: Float[Array, "n 3"]) -> MapResult:
    return jax.vmap(lambda d, s, e: solve_map(model, d, s, e, jax.random.key(0)))(data, spec, std)
