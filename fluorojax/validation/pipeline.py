"""The statements of a reconstruction about a scene, as posterior draws under test.

A method without joint draws states marginal posteriors of the spec parameters, and a mean and a standard deviation per
pixel. Draws of them are independent between parameters and pixels, so region means and the log likelihood are not
tested. The steps are those of :func:`fluorojax.runs.batches.reconstruct_scenes`, of which this is a thin layer.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.calibration.posterior import SpecPosterior, calibrate
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SpecRanges
from fluorojax.methods.protocol import BatchedMethod, Job, Method, SceneMethod
from fluorojax.models.protocol import SceneData, SceneModel
from fluorojax.runs.batches import scene_data
from fluorojax.runs.devices import solve_chunk
from fluorojax.validation.methods import PosteriorSummary, Sampler


def stated_posterior(method: Method) -> Sampler:
    """The posterior that a method states, pixel by pixel, as a :class:`~fluorojax.validation.Sampler`."""

    def sampler(model: SceneModel, data: SceneData, keys: PRNGKeyArray, draws: int) -> PosteriorSummary:
        host = jax.device_get(data)
        jobs = [_job(model, host, index) for index in range(keys.shape[0])]
        mean, deviation = _images(method, jobs)

        def pixels(key: PRNGKeyArray, mean: Array, deviation: Array) -> Float[Array, "L *shape"]:
            return mean + deviation * jax.random.normal(key, (draws, *mean.shape), mean.dtype)

        count = len(data.ranges.names)
        uniform = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (draws, count)))(keys)
        quantiles = [_quantiles(job.posterior, rows) for job, rows in zip(jobs, np.asarray(uniform), strict=True)]
        return PosteriorSummary(jnp.asarray(quantiles), jax.vmap(pixels)(keys, mean, deviation), joint=False)

    return sampler


def _quantiles(posterior: SpecPosterior, rows: Float[np.ndarray, "L parameters"]) -> Float[np.ndarray, "L parameters"]:
    """Independent draws of the spec parameters by inverse transform of uniform ones."""
    marginals = list(posterior.marginals.values())
    return np.array([[m.quantile(u) for m, u in zip(marginals, row, strict=True)] for row in rows])


def _images(method: Method, jobs: list[Job]) -> tuple[Float[Array, "n *shape"], Float[Array, "n *shape"]]:
    """Mean and standard deviation of x in every scene."""
    if isinstance(method, BatchedMethod):
        found = solve_chunk(method, jobs, len(jobs))
        mean = np.array([one.x for one in found])
        variance = np.array([one.noise_variance + one.spec_variance.sum(axis=0) for one in found])
        return jnp.asarray(mean), jnp.sqrt(jnp.asarray(variance))
    assert isinstance(method, SceneMethod)
    results = [method.run(job) for job in jobs]
    for result in results:
        if result.x_std is None:
            raise ValueError("the method states no standard deviations; expected a method with an uncertainty")
    return jnp.asarray(np.array([r.x_hat for r in results])), jnp.asarray(np.array([r.x_std for r in results]))


def _job(model: SceneModel, host: SceneData, index: int) -> Job:
    one = jax.tree.map(lambda leaf: leaf[index], host)
    names = Acquisition.__dataclass_fields__
    scene = Scene(
        f"replicate_{index}",
        np.asarray(one.counts),
        Acquisition.from_dict({name: float(getattr(one.acquisition, name)) for name in names}),
        SpecRanges(np.asarray(one.ranges.low), np.asarray(one.ranges.high), one.ranges.names),
        operator=one.operator,
    )
    posterior = calibrate(scene)
    return Job(scene, scene_data(scene, posterior.spec), model, posterior, seed=0, assets={})
