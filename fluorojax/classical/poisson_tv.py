"""Maximum a posteriori estimate with the physics of the imaging chain and a total-variation prior."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.classical.estimate import ClassicalMethod, Estimate, as_stack
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.engines.energy import poisson_deviance
from fluorojax.engines.lbfgs import minimise
from fluorojax.physics.operator import PUBLISHED_OPERATOR, FluoroscopyOperator
from fluorojax.priors.smoothing import gaussian_matrix, smooth


@dataclass(frozen=True)
class PoissonTotalVariation(ClassicalMethod):
    """Minimum of ``D(y, λ(x)) + weight Σ √(|∇ξ|² + (temporal ∂_t ξ)² + edge²)``, D half the Poisson deviance.

    D is that of the shifted Poisson distribution where the protocol has electronic noise. λ is the operator of this
    library at the assumed spec, so window, lag, gain and scatter are inverted with the noise. The penalty acts on ``ξ =
    A·x·√n``, n the counts smoothed over the run and ``level_pixels``: attenuation in units of the local noise, in which
    one weight serves all doses, as it does after an Anscombe transform.
    """

    models_electronic_noise: ClassVar[bool] = True

    weight: float = 0.6
    temporal: float = 3.0
    edge: float = 0.4
    level_pixels: float = 2.0
    iterations: int = 150
    tolerance: float = 1e-3

    def __call__(
        self,
        y: Float[np.ndarray, "T H W"],
        acquisition: Acquisition,
        spec: Spec | None = None,
        operator: FluoroscopyOperator = PUBLISHED_OPERATOR,
    ) -> Estimate:
        """See :class:`~fluorojax.classical.estimate.ClassicalMethod`."""
        data = (
            jnp.asarray(as_stack(y)),
            acquisition,
            Spec.nominal(operator.parameters) if spec is None else spec,
            operator,
        )
        x = _solve(self, *jax.tree.map(jnp.float32, data))
        return Estimate(np.clip(np.asarray(x, np.float32), 0, 1))


@partial(jax.jit, static_argnums=0)
def _solve(
    method: PoissonTotalVariation,
    counts: Float[Array, "T H W"],
    acquisition: Acquisition,
    spec: Spec,
    operator: FluoroscopyOperator,
) -> Float[Array, "T H W"]:
    level = jnp.maximum(smooth(jnp.mean(counts, 0), method.level_pixels), 0.5)
    # The noise of x in units of 1/A: √(n + σ²)/n.
    unit = jnp.sqrt(1 + acquisition.electronic_variance / level) / (acquisition.attenuation_scale * jnp.sqrt(level))
    # A smooth start, three frames and pixels wide: from raw counts the logarithm starts far out at low dose.
    temporal = jnp.asarray(gaussian_matrix(len(counts), 1.5), counts.dtype)
    calm = smooth(jnp.einsum("st,thw->shw", temporal, counts), 1.0)
    start = operator.invert_static(calm, acquisition, spec) / unit

    def energy(noise_units: Float[Array, "T H W"]) -> Float[Array, ""]:
        misfit = poisson_deviance(
            counts, operator(noise_units * unit, spec, acquisition), acquisition.electronic_variance
        )
        rows, columns, frames = (_difference(noise_units, axis) for axis in (1, 2, 0))
        square = rows**2 + columns**2 + (method.temporal * frames) ** 2
        return misfit + method.weight * jnp.sum(jnp.sqrt(square + method.edge**2) - method.edge)

    found = minimise(energy, start, max_iterations=method.iterations, tolerance=method.tolerance)
    return found.position * unit


def _difference(field: Float[Array, "T H W"], axis: int) -> Float[Array, "T H W"]:
    """Forward difference, zero at the last sample."""
    last = jax.lax.slice_in_dim(field, -1 + field.shape[axis], field.shape[axis], axis=axis)
    return jnp.diff(field, axis=axis, append=last)
