"""Reference posteriors for small scenes: NUTS on all latents, and the dense Laplace approximation.

Both see every latent of the model, spec and hyperparameters included, and ``data.aux`` as it is given. Sizes are those
of a calibration check, hundreds of latents; nothing here is meant for whole images.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.scipy.stats import norm
from jaxtyping import Array, PRNGKeyArray
from numpyro.infer.hmc import hmc

from fluorojax.engines.energy import diagonal_scale, posterior
from fluorojax.engines.lbfgs import minimise
from fluorojax.methods.protocol import LatentDraws
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel
from fluorojax.validation.methods import PosteriorSummary, Sampler, from_latent_draws

# The dense metric of the Laplace approximation: 64 MiB in float32.
_MOST_LATENTS = 4096


def nuts(
    *,
    warmup: int = 300,
    thinning: int = 5,
    max_tree_depth: int = 8,
    target_acceptance: float = 0.8,
) -> Sampler:
    """NumPyro's NUTS (Hoffman & Gelman, arXiv:1111.4246) with one Markov chain per scene, started at the prior median.

    **Arguments:** ``warmup`` steps of adaptation (step size, diagonal mass matrix); every ``thinning``-th state is
    kept; a trajectory has at most ``2^max_tree_depth − 1`` steps.
    """

    def draw(model: SceneModel, data: SceneData, key: PRNGKeyArray, draws: int) -> LatentDraws:
        # The deviance keeps float32 energies exact to the digits that decide acceptance; the raw likelihood does not.
        init_kernel, sample_kernel = hmc(potential_fn_gen=lambda scene: posterior(model, scene, {}).energy, algo="NUTS")
        start = {name: jnp.zeros(shape) for name, shape in model.latent_shapes(data).items()}
        state = init_kernel(
            start,
            num_warmup=warmup,
            target_accept_prob=target_acceptance,
            max_tree_depth=max_tree_depth,
            model_args=(data,),
            rng_key=key,
        )

        def step(state, _):
            return sample_kernel(state, model_args=(data,)), None

        def kept(state, _):
            state, _ = jax.lax.scan(step, state, length=thinning)
            return state, state.z

        state, _ = jax.lax.scan(step, state, length=warmup)
        _, latents = jax.lax.scan(kept, state, length=draws)
        return latents

    return from_latent_draws(draw)


def laplace(*, hold_hyperparameters: bool = False, max_iterations: int = 300, tolerance: float = 1e-4) -> Sampler:
    """Draws of the Gaussian around the joint mode of all latents, of precision ``M = Jᵀ F J + 1``.

    The linear-response posterior of :mod:`fluorojax.engines.linear_response` with M formed and factorised. As there, x
    follows the latents along its tangent, ``x(ξ*) + ∂x/∂ξ·δξ``: pushed through the model, draws would leave the curved
    sheet of latents (an amplitude times a field) that the data hold x to. Spec parameters keep their ranges. There is
    no log likelihood, because no rate belongs to a draw.

    **Arguments:** ``hold_hyperparameters`` keeps the model's ``HYPERPARAMETERS`` at their prior median instead;
    ``max_iterations`` and ``tolerance`` as in :func:`fluorojax.engines.lbfgs.minimise`.
    **Raises** ``ValueError`` above 4096 latents.
    """

    def one(model: SceneModel, data: SceneData, key: PRNGKeyArray, draws: int) -> PosteriorSummary:
        shapes = model.latent_shapes(data)
        held = model.hyperparameters if hold_hyperparameters else ()
        fixed = {name: jnp.zeros(shapes[name]) for name in held}
        start = {name: jnp.zeros(shape) for name, shape in shapes.items() if name not in fixed}
        flat, unravel = ravel_pytree(start)
        if flat.size > _MOST_LATENTS:
            raise ValueError(f"the model has {flat.size} latents here; laplace takes at most {_MOST_LATENTS}")
        target = posterior(model, data, fixed)
        probe_key, noise_key = jax.random.split(key)
        scale = diagonal_scale(target, start, probe_key)
        minimum = minimise(
            lambda scaled: target.energy(jax.tree.map(jnp.multiply, scale, scaled)),
            start,
            max_iterations=max_iterations,
            tolerance=tolerance,
        )
        mode = jax.tree.map(jnp.multiply, scale, minimum.position)
        centre, _ = ravel_pytree(mode)

        def rate(values: Array) -> Array:
            return target.rate(unravel(values)).ravel()

        root = jnp.sqrt(target.information(mode)).ravel()
        jacobian = root[:, None] * jax.jacrev(rate)(centre)
        metric = jacobian.T @ jacobian + jnp.eye(flat.size, dtype=flat.dtype)
        factor = jnp.linalg.cholesky(metric)
        noise = jax.random.normal(noise_key, (flat.size, draws), flat.dtype)
        steps = jax.scipy.linalg.solve_triangular(factor, noise, lower=True, trans=1).T
        x, follow = jax.linearize(target.x, mode)
        base = mode[SPEC_SITE] + jax.vmap(unravel)(steps)[SPEC_SITE]
        low, high = jnp.asarray(data.ranges.low), jnp.asarray(data.ranges.high)
        return PosteriorSummary(
            spec=low + (high - low) * norm.cdf(base), x=x + jax.lax.map(lambda step: follow(unravel(step)), steps)
        )

    @eqx.filter_jit
    def method(model: SceneModel, data: SceneData, keys: PRNGKeyArray, draws: int) -> PosteriorSummary:
        return jax.vmap(lambda d, k: one(model, d, k, draws))(data, keys)

    return method
